"""A video in, label images and a coloured video out, one frame in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpseg.arrays import ImageArray, LabelArray
from dpseg.errors import DataError, ImageError
from dpseg.files import atomic_write, write_text
from dpseg.imaging.draw import colour_key, painted, palette
from dpseg.imaging.label_image import to_indices, unlabelled_index
from dpseg.imaging.resize import resize_nearest
from dpseg.inference.query import Query
from dpseg.segmenter import Segmenter
from dpseg.video.smooth import Smoother
from dpseg.video.streams import VideoOut, open_video

#: Settings of a result that differ from frame to frame.
_OF_ONE_FRAME = ("distractors", "views", "scale", "refine_rounds")


def segment_video(
    segmenter: Segmenter,
    query: Query,
    path: Path,
    folder: Path,
    *,
    smooth: float = 0.0,
    overlay: bool = True,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Segment a video; write `labels.mkv`, `overlay.mp4` and `result.json`.

    `labels.mkv` holds each frame's label image without loss; `read_label_video` reads it. Both
    videos have the size of the first frame: labels of frames of other sizes are brought to it by
    their nearest pixels. Each frame keeps its time. Frames that cannot be decoded are left out;
    `result.json` tells their number.

    Args:
        segmenter: the one that prepared the query.
        query: what is asked of each frame.
        path: a video that FFmpeg reads.
        folder: made if it is not there.
        smooth: weight of the past in the scores, in [0, 1).
        overlay: write `overlay.mp4`, the video with colours, too.
        settings: further entries for the record in `result.json`.
        progress: told how many frames of how many are done, as far as the file tells.

    Returns:
        The folder.

    Raises:
        MissingExtraError: PyAV is not installed.
        ImageError: the video cannot be read, or its frames are too large.
        DataError: the folder cannot be written, or `smooth` is outside its range.
    """
    smoother = Smoother(segmenter, past=smooth, unlabelled=query.options.unlabelled)
    of_all: dict[str, Any] = {}
    pixels: list[list[int]] = []
    times: list[float] = []
    size_hw = (0, 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open_video(path) as video, ExitStack() as files:
            label_file = files.enter_context(atomic_write(folder / "labels.mkv"))
            label_sink = files.enter_context(_label_video(label_file, query, video.rate))
            overlay_sink = None
            if overlay:
                overlay_file = files.enter_context(atomic_write(folder / "overlay.mp4"))
                overlay_sink = files.enter_context(_overlay_video(overlay_file, video.rate))
            for frame in video:
                result = query(frame.image)
                labels = smoother(result) if smooth else result.labels
                size_hw = size_hw if times else labels.shape
                labels = resize_nearest(labels, size_hw)
                label_sink.write(to_indices(labels, len(query.classes)), frame.time)
                if overlay_sink is not None:
                    shown = _shown(frame.image, labels, query.classes)
                    overlay_sink.write(shown, frame.time)
                counts = np.bincount(labels.ravel() + 1, minlength=len(query.classes) + 1)
                pixels.append(counts[1:].tolist())
                times.append(round(float(frame.time), 6))
                of_all.update(result.settings)
                progress(len(pixels), max(video.expected, len(pixels)))
            if not pixels:
                raise ImageError(f"{path} has no frame that can be decoded.")
            record = {
                "width": size_hw[1],
                "height": size_hw[0],
                "frames": len(pixels),
                "bad_frames": video.bad_frames,
                "frames_per_second": float(video.rate),
                "times": times,
                **_areas(query.classes, np.array(pixels, np.int64), size_hw),
                "settings": {
                    **{k: v for k, v in of_all.items() if k not in _OF_ONE_FRAME},
                    "smooth": smooth,
                    **(settings or {}),
                },
            }
        write_text(folder / "result.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return folder


def _label_video(path: Path, query: Query, rate: Fraction) -> VideoOut:
    """Open a file that keeps every number as it is."""
    grey = "gray" if unlabelled_index(len(query.classes)) == 255 else "gray16le"
    options = {"level": "3", "slicecrc": "1"}  # FFV1 with a checksum in every slice
    return VideoOut(path, codec="ffv1", pixels=grey, given=grey, rate=rate, options=options)


def _overlay_video(path: Path, rate: Fraction) -> VideoOut:
    """Open a file that every player plays."""
    options = {"crf": "20", "preset": "veryfast", "movflags": "+faststart"}
    return VideoOut(
        path, codec="libx264", pixels="yuv420p", given="rgb24", rate=rate, options=options
    )


def _shown(image: ImageArray, labels: LabelArray, classes: tuple[str, ...]) -> ImageArray:
    """Draw a frame at its labels' size, with colours and names; the codec wants even sides."""
    if image.shape[:2] != labels.shape:
        size_wh = (labels.shape[1], labels.shape[0])
        image = np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.BICUBIC))
    picture = painted(image, labels, palette(len(classes)))
    key = np.asarray(colour_key(classes, picture.shape[1]), dtype=np.uint8)
    whole = np.concatenate([picture, key])
    return np.pad(whole, [(0, whole.shape[0] % 2), (0, whole.shape[1] % 2), (0, 0)], mode="edge")


def _areas(
    classes: tuple[str, ...], pixels: np.ndarray[Any, Any], size_hw: tuple[int, int]
) -> dict[str, Any]:
    """Compute each class's area over the whole video and in each frame; `pixels` is frames K."""
    of_frame = size_hw[0] * size_hw[1]
    shares = pixels / of_frame
    entries = [
        {
            "index": k,
            "name": name,
            "pixels": int(pixels[:, k].sum()),
            "area": round(float(shares[:, k].mean()), 6),
            "area_by_frame": shares[:, k].round(6).tolist(),
        }
        for k, name in enumerate(classes)
    ]
    return {
        "unlabelled_area": round(float(1 - shares.sum(axis=1).mean()), 6),
        "classes": entries,
    }
