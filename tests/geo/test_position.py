"""Pixels of maps in square metres, beside formulas of the ellipsoid."""

from math import atanh, pi, radians, sin, sqrt
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_bounds
from rasterio.warp import transform

from dpseg.geo.position import PixelAreas, Position
from geo.maps import write_map

#: WGS 84: equatorial radius, and eccentricity.
RADIUS, ECCENTRICITY = 6_378_137.0, sqrt(0.00669437999014)


def below(latitude: float) -> float:
    """Area between the equator and a parallel, for each radian of longitude (Snyder 1987, 3-12)."""
    s = sin(radians(latitude))
    polar = 1 - ECCENTRICITY**2
    inner = s / (1 - (ECCENTRICITY * s) ** 2) + atanh(ECCENTRICITY * s) / ECCENTRICITY
    return RADIUS**2 * polar / 2 * inner


def measured(path: Path, size_hw: tuple[int, int], **place: object) -> np.ndarray | None:
    write_map(path, np.zeros((1, *size_hw), np.uint8), **place)
    with rasterio.open(path) as dataset:
        return PixelAreas(Position.of(dataset), size_hw)((0, size_hw[0], 0, size_hw[1]))


@pytest.mark.parametrize("west", [14.0, 175.0, -182.0])
@pytest.mark.parametrize("north", [62.0, 2.0, -40.0, 90.0])
def test_degrees(tmp_path: Path, west: float, north: float) -> None:
    place = from_bounds(west, north - 7, west + 9, north, 90, 70)
    areas = measured(tmp_path / "map.tif", (70, 90), crs="EPSG:4326", transform=place)
    for row in (0, 30, 69):
        expected = (below(north - row / 10) - below(north - (row + 1) / 10)) * radians(0.1)
        np.testing.assert_allclose(areas[row], expected, rtol=1e-6 if row != 0 else 2e-3)
    assert areas.sum() == pytest.approx((below(north) - below(north - 7)) * radians(9), rel=1e-9)


def test_the_whole_globe(tmp_path: Path) -> None:
    place = from_bounds(-180, -90, 180, 90, 720, 360)
    areas = measured(tmp_path / "map.tif", (360, 720), crs="EPSG:4326", transform=place)
    assert areas.sum() == pytest.approx(4 * pi * below(90), rel=1e-9)


def test_web_mercator_at_60_degrees(tmp_path: Path) -> None:
    x, y = transform("EPSG:4326", "EPSG:3857", [15, 15.2], [60.1, 60])
    place = from_bounds(x[0], y[1], x[1], y[0], 300, 299)
    areas = measured(tmp_path / "map.tif", (299, 300), crs="EPSG:3857", transform=place)
    assert areas.sum() == pytest.approx((below(60.1) - below(60)) * radians(0.2), rel=1e-6)
    assert areas.sum() < 0.26 * abs(place.determinant) * areas.size


@pytest.mark.parametrize("system", ["EPSG:3035", "EPSG:6931"])  # Europe, the north pole
def test_projections_that_keep_areas(tmp_path: Path, system: str) -> None:
    middle = (4_000_000, 3_000_000) if system == "EPSG:3035" else (0, 0)
    place = Affine(80, 30, middle[0] - 5000, 30, -80, middle[1] + 5000)
    areas = measured(tmp_path / "map.tif", (100, 150), crs=system, transform=place)
    np.testing.assert_allclose(areas, abs(place.determinant), rtol=1e-6)


def test_feet(tmp_path: Path) -> None:
    place = Affine(10, 0, 987_000, 0, -10, 200_000)  # New York, in US feet
    areas = measured(tmp_path / "map.tif", (50, 50), crs="EPSG:2263", transform=place)
    np.testing.assert_allclose(areas, (10 * 1200 / 3937) ** 2, rtol=2e-4)


def test_areas_that_cannot_be_told(tmp_path: Path) -> None:
    local = 'LOCAL_CS["somewhere",UNIT["metre",1]]'
    place = Affine(2, 0, 0, 0, -2, 0)
    assert measured(tmp_path / "a.tif", (9, 9), crs=local, transform=place) is None
    assert measured(tmp_path / "b.tif", (9, 9), crs=None, transform=place) is None
    assert measured(tmp_path / "c.tif", (9, 9), crs="EPSG:32633", transform=None) is None
    far = Affine(1e6, 0, 1e9, 0, -1e6, 1e9)  # beyond the end of the world
    assert measured(tmp_path / "d.tif", (9, 9), crs="EPSG:32633", transform=far) is None
