"""A small object detector on onnxruntime: boxes of the things that it was trained to name.

It runs beside the model that labels pixels. The graph ends with non-maximum suppression, and its
file carries the names and where its weights come from (`benchmarks/convert_detector.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from dpseg.arrays import FloatArray, ImageArray
from dpseg.engines.onnx_session import metadata_of, open_session
from dpseg.errors import CheckpointError

AT_EDGE = 0.02  # a side within this share of a picture's edge lies on it
INSIDE, OUTSIDE = 0.2, 0.15  # of half a side: where a box has risen to 1, and where it begins


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

    def coverage(self, index: int, x: FloatArray, y: FloatArray) -> FloatArray:
        """Tell how much a box covers positions: 1 within, 0 beyond, between around its edges.

        A box that ends at the picture's edge ends there because the picture does.

        Args:
            index: of the box.
            x: positions as shares of the picture's width, w.
            y: positions as shares of its height, h.

        Returns:
            In [0, 1], h w.

        Source: dpseg choice; edges of boxes are rough, and a hard one shows in the answer.
        """
        left, top, right, bottom = self.corners[index].tolist()
        return _ramp(y, top, bottom)[:, None] * _ramp(x, left, right)


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

    def __getstate__(self) -> dict[str, Any]:
        """Pickle where the graph is; a session stays in its process."""
        return {"_path": self._path, "_threads": self._threads}

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


def _ramp(at: FloatArray, low: float, high: float) -> FloatArray:
    """Rise from 0 to 1 around the lower edge, fall around the upper one; neither at the border."""
    half = max((high - low) / 2, 1e-6)
    value = np.ones_like(at)
    for edge, depth in ((low > AT_EDGE, at - low), (high < 1 - AT_EDGE, high - at)):
        if edge:  # depth in half sides: 0 on the edge, 1 in the middle
            value = np.minimum(value, ((depth / half + OUTSIDE) / (INSIDE + OUTSIDE)).clip(0, 1))
    return value
