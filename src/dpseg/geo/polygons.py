"""Label maps as polygons: one feature a connected region, in any format of the map library.

Polygons follow the edges of pixels, so that burning them in again gives the same labels. They lie
where the pixels lie, be that told by a transform or by ground control points. Memory grows with the
number of regions, not with the number of pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpseg.errors import ImageError, require_extra
from dpseg.geo.position import Position
from dpseg.geo.raster import open_map

_DRIVERS = {".geojson": "GeoJSON", ".gpkg": "GPKG"}


def check_polygons(dataset: Any, ending: str) -> None:
    """Refuse polygons that would lie at a wrong place.

    Args:
        dataset: an open rasterio dataset.
        ending: `.geojson` or `.gpkg`.

    Raises:
        ImageError: the map is placed by a camera model alone, or its coordinate system is not known
            and the format demands it.
    """
    position = Position.of(dataset)
    if position.to_map is None and dataset.rpcs:
        raise ImageError(
            f"{dataset.name} is placed by a camera model (RPCs) alone, which gives its polygons no "
            "place without heights; warp it first, such as by gdalwarp."
        )
    if position.to_map is not None and position.crs is None and ending == ".geojson":
        raise ImageError(
            f"{dataset.name} does not tell its coordinate system, but GeoJSON is in WGS 84; "
            "choose gpkg, or add the system, such as by gdal_edit."
        )


def write_polygons(
    labels: Path, target: Path, *, classes: Sequence[str], least_pixels: int = 1
) -> int:
    """Write the regions of a label map, with the fields `class_index`, `name` and `pixels`.

    Args:
        labels: a label map as `segment_map` writes it.
        target: a `.geojson` file, whose coordinates are then in WGS 84 if the map has a coordinate
            system, or a `.gpkg` file in the map's own coordinates. Of a map that lies nowhere, they
            are in pixels, rows counted downwards.
        classes: names by index.
        least_pixels: smaller regions are left out.

    Returns:
        How many polygons were written.

    Raises:
        MissingExtraError: rasterio, shapely or pyogrio is not installed.
        ImageError: the label map cannot be read, or lies where its pixels' places cannot be told.
    """
    rasterio = require_extra("rasterio", "geo")
    features = require_extra("rasterio.features", "geo")
    shapely = require_extra("shapely", "geo")
    pyogrio = require_extra("pyogrio", "geo")
    geometries, indices, pixels = [], [], []
    with open_map(labels) as dataset:
        check_polygons(dataset, target.suffix)
        position = Position.of(dataset)
        pixel_area = abs(dataset.transform.determinant)
        for shape, value in features.shapes(rasterio.band(dataset, 1)):
            if value == dataset.nodata:
                continue
            polygon = shapely.geometry.shape(shape)
            count = round(polygon.area / pixel_area)
            if count >= least_pixels:
                # GDAL has placed the corners by the transform, if there is one.
                if position.to_map is not None and dataset.transform.is_identity:
                    polygon = shapely.transform(polygon, position.to_map, interleaved=False)
                geometries.append(polygon.wkb)
                indices.append(int(value))
                pixels.append(count)
        crs = position.crs.to_wkt() if position.crs and position.to_map else None
    target.unlink(missing_ok=True)  # the map library refuses an empty file
    driver = _DRIVERS[target.suffix]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # a map may have none
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
