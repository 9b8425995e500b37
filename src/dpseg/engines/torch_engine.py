"""The torch engine: a `Engine` on any model of encoders and a network."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from dpseg.arrays import AnyArray, FloatArray, ImageArray, PromptSet
from dpseg.encoders.protocol import DualEncoder, FeaturePyramid
from dpseg.engines.protocol import ImageFeatures, ModelInfo, TextEmbedding
from dpseg.engines.torch_devices import fast_types
from dpseg.errors import ShapeError
from dpseg.model.dpseg import ForwardOptions

#: Pixels that a GPU sees at once: 16 views of 512 x 512.
BATCH_PIXELS = 16 * 512 * 512


class TorchEngine:
    """Run a model where its weights are.

    Args:
        model: all weights; they are frozen, and put into evaluation mode.
        encoder: the towers.
        network: scores a `FeaturePyramid`'s tensors and prompts, as `DPSeg` does.
        info: what the product must know of the model.
        options: what takes part in scoring.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        encoder: DualEncoder,
        network: nn.Module,
        info: ModelInfo,
        options: ForwardOptions | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.options = options or ForwardOptions()
        self.network = network
        self._encoder = encoder
        self._info = info

    @property
    def info(self) -> ModelInfo:
        """Tell what the product must know of the model."""
        return self._info

    def with_options(self, **changes: object) -> TorchEngine:
        """Make an engine of the same model in which other parts take part.

        Args:
            changes: of `ForwardOptions`.

        Returns:
            An engine that shares everything but the options with this one.
        """
        other = copy(self)
        other.options = self.options.replace(**changes)
        return other

    def calibrated(self, threshold: float) -> TorchEngine:
        """Make an engine of the same model with another `info.score_threshold`."""
        other = copy(self)
        other._info = replace(self._info, score_threshold=threshold)
        return other

    @torch.inference_mode()
    def encode_text(self, sentences: Sequence[str]) -> TextEmbedding:
        """Embed N sentences in the joint space."""
        embedded = self._encoder.encode_text(sentences)
        return TextEmbedding(
            class_wise=embedded.class_wise.cpu().numpy(),
            token_wise=embedded.token_wise.cpu().numpy(),
            token_mask=embedded.token_mask.cpu().numpy(),
        )

    def encode_image(self, image: ImageArray) -> ImageFeatures:
        """Embed an RGB picture, H W 3, both sides multiples of the stride.

        Raises:
            ShapeError: a side is no multiple of the stride.
        """
        return self.encode_images([image])[0]

    @property
    def batch_pixels(self) -> int:
        """At most so many pixels a pass; a processor is not faster with several images."""
        return 0 if self.device.type == "cpu" else BATCH_PIXELS

    @torch.inference_mode()
    def encode_images(self, images: Sequence[ImageArray]) -> list[ImageFeatures]:
        """Embed images of one size in one pass, as `encode_image` does each.

        Raises:
            ShapeError: a side is no multiple of the stride.
        """
        with fast_types(self.device):
            return _each(self._encoder.encode_image(self._pixels(images)))

    @torch.inference_mode()
    def encode_prompt(self, image: ImageArray) -> ImageFeatures:
        """Embed a prompt picture by the prompt encoder; as `encode_image`."""
        with fast_types(self.device):
            return _each(self._encoder.encode_prompt(self._pixels([image])))[0]

    def _pixels(self, images: Sequence[ImageArray]) -> Tensor:
        """Lay pictures of one size out as the tower wants them, B 3 H W in [0, 1]."""
        stride, (height, width) = self._encoder.stride, images[0].shape[:2]
        if height % stride or width % stride:
            raise ShapeError(f"image is {height, width}; sides must be multiples of {stride}")
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # B 3 H W
        pixels = pixels.to(self.device).float() / 255
        return pixels.contiguous(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Tell where the weights are."""
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def score(self, features: ImageFeatures, prompts: PromptSet[AnyArray]) -> FloatArray:
        """Score K classes at each position: logits, K h' w' at stride 4."""
        device = self.device

        def batch(array: FloatArray) -> Tensor:
            return torch.from_numpy(array)[None].to(device)

        coarse = features.coarse_embedding
        with fast_types(self.device):
            logits: Tensor = self.network(
                batch(features.image_embedding),
                {j: batch(one) for j, one in features.image_features.items()},
                prompts.map(lambda table: torch.from_numpy(table).to(device)),
                self.options,
                **({} if coarse is None else {"coarse_embedding": batch(coarse)}),
            )
        return logits[0].float().cpu().numpy()


def _each(pyramid: FeaturePyramid) -> list[ImageFeatures]:
    """Take the images of a batch apart."""

    def arrays(batch: Tensor) -> FloatArray:
        return batch.float().cpu().contiguous().numpy()

    embedding = arrays(pyramid.image_embedding)
    levels = {level: arrays(one) for level, one in pyramid.image_features.items()}
    coarse = None if pyramid.coarse_embedding is None else arrays(pyramid.coarse_embedding)
    return [
        ImageFeatures(
            image_embedding=embedding[number],
            image_features={level: one[number] for level, one in levels.items()},
            coarse_embedding=None if coarse is None else coarse[number],
        )
        for number in range(len(embedding))
    ]
