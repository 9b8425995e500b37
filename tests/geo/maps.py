"""Maps for tests, written by rasterio."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine

from colour_engine import COLOURS

UTM = CRS.from_epsg(32633)
#: Half a metre a pixel, turned a little, with coordinates that need all digits.
PLACE = Affine(0.5, 0.01, 399960.123456789, 0.01, -0.5, 5900040.987654321)


def colour_map(height: int, width: int) -> np.ndarray:
    """Red with a blue block and a green corner, 3 H W."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = COLOURS["red"]
    picture[height // 4 : height // 2, width // 4 : width // 2] = COLOURS["blue"]
    picture[-height // 4 :, -width // 4 :] = COLOURS["green"]
    return picture.transpose(2, 0, 1)


def write_map(path: Path, bands: np.ndarray, **profile: object) -> Path:
    """Write bands H W as a GeoTIFF."""
    given = {"crs": UTM, "transform": PLACE, **profile}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=bands.shape[0],
        height=bands.shape[1],
        width=bands.shape[2],
        dtype=bands.dtype,
        **given,
    ) as dataset:
        dataset.write(bands)
    return path
