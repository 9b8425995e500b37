"""Video files in and out: frames as arrays, each with its time.

Files that cameras, calls and bad cards leave are read as far as they go: frames that cannot be
decoded are left out and counted, frames may change their size, and times need not be even.
"""

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

SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"}
    | {".ogv", ".ts", ".webm", ".wmv"}
)

#: Frames a second of a file that does not tell.
_USUAL_RATE = Fraction(25)
#: Seconds by which a frame may come late behind a damaged one; else a step back is a new clock.
_LATEST = 1
#: In which written frames tell their time; the usual clock of video files, a 90,000th of a second.
_CLOCK = Fraction(1, 90_000)


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its ending."""
    return path.suffix.lower() in SUFFIXES


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a video.

    Attributes:
        image: upright RGB, H W 3.
        time: when it is shown, in seconds; later than that of the frame before.
    """

    image: ImageArray
    time: Fraction


class VideoIn:
    """An open video; iterate over its frames once, which raises `ImageError` if one is too large.

    Attributes:
        rate: frames a second, in the mean.
        expected: how many frames there are, as far as the file tells.
        bad_frames: how many of those that came by so far could not be decoded.
    """

    def __init__(self, video: Any, path: Path) -> None:
        stream = self._stream = video.streams.best("video")  # a cover is none
        seconds = (video.duration or 0) / 1_000_000  # FFmpeg counts a file's length in microseconds
        self.rate: Fraction = stream.average_rate or _USUAL_RATE
        self.expected: int = stream.frames or round(seconds * self.rate)
        self.bad_frames = 0
        self._lost = 0  # packets without a frame: still in the decoder, or dropped there
        # Threads that decode whole frames would lose those in work when the last one is damaged.
        stream.thread_type = "SLICE"
        self._video = video
        self._path = path

    def __iter__(self) -> Iterator[Frame]:
        last: Fraction | None = None
        shift = Fraction(0)
        for frame in self._in_order():
            if frame.width * frame.height > MAX_PIXELS:
                raise ImageError(
                    f"{self._path} is too large: {frame.width} x {frame.height} pixels a frame."
                )
            following = Fraction(0) if last is None else last + 1 / self.rate
            time = following if frame.pts is None else frame.pts * frame.time_base + shift
            behind = -time if last is None else last - time
            if last is not None and self.bad_frames and 0 <= behind < _LATEST:
                self._leave_out()  # it was to come before what was lost
                continue
            if behind > 1 / self.rate or (last is None and behind > 0):
                shift += following - time
                time = following
            elif last is not None and behind >= 0:
                time = (last + following) / 2
            last = time
            pixels = frame.to_ndarray(format="rgb24")
            upright = np.rot90(pixels, frame.rotation // 90)  # anticlockwise
            yield Frame(np.ascontiguousarray(upright), time)

    def _in_order(self) -> Iterator[Any]:
        """Hold each frame back for one more: behind a loss, H.264's decoder gives one too early."""
        held: Any = None
        for frame in self._decoded():
            if held is None or not (self.bad_frames and _is_before(frame, held)):
                held, frame = frame, held
            if frame is not None:
                yield frame
        if held is not None:
            yield held

    def _decoded(self) -> Iterator[Any]:
        """Decode packet by packet: one that fails is no reason to lose the others."""
        av = require_extra("av", "video")
        for packet in self._packets():
            self._lost += packet.size > 0
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.bad_frames += 1
                continue
            self._lost -= len(frames)
            for frame in frames:
                if frame.is_corrupt:
                    self._leave_out()
                else:
                    yield frame
        if self.bad_frames:  # decoders drop some without a word beside those that they tell of
            self.bad_frames = max(self.bad_frames, self._lost)

    def _packets(self) -> Iterator[Any]:
        """Read as far as the file can be read; the last packet is empty and flushes the decoder."""
        av = require_extra("av", "video")
        try:
            yield from self._video.demux(self._stream)
        except av.error.FFmpegError:
            self.bad_frames += 1
            flush = av.Packet()
            flush.stream = self._stream
            yield flush

    def _leave_out(self) -> None:
        self.bad_frames += 1
        self._lost += 1


@contextmanager
def open_video(path: Path) -> Iterator[VideoIn]:
    """Open a video for reading.

    Raises:
        MissingExtraError: PyAV is not installed.
        ImageError: the file is missing, or is no video.
    """
    with _opened(path) as video:
        yield VideoIn(video, path)


def read_label_video(path: Path) -> Iterator[LabelArray]:
    """Read `labels.mkv` back, frame by frame.

    Yields:
        -1 is unlabelled, H W.

    Raises:
        MissingExtraError: PyAV is not installed.
        ImageError: the file cannot be read.
    """
    av = require_extra("av", "video")
    with _opened(path) as video:
        try:
            for frame in video.decode(video=0):
                yield to_labels(frame.to_ndarray())
        except av.error.FFmpegError as error:
            raise _unreadable(path, error) from error


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
        self._stream.time_base = self._stream.codec_context.time_base = _CLOCK
        self._given = given
        self._ticks: int | None = None  # of the last frame

    def write(self, frame: npt.NDArray[Any], time: Fraction) -> None:
        """Append a frame.

        Args:
            frame: H W or H W 3, of the same size as the first.
            time: when it is shown, in seconds; later than the last.
        """
        ticks = round(time / _CLOCK)
        if self._ticks is None:
            self._stream.height, self._stream.width = frame.shape[:2]
        else:
            ticks = max(ticks, self._ticks + 1)
        self._ticks = ticks
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=self._given)
        picture.pts, picture.time_base = ticks, _CLOCK
        self._file.mux(self._stream.encode(picture))

    def __enter__(self) -> VideoOut:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._ticks is not None:
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


def _is_before(frame: Any, held: Any) -> bool:
    """Return whether a frame belongs before one that came shortly before it."""
    if frame.pts is None or held.pts is None:
        return False
    return bool(0 < (held.pts - frame.pts) * frame.time_base < _LATEST)


def _unreadable(path: Path, error: Exception) -> ImageError:
    told = getattr(error, "strerror", None) or " ".join(str(error).split())
    return ImageError(f"{path} cannot be read as a video: {told}.")
