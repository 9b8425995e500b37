"""A model on CLIP towers as one module: encoders and network; and how it is made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dpseg.engines.torch_engine import TorchEngine
from dpseg.errors import CheckpointError
from dpseg.factory.checkpoint import read_tensors, write_tensors
from dpseg.factory.clip_parts import make_encoder, make_network
from dpseg.factory.config import PUBLISHED, ClipConfig, model_info
from dpseg.model.dpseg import DPSeg, ForwardOptions
from dpseg.prompts.templates import PLAIN_TEMPLATE, imagenet_templates

#: What the decoder makes of so many classes stays in a processor's cache, and its memory small.
CLASS_CHUNK = 16


#: Settings that say how the image tower is read.
_READINGS = ("embedding_stride", "pixel_statistics", "reading", "window")


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
        self.encoder = make_encoder(self.config)
        if config.own_prompt_tower:
            self.encoder.keep_prompt_tower()
        self.network = make_network(self.config, self.encoder)
        self.to(memory_format=torch.channels_last)  # convolutions on CPUs are faster so

    def encoder_key(self) -> str:
        """Hash what prompts depend on: the towers, and how they are read."""
        config, usual = self.config, ClipConfig.model_fields
        read = {name: getattr(config, name) for name in _READINGS}
        digest = hashlib.sha256()
        for name, value in read.items():
            if value != usual[name].default:
                digest.update(f"{name}={value}".encode())
        for name, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.to(torch.float16).cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def forward_options(self) -> ForwardOptions:
        """Return what can take part: an untrained decoder would enlarge F_c and change nothing."""
        trained = self.config.network in PUBLISHED or (
            isinstance(self.network, DPSeg) and not self.network.decoder.untrained
        )
        return ForwardOptions(decoder=trained, class_chunk=CLASS_CHUNK)

    def keep_prompt_tower(self) -> None:
        """Freeze a copy of the image tower as the prompt encoder; call it before fine-tuning."""
        if not self.config.own_prompt_tower:
            self.encoder.keep_prompt_tower()
            self.config = self.config.model_copy(update={"own_prompt_tower": True})


def clip_engine(
    model: ClipModel, *, options: ForwardOptions | None = None, brief: bool = False
) -> TorchEngine:
    """Run a model on torch.

    Args:
        model: the model; it is frozen.
        options: what takes part in scoring; None for all that is trained.
        brief: put each name into one template, not M, where no decoder was trained on M.
    """
    encoder, options = model.encoder, options or model.forward_options()
    info = model_info(model.config, encoder_key=model.encoder_key(), stride=encoder.stride)
    token_wise = isinstance(model.network, DPSeg) and options.decoder
    info = replace(info, near=None, photo_bias=False, token_wise=token_wise or not brief)
    if brief and isinstance(model.network, DPSeg) and not options.decoder:
        info = replace(info, templates=(PLAIN_TEMPLATE,))
    return TorchEngine(
        model,
        encoder=encoder,
        network=model.network,
        info=info,
        options=options,
    )


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
        model.load_state_dict({_present_name(key): tensor for key, tensor in state.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} is no model on CLIP towers: {reason}") from error
    return model.eval()


def _present_name(key: str) -> str:
    """Bring a tensor's name in a file of an earlier release to what the module is called now."""
    return key.replace("network.mixes.", "network.template_projection.")
