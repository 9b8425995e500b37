"""Alignment: the joint space and the text map, in closed form from ImageNet's classifier.

The classifier's rows, centred and projected on their principal components, are the joint
embeddings of ImageNet's names; their synonyms and hypernyms widen the list. The text map is fitted
on these, so every other word gets its place too. Nothing here is trained by gradient.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dpseg.encoders.kernel_projection import KernelProjection
from dpseg.encoders.lite import LiteImageTower, load_imagenet
from dpseg.encoders.minilm import MiniLM
from dpseg.train.lite.wordnet import names_of_classes, read_noun_synsets

_MEAN_IMAGE_SIZE = 256


@dataclass(frozen=True)
class Alignment:
    """What alignment hands to training.

    Attributes:
        names: ImageNet's names with synonyms and hypernyms, N.
        prototypes: their joint embeddings, unit length, N D.
        text_map: the fitted map from text to joint space.
    """

    names: list[str]
    prototypes: Tensor
    text_map: KernelProjection


def embed_names(text_tower: MiniLM, names: list[str], templates: tuple[str, ...]) -> Tensor:
    """Embed each name in every template, M N 384."""
    return torch.stack(
        [text_tower.encode([template.format(n) for n in names])[0] for template in templates]
    )


@torch.inference_mode()
def mean_head_feature(tower: LiteImageTower, pictures: list[Path]) -> Tensor:
    """Average the head features over pictures, 1280."""
    total = torch.zeros_like(tower.head_mean)
    size = (_MEAN_IMAGE_SIZE, _MEAN_IMAGE_SIZE)
    for path in pictures:
        image = np.asarray(Image.open(path).convert("RGB").resize(size))
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255  # 1 3 H W
        with torch.autocast("cpu", dtype=torch.bfloat16):
            shallow, _ = tower.shallow(pixels)
            deep = tower.trunk.blocks[5](tower.trunk.blocks[4](shallow))
            features = tower.head(tower.trunk.blocks[6](deep))
        total += features.float().mean((0, 2, 3))
    return total / len(pictures)


def align(
    tower: LiteImageTower, text_tower: MiniLM, picture_folder: Path, templates: tuple[str, ...]
) -> Alignment:
    """Initialise an image tower from ImageNet and fit the text map to its joint space.

    Args:
        tower: filled in place: trunk, head, mean feature, projection.
        text_tower: embeds the names.
        picture_folder: one photo of each ImageNet class and `classes.tsv` (file, wnid, name).
        templates: sentence templates over which a name's embedding is averaged.

    Returns:
        Names, prototypes and the text map.

    Source: kernel ridge regression on classifier rows (dpseg choice; docs/log/experiments.md).
    """
    rows = load_imagenet(tower)
    with (picture_folder / "classes.tsv").open(newline="") as file:
        entries = list(csv.reader(file, delimiter="\t"))
    pictures = [picture_folder / "images" / entry[0] for entry in entries]
    tower.head_mean.copy_(mean_head_feature(tower, pictures))
    centred = rows - rows.mean(0)
    components = torch.linalg.svd(centred, full_matrices=False).Vh
    with torch.no_grad():
        tower.projection.weight.copy_(components[: tower.projection.out_features])
    covered = names_of_classes([entry[1] for entry in entries], read_noun_synsets())
    raw = torch.stack([centred[indices].mean(0) for indices in covered.values()])
    prototypes = F.normalize(raw @ tower.projection.weight.detach().T, dim=-1)
    text = F.normalize(embed_names(text_tower, list(covered), templates).mean(0), dim=-1)
    text_map = KernelProjection(
        centres=len(covered), text_dim=text.shape[1], embedding_dim=prototypes.shape[1]
    )
    text_map.fit(text, prototypes)
    return Alignment(list(covered), prototypes, text_map)
