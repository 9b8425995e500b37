"""Teachers: networks that know some names well, behind one interface.

A teacher looks at a photo and gives a score in [0, 1] for each of its names at each position, at
whatever resolution it has. Its weights are read from where the user keeps them; none ships.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from dpseg.arrays import FloatArray, ImageArray
from dpseg.engines.detector import Detector
from dpseg.engines.onnx_session import open_session
from dpseg.errors import DataError
from dpseg.train.labels.recipe import BoxTeacherSettings, MapTeacherSettings

_HEAT_SIDE = 160  # positions on the long side of a map of boxes


class Teacher(Protocol):
    """What knows some names."""

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The names that it knows, each with its synonyms."""

    def __call__(self, image: ImageArray) -> FloatArray:
        """Score each name at each position of a photo, H W 3: (names) h w in [0, 1]."""


class BoxTeacher:
    """A detector: a name's score is that of its surest box over a position.

    Args:
        settings: of the teacher.
        folder: where its file is.
    """

    def __init__(self, settings: BoxTeacherSettings, folder: Path) -> None:
        self._detector = Detector(folder / settings.file)

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The names that it knows."""
        return tuple((name,) for name in self._detector.names)

    def __call__(self, image: ImageArray) -> FloatArray:
        """Score each name at each position: (names) h w."""
        scale = _HEAT_SIDE / max(image.shape[:2])
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        boxes = self._detector(image)
        heat = np.zeros((len(self._detector.names), height, width), np.float32)
        x = (np.arange(width, dtype=np.float32) + 0.5) / width
        y = (np.arange(height, dtype=np.float32) + 0.5) / height
        for index, name in enumerate(boxes.names.tolist()):
            covered = boxes.scores[index] * boxes.coverage(index, x, y)
            heat[name] = np.maximum(heat[name], covered)
        return heat


class MapTeacher:
    """A segmentation network: a name's score is its share of the softmax over all its names.

    Args:
        settings: of the teacher.
        folder: where its files are.

    Raises:
        DataError: the list of names cannot be read.
    """

    def __init__(self, settings: MapTeacherSettings, folder: Path) -> None:
        self._settings = settings
        self._session = open_session(folder / settings.file)
        path = folder / settings.names
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the teacher's names {path}: {error}") from error
        self._words = tuple(
            tuple(word.strip() for word in line.split(",")) for line in lines if line.strip()
        )

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The names that it knows, each with its synonyms."""
        return self._words

    def __call__(self, image: ImageArray) -> FloatArray:
        """Score each name at each position: (names) h w.

        Raises:
            DataError: the graph gives another number of maps than there are names.
        """
        settings, given = self._settings, self._session.get_inputs()[0]
        height, width = given.shape[1:3] if settings.channels_last else given.shape[2:4]
        rows, columns = height, width  # of the input that the photo fills
        if settings.keep_aspect:
            zoom = min(height / image.shape[0], width / image.shape[1])
            rows, columns = (max(1, round(side * zoom)) for side in image.shape[:2])
        small = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
        pixels = np.zeros((1, height, width, 3), np.float32)
        centred = np.asarray(small, np.float32) - settings.mean
        pixels[0, :rows, :columns] = centred / settings.scale
        if not settings.channels_last:
            pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        logits = self._session.run(None, {given.name: pixels})[0][0]
        if settings.channels_last:
            logits = logits.transpose(2, 0, 1)
        logits = logits[settings.skip :]
        filled_h = math.ceil(logits.shape[1] * rows / height)
        filled_w = math.ceil(logits.shape[2] * columns / width)
        logits = logits[:, :filled_h, :filled_w]
        if len(logits) != len(self._words):
            raise DataError(
                f"{settings.file} gives {len(logits)} maps behind the first {settings.skip}, "
                f"{settings.names} has {len(self._words)} names"
            )
        odds = np.exp(logits - logits.max(axis=0))
        scores: FloatArray = (odds / odds.sum(axis=0)).astype(np.float32)
        return scores


def open_teacher(settings: BoxTeacherSettings | MapTeacherSettings, folder: Path) -> Teacher:
    """Load a teacher.

    Args:
        settings: of the teacher.
        folder: where the user keeps the files of teachers.

    Raises:
        CheckpointError: its graph is missing or damaged.
        DataError: its list of names cannot be read.
    """
    if isinstance(settings, BoxTeacherSettings):
        return BoxTeacher(settings, folder)
    return MapTeacher(settings, folder)
