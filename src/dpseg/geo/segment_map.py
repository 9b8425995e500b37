"""A map in, a label map out: window by window, with the same coordinates, in bounded memory.

The model sees overlapping squares; of each, only the core without its margin is kept, so that every
label was given with something around it. What is in memory at any time is one square.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dpseg.arrays import ImageArray, LabelArray
from dpseg.errors import DataError, require_extra
from dpseg.files import atomic_write, write_text
from dpseg.geo.polygons import check_polygons, write_polygons
from dpseg.geo.position import PixelAreas, Position
from dpseg.geo.raster import Look, open_map
from dpseg.geo.rules import MapRules
from dpseg.imaging.draw import SHOWN_SIDES
from dpseg.imaging.draw import overlay as draw_overlay
from dpseg.imaging.label_image import colour_table, to_indices, to_labels, unlabelled_index
from dpseg.inference.query import Query

#: Side of the blocks in which labels are stored; windows' cores begin at its multiples.
BLOCK = 256

#: Settings of a result that differ from square to square.
_OF_ONE_SQUARE = ("distractors", "views", "scale", "refine_rounds")


@dataclass(frozen=True, slots=True)
class Square:
    """A part of the map that the model sees at once, and the part of it whose labels are kept.

    Attributes:
        seen: first row, row after the last, first column, column after the last.
        kept: the same.
    """

    seen: tuple[int, int, int, int]
    kept: tuple[int, int, int, int]

    @property
    def core(self) -> tuple[slice, slice]:
        """The rows and columns of `seen` that are kept."""
        top, bottom, left, right = self.kept
        first_row, first_column = self.seen[0], self.seen[2]
        return slice(top - first_row, bottom - first_row), slice(
            left - first_column, right - first_column
        )


def plan_squares(map_hw: tuple[int, int], rules: MapRules) -> Iterator[Square]:
    """Cut a map into squares whose cores cover each pixel once.

    Args:
        map_hw: size of the map.
        rules: size of the squares and their margins.

    Yields:
        Squares from top left to bottom right; all are as large as the rules say if the map is.
    """
    margin = round(rules.window * rules.margin)
    step = rules.window - 2 * margin
    step = step // BLOCK * BLOCK or step
    for top, bottom, first_row, last_row in _spans(map_hw[0], step, margin, rules.window):
        for left, right, first_column, last_column in _spans(map_hw[1], step, margin, rules.window):
            yield Square(
                (first_row, last_row, first_column, last_column), (top, bottom, left, right)
            )


def segment_map(
    query: Query,
    path: Path,
    folder: Path,
    *,
    rules: MapRules,
    overlay: bool = True,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Segment a map; write `labels.tif`, `result.json` and what else the rules ask for.

    `labels.tif` has the map's size, coordinate system and transform, and the numbers and colours
    of `labels.png`; its nodata value means unlabelled. Without data in the map, no label.

    Args:
        query: what is asked; see `Segmenter.prepare`.
        path: a file that rasterio reads, such as a GeoTIFF, with a world file if it needs one.
        folder: made if it is not there.
        rules: bands, values, windows, polygons.
        overlay: write `overlay.png`, the map at a size to look at, too.
        settings: further entries for the record in `result.json`.
        progress: told how many squares of how many are done.

    Returns:
        The folder.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the map cannot be read, or its polygons would have no right place.
        DataError: the folder cannot be written.
    """
    with open_map(path) as source:
        if rules.polygons:
            check_polygons(source, f".{rules.polygons}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            look = Look.of(source, rules)
            with atomic_write(folder / "labels.tif") as temporary:
                counts = _label(query, source, look, rules, temporary, progress)
            if rules.polygons:
                with atomic_write(folder / f"polygons.{rules.polygons}") as temporary:
                    write_polygons(
                        folder / "labels.tif",
                        temporary,
                        classes=counts.classes,
                        least_pixels=rules.least_pixels,
                    )
            if overlay:
                with atomic_write(folder / "overlay.png") as temporary:
                    picture = _small(source, look, folder / "labels.tif")
                    draw_overlay(*picture, counts.areas).save(temporary, "PNG", compress_level=3)
            record = _record(source, look, counts, settings or {})
            text = json.dumps(record, indent=2, ensure_ascii=False)
            write_text(folder / "result.json", text + "\n")
        except OSError as error:
            raise DataError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return folder


class _MapCounts:
    """What the squares of a map add up to."""

    def __init__(self, classes: tuple[str, ...], total: int) -> None:
        self.classes = classes
        self.settings: Mapping[str, Any] = {}
        self._pixels = np.zeros(len(classes) + 1, np.int64)
        self._square_metres: npt.NDArray[np.float64] | None = np.zeros(len(classes) + 1)
        self._total = total

    def add(self, labels: LabelArray, areas: npt.NDArray[np.float64] | None) -> None:
        """Count a part of the map; `areas` has the square metres of each pixel."""
        entries, length = labels.ravel() + 1, len(self._pixels)
        self._pixels += np.bincount(entries, minlength=length)
        if areas is None or self._square_metres is None:
            self._square_metres = None
        else:
            self._square_metres += np.bincount(entries, areas.ravel(), minlength=length)

    @property
    def pixels(self) -> dict[str, int]:
        return dict(zip(self.classes, self._pixels[1:].tolist(), strict=True))

    @property
    def square_metres(self) -> dict[str, float | None]:
        if self._square_metres is None:
            return dict.fromkeys(self.classes)
        return dict(zip(self.classes, self._square_metres[1:].round(3).tolist(), strict=True))

    @property
    def areas(self) -> dict[str, float]:
        return {name: count / self._total for name, count in self.pixels.items()}


def _label(
    query: Query,
    source: Any,
    look: Look,
    rules: MapRules,
    target: Path,
    progress: Callable[[int, int], None],
) -> _MapCounts:
    """Write the labels of all squares to a GeoTIFF."""
    rasterio = require_extra("rasterio", "geo")
    counts = _MapCounts(query.classes, source.height * source.width)
    measure = PixelAreas(Position.of(source), (source.height, source.width))
    squares = list(plan_squares((source.height, source.width), rules))
    with rasterio.open(target, "w", **_profile(source, len(query.classes))) as sink:
        sink.update_tags(classes=json.dumps(query.classes, ensure_ascii=False))
        if sink.dtypes[0] == "uint8":
            colours = colour_table(len(query.classes)).tolist()
            sink.write_colormap(1, {k: tuple(colour) for k, colour in enumerate(colours)})
        for number, square in enumerate(squares, 1):
            photo, valid = look.read(source, _window(square.seen))
            labels = np.full(valid.shape, -1, np.int32)
            if valid[square.core].any():
                result = query(photo)
                counts.settings = result.settings
                labels[valid] = result.labels[valid]
            core = labels[square.core]
            counts.add(core, measure(square.kept))
            sink.write(to_indices(core, len(query.classes)), 1, window=_window(square.kept))
            progress(number, len(squares))
    return counts


def _profile(source: Any, classes: int) -> dict[str, Any]:
    """Describe the label map: the source's place on earth, storage of its own."""
    unlabelled = unlabelled_index(classes)
    profile = {
        "driver": "GTiff",
        "height": source.height,
        "width": source.width,
        "count": 1,
        "dtype": "uint8" if unlabelled == 255 else "uint16",
        "nodata": unlabelled,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    if min(source.height, source.width) >= BLOCK:
        profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
    points, points_crs = source.gcps
    if points and source.transform.is_identity:
        return profile | {"gcps": points, "crs": points_crs}
    if source.rpcs:
        profile["rpcs"] = source.rpcs
    return profile | {"crs": source.crs, "transform": source.transform}


def _record(
    source: Any, look: Look, counts: _MapCounts, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Put the result into plain numbers and strings, in the form of `Segmentation.summary`."""
    crs = Position.of(source).crs
    entries = [
        {
            "index": k,
            "name": name,
            "pixels": count,
            "area": round(counts.areas[name], 6),
            "square_metres": counts.square_metres[name],
        }
        for k, (name, count) in enumerate(counts.pixels.items())
    ]
    of_all = {k: v for k, v in counts.settings.items() if k not in _OF_ONE_SQUARE}
    return {
        "width": source.width,
        "height": source.height,
        "crs": crs.to_string() if crs else None,
        "transform": None if source.transform.is_identity else list(source.transform)[:6],
        "unlabelled_area": round(1 - sum(counts.areas.values()), 6),
        "classes": entries,
        "settings": {
            **of_all,
            "bands": list(look.bands),
            "value_ranges": np.stack([look.low, look.high], axis=1).tolist(),
            **settings,
        },
    }


def _small(source: Any, look: Look, labels: Path) -> tuple[ImageArray, LabelArray]:
    """Read the map and its labels at a size to look at."""
    shape_hw = _shown_hw(source)
    with open_map(labels) as dataset:
        indices = dataset.read(1, out_shape=shape_hw)
    return look.read(source, shape_hw=shape_hw)[0], to_labels(indices)


def _shown_hw(source: Any) -> tuple[int, int]:
    scale = min(1.0, SHOWN_SIDES[1] / max(source.height, source.width))
    return max(1, round(source.height * scale)), max(1, round(source.width * scale))


def _window(span: tuple[int, int, int, int]) -> Any:
    windows = require_extra("rasterio.windows", "geo")
    top, bottom, left, right = span
    return windows.Window(left, top, right - left, bottom - top)


def _spans(length: int, step: int, margin: int, window: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a side: first and last of what is kept, first and last of what is seen."""
    for start in range(0, length, step):
        stop = min(start + step, length)
        first = max(0, min(start - margin, length - window))
        yield start, stop, first, min(max(stop + margin, first + window), length)
