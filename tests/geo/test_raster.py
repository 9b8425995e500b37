"""Which files are maps, and how their values become colours."""

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image

from dpseg.errors import ImageError
from dpseg.geo.raster import Look, is_map, open_map
from dpseg.geo.rules import MapRules
from dpseg.imaging.photo import load_photo
from geo.maps import colour_map, write_map


def test_maps_are_told_from_photos(tmp_path: Path) -> None:
    photo, jpeg = tmp_path / "photo.tif", tmp_path / "photo.jpg"
    Image.new("RGB", (8, 8)).save(photo)
    Image.new("RGB", (8, 8)).save(jpeg)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0 broken")
    bands = np.zeros((6, 8, 8), np.uint16)
    spectral = write_map(tmp_path / "spectral.tif", bands, crs=None, transform=None)
    big = write_map(tmp_path / "big.tif", np.zeros((1, 8, 8), np.uint8), BIGTIFF="YES")
    huge = tmp_path / "huge.tif"
    with rasterio.open(
        huge, "w", driver="GTiff", count=1, height=10_000, width=10_000, dtype="uint8",
        SPARSE_OK=True, tiled=True,
    ):  # fmt: skip
        pass
    assert [is_map(path) for path in (photo, jpeg, broken, tmp_path / "none.tif")] == [False] * 4
    three = write_map(tmp_path / "three.tif", bands[:3], crs=None, transform=None)
    assert [is_map(path) for path in (spectral, big, huge, three)] == [True] * 4
    marked = {"crs": None, "transform": None, "photometric": "RGB"}
    assert not is_map(write_map(tmp_path / "marked.tif", bands[:3], **marked))


def write_world_file(path: Path, ending: str) -> Path:
    path.with_suffix(ending).write_text("0.5\n0\n0\n-0.5\n500000.25\n6649999.75\n")
    return path


def test_companions_and_other_formats_make_maps(tmp_path: Path) -> None:
    colours = colour_map(40, 60)
    for name in ("a.tif", "b.png", "c.jpg", "d.JPEG", "e.bmp", "f.jp2"):
        Image.fromarray(colours.transpose(1, 2, 0)).save(tmp_path / name)
        assert not is_map(tmp_path / name)
    endings = {"a.tif": ".tfw", "b.png": ".pgw", "c.jpg": ".jgw", "d.JPEG": ".wld", "e.bmp": ".bpw"}
    for name, ending in endings.items():
        path = write_world_file(tmp_path / name, ending)
        assert is_map(path), name
        with open_map(path) as dataset:
            assert tuple(dataset.transform)[:6] == (0.5, 0, 500_000, 0, -0.5, 6_650_000)
    with open_map(write_map(tmp_path / "map.tif", colours)) as source:
        rasterio.shutil.copy(source, tmp_path / "g.jp2", driver="JP2OpenJPEG")
        rasterio.shutil.copy(source, tmp_path / "h.png", driver="PNG")  # with h.png.aux.xml
    assert is_map(tmp_path / "g.jp2")
    assert is_map(tmp_path / "h.png")


def test_links_under_a_pictures_name_are_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "link.tif"
    with open_map(write_map(tmp_path / "map.tif", colour_map(40, 60))) as source:
        rasterio.shutil.copy(source, link, driver="VRT")
    assert rasterio.open(link).driver == "VRT"
    assert not is_map(link)


def test_without_a_map_library_the_tags_of_a_tiff_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_map(tmp_path / "map.tif", colour_map(40, 60))
    photo = tmp_path / "photo.tif"
    Image.new("RGB", (8, 8)).save(photo)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert is_map(path)
    assert not is_map(photo)
    assert not is_map(write_world_file(photo.with_suffix(".png"), ".pgw"))


def look(path: Path, **rules: object) -> tuple[Look, np.ndarray, np.ndarray]:
    with open_map(path) as dataset:
        chosen = Look.of(dataset, MapRules(**rules))  # type: ignore[arg-type]
        return chosen, *chosen.read(dataset)


