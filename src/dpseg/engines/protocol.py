"""The seam between the product and the network.

Everything above this file (prompts, tiling, `Segmenter`, evaluation) works on plain numpy arrays
and talks to an `Engine`; everything below it (onnxruntime, torch) implements one. Photos and words
go down; `ImageFeatures`, `TextEmbedding` and logits come back, and `PromptSet` goes down again.

Shape letters: N sentences or pictures, K classes, M templates, L text tokens, D joint dimension,
C_j channels of level j (stride 2^j), h w positions of the image embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dpseg.arrays import AnyArray, BoolArray, FloatArray, ImageArray, PromptSet


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What an image tower makes of one picture.

    Attributes:
        image_embedding: dense text-aligned embedding, D h w.
        image_features: features of the guidance levels, level j to C_j h_j w_j.
        coarse_embedding: the embedding at twice the stride, for networks that compare at both,
            D h/2 w/2.
    """

    image_embedding: FloatArray
    image_features: Mapping[int, FloatArray]
    coarse_embedding: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class TextEmbedding:
    """What the text tower makes of N sentences.

    Attributes:
        class_wise: one unit vector a sentence, N D.
        token_wise: one unit vector a meaning-bearing token, N L D.
        token_mask: which of the L tokens are there, N L.
    """

    class_wise: FloatArray
    token_wise: FloatArray
    token_mask: BoolArray


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the product must know of a model before it runs.

    Attributes:
        name: preset name, such as `"dpseg-lite"`.
        encoder_key: hash of the encoder's weights; a cached prompt of another key is stale.
        image_size: long side in pixels of the view that the model likes best.
        stride: image sides given to `encode_image` are multiples of this.
        levels: guidance levels j, deepest first.
        templates: the M sentence templates, each with one `{}`.
        score_threshold: calibrated sigmoid score in [0, 1] below which a pixel is unlabelled, if a
            few names are given; see `UnlabelledRules.needed_score`.
        synonyms: whether a class's synonyms are averaged with its name.
        token_wise: whether token-wise prompts take part; else no text is encoded for them.
        photo_bias: whether class prior and presence gate apply, whose numbers were chosen for the
            logits of `dpseg-lite`.
        near: a distractor whose text lies at least this near to a given name, as cosine, is left
            out; None finds it from how near the distractors lie to each other.
    """

    name: str
    encoder_key: str
    image_size: int
    stride: int
    levels: tuple[int, ...]
    templates: tuple[str, ...]
    score_threshold: float
    synonyms: bool = True
    token_wise: bool = True
    photo_bias: bool = True
    near: float | None = 0.75


class Engine(Protocol):
    """A loaded model, whichever engine runs it."""

    @property
    def info(self) -> ModelInfo:
        """Tell what the product must know of the model."""

    def calibrated(self, threshold: float) -> Engine:
        """Make an engine of the same model with another `info.score_threshold`."""

    def encode_text(self, sentences: Sequence[str]) -> TextEmbedding:
        """Embed N sentences in the joint space."""

    def encode_image(self, image: ImageArray) -> ImageFeatures:
        """Embed an RGB picture, H W 3, both sides multiples of `info.stride`."""

    def encode_prompt(self, image: ImageArray) -> ImageFeatures:
        """Embed a prompt picture by the prompt encoder; the same shapes as `encode_image`."""

    def score(self, features: ImageFeatures, prompts: PromptSet[AnyArray]) -> FloatArray:
        """Score K classes at each position: logits, K h' w' (h' w' at the decoder's stride)."""
