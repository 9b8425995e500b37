"""What goes into each ONNX graph of a model on ConvNeXt CLIP towers: DPSeg, SED, ERR-Seg.

As for `dpseg-lite` (`dpseg.export.graphs`): image → features, sentences → text prompts, features
and prompts → scores; and a graph of the prompt encoder, where that has weights of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.encoders.open_clip import STRIDE, OpenClipEncoder
from dpseg.engines.onnx_files import names_of
from dpseg.engines.protocol import ModelInfo
from dpseg.export.graphs import CLASSES, HEIGHT, PARTS, TOKENS, WIDTH, Graph
from dpseg.factory.clip import ClipModel
from dpseg.model.dpseg import ForwardOptions

_PROMPT_ARRAYS = (
    "text_embedding",
    "visual_embedding",
    "text_tokens",
    "text_token_mask",
    "visual_tokens",
    "visual_mask",
)


def clip_image_graph(encoder: OpenClipEncoder, *, prompt_tower: bool = False) -> Graph:
    """Take a picture, H W 3 uint8, to its embeddings and features.

    Args:
        encoder: the towers.
        prompt_tower: take the prompt encoder's own tower.
    """
    height, width = Dim("height", min=1), Dim("width", min=1)
    picture = torch.zeros(STRIDE * HEIGHT, STRIDE * WIDTH, 3, dtype=torch.uint8)
    return Graph(
        module=_Image(encoder, prompt_tower),
        arguments=(picture,),
        free=({0: STRIDE * height, 1: STRIDE * width},),
        inputs=["image"],
        outputs=[
            "image_embedding",
            *names_of("image_features", encoder.levels),
            *(["coarse_embedding"] if encoder.has_coarse else []),
        ],
    )


def clip_text_graph(encoder: OpenClipEncoder) -> Graph:
    """Take token ids, N L, to class-wise and token-wise text prompts."""
    axes = {0: Dim("sentences", min=1), 1: Dim("tokens", min=2, max=encoder.clip.context_length)}
    ids = torch.ones(CLASSES, TOKENS, dtype=torch.int64)
    return Graph(
        module=_Text(encoder),
        arguments=(ids, ids.clone()),
        free=(axes, axes),
        inputs=["ids", "attention"],
        outputs=["class_wise", "token_wise"],
    )


def clip_score_graph(model: ClipModel, info: ModelInfo, options: ForwardOptions) -> Graph:
    """Take a picture's features and K classes' prompts to logits; what is rejected, too.

    Args:
        model: on ConvNeXt towers.
        info: says how many templates the prompts have.
        options: what takes part in scoring.
    """
    encoder = model.encoder
    assert isinstance(encoder, OpenClipEncoder)
    height, width, classes = Dim("height", min=1), Dim("width", min=1), Dim("classes", min=1)
    free_sizes = {"K": classes, "L": Dim("tokens", min=1), "P": Dim("parts", min=1)}
    sizes = {"K": CLASSES, "L": TOKENS, "P": PARTS, "M": len(info.templates)}
    sizes["D"] = encoder.clip.text_projection.shape[1]
    shapes = ("K M D", "K M D", "K L D", "K L", "K P D", "K")

    def maps(channels: int, stride: int) -> tuple[Tensor, dict[int, Any]]:
        finer = STRIDE // stride
        values = torch.randn(channels, finer * HEIGHT, finer * WIDTH)
        return values, {1: finer * height, 2: finer * width}

    def prompt(name: str, shape: str, letters: dict[str, int]) -> tuple[Tensor, dict[int, Any]]:
        axes = shape.split()
        values = torch.randn([letters[axis] for axis in axes])
        free = {place: free_sizes[axis] for place, axis in enumerate(axes) if axis in free_sizes}
        return values > -9 if "mask" in name else values, free

    image = {"image_embedding": maps(sizes["D"], encoder.embedding_stride)}
    if encoder.has_coarse:
        image["coarse_embedding"] = maps(sizes["D"], STRIDE)
    channels = [encoder.level_channels[level] for level in info.levels]
    image |= {
        name: maps(count, 1 << level)
        for name, count, level in zip(
            names_of("image_features", info.levels), channels, info.levels, strict=True
        )
    }
    prompts = {
        name: prompt(name, shape, sizes) for name, shape in zip(_PROMPT_ARRAYS, shapes, strict=True)
    }
    prompts |= {
        name: prompt(name, "K M C", {**sizes, "C": count})
        for name, count in zip(names_of("visual_features", info.levels), channels, strict=True)
    }
    given = image | prompts
    return Graph(
        module=_Score(model.network, info.levels, options, list(given)),
        arguments=(tuple(values for values, _ in given.values()),),
        free=(tuple(free for _, free in given.values()),),
        inputs=list(given),
        outputs=["logits"],
    )


class _Image(nn.Module):
    def __init__(self, encoder: OpenClipEncoder, prompt_tower: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.prompt_tower = prompt_tower

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        images = image.permute(2, 0, 1)[None].float() / 255  # 1 3 H W
        encode = self.encoder.encode_prompt if self.prompt_tower else self.encoder.encode_image
        pyramid = encode(images)
        coarse = () if pyramid.coarse_embedding is None else (pyramid.coarse_embedding[0],)
        levels = [pyramid.image_features[level][0] for level in self.encoder.levels]
        return pyramid.image_embedding[0], *levels, *coarse


class _Text(nn.Module):
    def __init__(self, encoder: OpenClipEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        outputs = F.normalize(self.encoder.token_outputs(ids), dim=-1)  # N L D
        ends = attention.sum(1) - 1
        return outputs[torch.arange(ids.shape[0]), ends], outputs


class _Score(nn.Module):
    def __init__(
        self,
        network: nn.Module,
        levels: Sequence[int],
        options: ForwardOptions,
        names: Sequence[str],
    ) -> None:
        super().__init__()
        self.network = network
        self.levels = levels
        self.options = options
        self.names = names

    def forward(self, arrays: tuple[Tensor, ...]) -> Tensor:
        given = dict(zip(self.names, arrays, strict=True))
        prompts = PromptSet(
            visual_features={j: given[f"visual_features_{j}"] for j in self.levels},
            **{name: given[name] for name in _PROMPT_ARRAYS},
        )
        coarse = given.get("coarse_embedding")
        logits: Tensor = self.network(
            given["image_embedding"][None],
            {j: given[f"image_features_{j}"][None] for j in self.levels},
            prompts,
            self.options,
            **({} if coarse is None else {"coarse_embedding": coarse[None]}),
        )
        return logits[0]
