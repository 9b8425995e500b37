"""A model on CLIP towers as one module: encoders and network; and how it is made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from dpseg.encoders.open_clip import OpenClipEncoder, joint_dimension, published_weights
from dpseg.engines.torch_engine import TorchEngine
from dpseg.errors import CheckpointError
from dpseg.factory.checkpoint import read_tensors, write_tensors
from dpseg.factory.config import PRESETS, ClipConfig, model_info
from dpseg.factory.lite import TOKEN_CHANNELS
from dpseg.model.decoder import DecoderConfig
from dpseg.model.dpseg import DPSeg, ForwardOptions
from dpseg.model.err_seg import ErrSeg
from dpseg.model.err_seg_decoder import ErrSegSizes
from dpseg.model.sed import SED
from dpseg.model.stage import StageConfig
from dpseg.prompts.templates import imagenet_templates

_EMBED_KERNEL, _HEAD_KERNEL = 7, 3
#: What the decoder makes of so many classes stays in a processor's cache, and its memory small.
CLASS_CHUNK = 16


class ClipModel(nn.Module):
    """Encoders and network of a CLIP preset.

    Args:
        config: its towers and sizes.

    Raises:
        CheckpointError: the towers or their weights cannot be had.
        MissingExtraError: open_clip is not installed.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        templates = config.templates or imagenet_templates()
        self.config = config.model_copy(update={"templates": templates})
        self.encoder = OpenClipEncoder(
            config.clip,
            pretrained=config.pretrained,
            architecture=config.architecture,
            embedding_stride=config.embedding_stride,
            levels=config.guidance_levels,
            pixel_statistics=config.pixel_statistics,
        )
        if config.own_prompt_tower:
            self.encoder.keep_prompt_tower()
        self.network = _make_network(self.config, self.encoder)
        self.to(memory_format=torch.channels_last)  # convolutions on CPUs are faster so

    def encoder_key(self) -> str:
        """Hash what prompts depend on: the towers."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.to(torch.float16).cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def switches(self) -> ForwardOptions:
        """Tell what can take part: an untrained decoder would enlarge F_c and change nothing."""
        trained = isinstance(self.network, ErrSeg) or not self.network.decoder.silent
        return ForwardOptions(decoder=trained, class_chunk=CLASS_CHUNK)

    def keep_prompt_tower(self) -> None:
        """Freeze a copy of the image tower as the prompt encoder; call it before fine-tuning."""
        if not self.config.own_prompt_tower:
            self.encoder.keep_prompt_tower()
            self.config = self.config.model_copy(update={"own_prompt_tower": True})


def clip_engine(model: ClipModel, *, switches: ForwardOptions | None = None) -> TorchEngine:
    """Run a model on torch.

    Args:
        model: the model; it is frozen.
        switches: what takes part in scoring; None for all that is trained.
    """
    encoder = model.encoder
    info = model_info(model.config, encoder_key=model.encoder_key(), stride=encoder.stride)
    return TorchEngine(
        model,
        encoder=encoder,
        network=model.network,
        info=info,
        switches=switches or model.switches(),
    )


def _make_network(config: ClipConfig, encoder: OpenClipEncoder) -> DPSeg | SED | ErrSeg:
    """Make what stands behind the encoders."""
    channels = encoder.level_channels
    if config.network == "err-seg":
        return ErrSeg(
            sizes=ErrSegSizes(
                text_channels=joint_dimension(config.clip, config.architecture),
                image_channels=channels,
                widths=config.widths,
                projections=config.projections,
                heads=config.heads,
                layers=config.layers,
            )
        )
    sizes = clip_decoder(config, channels)
    if config.network == "sed":
        return SED(decoder=sizes)
    return DPSeg(decoder=sizes, mixed_templates=len(config.templates))


def clip_decoder(config: ClipConfig, level_channels: dict[int, int]) -> DecoderConfig:
    """Lay out a decoder from stride 32 to 4 in three stages."""
    templates = len(config.templates)
    stages = tuple(
        StageConfig(
            level=level,
            upsample=2,
            channels_in=inside,
            channels_out=outside,
            image_channels=level_channels[level],
            guidance_channels=projection,
            heads=config.heads,
            image_projection=projection,
            enlarged_channels=inside - projection,
        )
        for level, inside, outside, projection in zip(
            config.guidance_levels,
            config.widths[:-1],
            config.widths[1:],
            config.projections,
            strict=True,
        )
    )
    is_dpseg = config.network == "dpseg"
    return DecoderConfig(
        cost_channels=templates + (TOKEN_CHANNELS if is_dpseg else 0),
        embed_channels=config.widths[0],
        embed_kernel=_EMBED_KERNEL,
        stages=stages,
        head_kernel=_HEAD_KERNEL,
        residual=is_dpseg,
    )


def named_clip_config(name: str) -> ClipConfig:
    """Find the settings that a name stands for.

    Args:
        name: a preset or an open_clip ConvNeXt; `NAME:WEIGHTS` chooses other weights, by
            open_clip's tag or as a file.

    Returns:
        The settings. An open_clip name gives a DPSeg with an untrained decoder.

    Raises:
        CheckpointError: there is no such name, its weights are to be chosen, or they cannot be
            had by name.
        MissingExtraError: open_clip is not installed.
    """
    model, _, weights = name.partition(":")
    preset = PRESETS.get(model)
    if isinstance(preset, ClipConfig):
        if preset.network != "dpseg":
            raise CheckpointError(
                f"{model}'s decoder is in its authors' checkpoints only; get one, then: "
                f"dpseg import FILE --out FOLDER"
            )
        return preset.model_copy(update={"pretrained": weights}) if weights else preset
    tags = published_weights(model)
    if tags is None:
        raise CheckpointError(
            f"{model!r} is neither a preset ({', '.join(PRESETS)}) nor a ConvNeXt of open_clip"
        )
    if not weights and len(tags) != 1:
        known = ", ".join(tags) or "none published: give a file"
        raise CheckpointError(f"say which weights, as in {model}:WEIGHTS ({known})")
    return ClipConfig(name=name, clip=model, pretrained=weights or tags[0])


def save_clip(model: ClipModel, path: Path) -> None:
    """Write a model as safetensors with its settings in the header, atomically.

    Args:
        model: what to write; the precision of its tensors is kept.
        path: the file to make or replace.
    """
    state = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    config = model.config.without_weights()  # its weights are in the file
    write_tensors(path, state, {"config": config.model_dump_json()})


def load_clip(path: Path) -> ClipModel:
    """Read a model that `save_clip` wrote.

    Args:
        path: the file.

    Returns:
        The model in evaluation mode.

    Raises:
        CheckpointError: the file is missing, damaged, or not a model on CLIP towers.
        MissingExtraError: open_clip is not installed.
    """
    state, metadata = read_tensors(path, kind="model on CLIP towers")
    try:
        model = ClipModel(ClipConfig.model_validate(json.loads(metadata["config"])))
        model.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} is no model on CLIP towers: {reason}") from error
    return model.eval()
