"""Decodes the brushes of Label Studio, to check those that we encode."""

from __future__ import annotations

import itertools

import numpy as np

CHANNELS = 4


def decode_brush(rle: list[int], size_hw: tuple[int, int]) -> np.ndarray:
    """H W; what was painted with more than half opacity."""
    alpha = _decoded(bytes(rle)).reshape(*size_hw, CHANNELS)[..., -1]
    return alpha > 127


def _decoded(data: bytes) -> np.ndarray:
    bits = iter("".join(f"{byte:08b}" for byte in data))

    def number(size: int) -> int:
        return int("".join(itertools.islice(bits, size)), 2)

    total, value_bits = number(32), number(5) + 1
    sizes = [number(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint8)
    done = 0
    while done < total:
        is_run = number(1)
        length = number(sizes[number(2)]) + 1
        many = 1 if is_run else length
        values[done : done + length] = [number(value_bits) for _ in range(many)]
        done += length
    return values
