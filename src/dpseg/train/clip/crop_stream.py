"""Crops of a labelled folder without end, numbered, so that a number alone says what a crop is.

What a run sees next depends on how far it is and on nothing else: not on the number of processes,
nor on how a step is cut into parts, nor on when it was begun again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dpseg.data.dataset import LabelledFolder
from dpseg.data.transforms import CropSettings, jitter_colours, random_crop
from dpseg.errors import DataError


class CropStream(Dataset[tuple[Tensor, Tensor]]):
    """The crops of a run.

    Args:
        folder: labelled photos, shown once an epoch.
        crop: how crops are drawn; its `scale` is of the photo's short side here.
        seed: of all random numbers.
    """

    def __init__(self, folder: LabelledFolder, crop: CropSettings, seed: int) -> None:
        self._folder = folder
        self._crop = crop
        self._seed = seed

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Draw a crop: RGB 3 H W in 0..255, and its label H W."""
        epoch, place = divmod(number, len(self._folder))
        sample = self._folder[int(_order(self._seed, epoch, len(self._folder))[place])]
        generator = np.random.default_rng([self._seed, 1, number])
        height, width = sample.label.shape
        low, high = (bound * max(height, width) / min(height, width) for bound in self._crop.scale)
        settings = replace(self._crop, scale=(low, high))
        image, label = random_crop(sample.image, sample.label, settings, generator)
        image = jitter_colours(image, settings, generator)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(label)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, photos: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, 0, epoch]).permutation(photos)


@dataclass(frozen=True)
class Share:
    """The part of every step's crops that one process sees.

    Attributes:
        batch_size: crops of a step, in all processes together.
        accumulate: parts into which a process cuts its crops.
        processes: how many there are.
        rank: which one this is.
    """

    batch_size: int
    accumulate: int = 1
    processes: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        if self.batch_size % (self.accumulate * self.processes):
            raise DataError(
                f"batch_size is {self.batch_size}; it must be a multiple of accumulate "
                f"({self.accumulate}) times the processes ({self.processes})"
            )

    def numbers(self, step: int) -> list[list[int]]:
        """List the numbers of the crops of a step, part by part."""
        size = self.batch_size // (self.accumulate * self.processes)
        first = step * self.batch_size + self.rank * size
        starts = range(first, first + self.batch_size, size * self.processes)
        return [list(range(start, start + size)) for start in starts]


class _Parts:
    """The numbers of one part after the other, without end, from a step on."""

    def __init__(self, share: Share, step: int) -> None:
        self._share, self._step = share, step

    def __iter__(self) -> Iterator[list[int]]:
        step = self._step
        while True:
            yield from self._share.numbers(step)
            step += 1


def load_parts(
    stream: CropStream, share: Share, *, step: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Load a process's crops, part by part, without end.

    Args:
        stream: the crops.
        share: which of them.
        step: the first step wanted, from 0.
        workers: processes that load ahead; 0 loads when asked.

    Returns:
        Images b 3 H W in 0..255 and labels b H W.
    """
    return iter(
        DataLoader(
            stream,
            batch_sampler=_Parts(share, step),
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )
    )
