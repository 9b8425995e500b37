"""`dpseg-lite` as one module: image tower, text map, network; and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dpseg.encoders.kernel_projection import KernelProjection
from dpseg.encoders.lite import LEVEL_CHANNELS, STRIDE, LiteImageTower
from dpseg.encoders.minilm import MiniLM
from dpseg.encoders.protocol import FeaturePyramid, SentenceEmbedding
from dpseg.engines.torch_engine import TorchEngine
from dpseg.errors import CheckpointError
from dpseg.factory.checkpoint import read_tensors, write_tensors
from dpseg.factory.config import LiteConfig, model_info
from dpseg.model.decoder import DecoderConfig
from dpseg.model.dpseg import DPSeg, ForwardOptions
from dpseg.model.stage import StageConfig

TOKEN_CHANNELS = 2
_EMBED_KERNEL = 7


class LiteModel(nn.Module):
    """The tensors of `dpseg-lite`, without the frozen text tower.

    Args:
        config: its sizes.
    """

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = LiteImageTower(
            embedding_dim=config.embedding_dim,
            adapter_dim=config.adapter_dim,
            context_blocks=config.context_blocks,
        )
        self.text_map = KernelProjection(
            centres=config.anchors, text_dim=config.text_dim, embedding_dim=config.embedding_dim
        )
        self.network = DPSeg(decoder=lite_decoder(config))
        self.to(memory_format=torch.channels_last)  # convolutions on CPUs are faster so

    def encoder_key(self) -> str:
        """Hash what prompts depend on: the image tower and the text map."""
        digest = hashlib.sha256()
        for part in (self.tower, self.text_map):
            for name, tensor in sorted(part.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.to(torch.float16).cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


class LiteEncoder:
    """The encoders of `dpseg-lite`: its tower, and the frozen text tower behind its text map.

    Args:
        model: the model.
        text_tower: embeds sentences.
    """

    stride = STRIDE

    def __init__(self, model: LiteModel, text_tower: MiniLM) -> None:
        self._model = model
        self._text_tower = text_tower

    def encode_text(self, sentences: Sequence[str]) -> SentenceEmbedding:
        """Embed N sentences."""
        whole, tokens, mask = self._text_tower.encode(sentences)  # small enough for a processor
        text_map = self._model.text_map
        device = text_map.centres.device
        return SentenceEmbedding(text_map(whole.to(device)), text_map(tokens.to(device)), mask)

    def encode_image(self, images: Tensor) -> FeaturePyramid:
        """Embed RGB images in [0, 1], B 3 H W."""
        pyramid: FeaturePyramid = self._model.tower(images)
        return pyramid

    def encode_prompt(self, images: Tensor) -> FeaturePyramid:
        """Embed prompt images: the prompt encoder is the image tower."""
        return self.encode_image(images)


def lite_engine(
    model: LiteModel, *, text_tower: MiniLM | None = None, options: ForwardOptions | None = None
) -> TorchEngine:
    """Run a model on torch.

    Args:
        model: the model; it is frozen.
        text_tower: embeds sentences; None loads it.
        options: what takes part in scoring.
    """
    encoder = LiteEncoder(model, text_tower or MiniLM())
    info = model_info(model.config, encoder_key=model.encoder_key(), stride=encoder.stride)
    return TorchEngine(model, encoder=encoder, network=model.network, info=info, options=options)


def lite_decoder(config: LiteConfig) -> DecoderConfig:
    """Lay out the decoder of `dpseg-lite`: stride 16 to 4 in three stages."""
    templates = len(config.templates)
    stages = tuple(
        StageConfig(
            level=level,
            upsample=1 if position == 0 else 2,
            channels_in=config.widths[position],
            channels_out=config.widths[position + 1],
            image_channels=LEVEL_CHANNELS[level],
            guidance_channels=templates,
        )
        for position, level in enumerate(config.guidance_levels)
    )
    return DecoderConfig(
        cost_channels=templates + TOKEN_CHANNELS,
        embed_channels=config.widths[0],
        embed_kernel=_EMBED_KERNEL,
        stages=stages,
    )


def save_lite(model: LiteModel, path: Path) -> None:
    """Write a model as half-precision safetensors with its settings in the header, atomically.

    Args:
        model: what to write.
        path: the file to make or replace.
    """
    state = {
        key: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for key, tensor in model.state_dict().items()
    }
    metadata = {"config": model.config.model_dump_json(), "encoder_key": model.encoder_key()}
    write_tensors(path, state, metadata)


def load_lite(path: Path) -> LiteModel:
    """Read a model that `save_lite` wrote.

    Args:
        path: the file.

    Returns:
        The model in single precision, in evaluation mode.

    Raises:
        CheckpointError: the file is missing, damaged, or not a `dpseg-lite` model.
    """
    state, metadata = read_tensors(path, kind="dpseg-lite model")
    try:
        model = LiteModel(LiteConfig.model_validate(json.loads(metadata["config"])))
        model.load_state_dict({key: _single(tensor) for key, tensor in state.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} is no dpseg-lite model: {reason}") from error
    return model.eval()


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
