"""Where the pixels of a map lie on earth, and how large they are there.

A map is placed by a transform, or by ground control points, through which GDAL lays a polynomial.
Areas are those on the ellipsoid: a projection's own square metres may be off by any factor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dpseg.errors import require_extra

Floats = npt.NDArray[np.float64]

#: A window's areas are computed for at most so many cells a side.
_CELLS = 64


@dataclass(frozen=True, slots=True)
class Position:
    """Where a map lies.

    Attributes:
        crs: rasterio's coordinate system of the map; None if it is not known.
        to_map: from columns and rows, each N, counted from the map's upper left corner, to x and
            y in that system; None if the map lies nowhere, or is placed by a camera model alone.
    """

    crs: Any
    to_map: Callable[[Floats, Floats], tuple[Floats, Floats]] | None

    @classmethod
    def of(cls, dataset: Any) -> Position:
        """Ask an open rasterio dataset."""
        transform = require_extra("rasterio.transform", "geo")
        points, points_crs = dataset.gcps
        if not dataset.transform.is_identity:
            a, b, c, d, e, f = tuple(dataset.transform)[:6]
            return cls(dataset.crs, lambda x, y: (a * x + b * y + c, d * x + e * y + f))
        if points:
            through_points = transform.GCPTransformer(points)
            return cls(points_crs, lambda x, y: through_points.xy(y, x, offset="ul"))
        return cls(dataset.crs, None)


def is_georeferenced(dataset: Any) -> bool:
    """Return whether a rasterio dataset says where on earth it lies, in whichever way."""
    placed = dataset.crs or dataset.gcps[0] or dataset.rpcs
    return bool(placed) or not dataset.transform.is_identity


class PixelAreas:
    """Measures the pixels of a map in square metres, on the ellipsoid.

    Corners go to an equal-area projection, whose areas are those on the ellipsoid: cylindrical for
    maps in degrees, whose pixels are rectangles there, else azimuthal about the map's middle.

    Args:
        position: of the map.
        map_hw: its size.
    """

    def __init__(self, position: Position, map_hw: tuple[int, int]) -> None:
        self._position = position
        self._target = _equal_area(position, map_hw)

    def __call__(self, span: tuple[int, int, int, int]) -> Floats | None:
        """Measure a window.

        Args:
            span: first row, row after the last, first column, column after the last.

        Returns:
            Of each pixel, H W; None where it cannot be told.
        """
        rows, columns = _nodes(*span[:2]), _nodes(*span[2:])
        x, y = np.meshgrid(columns.astype(np.float64), rows.astype(np.float64))  # rows columns
        if self._target is None or self._position.to_map is None:
            return None
        corners = _transformed(self._position, self._target, x.ravel(), y.ravel())
        if corners is None:
            return None
        across, along = (values.reshape(x.shape) for values in corners)
        # The area of a quadrangle is half the cross product of its diagonals.
        down = across[1:, 1:] - across[:-1, :-1], along[1:, 1:] - along[:-1, :-1]
        up = across[:-1, 1:] - across[1:, :-1], along[:-1, 1:] - along[1:, :-1]
        heights, widths = np.diff(rows), np.diff(columns)
        cells = np.abs(down[0] * up[1] - down[1] * up[0]) / 2 / np.outer(heights, widths)
        areas: Floats = cells.repeat(heights, axis=0).repeat(widths, axis=1)
        return areas


def _nodes(start: int, stop: int) -> npt.NDArray[np.int64]:
    """Choose whole numbers from the first to the last, evenly."""
    count = min(stop - start, _CELLS) + 1
    return np.linspace(start, stop, count).round().astype(np.int64)


def _equal_area(position: Position, map_hw: tuple[int, int]) -> Any:
    """Choose a projection for measuring; None if the map's place on earth is not known."""
    crs = require_extra("rasterio.crs", "geo").CRS
    if position.crs is None or position.to_map is None:
        return None
    middle = np.array([map_hw[1] / 2]), np.array([map_hw[0] / 2])
    place = _transformed(position, crs.from_epsg(4326), *middle)
    if place is None:
        return None
    longitude, latitude = float(place[0][0]), float(place[1][0])
    if position.crs.is_geographic:
        return crs.from_string(f"+proj=cea +lon_0={longitude} +datum=WGS84 +units=m +over")
    return crs.from_string(f"+proj=laea +lat_0={latitude} +lon_0={longitude} +datum=WGS84 +units=m")


def _transformed(
    position: Position, target: Any, x: Floats, y: Floats
) -> tuple[Floats, Floats] | None:
    """Bring pixels' corners to another system; None if some of them cannot be brought there."""
    warp = require_extra("rasterio.warp", "geo")
    assert position.to_map is not None
    try:
        places = warp.transform(position.crs, target, *position.to_map(x, y))
    except Exception:  # GDAL's own errors come through, for which rasterio has no public name
        return None
    across, along = (np.asarray(values, np.float64) for values in places)
    return (across, along) if np.isfinite([across, along]).all() else None
