"""Presets and the settings that travel with a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from dpseg.engines.protocol import ModelInfo
from dpseg.prompts.templates import SHORT_TEMPLATES


class LiteConfig(BaseModel):
    """Everything that `dpseg-lite` needs beside its tensors.

    Attributes:
        name: preset name.
        embedding_dim: D of the joint space.
        adapter_dim: hidden width of the image tower's adapter.
        context_blocks: attention blocks over positions in that adapter.
        text_dim: size of the text tower's embedding.
        templates: the M sentence templates, each with one `{}`.
        widths: channels before the first stage, then after each stage.
        guidance_levels: levels j of the stages, deepest first.
        image_size: long side in pixels of the view that the model likes best.
        score_threshold: calibrated sigmoid score below which a pixel is unlabelled, if a few names
            are given.
        anchors: names that the text map is fitted on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "dpseg-lite"
    embedding_dim: int = 512
    adapter_dim: int = 256
    context_blocks: int = 0
    text_dim: int = 384
    templates: tuple[str, ...] = SHORT_TEMPLATES
    widths: tuple[int, ...] = (32, 32, 16, 16)
    guidance_levels: tuple[int, ...] = (4, 3, 2)
    image_size: int = 512
    score_threshold: float = 0.3
    anchors: int = 0

    @property
    def source(self) -> str:
        """Tell where weights come from that are not in the package."""
        return "weights are missing"


class ClipConfig(BaseModel):
    """A model on the towers of an open_clip ConvNeXt.

    Attributes:
        name: preset name.
        clip: open_clip's name of the towers.
        pretrained: open_clip's tag of their weights, or a file; None initialises them at random.
        architecture: parts of open_clip's model configuration to replace, for other sizes.
        network: what stands behind the encoders.
        templates: the M sentence templates; none stands for the 80 of ImageNet.
        widths: channels before the first stage, then after each stage.
        projections: channels of each stage's image features, and of its guidance.
        heads: of the class attention.
        guidance_levels: levels j of the stages, deepest first.
        own_prompt_tower: whether the prompt encoder has weights of its own, as after fine-tuning;
            else it is the image tower.
        image_size: long side in pixels of the view that the model likes best.
        score_threshold: calibrated sigmoid score below which a pixel is unlabelled, if a few names
            are given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    clip: str
    pretrained: str | None
    architecture: Mapping[str, Any] | None = None
    network: Literal["dpseg", "sed"] = "dpseg"
    templates: tuple[str, ...] = ()
    widths: tuple[int, ...] = (128, 64, 32, 16)
    projections: tuple[int, ...] = (32, 16, 8)
    heads: int = 4
    guidance_levels: tuple[int, ...] = (4, 3, 2)
    own_prompt_tower: bool = False
    image_size: int = 768
    score_threshold: float = 0.0

    @property
    def source(self) -> str:
        """Tell where weights come from that are not in the package."""
        if self.network == "sed":
            return "by import-sed, from SED's checkpoints"
        return f"from the hub at first use: {self.clip} {self.pretrained}, decoder untrained"


ModelConfig: TypeAlias = LiteConfig | ClipConfig

_TOWERS = {
    "b": ("convnext_base_w_320", "laion_aesthetic_s13b_b82k"),
    "l": ("convnext_large_d_320", "laion2b_s29b_b131k_ft_soup"),
}
_NETWORKS: tuple[Literal["dpseg", "sed"], ...] = ("dpseg", "sed")
PRESETS: Mapping[str, ModelConfig] = {"dpseg-lite": LiteConfig()} | {
    f"{network}-convnext-{size}": ClipConfig(
        name=f"{network}-convnext-{size}", clip=clip, pretrained=tag, network=network
    )
    for network in _NETWORKS
    for size, (clip, tag) in _TOWERS.items()
}


def model_info(config: ModelConfig, *, encoder_key: str, stride: int) -> ModelInfo:
    """Tell what the product must know of a model.

    Args:
        config: its settings.
        encoder_key: hash of its encoders' weights.
        stride: image sides are multiples of this.
    """
    return ModelInfo(
        name=config.name,
        encoder_key=encoder_key,
        image_size=config.image_size,
        stride=stride,
        levels=config.guidance_levels,
        templates=config.templates,
        score_threshold=config.score_threshold,
    )
