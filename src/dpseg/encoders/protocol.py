"""What an engine needs of a pair of encoders, whichever model they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class SentenceEmbedding:
    """What a text tower makes of N sentences; see `dpseg.engines.protocol.TextEmbedding`.

    Attributes:
        class_wise: unit vectors, N D.
        token_wise: unit vectors, N L D.
        token_mask: N L.
    """

    class_wise: Tensor
    token_wise: Tensor
    token_mask: Tensor


@dataclass(frozen=True)
class FeaturePyramid:
    """A batch's image embedding and guidance features.

    Attributes:
        image_embedding: B D h w.
        image_features: level j to B C_j h_j w_j.
        coarse_embedding: the embedding at twice the stride, for networks that compare at both,
            B D h/2 w/2.
    """

    image_embedding: Tensor
    image_features: dict[int, Tensor]
    coarse_embedding: Tensor | None = None


class DualEncoder(Protocol):
    """Text and image towers that share a joint space."""

    @property
    def stride(self) -> int:
        """Image sides are multiples of this."""

    def encode_text(self, sentences: Sequence[str]) -> SentenceEmbedding:
        """Embed N sentences."""

    def encode_image(self, images: Tensor) -> FeaturePyramid:
        """Embed RGB images in [0, 1], B 3 H W."""

    def encode_prompt(self, images: Tensor) -> FeaturePyramid:
        """Embed prompt images, B 3 H W in [0, 1], by the prompt encoder."""
