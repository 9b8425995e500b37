"""Every kind of photo arrives upright in RGB, or is refused in one line."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import dpseg.imaging.photo as photo_module
from dpseg.errors import ImageError
from dpseg.imaging.photo import load_photo
from imaging.deep_files import encoded_deep_png, png_chunk

GRADIENT = np.stack(
    [np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1))] * 3, axis=-1
)  # 20 x 30, left dark, right bright


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_keep_every_pixel(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    photo = load_photo(encoded(Image.fromarray(GRADIENT), format, **options))
    np.testing.assert_array_equal(photo, GRADIENT)


def test_path_bytes_picture_and_array_agree(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(GRADIENT).save(path)
    for photo in (path, str(path), path.read_bytes(), Image.open(path), GRADIENT):
        np.testing.assert_array_equal(load_photo(photo), GRADIENT)


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    photo = load_photo(encoded(Image.fromarray(GRADIENT), "PNG", exif=exif))
    np.testing.assert_array_equal(photo, np.rot90(GRADIENT, -1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "deep"])
@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"II*\0\x08\0\0\0\x05\0", id="cut off"),
        pytest.param(b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\0\0\0\xff\xff\0\0", id="tag"),
        pytest.param(b"garbage", id="another kind"),
    ],
)
def test_a_damaged_exif_block_is_passed_over_in_silence(kind: str, block: bytes) -> None:
    if kind == "deep":
        deep = GRADIENT.astype(np.uint16) * 257
        given = encoded_deep_png(deep, extra=png_chunk(b"eXIf", block))
    else:
        options = {"lossless": True} if kind == "WEBP" else {}
        given = encoded(Image.fromarray(GRADIENT), kind, exif=b"Exif\0\0" + block, **options)
    assert np.abs(load_photo(given).astype(int) - GRADIENT).max() <= (8 if kind == "JPEG" else 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "I"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = Image.fromarray(GRADIENT)
    picture = Image.fromarray(GRADIENT[..., 0]).convert(mode) if mode in "1LI" else None
    if mode == "LAB":
        picture = Image.new("LAB", source.size)
    photo = load_photo(picture or source.convert(mode))
    assert photo.shape == GRADIENT.shape
    assert photo.dtype == np.uint8


def test_cmyk_jpeg_keeps_its_colours() -> None:
    red = Image.new("RGB", (16, 16), (220, 20, 20)).convert("CMYK")
    photo = load_photo(encoded(red, "JPEG"))
    assert np.abs(photo[8, 8].astype(int) - (220, 20, 20)).max() < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_on_white(mode: str) -> None:
    clear = Image.new(mode, (5, 4), 0)
    assert load_photo(encoded(clear, "PNG")).min() == 255
    assert load_photo(clear).min() == 255


def test_transparent_palette_is_laid_on_white() -> None:
    picture = Image.new("P", (6, 6), 0)
    picture.putpalette([0, 0, 0, 200, 0, 0])
    picture.putpixel((0, 0), 1)
    photo = load_photo(encoded(picture, "PNG", transparency=0))
    assert photo[0, 0].tolist() == [200, 0, 0]
    assert photo[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("size_wh", [(1, 1), (4000, 30), (30, 4000)])
def test_extreme_sizes_are_read(size_wh: tuple[int, int]) -> None:
    photo = load_photo(encoded(Image.new("RGB", size_wh, "navy"), "PNG"))
    assert photo.shape == (size_wh[1], size_wh[0], 3)


def test_truncated_file_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for format in ("JPEG", "PNG"):
        data = encoded(Image.fromarray(noise), format)
        with pytest.raises(ImageError, match="damaged"):
            load_photo(data[: len(data) // 2])


def test_text_executables_and_postscript_are_refused() -> None:
    for data in (b"just text", b"\x7fELF" + bytes(200), b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(50)):
        with pytest.raises(ImageError, match="allowed format"):
            load_photo(data)


def test_missing_folder_and_empty_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for name, reason in (("none.jpg", "does not exist"), (".", "folder"), ("empty.jpg", "0 bytes")):
        with pytest.raises(ImageError, match=reason):
            load_photo(tmp_path / name)
    with pytest.raises(ImageError, match="cannot be read"):
        load_photo("a\0b.jpg")
    with pytest.raises(ImageError, match="0 bytes"):
        load_photo(b"")


def test_bombs_are_refused_before_they_are_decoded() -> None:
    header = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    with pytest.raises(ImageError, match="too large"):
        load_photo(header)
    with pytest.raises(ImageError, match="at most 100 are read"):
        load_photo(GRADIENT, max_pixels=100)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "kind", ["JPEG", "MPO", "PNG", "WEBP", "picture", "array", "deep", "grey deep"]
)
def test_very_large_photos_are_read_at_half_their_size(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_module, "MAX_PIXELS", 5_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)  # Pillow warns above
    half = np.kron(GRADIENT, np.ones((2, 2, 1), np.uint8))  # 40 x 60
    whole = np.kron(half, np.ones((2, 2, 1), np.uint8))  # 80 x 120
    if kind == "deep":
        given = encoded_deep_png(whole.astype(np.uint16) * 257)
    elif kind == "grey deep":
        given = encoded(Image.fromarray(whole[..., 0].astype(np.uint16) * 257), "PNG")
    elif kind == "picture":
        given = Image.fromarray(whole)
    else:
        options = {"MPO": {"save_all": True}, "WEBP": {"lossless": True}}.get(kind, {})
        given = whole if kind == "array" else encoded(Image.fromarray(whole), kind, **options)
    photo = load_photo(given)
    assert photo.shape == half.shape
    assert np.abs(photo.astype(int) - half).max() <= (8 if kind in ("JPEG", "MPO") else 1)


def test_a_very_large_tiff_is_no_photo_but_a_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_module, "MAX_PIXELS", 500)
    with pytest.raises(ImageError, match="reads it as a map"):
        load_photo(encoded(Image.fromarray(GRADIENT), "TIFF"))


def test_a_photo_of_a_telephone_with_100_million_pixels_is_read() -> None:
    photo = load_photo(encoded(Image.new("L", (12_000, 9_000), 90), "JPEG"))
    assert photo.shape == (4_500, 6_000, 3)


def test_text_bomb_in_png_is_refused() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 80_000_000, zip=True)
    with pytest.raises(ImageError, match="damaged"):
        load_photo(encoded(Image.fromarray(GRADIENT), "PNG", pnginfo=info))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.zeros((4, 4, 3), np.complex64), "complex64"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
    ],
)
def test_unusable_arrays_are_refused(array: np.ndarray, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        load_photo(array)


def test_messages_are_one_line() -> None:
    for photo in (b"x", 3, "nowhere.png"):
        with pytest.raises(ImageError) as caught:
            load_photo(photo)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
