"""Batches for dense training: random crops with soft cell targets, and varied names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dpseg.arrays import ImageArray, LabelArray
from dpseg.data.dataset import UNLABELLED
from dpseg.data.mixture import Mixture
from dpseg.data.paste import paste_thing
from dpseg.data.transforms import (
    CropSettings,
    cutout,
    jitter_colours,
    random_crop,
)
from dpseg.train.lite.dense_loss import cell_targets


@dataclass(frozen=True)
class Batch:
    """Crops and what their labels say.

    Attributes:
        images: with changed colours and hidden squares, RGB in [0, 1], channels last in memory,
            B 3 H W.
        true_images: the same crops as they are.
        targets: cell side in pixels to (positive, negative) weights, each B (h w) N.
    """

    images: Tensor
    true_images: Tensor
    targets: dict[int, tuple[Tensor, Tensor]]


class BatchSampler:
    """Draw batches from a mixture without end, epoch by epoch.

    Args:
        mixture: where the photos come from.
        crop: how crops are drawn.
        batch_size: crops in a batch.
        cells: cell sides in pixels for which targets are made.
        paste: probability that a thing of the mixture's cut-outs is pasted into a crop.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        crop: CropSettings,
        batch_size: int,
        cells: tuple[int, ...],
        paste: float = 0.0,
    ) -> None:
        self.mixture = mixture
        self.crop = crop
        self.batch_size = batch_size
        self.cells = cells
        self.paste = paste
        self._order: list[int] = []
        self._position = 0

    def draw(self, generator: np.random.Generator) -> Batch:
        """Draw the next batch."""
        images: list[ImageArray] = []
        true_images: list[ImageArray] = []
        targets = {cell: ([], []) for cell in self.cells}  # type: ignore[var-annotated]
        while len(images) < self.batch_size:
            if self._position == len(self._order):
                self._order, self._position = self.mixture.epoch(generator).tolist(), 0
            source, sample = self.mixture.samples[self._order[self._position]]
            self._position += 1
            image, label = random_crop(sample.image, sample.label, self.crop, generator)
            layers = [(source, label)]
            if self.paste and self.mixture.cutouts and generator.random() < self.paste:
                image, layers = self._pasted(image, source, label, generator)
            jittered = jitter_colours(image, self.crop, generator)
            images.append(cutout(jittered, self.crop, generator))
            true_images.append(image)
            for cell in self.cells:
                positive, negative = self._targets(layers, cell)
                targets[cell][0].append(positive)
                targets[cell][1].append(negative)
        return Batch(
            _image_tensor(images),
            _image_tensor(true_images),
            {cell: (torch.stack(p), torch.stack(n)) for cell, (p, n) in targets.items()},
        )

    def _pasted(
        self, image: ImageArray, source: int, label: LabelArray, generator: np.random.Generator
    ) -> tuple[ImageArray, list[tuple[int, LabelArray]]]:
        """Paste a thing; give the picture, and the labels of the photo and of the thing."""
        cutouts = self.mixture.cutouts
        thing_source, cutout = cutouts[generator.integers(len(cutouts))]
        cutout = replace(cutout, image=jitter_colours(cutout.image, self.crop, generator))
        image, thing = paste_thing(image, cutout, generator)
        covered = np.where(thing >= 0, UNLABELLED, label)
        return image, [(source, covered), (thing_source, thing)]

    def _targets(
        self, layers: Sequence[tuple[int, LabelArray]], cell: int
    ) -> tuple[Tensor, Tensor]:
        """Add up what the labels of a photo and of a thing in it say of cells, (h w) N each."""
        mixture = self.mixture
        targets = [
            cell_targets(label, mixture.includes, mixture.excludes[source], cell)
            for source, label in layers
        ]
        positive, negative = (sum(parts[1:], parts[0]) for parts in zip(*targets, strict=True))
        for _, thing in layers[1:]:  # its name is nowhere around it, if only cut-outs show it
            for name in np.intersect1d(thing, mixture.pasted_names):
                related = torch.from_numpy(mixture.includes[name] | mixture.includes[:, name])
                negative[:, name] = (1 - positive[:, related].sum(1)).clamp_min(0)
        return positive, negative

    def state_dict(self) -> dict[str, Any]:
        """Tell the epoch's order and the place in it, as plain values."""
        return {"order": self._order, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a sampler of the same mixture was."""
        self._order, self._position = list(state["order"]), int(state["position"])


def _image_tensor(images: Sequence[ImageArray]) -> Tensor:
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # B 3 H W
    return (pixels.float() / 255).contiguous(memory_format=torch.channels_last)


class NameVariants:
    """Joint text embeddings of names, a little different each time they are drawn.

    Args:
        variants: for each of N names the embeddings of its synonyms in M templates, S_n M D.
    """

    def __init__(self, variants: list[Tensor]) -> None:
        self._variants = variants
        self.mean = F.normalize(torch.stack([v.mean((0, 1)) for v in variants]), dim=-1)  # N D

    def draw(self, generator: np.random.Generator) -> Tensor:
        """Mix each name's synonyms with random weights, N M D, unit length."""
        mixed = []
        for variants in self._variants:
            weights = torch.from_numpy(generator.dirichlet(np.ones(len(variants))))
            mixed.append(torch.einsum("s,smd->md", weights.to(variants.dtype), variants))
        return F.normalize(torch.stack(mixed), dim=-1)
