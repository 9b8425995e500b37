"""Reading a map: which bands are shown, how their values become 8 bits, one window at a time."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from dpseg.arrays import BoolArray, ImageArray
from dpseg.errors import ImageError, MissingExtraError, require_extra
from dpseg.geo.position import is_georeferenced
from dpseg.geo.rules import MapRules
from dpseg.imaging.deep import black_and_white, to_bytes, unknown_white
from dpseg.imaging.photo import MAX_PIXELS

#: Megabytes of decoded blocks that GDAL keeps; its own choice grows with the machine.
_CACHE_MEGABYTES = 128
#: Side of the reduced copy from which the range of values is read.
_SAMPLE_SIDE = 1024
_PERCENTILES = (2, 98)
#: Bands that are an image; all others are measurements, which have no white of their own.
_COLOURS = frozenset({"gray", "red", "green", "blue"})
#: Pixels of a map that are looked at together for the range of its values.
_SCANNED = 1 << 22

#: Which GDAL driver reads files with an ending. No other is asked: some follow links elsewhere.
_DRIVERS = {
    **dict.fromkeys((".tif", ".tiff"), "GTiff"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx"), "JP2OpenJPEG"),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".pbm", ".pgm", ".pnm", ".ppm"), "PNM"),
    **{".bmp": "BMP", ".gif": "GIF", ".png": "PNG", ".webp": "WEBP"},
}
#: Formats of maps: such a file is one without a place, too, if it is no photo by its size.
_MAP_DRIVERS = ("GTiff", "JP2OpenJPEG")
#: How GDAL reads: bounded in memory, and looking for a file's companions without listing a folder.
_GDAL = {"GDAL_CACHEMAX": _CACHE_MEGABYTES, "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}

_WIDTH, _HEIGHT, _SAMPLES, _BIG_TIFF = 256, 257, 277, 43
_GEO_TAGS = frozenset({33550, 33922, 34264, 34735})  # pixel scale, tie points, matrix, keys
_MOST_PHOTO_BANDS = 4


def is_map(path: Path) -> bool:
    """Return whether a file is an image that `load_photo` is not made for.

    It is one if it is georeferenced, in itself or by a companion such as a world file; a TIFF or
    JPEG 2000 also if it has more bands than a photo, deep ones that are not marked as colours, or
    more pixels than are read at once. Without rasterio, or under a name that it does not take,
    a TIFF's own tags tell.
    """
    driver = _DRIVERS.get(path.suffix.lower())
    if driver is None:
        return False
    if not _has_utf8_name(path):
        return driver == "GTiff" and _has_tags_of_a_map(path)
    try:
        with open_map(path, driver=driver) as dataset:
            photo_bands = dataset.count <= _MOST_PHOTO_BANDS and not _holds_measurements(dataset)
            is_photo = photo_bands and dataset.width * dataset.height <= MAX_PIXELS
            return is_georeferenced(dataset) or (driver in _MAP_DRIVERS and not is_photo)
    except ImageError:
        return False  # whatever it is, load_photo has an error for it
    except MissingExtraError:
        return driver == "GTiff" and _has_tags_of_a_map(path)


def _has_utf8_name(path: Path) -> bool:
    """Return whether GDAL takes a file's name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_tags_of_a_map(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            header = file.read(8)
            header += file.read(8) if header[2:3] == bytes([_BIG_TIFF]) else b""
            tags = ImageFileDirectory_v2(header)
            file.seek(tags.next)
            tags.load(file)
            pixels = int(tags.get(_WIDTH, 0)) * int(tags.get(_HEIGHT, 0))
            return bool(
                _GEO_TAGS & tags.keys()
                or int(tags.get(_SAMPLES, 1)) > _MOST_PHOTO_BANDS
                or pixels > MAX_PIXELS
            )
    except (OSError, SyntaxError, ValueError, TypeError, struct.error):
        return False


def _holds_measurements(dataset: Any) -> bool:
    """Return whether several deep bands are not marked as colours."""
    deep = dataset.count > 2 and dataset.dtypes[0] != "uint8"
    return deep and not {colour.name for colour in dataset.colorinterp[:3]} <= _COLOURS


@contextmanager
def open_map(path: Path, *, driver: str | None = None) -> Iterator[Any]:
    """Open a map for reading, with a bound on what the map library keeps in memory.

    Args:
        path: a file that GDAL reads.
        driver: GDAL's name of the only driver that is asked; None for all.

    Yields:
        A rasterio dataset.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the file is missing, or is no map.
    """
    rasterio = require_extra("rasterio", "geo")
    with rasterio.Env(**_GDAL), warnings.catch_warnings():
        # A very large image that lies nowhere on earth is fine.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with _reading(str(path)):
            dataset = rasterio.open(path, driver=driver)
        with dataset:
            yield dataset


