"""How a map is read, and what is written of it: plain settings, without any map library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dpseg.errors import DataError

PolygonFormat = Literal["geojson", "gpkg"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRules:
    """Settings of `segment_map`.

    Attributes:
        bands: numbers of the bands that serve as red, green and blue, from 1; or of one band,
            which serves as grey. Empty: those that the file marks as colours, else the first three.
        value_range: the values that become 0 and 255; None: of bands that are grey or marked as
            colours as in photos, of others with more than 8 bits the 2nd and 98th percentile.
        window: side in pixels of the squares that the model sees.
        margin: share of a square's side, at each edge, that only gives context to the rest.
        polygons: write the labels as polygons too, as GeoJSON (in WGS 84, as the format demands)
            or GeoPackage (in the map's own coordinates).
        least_pixels: regions with fewer pixels get no polygon.
    """

    bands: tuple[int, ...] = ()
    value_range: tuple[float, float] | None = None
    window: int = 1024
    margin: float = 0.125
    polygons: PolygonFormat | None = None
    least_pixels: int = 1

    def __post_init__(self) -> None:
        if len(self.bands) not in (0, 1, 3) or any(band < 1 for band in self.bands):
            raise DataError(f"bands are {self.bands}; one or three numbers from 1 are possible.")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise DataError(f"the value range is {self.value_range}; the first must be smaller.")
        if self.window < 64 or not 0 <= self.margin < 0.5:
            raise DataError(
                f"windows of {self.window} pixels with a margin of {self.margin} are not possible; "
                "at least 64 pixels, with a margin in [0, 0.5)."
            )
