"""Images of more than 8 bits a sample: which value is white, and how all bits are read.

One rule for files, arrays and maps. Whole numbers are scaled by the usual bit depth that the
brightest of them needs, since cameras store 10, 12 or 14 bits in 16; fractions lie between 0 and 1.
What fits neither has no known white, and is refused rather than guessed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import ImageArray
from dpseg.errors import ImageError

#: White of the usual bit depths: 8, 10, 12, 14 and 16.
_WHITE_LEVELS = (255, 1023, 4095, 16383, 65535)
#: How far fractions may lie outside 0..1, as resampled ones do: one step of 8 bits.
_OVERSHOOT = 1 / 255


def black_and_white(kind: np.dtype[Any], low: float, high: float) -> tuple[float, float] | None:
    """Return which values of an image become 0 and 255, for `to_bytes`.

    Of whole numbers the eight highest bits are kept, which gives back what 8 bits were before,
    whether they were shifted up or stretched.

    Args:
        kind: of its values.
        low: the smallest of them.
        high: the largest of them.

    Returns:
        Black and white; None if nothing tells.
    """
    if kind.kind in "ui" and low >= 0:
        white = next((level for level in _WHITE_LEVELS if high <= level), None)
        step = None if white is None else (white + 1) / 256
        return None if step is None else (step / 2, step / 2 + 255 * step)
    if kind.kind == "f" and low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return 0.0, 1.0
    return None


def to_bytes(
    values: npt.NDArray[Any], black: npt.ArrayLike, white: npt.ArrayLike
) -> npt.NDArray[np.uint8]:
    """Scale values so that black becomes 0 and white 255, to the nearest whole number."""
    low, high = np.asarray(black, np.float32), np.asarray(white, np.float32)
    scaled = np.clip((values.astype(np.float32) - low) * (255 / (high - low)), 0, 255)
    return np.floor(scaled + np.float32(0.5)).astype(np.uint8)


def unknown_white(what: str, kind: np.dtype[Any], low: float, high: float, do: str) -> ImageError:
    """Make the error for values of which none is known to be white."""
    return ImageError(
        f"{what} holds {kind} values from {low:.6g} to {high:.6g}, and nothing tells which of them "
        f"is white; {do}."
    )


def to_eight_bits(values: npt.NDArray[Any], *, what: str) -> ImageArray:
    """Scale values to 0..255; what is not finite becomes black.

    Raises:
        ImageError: nothing tells which value is white.
    """
    if values.dtype == np.uint8:
        return values
    finite = (
        np.nan_to_num(values, nan=0, posinf=0, neginf=0) if values.dtype.kind == "f" else values
    )
    low, high = float(finite.min()), float(finite.max())
    ends = black_and_white(values.dtype, low, high)
    if ends is None:
        raise unknown_white(what, values.dtype, low, high, "scale it to 0..255 or 0..1 first")
    return to_bytes(finite, *ends)


def to_picture(values: npt.NDArray[Any], *, what: str, mode: str | None = None) -> Image.Image:
    """Make an image of 8 bits.

    Args:
        values: H W, or H W C: grey, grey and alpha, RGB or RGB and alpha.
        what: how errors call it.
        mode: Pillow's name of what the channels are, where their number does not tell.

    Raises:
        ImageError: nothing tells which value is white.
    """
    channels = values[..., None] if values.ndim == 2 else values  # H W C
    mode = mode or ("L", "LA", "RGB", "RGBA")[channels.shape[2] - 1]
    if mode in ("LA", "RGBA", "RGBa"):  # alpha may use other bits than colours do
        colours, alpha = channels[..., :-1], channels[..., -1:]
        parts = [to_eight_bits(part, what=what) for part in (colours, alpha)]
        channels = np.concatenate(parts, axis=2)
    else:
        channels = to_eight_bits(channels, what=what)
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(channels, 2, 0)]
    return Image.merge(mode, bands) if len(bands) > 1 else bands[0]
