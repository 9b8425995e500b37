"""The torch engine: `dpseg.runtime.Runtime` on a `LiteModel`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dpseg.encoders.lite import STRIDE
from dpseg.encoders.minilm import MiniLM
from dpseg.errors import ShapeError
from dpseg.lite_model import LiteModel
from dpseg.model.dpseg import Prompts, Switches
from dpseg.runtime import (
    FloatArray,
    ImageArray,
    ImageFeatures,
    ModelInfo,
    PromptArrays,
    TextEmbedding,
)


class TorchRuntime:
    """Run a `LiteModel` on the CPU.

    Args:
        model: the model, in evaluation mode.
        switches: what takes part in scoring.
        text_tower: embeds sentences; shared by tests to save memory.
    """

    def __init__(
        self,
        model: LiteModel,
        *,
        switches: Switches | None = None,
        text_tower: MiniLM | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.switches = switches or Switches()
        self._text_tower = text_tower or MiniLM()
        config = model.config
        self._info = ModelInfo(
            name=config.name,
            encoder_key=model.encoder_key(),
            image_size=config.image_size,
            stride=STRIDE,
            levels=config.guidance_levels,
            templates=config.templates,
            score_threshold=config.score_threshold,
        )

    @property
    def info(self) -> ModelInfo:
        """Tell what the product must know of the model."""
        return self._info

    @torch.inference_mode()
    def encode_text(self, sentences: Sequence[str]) -> TextEmbedding:
        """Embed N sentences in the joint space."""
        whole, tokens, mask = self._text_tower.encode(sentences)
        return TextEmbedding(
            class_wise=self.model.text_map(whole).numpy(),
            token_wise=self.model.text_map(tokens).numpy(),
            token_mask=mask.numpy(),
        )

    @torch.inference_mode()
    def encode_image(self, image: ImageArray) -> ImageFeatures:
        """Embed an RGB picture, H W 3, both sides multiples of the stride.

        Raises:
            ShapeError: a side is no multiple of the stride.
        """
        if image.shape[0] % STRIDE or image.shape[1] % STRIDE:
            raise ShapeError(f"image is {image.shape[:2]}; sides must be multiples of {STRIDE}")
        pixels = torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None]  # 1 3 H W
        pixels = (pixels.float() / 255).contiguous(memory_format=torch.channels_last)
        with _fast_matrix_types():
            pyramid = self.model.tower(pixels)
        return ImageFeatures(
            image_embedding=pyramid.image_embedding[0].float().contiguous().numpy(),
            image_features={
                level: features[0].float().contiguous().numpy()
                for level, features in pyramid.image_features.items()
            },
        )

    def encode_prompt(self, image: ImageArray) -> ImageFeatures:
        """Embed a prompt picture: the lite model's prompt encoder is its image tower."""
        return self.encode_image(image)

    @torch.inference_mode()
    def score(self, features: ImageFeatures, prompts: PromptArrays) -> FloatArray:
        """Score K classes at each place: logits, K h' w' at stride 4."""
        levels = {j: torch.from_numpy(f)[None] for j, f in features.image_features.items()}
        with _fast_matrix_types():
            logits: Tensor = self.model.network(
                torch.from_numpy(features.image_embedding)[None],
                levels,
                prompt_tensors(prompts),
                self.switches,
            )
        return logits[0].float().numpy()


def prompt_tensors(prompts: PromptArrays) -> Prompts:
    """View prompt arrays as tensors."""
    return Prompts(
        text_embedding=torch.from_numpy(prompts.text_embedding),
        visual_embedding=torch.from_numpy(prompts.visual_embedding),
        visual_features={j: torch.from_numpy(v) for j, v in prompts.visual_features.items()},
        text_tokens=torch.from_numpy(prompts.text_tokens),
        text_token_mask=torch.from_numpy(prompts.text_token_mask),
        visual_tokens=torch.from_numpy(prompts.visual_tokens),
        visual_mask=torch.from_numpy(prompts.visual_mask),
    )


def _fast_matrix_types() -> torch.autocast:
    """Use bfloat16 where the processor has matrix units for it; elsewhere it would be slower."""
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=native)
