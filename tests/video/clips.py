"""Video files for tests, written by PyAV alone, sound and damaged."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def encode(
    path: Path,
    frames: list[np.ndarray],
    codec: str,
    *,
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write frames by PyAV alone; `times` are in milliseconds."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if times:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def damage(path: Path, numbers: list[int]) -> Path:
    """Overwrite some packets, as a bad block on a card does."""
    with av.open(str(path)) as file:
        packets = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    content = path.read_bytes()
    for number in numbers:
        content = content.replace(packets[number], b"\xff" * len(packets[number]))
    path.write_bytes(content)
    return path


def times_in(path: Path) -> list[float]:
    with av.open(str(path)) as file:
        return [frame.time for frame in file.decode(video=0)]
