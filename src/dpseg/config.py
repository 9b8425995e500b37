"""Presets and the settings that travel with a model's weights."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

PRESETS = ("dpseg-lite",)


class LiteConfig(BaseModel):
    """Everything that `dpseg-lite` needs beside its tensors.

    Attributes:
        name: preset name.
        embedding_dim: D of the joint space.
        adapter_dim: hidden width of the image tower's adapter.
        text_dim: size of the text tower's embedding.
        templates: the M sentence templates, each with one `{}`.
        widths: channels before the first stage, then after each stage.
        guidance_levels: levels j of the stages, deepest first.
        image_size: long side in pixels of the view that the model likes best.
        score_threshold: calibrated sigmoid score below which a pixel is unlabelled.
        anchors: names that the text map is fitted on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "dpseg-lite"
    embedding_dim: int = 512
    adapter_dim: int = 256
    text_dim: int = 384
    templates: tuple[str, ...] = (
        "{}",
        "a photo of a {}",
        "a picture of the {}",
        "a {} in a scene",
    )
    widths: tuple[int, ...] = (32, 32, 16, 16)
    guidance_levels: tuple[int, ...] = (4, 3, 2)
    image_size: int = 512
    score_threshold: float = 0.3
    anchors: int = 0
