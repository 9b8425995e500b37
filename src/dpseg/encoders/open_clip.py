"""CLIP encoders on a ConvNeXt of open_clip, read densely.

The image tower's pooling is left out: every position of its last stage goes through head norm and
projection on its own, and lands in the space of the text tower. Its blocks can be run a second time
on the stage before, so that the embedding is read at stride 16. The text tower is frozen. The
prompt encoder is the image tower, until fine-tuning begins: then a frozen copy stays behind.
"""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.encoders.protocol import FeaturePyramid, SentenceEmbedding
from dpseg.errors import CheckpointError, require_extra

STRIDE = 32
LEVELS = (2, 3, 4, 5)
EmbeddingStride: TypeAlias = Literal[32, 16]
BATCH = 128  # sentences a pass
EXTRA = "clip"


class OpenClipEncoder(nn.Module):
    """Text tower, image tower and prompt encoder of one CLIP model.

    Args:
        name: open_clip's name of a ConvNeXt model.
        pretrained: open_clip's tag of its weights, or a file; None initialises at random.
        architecture: parts of open_clip's model configuration to replace.
        embedding_stride: of the image embedding; 16 runs the last stage a second time, on the stage
            before it.
        levels: levels j of the features; with level 5, the embedding at stride 32 comes beside the
            one at 16.
        pixel_statistics: mean and deviation of RGB in [0, 1]; None for open_clip's.

    Raises:
        CheckpointError: there is no such model, or its weights cannot be had.
        MissingExtraError: open_clip is not installed.
    """

    clip: Any  # open_clip's model, untyped
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        name: str,
        *,
        pretrained: str | None,
        architecture: Mapping[str, Any] | None = None,
        embedding_stride: EmbeddingStride = 32,
        levels: Sequence[int] = (4, 3, 2),
        pixel_statistics: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        open_clip = require_extra("open_clip", EXTRA)
        self.embedding_stride = embedding_stride
        self.levels = tuple(levels)
        self.clip = create_clip(name, pretrained, architecture or {}, is_known=_is_convnext)
        if embedding_stride == 16:
            self.clip.visual.fine_downsample = _at_stride_1(self.clip.visual.trunk)
        self.tokenize = open_clip.SimpleTokenizer(context_length=self.clip.context_length)
        usual = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        statistics = pixel_statistics or usual
        for buffer, values in zip(("pixel_mean", "pixel_std"), statistics, strict=True):
            self.register_buffer(buffer, torch.tensor(values)[:, None, None], persistent=False)
        self.prompt_tower: nn.Module | None = None
        for parameter in self.text_parameters():
            parameter.requires_grad_(False)

    @property
    def stride(self) -> int:
        """Image sides are multiples of this."""
        return STRIDE

    @property
    def has_coarse(self) -> bool:
        """Tell whether the embedding at stride 32 comes beside the one at 16."""
        return self.embedding_stride != STRIDE and 5 in self.levels

    @property
    def level_channels(self) -> dict[int, int]:
        """Channels C_j of levels 5, 4, 3, 2."""
        channels = [info["num_chs"] for info in self.clip.visual.trunk.feature_info]
        return dict(zip((5, 4, 3, 2), reversed(channels), strict=True))

    def text_parameters(self) -> list[nn.Parameter]:
        """List what belongs to the text tower, and CLIP's own temperature."""
        return [p for name, p in self.clip.named_parameters() if not name.startswith("visual.")]

    def keep_prompt_tower(self) -> None:
        """Leave a frozen copy of the image tower behind as the prompt encoder."""
        self.prompt_tower = copy.deepcopy(self.clip.visual).requires_grad_(False)

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[str]) -> SentenceEmbedding:
        """Embed sentences and their words.

        Args:
            sentences: N texts; what exceeds CLIP's 77 tokens is cut off.

        Returns:
            Unit vectors of the sentences, N D, and of the tokens between start and end, N L D.
        """
        whole, tokens, masks = [], [], []
        for start in range(0, len(sentences), BATCH):
            ids = self.tokenize(list(sentences[start : start + BATCH]))
            ends = ids.argmax(-1)  # the end token has the largest id
            length = int(ends.max()) + 1
            ids, ends = (one.to(self.pixel_mean.device) for one in (ids[:, :length], ends))
            outputs = self.token_outputs(ids)  # N L D
            positions = torch.arange(ids.shape[1], device=ids.device)
            whole.append(outputs[torch.arange(len(ids), device=ids.device), ends])
            tokens.append(F.normalize(outputs[:, 1:], dim=-1))
            masks.append((positions < ends[:, None])[:, 1:])
        longest = max(mask.shape[1] for mask in masks)
        return SentenceEmbedding(
            class_wise=F.normalize(torch.cat(whole), dim=-1),
            token_wise=torch.cat([F.pad(t, (0, 0, 0, longest - t.shape[1])) for t in tokens]),
            token_mask=torch.cat([F.pad(m, (0, longest - m.shape[1])) for m in masks]),
        )

    def token_outputs(self, ids: Tensor) -> Tensor:
        """Project every token's output into the joint space, N L to N L D.

        Attention is causal, so that cutting the padding off changes nothing before it.
        """
        length = ids.shape[1]
        x = self.clip.token_embedding(ids) + self.clip.positional_embedding[:length]
        x = self.clip.transformer(x, attn_mask=self.clip.attn_mask[:length, :length])
        outputs: Tensor = self.clip.ln_final(x) @ self.clip.text_projection
        return outputs

    def encode_image(self, images: Tensor) -> FeaturePyramid:
        """Embed images.

        Args:
            images: RGB in [0, 1], B 3 H W, sides multiples of 32.

        Returns:
            Image embedding (not normalised) and the features of the levels.

        Source: SED and DPSeg, dense image encoder; ERR-Seg, embedding at stride 16.
        """
        return self._dense(self.clip.visual, images)

    @torch.no_grad()
    def encode_prompt(self, images: Tensor) -> FeaturePyramid:
        """Embed prompt images by the frozen prompt encoder; as `encode_image`."""
        return self._dense(self.prompt_tower or self.clip.visual, images)

    def _dense(self, visual: Any, images: Tensor) -> FeaturePyramid:
        trunk = visual.trunk
        x = trunk.stem((images - self.pixel_mean) / self.pixel_std)
        stages = {}
        for level, stage in zip(LEVELS, trunk.stages, strict=True):
            x = stage(x)
            stages[level] = x
        levels = {level: stages[level] for level in self.levels}
        if self.embedding_stride == STRIDE:
            return FeaturePyramid(_project(visual, stages[5]), levels)
        coarse = _project(visual, stages[5]) if self.has_coarse else None
        x = visual.fine_downsample(stages[4])  # B C_5 h+1 w+1
        x = F.interpolate(x, stages[4].shape[-2:], mode="bilinear", align_corners=False)
        return FeaturePyramid(_project(visual, trunk.stages[-1].blocks(x)), levels, coarse)


