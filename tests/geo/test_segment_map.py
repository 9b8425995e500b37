"""A map comes back as labels in the same place, as labels and as polygons."""

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.control import GroundControlPoint
from rasterio.features import rasterize
from rasterio.rpc import RPC
from rasterio.warp import transform_geom

from colour_engine import ColourEngine
from dpseg import DataError, ImageError, Segmenter
from dpseg.geo.polygons import write_polygons
from dpseg.geo.raster import is_map
from dpseg.geo.rules import MapRules, PolygonFormat
from dpseg.geo.segment_map import plan_squares, segment_map
from dpseg.inference.query import Query
from geo.maps import PLACE, UTM, colour_map, write_map


@pytest.fixture
def find(cache) -> Query:
    return Segmenter(ColourEngine(), cache=cache).prepare("red, blue", unlabelled=False)


def read(path: Path):
    with rasterio.open(path) as dataset:
        return dataset.read(1), dataset.profile, dataset.tags()


def test_labels_lie_where_the_map_lies(find: Query, tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.tif", colour_map(600, 700))
    folder = segment_map(find, path, tmp_path / "out", rules=MapRules(window=320))
    labels, profile, tags = read(folder / "labels.tif")
    assert profile["crs"] == UTM
    assert profile["transform"] == PLACE
    assert (profile["dtype"], profile["nodata"]) == ("uint8", 255)
    assert json.loads(tags["classes"]) == ["red", "blue"]
    truth = colour_map(600, 700)[2] > 150  # blue
    red_or_blue = colour_map(600, 700)[1] < 100
    assert (labels == truth)[red_or_blue].mean() > 0.97
    record = json.loads((folder / "result.json").read_text())
    red, blue = record["classes"]
    assert blue["pixels"] == (labels == 1).sum()
    scale = 0.9996 * (1 + (PLACE.c + 190 - 500_000) ** 2 / 2 / 6_378_137**2)  # of UTM, there
    on_the_ground = (labels == 0).sum() * 0.2501 / scale**2
    assert red["square_metres"] == pytest.approx(on_the_ground, rel=2e-5)
    assert sorted(file.name for file in folder.iterdir()) == [
        "labels.tif", "overlay.png", "result.json",
    ]  # fmt: skip


def test_small_windows_give_what_one_window_gives(find: Query, tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.tif", colour_map(500, 500))
    whole = segment_map(find, path, tmp_path / "whole", rules=MapRules(window=512))
    parts = segment_map(find, path, tmp_path / "parts", rules=MapRules(window=160, margin=0.2))
    same = read(whole / "labels.tif")[0] == read(parts / "labels.tif")[0]
    assert same.mean() > 0.95


@pytest.mark.parametrize(("height", "width"), [(1, 1), (300, 90), (1000, 1537), (4000, 129)])
@pytest.mark.parametrize("window", [64, 256, 1024])
def test_cores_cover_every_pixel_once(height: int, width: int, window: int) -> None:
    seen = np.zeros((height, width), np.int32)
    for square in plan_squares((height, width), MapRules(window=window)):
        top, bottom, left, right = square.kept
        seen[top:bottom, left:right] += 1
        rows, columns = square.core
        first, last, start, stop = square.seen
        assert 0 <= first <= top < bottom <= last <= height
        assert 0 <= start <= left < right <= stop <= width
        assert last - first <= window
        assert (last - first, stop - start)[0] >= min(height, window)
        assert stop - start >= min(width, window)
        assert (rows.start, columns.start) == (top - first, left - start)
        assert (rows.stop, columns.stop) == (bottom - first, right - start)
    assert (seen == 1).all()


def test_without_data_there_is_no_label(find: Query, tmp_path: Path) -> None:
    bands = colour_map(300, 300)
    bands[:, :100] = 7
    path = write_map(tmp_path / "map.tif", bands, nodata=7)
    folder = segment_map(find, path, tmp_path / "out", rules=MapRules(window=128))
    labels, _, _ = read(folder / "labels.tif")
    assert (labels[:100] == 255).all()
    assert (labels[100:] != 255).all()
    masked = read_mask(folder / "labels.tif")
    assert not masked[:100].any()
    assert masked[100:].all()


def read_mask(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.dataset_mask() > 0


def test_sixteen_bits_and_chosen_bands_look_like_eight(find: Query, tmp_path: Path) -> None:
    colours = colour_map(200, 200)
    plain = write_map(tmp_path / "plain.tif", colours)
    reflectance = np.stack([colours[2], colours[1], colours[0], colours[1]]).astype(np.uint16) * 12
    many = write_map(tmp_path / "many.tif", reflectance)
    rules = MapRules(bands=(3, 2, 1), value_range=(0, 255 * 12))
    expected, _, _ = read(segment_map(find, plain, tmp_path / "a", rules=MapRules()) / "labels.tif")
    found, _, _ = read(segment_map(find, many, tmp_path / "b", rules=rules) / "labels.tif")
    np.testing.assert_array_equal(found, expected)
    record = json.loads((tmp_path / "b" / "result.json").read_text())
    assert record["settings"]["bands"] == [3, 2, 1]
    assert record["settings"]["value_ranges"] == [[0, 3060]] * 3


def test_polygons_burn_back_to_the_labels(find: Query, tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.tif", colour_map(400, 400))
    rules = MapRules(window=256, polygons="gpkg")
    folder = segment_map(find, path, tmp_path / "out", rules=rules)
    labels, _, _ = read(folder / "labels.tif")
    meta, _, geometry, (indices, names, pixels) = pyogrio.raw.read(folder / "polygons.gpkg")
    assert rasterio.crs.CRS.from_user_input(meta["crs"]) == UTM
    shapes = zip(shapely.from_wkb(geometry), indices.tolist(), strict=True)
    burnt = rasterize(shapes, out_shape=labels.shape, transform=PLACE, fill=255, dtype="uint8")
    np.testing.assert_array_equal(burnt, labels)
    assert {int(k): str(name) for k, name in zip(indices, names, strict=True)} == {
        0: "red", 1: "blue",
    }  # fmt: skip
    assert pixels.sum() == labels.size


def test_geojson_is_in_degrees(find: Query, tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.tif", colour_map(200, 200))
    folder = segment_map(find, path, tmp_path / "out", rules=MapRules(polygons="geojson"))
    features = json.loads((folder / "polygons.geojson").read_text())["features"]
    corners = [PLACE @ (x, y) for x in (0, 200) for y in (0, 200)]
    places = transform_geom(UTM, "EPSG:4326", {"type": "MultiPoint", "coordinates": corners})
    expected = shapely.geometry.shape(places).bounds
    regions = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    np.testing.assert_allclose(shapely.unary_union(regions).bounds, expected, atol=1e-6)


def test_small_regions_can_be_left_out(tmp_path: Path) -> None:
    labels = np.zeros((1, 20, 20), np.uint8)
    labels[0, 3, 3], labels[0, 10:14, 10:14], labels[0, :2] = 1, 1, 255
    path = write_map(tmp_path / "labels.tif", labels, nodata=255)
    assert write_polygons(path, tmp_path / "all.gpkg", classes=["a", "b"]) == 3
    assert write_polygons(path, tmp_path / "few.gpkg", classes=["a", "b"], least_pixels=9) == 2


def test_many_classes_take_sixteen_bits(cache, tmp_path: Path) -> None:
    names = [f"thing{k}" for k in range(299)]
    find = Segmenter(ColourEngine(), cache=cache).prepare([*names, "red"], unlabelled=False)
    path = write_map(tmp_path / "map.tif", colour_map(64, 64))
    labels, profile, _ = read(
        segment_map(find, path, tmp_path / "o", rules=MapRules()) / "labels.tif"
    )
    assert (profile["dtype"], profile["nodata"]) == ("uint16", 65535)
    assert (labels == 299).mean() > 0.5


GROUND_POINTS = [
    GroundControlPoint(row, column, *(PLACE @ (column, row)))
    for row in (0, 150, 200)
    for column in (0, 130, 200)
]


@pytest.mark.parametrize("polygons", ["gpkg", "geojson"])
def test_a_map_placed_by_points_is_one_placed_by_their_transform(
    find: Query, tmp_path: Path, polygons: PolygonFormat
) -> None:
    write_map(tmp_path / "by_transform.tif", colour_map(200, 200))
    write_map(tmp_path / "by_points.tif", colour_map(200, 200), transform=None, gcps=GROUND_POINTS)
    rules = MapRules(polygons=polygons)
    found, shapes = {}, {}
    for name in ("by_transform", "by_points"):
        assert is_map(tmp_path / f"{name}.tif")
        folder = segment_map(find, tmp_path / f"{name}.tif", tmp_path / name, rules=rules)
        found[name] = json.loads((folder / "result.json").read_text())
        _, _, geometry, _ = pyogrio.raw.read(folder / f"polygons.{polygons}")
        shapes[name] = shapely.from_wkb(geometry)
    tolerance = 1e-3 if polygons == "gpkg" else 1e-7
    assert shapely.equals_exact(shapes["by_points"], shapes["by_transform"], tolerance).all()
    assert found["by_points"]["crs"] == found["by_transform"]["crs"] == "EPSG:32633"
    assert found["by_points"]["transform"] is None
    areas = [found[name]["classes"][0]["square_metres"] for name in found]
    assert areas[0] == pytest.approx(areas[1], rel=1e-6)
    with rasterio.open(tmp_path / "by_points" / "labels.tif") as labels:
        assert len(labels.gcps[0]) == len(GROUND_POINTS)


def test_a_map_without_a_system_has_no_areas_and_no_geojson(find: Query, tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.tif", colour_map(200, 200), crs=None)
    folder = segment_map(find, path, tmp_path / "out", rules=MapRules(polygons="gpkg"))
    record = json.loads((folder / "result.json").read_text())
    assert record["crs"] is None
    assert {entry["square_metres"] for entry in record["classes"]} == {None}
    _, _, geometry, _ = pyogrio.raw.read(folder / "polygons.gpkg")
    corners = [PLACE @ (x, y) for x in (0, 200) for y in (0, 200)]
    np.testing.assert_allclose(
        shapely.unary_union(shapely.from_wkb(geometry)).bounds,
        shapely.MultiPoint(corners).bounds,
        atol=1e-6,
    )
    with pytest.raises(ImageError, match="GeoJSON is in WGS 84"):
        segment_map(find, path, tmp_path / "other", rules=MapRules(polygons="geojson"))
    assert not (tmp_path / "other").exists()


def test_polygons_of_a_map_with_a_system_but_no_place_are_in_pixels(
    find: Query, tmp_path: Path
) -> None:
    path = write_map(tmp_path / "map.tif", colour_map(200, 200), transform=None)
    folder = segment_map(find, path, tmp_path / "out", rules=MapRules(polygons="gpkg"))
    meta, _, geometry, _ = pyogrio.raw.read(folder / "polygons.gpkg")
    assert meta["crs"] is None or "undefined" in meta["crs"].lower()
    assert shapely.total_bounds(shapely.from_wkb(geometry)).tolist() == [0, 0, 200, 200]
    record = json.loads((folder / "result.json").read_text())
    assert record["transform"] is None
    assert {entry["square_metres"] for entry in record["classes"]} == {None}


def test_a_map_with_a_camera_model_keeps_it_and_has_no_polygons(
    find: Query, tmp_path: Path
) -> None:
    terms = [1.0, *[0.0] * 19]
    model = RPC(
        height_off=0, height_scale=1, lat_off=50, lat_scale=1, long_off=10, long_scale=1,
        line_off=100, line_scale=100, samp_off=100, samp_scale=100,
        line_num_coeff=terms, line_den_coeff=terms, samp_num_coeff=terms, samp_den_coeff=terms,
    )  # fmt: skip
    path = write_map(
        tmp_path / "map.tif", colour_map(200, 200), crs=None, transform=None, rpcs=model
    )
    assert is_map(path)
    folder = segment_map(find, path, tmp_path / "out", rules=MapRules())
    with rasterio.open(folder / "labels.tif") as labels:
        assert labels.rpcs.lat_off == 50
    with pytest.raises(ImageError, match="camera model"):
        segment_map(find, path, tmp_path / "other", rules=MapRules(polygons="gpkg"))


def test_a_damaged_map_leaves_nothing(find: Query, tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.tif", colour_map(600, 600))
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(ImageError, match=r"map\.tif cannot be read"):
        segment_map(find, path, tmp_path / "out", rules=MapRules(window=128))
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_rules_are_refused(find: Query, tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.tif", colour_map(64, 64))
    with pytest.raises(ImageError, match="3 bands; band 4"):
        segment_map(find, path, tmp_path / "out", rules=MapRules(bands=(4,)))
    for wrong in ({"bands": (1, 2)}, {"bands": (0,)}, {"value_range": (3, 3)}, {"window": 8}):
        with pytest.raises(DataError):
            MapRules(**wrong)  # type: ignore[arg-type]
