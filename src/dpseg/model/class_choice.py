"""Which classes of a large vocabulary are decoded, chosen for each image before any decoder.

The others are rejected: they get a logit that never wins. ERR-Seg lets every position vote,
CAT-Seg takes the classes that come nearest anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

VOTES = (1.0, 0.1, 0.01)  # of a position, for its first, second and third class
REJECTED = -100.0  # logit of a class that was not chosen
#: How many classes are chosen from any vocabulary, and how many more from so many classes on.
_CHOSEN, _MORE_CHOSEN = 16, {21: 8, 60: 8, 172: 16}


def usual_choice(classes: int) -> int:
    """Return how many of K classes are chosen for an image, where nothing else is asked.

    Source: ERR-Seg chooses 16, 24, 32 and 48 in benchmarks of 20, 59, 150 and 847 classes.
    """
    # Without a branch on K, so that an exported graph chooses from any vocabulary.
    more = sum(step * torch.sym_min(1, classes // least) for least, step in _MORE_CHOSEN.items())
    chosen: Any = torch.sym_min(classes, _CHOSEN + more)
    return chosen  # type: ignore[no-any-return]


def count_votes(cosines: Tensor) -> Tensor:
    """Let every position vote for the classes that are nearest to it.

    Args:
        cosines: B K h w.

    Returns:
        Votes, B K.

    Source: ERR-Seg, class selection.
    """
    positions = cosines.float().flatten(2).transpose(1, 2)  # B (h w) K
    ranks = torch.sym_min(len(VOTES), positions.shape[2])
    nearest = positions.topk(ranks, dim=2).indices.flatten(1)  # B (h w ranks)
    weights = positions.new_tensor(VOTES)[:ranks].repeat(positions.shape[1])
    votes = positions.new_zeros(positions.shape[0], positions.shape[2])
    return votes.scatter_add(1, nearest, weights.expand_as(nearest))


def choose_by_votes(cosines: Tensor, number: int | None = None) -> Tensor:
    """Choose the classes with most votes, for each image.

    Args:
        cosines: B K h w.
        number: how many, at least 1; all where K is smaller. None goes by K.

    Returns:
        Class indices in ascending order, B S.

    Source: ERR-Seg, class selection.
    """
    return _best(count_votes(cosines), number or usual_choice(cosines.shape[1]))


def choose_nearest(cosines: Tensor, number: int) -> Tensor:
    """Choose the classes whose largest cosine is largest, for each image.

    Args:
        cosines: B K h w.
        number: how many, at least 1; all where K is smaller.

    Returns:
        Class indices in ascending order, B S.

    Source: CAT-Seg, large vocabularies.
    """
    return _best(cosines.amax((2, 3)), number)


def decode_chosen(decode: Callable[[int, Tensor], Tensor], chosen: Tensor, classes: int) -> Tensor:
    """Decode each image's own choice of classes, and reject the others.

    Args:
        decode: takes an image's number and its S classes to their logits, S H W.
        chosen: B S.
        classes: K.

    Returns:
        Logits, B K H W.
    """
    logits = []
    for image, indices in enumerate(chosen):
        decoded = decode(image, indices)  # S H W
        rejected = decoded.new_full((classes, *decoded.shape[1:]), REJECTED)
        logits.append(rejected.index_copy(0, indices, decoded))
    return torch.stack(logits)


def of_image(image_features: Mapping[int, Tensor], image: int) -> dict[int, Tensor]:
    """Take one image's features out of a batch, level j to 1 C_j h_j w_j."""
    return {level: one[image, None] for level, one in image_features.items()}


def _best(marks: Tensor, number: int) -> Tensor:
    most: Any = torch.sym_min(number, marks.shape[1])
    return marks.topk(most, dim=1).indices.sort(dim=1).values