@dataclass(frozen=True, slots=True)
class Look:
    """How a map becomes a photo.

    Attributes:
        bands: numbers of three bands, or of one that is grey or an index into `colours`.
        low: values that become 0, one a band.
        high: values that become 255, one a band.
        colours: RGB of each value of a band with a colour table, N 3; or None.
    """

    bands: tuple[int, ...]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    colours: ImageArray | None = None

    @classmethod
    def of(cls, dataset: Any, rules: MapRules) -> Look:
        """Choose bands and range of values.

        Args:
            dataset: an open rasterio dataset.
            rules: what the user chose.

        Returns:
            The look, the same for all windows of the map.

        Raises:
            ImageError: the map lacks a chosen band, holds complex numbers, cannot be read, or is
                an image of which nothing tells which value is white.
        """
        bands = rules.bands or _colour_bands(dataset)
        if max(bands) > dataset.count:
            raise ImageError(
                f"{dataset.name} has {dataset.count} bands; band {max(bands)} is none."
            )
        kinds = {np.dtype(dataset.dtypes[band - 1]) for band in bands}
        if any(kind.kind == "c" for kind in kinds):
            raise ImageError(f"{dataset.name} holds complex numbers; those cannot be shown.")
        if len(bands) == 1 and dataset.colorinterp[bands[0] - 1].name == "palette":
            return cls(bands, *_all_the_same(0, 255, 1), _colour_table(dataset, bands[0]))
        if rules.value_range:
            return cls(bands, *_all_the_same(*rules.value_range, len(bands)))
        if kinds == {np.dtype(np.uint8)}:
            return cls(bands, *_all_the_same(0, 255, len(bands)))
        if {dataset.colorinterp[band - 1].name for band in bands} <= _COLOURS:
            return cls(bands, *_all_the_same(*_black_and_white(dataset, bands), len(bands)))
        return cls(bands, *_percentiles(dataset, bands))

    def read(
        self, dataset: Any, window: Any = None, shape_hw: tuple[int, int] | None = None
    ) -> tuple[ImageArray, BoolArray]:
        """Read a part of the map as a photo.

        Args:
            dataset: an open rasterio dataset.
            window: a rasterio window; None is the whole map.
            shape_hw: size to read it at; None is its own.

        Returns:
            The photo, H W 3, with the mean colour where there is no data; and where there is data,
            H W.

        Raises:
            ImageError: the file is damaged.
        """
        shape = None if shape_hw is None else (len(self.bands), *shape_hw)
        with _reading(dataset.name):
            valid: BoolArray = dataset.dataset_mask(window=window, out_shape=shape_hw) > 0
            values = dataset.read(self.bands, window=window, out_shape=shape)  # bands H W
        if self.colours is not None:
            photo = self.colours[values[0]]
        else:
            valid &= np.isfinite(values).all(axis=0)
            low, high = self.low[:, None, None], self.high[:, None, None]
            scaled = to_bytes(np.where(valid, values, 0), low, high)
            photo = np.broadcast_to(scaled, (3, *valid.shape)).transpose(1, 2, 0).copy()
        if valid.any() and not valid.all():
            photo[~valid] = photo[valid].mean(axis=0).astype(np.uint8)
        return photo, valid


def _colour_bands(dataset: Any) -> tuple[int, ...]:
    """Find red, green and blue, as the file marks them or by their order."""
    marked = {colour.name: number for number, colour in enumerate(dataset.colorinterp, 1)}
    if {"red", "green", "blue"} <= marked.keys():
        return marked["red"], marked["green"], marked["blue"]
    return (1, 2, 3) if dataset.count >= 3 else (1,)


def _colour_table(dataset: Any, band: int) -> ImageArray:
    entries = dataset.colormap(band)
    table = np.zeros((max(entries) + 1, 3), np.uint8)
    for value, colour in entries.items():
        table[value] = colour[:3]
    return table


def _all_the_same(
    low: float, high: float, bands: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return np.full(bands, low, np.float32), np.full(bands, high, np.float32)


def _black_and_white(dataset: Any, bands: tuple[int, ...]) -> tuple[float, float]:
    """Return what becomes 0 and 255 by the rule for photos, from all pixels with data."""
    windows = require_extra("rasterio.windows", "geo")
    low, high = np.inf, -np.inf
    rows = max(1, _SCANNED // dataset.width)
    for row in range(0, dataset.height, rows):
        window = windows.Window(0, row, dataset.width, min(rows, dataset.height - row))
        with _reading(dataset.name):
            values = dataset.read(bands, window=window)  # bands H W
            valid = dataset.dataset_mask(window=window) > 0
        values = values[:, valid & np.isfinite(values).all(axis=0)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:  # no data at all
        return 0, 1
    kind = np.result_type(*(dataset.dtypes[band - 1] for band in bands))
    ends = black_and_white(kind, low, high)
    if ends is None:
        do = "say which are black and white (--value-range LOW,HIGH)"
        raise unknown_white(dataset.name, kind, low, high, do)
    return ends


def _percentiles(
    dataset: Any, bands: tuple[int, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Take each band's range without its tails from a reduced copy, as map viewers do."""
    scale = min(1.0, _SAMPLE_SIDE / max(dataset.height, dataset.width))
    shape_hw = (max(1, round(dataset.height * scale)), max(1, round(dataset.width * scale)))
    with _reading(dataset.name):
        values = dataset.read(bands, out_shape=(len(bands), *shape_hw)).astype(np.float32)
        valid = dataset.dataset_mask(out_shape=shape_hw) > 0
    valid &= np.isfinite(values).all(axis=0)
    if not valid.any():
        return _all_the_same(0, 1, len(bands))
    low, high = np.percentile(values[:, valid], _PERCENTILES, axis=1).astype(np.float32)
    return low, np.where(high > low, high, low + 1)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Tell the map library's errors from those of writing: it raises the same for both."""
    errors = require_extra("rasterio.errors", "geo")
    try:
        yield
    except (errors.RasterioError, UnicodeDecodeError) as error:
        reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
        raise ImageError(f"{name} cannot be read: {reason}.") from error
    except UnicodeEncodeError as error:  # of a file's name
        raise ImageError(f"{name} cannot be read: maps need a name in UTF-8; rename it.") from error
