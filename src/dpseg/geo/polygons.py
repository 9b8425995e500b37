"""Label maps as polygons: one feature a connected region, in any format of the map library.

Polygons follow the edges of pixels, so that burning them in again gives the same labels. Memory
grows with the number of regions, not with the number of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dpseg.errors import require_extra
from dpseg.geo.raster import open_map

_DRIVERS = {".geojson": "GeoJSON", ".gpkg": "GPKG"}


def write_polygons(
    labels: Path, target: Path, *, classes: Sequence[str], least_pixels: int = 1
) -> int:
    """Write the regions of a label map, with the fields `class_index`, `name` and `pixels`.

    Args:
        labels: a label map as `segment_map` writes it.
        target: a `.geojson` file, whose coordinates are then in WGS 84 if the map has a coordinate
            system, or a `.gpkg` file in the map's own coordinates.
        classes: names by index.
        least_pixels: smaller regions are left out.

    Returns:
        How many polygons were written.

    Raises:
        MissingExtraError: rasterio, shapely or pyogrio is not installed.
        ImageError: the label map cannot be read.
    """
    rasterio = require_extra("rasterio", "geo")
    features = require_extra("rasterio.features", "geo")
    shapely = require_extra("shapely", "geo")
    pyogrio = require_extra("pyogrio", "geo")
    geometries, indices, pixels = [], [], []
    with open_map(labels) as dataset:
        pixel_area = abs(dataset.transform.determinant)
        shapes = features.shapes(rasterio.band(dataset, 1), transform=dataset.transform)
        for shape, value in shapes:
            if value == dataset.nodata:
                continue
            polygon = shapely.geometry.shape(shape)
            count = round(polygon.area / pixel_area)
            if count >= least_pixels:
                geometries.append(polygon.wkb)
                indices.append(int(value))
                pixels.append(count)
        crs = dataset.crs.to_wkt() if dataset.crs else None
    target.unlink(missing_ok=True)  # the map library refuses an empty file
    driver = _DRIVERS[target.suffix]
    pyogrio.raw.write(
        str(target),
        geometry=np.array(geometries, dtype=object),
        field_data=[
            np.array(indices, np.int32),
            np.array([classes[index] for index in indices], dtype=object),
            np.array(pixels, np.int64),
        ],
        fields=np.array(["class_index", "name", "pixels"], dtype=object),
        geometry_type="Polygon",
        crs=crs,
        driver=driver,
        layer="regions",
        **({"RFC7946": "YES"} if driver == "GeoJSON" and crs else {}),
    )
    return len(geometries)
