"""Recent regions of every training name, to serve as visual prompts while training.

Each step's labelled regions are pooled from the features that the step computed anyway, so visual
prompts cost nothing extra; they are a few steps old when used, and never come from the same crop.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn


class RegionQueue(nn.Module):
    """Keep the last prompts of each name's regions.

    Args:
        names: number of names N.
        widths: kind of prompt (such as `"class_wise"` or `"level4"`) to its number of values.
        length: regions kept a name, Q.
    """

    filled: Tensor

    def __init__(self, *, names: int, widths: Mapping[str, int], length: int = 8) -> None:
        super().__init__()
        self.length = length
        self.kinds = tuple(widths)
        self.register_buffer("filled", torch.zeros(names, dtype=torch.long))
        for kind, width in widths.items():
            self.register_buffer(kind, torch.zeros(names, length, width))

    def push(self, name: int, prompts: Mapping[str, Tensor]) -> None:
        """Add one region's prompts, kind to vector, in place of the name's oldest."""
        slot = int(self.filled[name]) % self.length
        for kind in self.kinds:
            getattr(self, kind)[name, slot] = prompts[kind]
        self.filled[name] += 1

    def draw(
        self, generator: np.random.Generator, *, regions: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Draw random regions of every name, with repeats where few are known.

        Args:
            generator: random numbers.
            regions: R.

        Returns:
            Kind to N R width, and the mask N of names that have a region yet.
        """
        available = self.filled.clamp(max=self.length)
        high = available.clamp_min(1).numpy()[:, None]
        slots = torch.from_numpy(generator.integers(0, high, size=(len(high), regions)))  # N R
        rows = torch.arange(len(slots))[:, None]
        return {kind: getattr(self, kind)[rows, slots] for kind in self.kinds}, available > 0