def _project(visual: Any, x: Tensor) -> Tensor:
    """Bring every position into the joint space by itself, B C h w to B D h w."""
    positions = visual.trunk.head.norm(visual.trunk.norm_pre(x)).permute(0, 2, 3, 1)  # B h w C
    embedding: Tensor = visual.head(positions)
    return embedding.permute(0, 3, 1, 2)


def _at_stride_1(trunk: Any) -> nn.Module:
    """Copy the last stage's downsampling, made to keep the resolution by a frame of zeros.

    Source: ERR-Seg, dense embedding at stride 16.
    """
    downsample: nn.Module = copy.deepcopy(trunk.stages[-1].downsample)
    convolution = downsample[-1]  # type: ignore[index]
    convolution.stride, convolution.padding = (1, 1), (1, 1)
    return downsample


def published_weights(name: str) -> list[str] | None:
    """List open_clip's tags of a model's weights; None where there is no such ConvNeXt or ViT."""
    open_clip = require_extra("open_clip", EXTRA)
    if not (_is_convnext(open_clip, name) or is_vit(open_clip, name)):
        return None
    tags: list[str] = open_clip.list_pretrained_tags_by_model(name)
    return tags


def vit_preprocessing(
    name: str, weights: str | None
) -> tuple[int, tuple[tuple[float, ...], tuple[float, ...]], bool]:
    """Return what a vision transformer was trained on.

    Args:
        name: open_clip's name of the model.
        weights: open_clip's tag of its weights, or a file.

    Returns:
        The side of its images, mean and deviation of their RGB in [0, 1], and whether the tower
        has OpenAI's layout, not timm's.
    """
    open_clip = require_extra("open_clip", EXTRA)
    vision = open_clip.get_model_config(name)["vision_cfg"]
    known = open_clip.get_pretrained_cfg(name, weights or "") or {}
    mean = known.get("mean") or open_clip.OPENAI_DATASET_MEAN
    std = known.get("std") or open_clip.OPENAI_DATASET_STD
    return int(vision["image_size"]), (tuple(mean), tuple(std)), "timm_model_name" not in vision


def joint_dimension(name: str, architecture: Mapping[str, Any] | None = None) -> int:
    """Return D of a model's joint space without making the model."""
    open_clip = require_extra("open_clip", EXTRA)
    config = {**open_clip.get_model_config(name), **(architecture or {})}
    return int(config["embed_dim"])


def _is_convnext(open_clip: ModuleType, name: str) -> bool:
    config = open_clip.get_model_config(name) or {}
    return "convnext" in config.get("vision_cfg", {}).get("timm_model_name", "")


def is_vit(open_clip: ModuleType, name: str) -> bool:
    """Return whether a model of open_clip has a vision transformer that can be read densely."""
    vision = (open_clip.get_model_config(name) or {}).get("vision_cfg", {})
    plain = isinstance(vision.get("layers"), int) and not vision.get("attentional_pool")
    return str(vision.get("timm_model_name", "")).startswith("vit_") or plain


def create_clip(
    name: str,
    pretrained: str | None,
    architecture: Mapping[str, Any],
    *,
    is_known: Callable[[ModuleType, str], bool],
) -> nn.Module:
    """Make one of open_clip's models.

    Args:
        name: open_clip's name of it.
        pretrained: open_clip's tag of its weights, or a file; None initialises at random.
        architecture: parts of open_clip's model configuration to replace.
        is_known: tells whether the caller can read such a model.

    Raises:
        CheckpointError: there is no such model, or its weights cannot be had.
        MissingExtraError: open_clip is not installed.
    """
    open_clip = require_extra("open_clip", EXTRA)
    if not is_known(open_clip, name):
        known = [model for model in open_clip.list_models() if is_known(open_clip, model)]
        raise CheckpointError(f"{name!r} is not among open_clip's {', '.join(known)}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is not None and pretrained not in tags and not Path(pretrained).is_file():
        raise CheckpointError(
            f"{pretrained!r} is neither a file nor a tag of {name} ({', '.join(tags) or 'none'})"
        )
    model: nn.Module
    if pretrained is None:
        config = {**open_clip.get_model_config(name), **architecture}
        made = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
        model = made(**config)
        return model
    try:
        with _without_log():
            model = open_clip.create_model(name, pretrained=pretrained, **architecture)
    except (OSError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"cannot load {name} weights {pretrained!r}: {reason}; give a local file instead"
        ) from error
    return model


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep open_clip from logging what it then raises: our error says it once."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
