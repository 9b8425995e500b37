"""A small object detector on onnxruntime: boxes of the things that it was trained to name.

It runs beside the model that labels pixels. The graph ends with non-maximum suppression, and its
file carries the names and where its weights come from (`benchmarks/convert_detector.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from dpseg.arrays import FloatArray, ImageArray
from dpseg.engines.onnx_session import metadata_of, open_session
from dpseg.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Boxes:
    """What a detector found in a picture.

    Attributes:
        names: position of each box's name in the detector's list, N.
        scores: how sure the detector is, in [0, 1], N.
        corners: left, top, right and bottom as shares of the picture's sides, in [0, 1], N 4.
    """

    names: npt.NDArray[np.int64]
    scores: FloatArray
    corners: FloatArray

    def covered(self, size_hw: tuple[int, int]) -> Iterator[tuple[int, slice, slice]]:
        """Tell which positions each box covers, the surest box last.

        Args:
            size_hw: rows and columns of positions that the picture is divided into, h w.

        Yields:
            A box's index, and the rows and columns whose centres it covers.
        """
        height, width = size_hw
        edges = self.corners * np.array([width, height, width, height]) - 0.5  # in centres
        for index in np.argsort(self.scores, kind="stable").tolist():
            left, top = (max(0, ceil(edge)) for edge in edges[index, :2])
            right, bottom = (max(0, floor(edge) + 1) for edge in edges[index, 2:])
            yield index, slice(top, bottom), slice(left, right)


class Detector:
    """Find boxes by an exported detector.

    Args:
        path: the graph.
        threads: how many threads to use; None for `OMP_NUM_THREADS`, else one a processor.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        self._path = path
        self._threads = threads

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it knows.

        Raises:
            CheckpointError: the file is missing, damaged or no detector.
        """
        return self._about[0]

    @property
    def title(self) -> str:
        """What it is called.

        Raises:
            CheckpointError: the file is missing, damaged or no detector.
        """
        return self._about[2]

    @property
    def origin(self) -> str:
        """Where its weights come from, and their licence.

        Raises:
            CheckpointError: the file is missing, damaged or no detector.
        """
        return self._about[1]

    def __call__(self, image: ImageArray) -> Boxes:
        """Find boxes in an RGB picture, H W 3, whatever its size.

        Raises:
            CheckpointError: the file is missing, damaged or no detector.
        """
        _, height, width, _ = self._session.get_inputs()[0].shape
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        names, scores, corners = self._session.run(
            ["names", "scores", "corners"], {"image": np.asarray(small)[None]}
        )
        return Boxes(names, scores, corners.clip(0, 1))

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return open_session(self._path, self._threads)

    @cached_property
    def _about(self) -> tuple[tuple[str, ...], str, str]:
        metadata = metadata_of(self._session)
        try:
            return tuple(json.loads(metadata["names"])), metadata["origin"], metadata["title"]
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{self._path} is no detector") from error
