"""What an engine needs of a pair of encoders, whichever model they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from dpseg.encoders.lite import FeaturePyramid


@dataclass(frozen=True)
class SentenceEmbedding:
    """What a text tower makes of N sentences; see `dpseg.runtime.TextEmbedding`.

    Attributes:
        class_wise: unit vectors, N D.
        token_wise: unit vectors, N L D.
        token_mask: N L.
    """

    class_wise: Tensor
    token_wise: Tensor
    token_mask: Tensor


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
        """Embed prompt pictures, B 3 H W in [0, 1], by the prompt encoder."""
