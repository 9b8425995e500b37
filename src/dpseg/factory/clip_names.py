"""What a CLIP model's name stands for."""

from __future__ import annotations

from typing import Any

from dpseg.encoders.open_clip import published_weights, vit_preprocessing
from dpseg.errors import CheckpointError
from dpseg.factory.config import PRESETS, PUBLISHED, ClipConfig

_SMALL = 256  # a tower of at most this many pixels reads a photo in windows


def named_clip_config(name: str) -> ClipConfig:
    """Find the settings that a name stands for.

    Args:
        name: a preset, or a ConvNeXt or vision transformer of open_clip; `NAME:WEIGHTS` chooses
            other weights, by open_clip's tag or as a file, and `NAME@16` reads a ConvNeXt at
            stride 16.

    Returns:
        The settings. A ConvNeXt's name gives a DPSeg with an untrained decoder; a vision
        transformer's, bare cosines.

    Raises:
        CheckpointError: there is no such name, its weights are to be chosen, or they cannot be
            had by name.
        MissingExtraError: open_clip is not installed.
    """
    model, _, weights = name.partition(":")
    preset = PRESETS.get(model)
    if isinstance(preset, ClipConfig):
        if preset.network in PUBLISHED:
            raise CheckpointError(
                f"{model}'s decoder is in its authors' checkpoints only; get one, then: "
                f"dpseg import FILE --out FOLDER"
            )
        return preset.model_copy(update={"pretrained": weights}) if weights else preset
    model, at, stride = model.partition("@")
    tags = published_weights(model)
    if tags is None:
        raise CheckpointError(
            f"{model!r} is neither a preset ({', '.join(PRESETS)}) nor a ConvNeXt or vision "
            "transformer of open_clip"
        )
    if not weights and len(tags) != 1:
        known = ", ".join(tags) or "none published: give a file"
        raise CheckpointError(f"say which weights, as in {model}:WEIGHTS ({known})")
    config = ClipConfig(name=name, clip=model, pretrained=weights or tags[0])
    if config.towers != "convnext":
        return config.model_copy(update=vit_settings(model, config.pretrained))
    if at and stride not in ("16", "32"):
        raise CheckpointError(f"{name!r} asks for stride {stride!r}; 16 and 32 are possible")
    return config.model_copy(update={"embedding_stride": int(stride or 32)})


def vit_settings(model: str, weights: str | None) -> dict[str, Any]:
    """Choose how a vision transformer of open_clip is read.

    A tower for small images reads a photo of twice its size in windows that overlap by half, one
    for large images reads it whole. OpenAI's layout is read by NACLIP's attention, timm's by the
    value path.
    """
    size, statistics, is_plain = vit_preprocessing(model, weights)
    small = size <= _SMALL
    return {
        "network": "cosine",
        "guidance_levels": (),
        "pixel_statistics": statistics,
        "reading": "naclip" if is_plain else "value",
        "image_size": 2 * size if small else size,
        "window": (size, size // 2) if small else None,
    }
