"""Recent regions of every training name, to serve as visual prompts while training.

Each step's labelled regions are pooled from the features that the step computed anyway, so visual
prompts cost nothing extra; they are a few steps old when used, and never come from the same crop.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RegionQueue(nn.Module):
    """Keep the last embeddings of each name's regions, at the joint space and each level.

    Args:
        names: number of names N.
        channels: key (0 for the joint space, else the level j) to channels.
        length: regions kept a name, Q.
        min_cells: a region smaller than this many cells is not kept.
    """

    filled: Tensor

    def __init__(
        self, *, names: int, channels: dict[int, int], length: int = 8, min_cells: float = 2.0
    ) -> None:
        super().__init__()
        self.length = length
        self.min_cells = min_cells
        self.register_buffer("filled", torch.zeros(names, dtype=torch.long))
        for key, width in channels.items():
            self.register_buffer(f"level{key}", torch.zeros(names, length, width))

    @torch.no_grad()
    def push(self, features: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Add the regions of a batch.

        Args:
            features: key to (feature map B C h w, fraction of each cell that is each name
                B (h w) N); all keys have the same names, key 0 decides which regions count.
        """
        pooled = {}
        for key, (feature, positive) in features.items():
            places = feature.float().flatten(2).transpose(1, 2)  # B (h w) C
            if key == 0:
                places = F.normalize(places, dim=-1)
            pooled[key] = F.normalize(positive.transpose(1, 2) @ places, dim=-1)  # B N C
        large = features[0][1].sum(1) >= self.min_cells  # B N
        for image, name in large.nonzero().tolist():
            slot = int(self.filled[name]) % self.length
            for key, vectors in pooled.items():
                getattr(self, f"level{key}")[name, slot] = vectors[image, name]
            self.filled[name] += 1

    def draw(
        self, generator: np.random.Generator, *, regions: int = 1
    ) -> tuple[dict[int, Tensor], Tensor]:
        """Draw the mean of some random regions of every name.

        Args:
            generator: source of chance.
            regions: regions averaged a name.

        Returns:
            Key to unit vectors N C, and the mask N of names that have a region yet.
        """
        available = self.filled.clamp(max=self.length)
        high = available.clamp_min(1).numpy()[:, None]
        slots = torch.from_numpy(generator.integers(0, high, size=(len(high), regions)))  # N R
        rows = torch.arange(len(slots))[:, None]
        drawn = {
            int(name.removeprefix("level")): F.normalize(buffer[rows, slots].mean(1), dim=-1)
            for name, buffer in self.named_buffers()
            if name.startswith("level")
        }
        return drawn, available > 0
