"""Video files in and out: frames as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from dpseg.arrays import ImageArray, LabelArray
from dpseg.errors import ImageError, require_extra
from dpseg.imaging.label_image import to_labels
from dpseg.imaging.photo import MAX_PIXELS

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})

#: Frames a second of a file that does not tell.
_USUAL_RATE = Fraction(25)


def is_video(path: Path) -> bool:
    """Tell by its ending whether a file is a video."""
    return path.suffix.lower() in SUFFIXES


@dataclass(frozen=True, slots=True)
class VideoIn:
    """An open video.

    Attributes:
        frames: upright RGB pictures, H W 3 each; they raise `ImageError`.
        rate: frames a second.
        expected: how many frames there are, as far as the file tells.
    """

    frames: Iterator[ImageArray]
    rate: Fraction
    expected: int


@contextmanager
def open_video(path: Path) -> Iterator[VideoIn]:
    """Open a video for reading.

    Raises:
        MissingExtraError: PyAV is not installed.
        ImageError: the file is missing, or is no video.
    """
    with _opened(path) as video:
        stream = video.streams.video[0]
        stream.thread_type = "AUTO"
        rate = stream.average_rate or _USUAL_RATE
        seconds = (video.duration or 0) / 1_000_000  # FFmpeg counts a file's length in microseconds
        yield VideoIn(_upright(video, path), rate, stream.frames or round(seconds * rate))


def read_label_video(path: Path) -> Iterator[LabelArray]:
    """Read `labels.mkv` back, frame by frame.

    Yields:
        -1 is unlabelled, H W.

    Raises:
        MissingExtraError: PyAV is not installed.
        ImageError: the file cannot be read.
    """
    with _opened(path) as video:
        for frame in _decoded(video, path):
            yield to_labels(frame.to_ndarray())


class VideoOut:
    """A video file that takes frames of one size; closes as a context.

    Args:
        path: its ending tells the container.
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the stored pixels' format.
        given: FFmpeg's name of the written arrays' format.
        rate: frames a second.
        options: of the encoder.
    """

    def __init__(
        self,
        path: Path,
        *,
        codec: str,
        pixels: str,
        given: str,
        rate: Fraction,
        options: Mapping[str, str],
    ) -> None:
        self._av = require_extra("av", "video")
        self._file = self._av.open(str(path), "w")
        self._stream = self._file.add_stream(codec, rate, options=dict(options))
        self._stream.pix_fmt = pixels
        self._given = given
        self._begun = False

    def write(self, frame: npt.NDArray[Any]) -> None:
        """Append a frame, H W or H W 3."""
        if not self._begun:
            self._stream.height, self._stream.width = frame.shape[:2]
            self._begun = True
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=self._given)
        self._file.mux(self._stream.encode(picture))

    def __enter__(self) -> VideoOut:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._begun:
            self._file.mux(self._stream.encode())
        self._file.close()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    av = require_extra("av", "video")
    try:
        video = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error
    with video:
        if not video.streams.video:
            raise ImageError(f"{path} holds no video.")
        yield video


def _decoded(video: Any, path: Path) -> Iterator[Any]:
    av = require_extra("av", "video")
    try:
        yield from video.decode(video=0)
    except av.error.FFmpegError as error:
        raise _unreadable(path, error) from error


def _upright(video: Any, path: Path) -> Iterator[ImageArray]:
    for frame in _decoded(video, path):
        if frame.width * frame.height > MAX_PIXELS:
            raise ImageError(f"{path} is too large: {frame.width} x {frame.height} pixels a frame.")
        pixels = frame.to_ndarray(format="rgb24")
        yield np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))  # anticlockwise


def _unreadable(path: Path, error: Exception) -> ImageError:
    told = getattr(error, "strerror", None) or " ".join(str(error).split())
    return ImageError(f"{path} cannot be read as a video: {told}.")
