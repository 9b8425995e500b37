"""Every row of "Photos" in docs/errors.md, given for real."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from colour_engine import COLOURS
from dpseg.geo.raster import is_map
from dpseg.imaging.photo import FORMATS, MAX_FILE_PIXELS, MAX_PIXELS, load_photo
from errors_page.section import Section
from imaging.deep_files import encoded_deep_png, png_chunk

photos = Section("Photos: `ImageError`")
RED = COLOURS["red"]
RAMP = np.linspace(0, 1, 4 * 5 * 3).reshape(4, 5, 3)
EIGHT_BITS = np.round(RAMP * 255).astype(np.uint8)


@pytest.mark.parametrize("given", photos.rows, ids=str)
def test_row(given, request):
    photos.check(given, request)


def tiff(values, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "rgb", **options})
    return file.getvalue()


def saved(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def picture_at(path: Path, colour=RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path, "PNG")
    return path


def assert_read(given, expected, *, within: int = 1) -> None:
    assert np.abs(load_photo(given).astype(int) - expected).max() <= within


@photos.row("a path that does not exist, a folder, a file of 0 bytes")
def _(tmp_path):
    (tmp_path / "empty.jpg").touch()
    for path, told in (("none.jpg", "does not exist"), (".", "folder"), ("empty.jpg", "0 bytes")):
        with photos.refused(told):
            load_photo(tmp_path / path)


@photos.row("a file of another kind, whatever its ending")
def _(tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    (answer,) = photos.cells("a file of another kind, whatever its ending")
    listed = answer.removeprefix("error: allowed are ").replace("JPEG 2000", "JPEG2000")
    assert listed.upper().split(", ") == list(FORMATS)
    with photos.refused(", ".join(FORMATS)):
        load_photo(tmp_path / "text.jpg")


@photos.row("a truncated or damaged file")
def _():
    for form in ("PNG", "JPEG"):
        data = saved(Image.effect_noise((64, 64), 90), form)
        with photos.refused("is damaged"):
            load_photo(data[: len(data) // 2])


@photos.row("more than 89,478,485 pixels (108 million of a telephone, say)")
def _(command, monkeypatch, tmp_path, capsys):
    assert MAX_PIXELS == 89_478_485
    for module in ("video.streams", "geo.raster", "imaging.photo"):  # who imports it comes first
        monkeypatch.setattr(f"dpseg.{module}.MAX_PIXELS", 1_000)
    assert command("segment", picture_at(tmp_path / "a.png"), "-c", "red") == 0
    assert "half its size" in capsys.readouterr().err
    record = json.loads(Path("out/a/result.json").read_text())
    assert record["settings"]["scale"] == 0.5
    assert Image.open("out/a/labels.png").size == (20, 15)
    (tmp_path / "a.tif").write_bytes(saved(Image.new("RGB", (40, 30)), "TIFF"))
    assert is_map(tmp_path / "a.tif")


@photos.row("more than 357,913,940 pixels")
def _():
    assert MAX_FILE_PIXELS == 357_913_940
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0))
    pixels = png_chunk(b"IDAT") + png_chunk(b"IEND")
    with photos.refused("20000 x 20000 pixels; at most 357,913,940"):
        load_photo(b"\x89PNG\r\n\x1a\n" + header + pixels)


@photos.row("an array that is not H W, H W 3 or H W 4, or not of numbers")
def _():
    for array in (np.zeros(3), np.zeros((4, 5, 2)), np.zeros((4, 5), bool), np.array([["a"]])):
        with photos.refused("a photo array"):
            load_photo(array)
    for shape in ((4, 5), (4, 5, 3), (4, 5, 4)):
        assert load_photo(np.zeros(shape, np.uint8)).shape == (4, 5, 3)


@photos.row(
    "whole numbers of more than 8 bits, in any mode: grey, RGB, with alpha, CMYK, in planes"
)
def _():
    for bits in (8, 10, 12, 14, 16):
        deep = np.round(RAMP * (2**bits - 1)).astype(np.uint16)
        assert_read(deep[..., 0], EIGHT_BITS[..., :1] if bits == 16 else load_photo(deep[..., 0]))
        assert_read(deep, EIGHT_BITS)
        assert_read(encoded_deep_png(deep), EIGHT_BITS)
        assert_read(tiff(np.moveaxis(deep, 2, 0), planarconfig="separate"), EIGHT_BITS)
        inks = np.concatenate([deep.max() - deep, np.zeros((4, 5, 1), np.uint16)], axis=2)
        assert_read(tiff(inks, photometric="separated"), EIGHT_BITS)
        for alpha_bits in (10, 16):  # what is half clear is half white
            alpha = np.full((4, 5, 1), (2**alpha_bits - 1) / 2).astype(np.uint16)
            alpha[0, 0] = 2**alpha_bits - 1
            half = (EIGHT_BITS.astype(int) + 255) // 2
            half[0, 0] = EIGHT_BITS[0, 0]
            assert_read(encoded_deep_png(np.concatenate([deep, alpha], axis=2)), half, within=2)


@photos.row("fractions from 0 to 1 (16, 32 or 64 bits, in a TIFF or array)")
def _():
    for kind in (np.float16, np.float32, np.float64):
        for values in (RAMP.astype(kind), tiff(RAMP.astype(kind))):
            assert_read(values, EIGHT_BITS)
    assert load_photo(np.array([[np.nan, 1.0]]))[0].tolist() == [[0] * 3, [255] * 3]


@photos.row("negative values, whole numbers above 65,535, fractions outside 0..1")
def _():
    for kind, values in (
        ("int16 values from -3 to", RAMP * 100 - 3),
        ("uint32 values from 0 to 65536", RAMP * 65_536),
        ("float32 values from 0 to 255", RAMP * 255),
    ):
        deep = values.astype(kind.split()[0])
        for given in (deep, tiff(deep)):
            with photos.refused(f"{kind}.*nothing tells which"):
                load_photo(given)


@photos.row("several deep bands that are not marked as red, green and blue")
def _(tmp_path):
    bands = np.zeros((3, 8, 9), np.uint16)
    given = tiff(bands, photometric="minisblack", planarconfig="separate")
    with photos.refused("red, green and blue"):
        load_photo(given)
    (tmp_path / "bands.tif").write_bytes(given)
    assert is_map(tmp_path / "bands.tif")


@photos.row("JPEG 2000 of more than 8 bits in colour")
def _(tmp_path):
    import rasterio

    size = {"count": 3, "height": 64, "width": 64, "dtype": "uint16", "driver": "JP2OpenJPEG"}
    place = rasterio.Affine(1, 0, 5, 0, -1, 9)  # so that rasterio is not told to warn
    with rasterio.open(tmp_path / "a.jp2", "w", transform=place, **size) as file:
        file.write(np.full((3, 64, 64), 900, np.uint16))
    with photos.refused("3 channels of 16 bits in JPEG 2000"):
        load_photo(tmp_path / "a.jp2")


@photos.row(
    "a compressed TIFF of fractions in colour, or a packed one of kinds that Pillow does not know "
    "(12 bits in colour)"
)
def _():
    with photos.refused("3 x float32"):
        load_photo(tiff(RAMP.astype(np.float32), compression="zlib"))
    of_16_bits = tiff(np.zeros((4, 6, 3), np.uint16))
    with photos.refused("packed pixels of 3 x"):
        load_photo(of_16_bits.replace(struct.pack("<3H", *[16] * 3), struct.pack("<3H", *[12] * 3)))


@photos.row("a photo with a side of 0 pixels")
def _():
    for nothing in (np.zeros((0, 4, 3), np.uint8), Image.new("RGB", (4, 0))):
        with photos.refused("is empty"):
            load_photo(nothing)


@photos.row("grey, palette, CMYK, alpha, rotated by EXIF, several frames")
def _():
    plain = Image.fromarray(EIGHT_BITS)
    grey = plain.convert("L")
    assert_read(saved(grey), np.asarray(grey)[..., None])
    assert_read(saved(plain.quantize(colors=60)), EIGHT_BITS, within=6)
    assert_read(saved(plain.convert("CMYK"), "TIFF"), EIGHT_BITS)
    assert_read(saved(Image.new("RGBA", (5, 4), 0)), 255)
    turned = Image.Exif()
    turned[0x0112] = 6
    assert_read(saved(plain, exif=turned), np.rot90(EIGHT_BITS, -1))
    frames = [Image.new("RGB", (5, 4), "black")]
    assert_read(saved(plain, save_all=True, append_images=frames), EIGHT_BITS)


@photos.row("a damaged EXIF block")
def _(command, tmp_path, capfd):
    block = b"Exif\0\0II*\0\x08\0\0\0\x05\0"  # five tags are promised
    (tmp_path / "a.jpg").write_bytes(saved(Image.new("RGB", (40, 30), RED), "JPEG", exif=block))
    assert command("segment", "a.jpg", "-c", "red") == 0
    assert capfd.readouterr().err.strip() == ""
    assert Image.open("out/a/labels.png").size == (40, 30)


@photos.row("1 × 1 pixel, 4000 × 30 pixels")
def _(segmenter):
    for size_hw in ((1, 1), (30, 4000)):
        assert segmenter(np.full((*size_hw, 3), RED, np.uint8), "red").labels.shape == size_hw
