"""Deep, fractional and planar pictures look like the same pictures in 8 bits, or are refused."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dpseg.errors import ImageError
from dpseg.imaging.photo import load_photo
from imaging.deep_files import encoded_deep_png, png_chunk

random = np.random.default_rng(0)
#: All values of 8 bits are there, black and white too.
COLOURS = random.permutation(np.arange(16 * 20 * 3, dtype=np.int64) % 256).reshape(16, 20, 3)
COLOURS[0, 0], COLOURS[0, 1] = 255, 0
TRUTH = COLOURS.astype(np.uint8)


def tiff(values: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def in_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Stretch 8 bits to more, in 16."""
    return np.round(values * ((2**bits - 1) / 255)).astype(np.uint16)


def check(given: object, truth: np.ndarray = TRUTH) -> None:
    photo = load_photo(given)  # type: ignore[arg-type]
    assert photo.shape == truth.shape
    assert np.abs(photo.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_colours_are_scaled_by_the_bits_that_they_use(bits: int, tmp_path: Path) -> None:
    deep = in_bits(COLOURS, bits)
    check(deep)
    check(encoded_deep_png(deep))
    check(tiff(deep, photometric="rgb"))
    check(tiff(deep, photometric="rgb", byteorder=">"))
    check(tiff(deep, photometric="rgb", compression="zlib"))
    check(tiff(deep, photometric="rgb", tile=(16, 16)))
    check(tiff(np.moveaxis(deep, 2, 0), photometric="rgb", planarconfig="separate"))
    check(tiff(deep, photometric="rgb", bigtiff=True))
    height, width, _ = deep.shape
    check(b"P6 %d %d 65535\n" % (width, height) + deep.astype(">u2").tobytes())
    path = tmp_path / "deep.png"
    path.write_bytes(encoded_deep_png(deep))
    check(path)
    with Image.open(path) as opened:  # not decoded yet: nothing is lost
        check(opened)
        assert opened.size == (20, 16)
        opened.load()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_eight_bits_come_back_as_they_were(bits: int) -> None:
    """However they were made more: stretched to the brightest value, or shifted up."""
    for deep in (in_bits(COLOURS, bits), (COLOURS << (bits - 8)).astype(np.uint16)):
        np.testing.assert_array_equal(load_photo(deep), TRUTH)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_is_scaled_by_the_bits_that_it_uses(bits: int) -> None:
    deep, grey = in_bits(COLOURS[..., 0], bits), np.repeat(TRUTH[..., :1], 3, axis=2)
    check(deep, grey)
    check(deep.astype(np.int32), grey)
    check(encoded_deep_png(deep[..., None]), grey)
    for options in ({}, {"compression": "zlib"}, {"byteorder": ">"}):
        check(tiff(deep, photometric="minisblack", **options), grey)
    check(tiff(deep.astype(np.int32), photometric="minisblack"), grey)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("alpha_bits", [12, 16])
def test_alpha_has_bits_of_its_own(bits: int, colours: int, alpha_bits: int) -> None:
    opaque = np.zeros((16, 20, 1), np.int64)
    opaque[:, 10:] = 255
    shown = np.repeat(COLOURS[..., :1], 3, axis=2) if colours == 1 else COLOURS
    truth = np.where(opaque > 0, shown, 255).astype(np.uint8)
    deep = np.concatenate([in_bits(COLOURS[..., :colours], bits), in_bits(opaque, alpha_bits)], 2)
    check(encoded_deep_png(deep), truth)
    photometric = "rgb" if colours == 3 else "minisblack"
    check(tiff(deep, photometric=photometric, extrasamples=["unassalpha"]), truth)
    planes = np.moveaxis(deep, 2, 0)
    planar = {"photometric": photometric, "planarconfig": "separate"}
    check(tiff(planes, extrasamples=["unassalpha"], **planar), truth)
    if colours == 3:
        check(deep, truth)
        check(tiff(deep, photometric="rgb", extrasamples=["unspecified"]))


def test_alpha_that_colours_were_multiplied_by_is_divided_out() -> None:
    alpha = np.full((16, 20, 1), 0.5)
    deep = np.concatenate([COLOURS / 255 * alpha, alpha], axis=2) * 4095
    truth = np.round(COLOURS / 2 + 127.5).astype(np.uint8)
    for values in (deep.astype(np.uint16), (deep / 4095).astype(np.float32)):
        values[0, 0, 3] = 4095 if values.dtype == np.uint16 else 1  # so that its bits show
        values[0, 0, :3] = values[0, 0, 3]
        photo = load_photo(tiff(values, photometric="rgb", extrasamples=["assocalpha"]))
        assert np.abs(photo.astype(int) - truth)[1:].max() <= 3


def test_the_transparent_colour_of_a_deep_picture_is_laid_on_white() -> None:
    deep = in_bits(COLOURS, 12)
    key = png_chunk(b"tRNS", struct.pack(">HHH", *deep[3, 4].tolist()))
    photo = load_photo(encoded_deep_png(deep, extra=key))
    assert photo[3, 4].tolist() == [255, 255, 255]
    assert np.abs(photo.astype(int) - TRUTH)[4:].max() <= 1


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_fractions_lie_between_black_and_white(kind: type) -> None:
    values = (COLOURS / 255).astype(kind)
    grey = np.repeat(TRUTH[..., :1], 3, axis=2)
    check(values)
    check(values[..., 0], grey)
    check(tiff(values, photometric="rgb"))
    check(tiff(np.moveaxis(values, 2, 0), photometric="rgb", planarconfig="separate"))
    check(tiff(values[..., 0], photometric="minisblack"), grey)
    if kind == np.float32:
        check(Image.fromarray(values[..., 0]), grey)


def test_what_is_no_number_is_black() -> None:
    values = (COLOURS / 255).astype(np.float32)
    values[5:7, :, 1], values[8, 3, 0] = np.nan, np.inf
    truth = TRUTH.copy()
    truth[5:7, :, 1], truth[8, 3, 0] = 0, 0
    check(values, truth)
    check(tiff(values, photometric="rgb"), truth)
    check(np.full((4, 5), np.nan), np.zeros((4, 5, 3), np.uint8))


def test_a_deep_picture_is_turned_upright() -> None:
    turned = np.rot90(TRUTH, -1)
    for values in (in_bits(COLOURS, 12), (COLOURS / 255).astype(np.float32)):
        check(tiff(values, photometric="rgb", extratags=[(274, 3, 1, 6, True)]), turned)


def test_white_may_be_the_smallest_value() -> None:
    values = (COLOURS[..., 0] / 255).astype(np.float64)
    check(tiff(1 - values, photometric="miniswhite"), np.repeat(TRUTH[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.linspace(-3, 800, 20, dtype=np.float32).reshape(4, 5), "float32 values from -3 to 800"),
        (np.arange(-5, 15, dtype=np.int16).reshape(4, 5), "int"),
        (np.arange(20, dtype=np.uint32).reshape(4, 5) * 10**8, "uint32|int32"),
        (np.linspace(0, 255, 60).reshape(4, 5, 3), "float64 values from 0 to 255"),
    ],
)
def test_values_without_a_known_white_are_refused_by_their_kind(
    values: np.ndarray, told: str
) -> None:
    photometric = "rgb" if values.ndim == 3 else "minisblack"
    for given in (values, tiff(values, photometric=photometric)):
        with pytest.raises(ImageError, match=told) as caught:
            load_photo(given)
        assert "\n" not in str(caught.value)


def test_bands_that_are_no_colours_are_refused() -> None:
    values = np.zeros((3, 16, 20), np.uint16)
    given = tiff(values, photometric="minisblack", planarconfig="separate")
    with pytest.raises(ImageError, match="red, green and blue"):
        load_photo(given)


@pytest.mark.parametrize("colours", [1, 3])
def test_deep_jpeg_2000_is_read_in_grey_and_refused_in_colour(colours: int, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    pytest.importorskip("rasterio.shutil")
    bands = np.moveaxis(in_bits(np.tile(COLOURS, (4, 4, 1)), 12)[..., :colours], 2, 0)
    height, width = bands.shape[1:]
    size = {"count": colours, "height": height, "width": width}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", dtype="uint16", **size) as file:
        file.write(bands)
    path = tmp_path / "a.jp2"
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES"}
    rasterio.shutil.copy(tmp_path / "a.tif", path, driver="JP2OpenJPEG", **lossless)
    if colours == 1:
        check(path, np.tile(np.repeat(TRUTH[..., :1], 3, axis=2), (4, 4, 1)))
    else:
        with pytest.raises(ImageError, match="3 channels of 16 bits in JPEG 2000"):
            load_photo(path)


def test_compressed_fractions_and_damage_are_told() -> None:
    values = (COLOURS / 255).astype(np.float32)
    with pytest.raises(ImageError, match="3 x float32; store them uncompressed"):
        load_photo(tiff(values, photometric="rgb", compression="zlib"))
    for whole in (tiff(values, photometric="rgb"), tiff(in_bits(COLOURS, 12), photometric="rgb")):
        for part in (whole[: len(whole) // 2], whole[:9], whole[:4]):
            with pytest.raises(ImageError):
                load_photo(part)
    with pytest.raises(ImageError):
        load_photo(encoded_deep_png(in_bits(COLOURS, 12))[:300])
