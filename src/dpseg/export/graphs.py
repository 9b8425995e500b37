"""What goes into each ONNX graph of `dpseg-lite`: plain tensors in, plain tensors out.

Three graphs make a model: image → features, sentences → text prompts, features and prompts →
scores. Photos and prompt images share the first. Names of inputs and outputs are those of
`dpseg.engines.protocol`, with a level's number behind an underscore.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim

from dpseg.arrays import PromptSet
from dpseg.encoders.kernel_projection import KernelProjection
from dpseg.encoders.lite import LEVEL_CHANNELS, STRIDE, LiteImageTower
from dpseg.encoders.minilm import MiniLMNetwork, unit_embeddings
from dpseg.engines.onnx_files import names_of
from dpseg.factory.lite import LiteModel
from dpseg.model.dpseg import DPSeg, ForwardOptions

#: Sizes of the inputs that a graph is traced with; all of them stay free in the graph.
CLASSES, HEIGHT, WIDTH, TOKENS, PARTS = 12, 6, 8, 5, 3


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A module to export, and how.

    Attributes:
        module: takes and gives tensors only.
        arguments: what it is traced with; tuples of tensors where the module takes tuples.
        free: in the same order and nesting, which axes of each are free at run time.
        inputs: names of the arguments, flat.
        outputs: names.
    """

    module: nn.Module
    arguments: tuple[Any, ...]
    free: tuple[Any, ...]
    inputs: Sequence[str]
    outputs: Sequence[str]


def image_graph(model: LiteModel) -> Graph:
    """Take an image, H W 3 uint8, to its image embedding and features."""
    height, width = Dim("height", min=1), Dim("width", min=1)
    levels = model.config.guidance_levels
    picture = torch.zeros(STRIDE * HEIGHT, STRIDE * WIDTH, 3, dtype=torch.uint8)
    return Graph(
        module=_Image(with_fixed_padding(model.tower), levels),
        arguments=(picture,),
        free=({0: STRIDE * height, 1: STRIDE * width},),
        inputs=["image"],
        outputs=["image_embedding", *names_of("image_features", levels)],
    )


def text_graph(text_map: KernelProjection, network: MiniLMNetwork) -> Graph:
    """Take token ids, N L, to class-wise and token-wise text prompts."""
    axes = {0: Dim("sentences", min=1), 1: Dim("tokens", min=1)}
    ids = torch.ones(CLASSES, TOKENS, dtype=torch.int64)
    return Graph(
        module=_Text(network, text_map),
        arguments=(ids, ids.clone()),
        free=(axes, axes),
        inputs=["ids", "attention"],
        outputs=["class_wise", "token_wise"],
    )


def score_graph(model: LiteModel, options: ForwardOptions) -> Graph:
    """Take an image's features and K classes' prompts to logits; early rejection included."""
    height, width, classes = Dim("height", min=1), Dim("width", min=1), Dim("classes", min=1)
    tokens, parts = Dim("tokens", min=1), Dim("parts", min=1)
    levels = model.config.guidance_levels
    dimension, templates = model.config.embedding_dim, len(model.config.templates)
    finer = [STRIDE // 2**level for level in levels]  # than the image embedding
    channels = [LEVEL_CHANNELS[level] for level in levels]
    arguments = (
        torch.randn(dimension, HEIGHT, WIDTH),
        tuple(torch.randn(c, f * HEIGHT, f * WIDTH) for c, f in zip(channels, finer, strict=True)),
        torch.randn(CLASSES, templates, dimension),
        torch.randn(CLASSES, templates, dimension),
        tuple(torch.randn(CLASSES, templates, c) for c in channels),
        torch.randn(CLASSES, TOKENS, dimension),
        torch.ones(CLASSES, TOKENS, dtype=torch.bool),
        torch.randn(CLASSES, PARTS, dimension),
        torch.ones(CLASSES, dtype=torch.bool),
    )
    free = (
        {1: height, 2: width},
        tuple({1: f * height, 2: f * width} for f in finer),
        {0: classes},
        {0: classes},
        tuple({0: classes} for _ in levels),
        {0: classes, 1: tokens},
        {0: classes, 1: tokens},
        {0: classes, 1: parts},
        {0: classes},
    )
    inputs = [
        "image_embedding",
        *names_of("image_features", levels),
        "text_embedding",
        "visual_embedding",
        *names_of("visual_features", levels),
        "text_tokens",
        "text_token_mask",
        "visual_tokens",
        "visual_mask",
    ]
    return Graph(
        module=_Score(model.network, levels, options),
        arguments=arguments,
        free=free,
        inputs=inputs,
        outputs=["logits"],
    )


class _Image(nn.Module):
    def __init__(self, tower: LiteImageTower, levels: Sequence[int]) -> None:
        super().__init__()
        self.tower = tower
        self.levels = levels

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pyramid = self.tower(image.permute(2, 0, 1)[None].float() / 255)  # 1 3 H W
        features = [pyramid.image_features[level][0] for level in self.levels]
        return pyramid.image_embedding[0], *features


class _Text(nn.Module):
    def __init__(self, network: MiniLMNetwork, text_map: KernelProjection) -> None:
        super().__init__()
        self.network = network
        self.text_map = text_map

    def forward(self, ids: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        whole, tokens = unit_embeddings(self.network(ids, attention), attention)
        return self.text_map(whole), self.text_map(tokens)


class _Score(nn.Module):
    def __init__(self, network: DPSeg, levels: Sequence[int], options: ForwardOptions) -> None:
        super().__init__()
        self.network = network
        self.levels = levels
        self.options = options

    def forward(
        self,
        image_embedding: Tensor,
        image_features: tuple[Tensor, ...],
        text_embedding: Tensor,
        visual_embedding: Tensor,
        visual_features: tuple[Tensor, ...],
        text_tokens: Tensor,
        text_token_mask: Tensor,
        visual_tokens: Tensor,
        visual_mask: Tensor,
    ) -> Tensor:
        prompts = PromptSet(
            text_embedding=text_embedding,
            visual_embedding=visual_embedding,
            visual_features=dict(zip(self.levels, visual_features, strict=True)),
            text_tokens=text_tokens,
            text_token_mask=text_token_mask,
            visual_tokens=visual_tokens,
            visual_mask=visual_mask,
        )
        features = {j: f[None] for j, f in zip(self.levels, image_features, strict=True)}
        logits: Tensor = self.network(image_embedding[None], features, prompts, self.options)
        return logits[0]


def with_fixed_padding(tower: LiteImageTower) -> LiteImageTower:
    """Copy a tower with padding that does not depend on the image's size.

    TensorFlow's "same" padding is computed from each input's size. Sides are multiples of the
    tower's stride, so it is the same for all, and the graph is plainer and quicker with numbers.
    """
    copied = copy.deepcopy(tower).to(memory_format=torch.contiguous_format)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(module, name, _padded(child))
    return copied


def _padded(convolution: nn.Conv2d) -> nn.Sequential:
    sides: list[int] = []
    for axis in (1, 0):  # width before height
        reach = (convolution.kernel_size[axis] - 1) * convolution.dilation[axis]
        total = max(reach + 1 - convolution.stride[axis], 0)
        sides += [total // 2, total - total // 2]
    plain = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (convolution.kernel_size[0], convolution.kernel_size[1]),
        stride=(convolution.stride[0], convolution.stride[1]),
        dilation=(convolution.dilation[0], convolution.dilation[1]),
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    plain.load_state_dict(convolution.state_dict())
    left, right, top, bottom = sides
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), plain)