def test_eight_bits_are_read_as_they_are(tmp_path: Path) -> None:
    bands = colour_map(20, 30)
    _, photo, valid = look(write_map(tmp_path / "m.tif", bands))
    np.testing.assert_array_equal(photo, bands.transpose(1, 2, 0))
    assert valid.all()


def test_more_bits_are_scaled_between_percentiles(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(300, 4000, (3, 60, 50)).astype(np.uint16)
    bands[:, 0, 0] = 65535  # a dead pixel does not darken the rest
    chosen, photo, _ = look(write_map(tmp_path / "m.tif", bands))
    low, high = np.percentile(bands.reshape(3, -1), (2, 98), axis=1)
    np.testing.assert_allclose((chosen.low, chosen.high), (low, high), rtol=1e-6)
    expected = np.clip((bands - low[:, None, None]) / (high - low)[:, None, None] * 255, 0, 255)
    assert np.abs(photo.transpose(2, 0, 1) - expected).max() <= 0.51


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_marked_colours_are_scaled_as_in_photos(bits: int, tmp_path: Path) -> None:
    colours = colour_map(40, 30)
    colours[:, 0, 0] = 255
    deep = np.round(colours * ((2**bits - 1) / 255)).astype(np.uint16)
    fractions = (colours / 255).astype(np.float32)
    fractions[1, 5:9] = np.nan
    for name, bands in (("deep", deep), ("fractions", fractions)):
        path = write_map(tmp_path / f"{name}.tif", bands, photometric="RGB")
        _, photo, valid = look(path)
        assert np.abs(photo.astype(int) - load_photo(path))[valid].max() <= 1
        assert np.abs(photo.transpose(2, 0, 1).astype(int) - colours)[:, valid].max() <= 1
    grey = write_map(tmp_path / "grey.tif", deep[:1])
    np.testing.assert_array_equal(look(grey)[1], load_photo(grey))


def test_a_picture_of_unknown_white_needs_a_range(tmp_path: Path) -> None:
    height = np.linspace(-4, 830, 400, dtype=np.float32).reshape(1, 20, 20)
    path = write_map(tmp_path / "m.tif", height)
    for read in (look, load_photo):
        with pytest.raises(ImageError, match="float32 values from -4 to 830"):
            read(path)
    assert look(path, value_range=(0, 800))[1].max() == 255


def test_floats_without_a_value_are_no_data(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).normal(size=(3, 20, 20)).astype(np.float32)
    bands[1, 5:9] = np.nan
    _, photo, valid = look(write_map(tmp_path / "m.tif", bands))
    assert not valid[5:9].any()
    assert valid[:5].all()
    assert (photo[5:9] == photo[6, 6]).all()


def test_one_band_is_grey_and_a_colour_table_is_colour(tmp_path: Path) -> None:
    band = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    _, photo, _ = look(write_map(tmp_path / "grey.tif", band))
    np.testing.assert_array_equal(photo, np.repeat(band[0][..., None], 3, axis=2))
    path = write_map(tmp_path / "table.tif", band, photometric="palette")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {k: (k, 2 * k, 255 - k) for k in range(64)})
    _, photo, _ = look(path)
    values = band[0].astype(int)
    np.testing.assert_array_equal(photo, np.stack([values, 2 * values, 255 - values], axis=2))


def test_marked_colours_are_found(tmp_path: Path) -> None:
    bands = colour_map(10, 10)[::-1]
    path = write_map(tmp_path / "m.tif", bands, photometric="minisblack")
    with rasterio.open(path, "r+") as dataset:
        names = ("blue", "green", "red")
        dataset.colorinterp = [rasterio.enums.ColorInterp[name] for name in names]
    chosen, photo, _ = look(path)
    assert chosen.bands == (3, 2, 1)
    np.testing.assert_array_equal(photo, colour_map(10, 10).transpose(1, 2, 0))
