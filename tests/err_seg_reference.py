"""ERR-Seg in torch primitives, on the names of its own checkpoints; nothing of dpseg is used.

Every class and every concatenation is computed as written, with nothing split or shared. Also makes
tiny checkpoints in ERR-Seg's layout, for a tiny ConvNeXt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from sed_reference import ARCHITECTURE

CLIP, DECODER = "sem_seg_head.clip_model.", "sem_seg_head.decoder."
REJECTED = -100.0
HEADS, LAYERS, WIDTHS, PROJECTIONS, D = 4, 2, (16, 16, 8, 8), (4, 4, 4), 16
CHANNELS = {5: 64, 4: 48, 3: 32, 2: 24}  # of timm's test_convnext


#: Cosines are small; so that classes differ, what reads them is not.
_FACTORS = {
    "corr_proj_convs.0.0.weight": 40.0,
    "corr_proj_convs.1.0.weight": 40.0,
    "text_guidance_projection.0.weight": 10.0,
    "head.weight": 3.0,
}


@dataclass(frozen=True)
class Sizes:
    """Of a checkpoint; by default the tiny one's."""

    architecture: Mapping[str, Any] = field(default_factory=lambda: ARCHITECTURE)
    layers: int = LAYERS
    widths: tuple[int, ...] = WIDTHS
    projections: tuple[int, ...] = PROJECTIONS
    channels: Mapping[int, int] = field(default_factory=lambda: CHANNELS)


def tiny_checkpoint(seed: int = 0) -> dict[str, Tensor]:
    """A checkpoint's `model`, random, with every key that ERR-Seg's have."""
    return checkpoint(Sizes(), seed)


def checkpoint(sizes: Sizes, seed: int = 0) -> dict[str, Tensor]:
    """A checkpoint of any size."""
    torch.manual_seed(seed)
    clip = open_clip.CLIP(**sizes.architecture).state_dict()
    down = "visual.trunk.stages.3.downsample."
    for ours, theirs in ((0, 0), (1, 2)):
        for kind in ("weight", "bias"):
            value = clip[f"{down}{ours}.{kind}"]
            clip[f"visual.modify_downsample.{theirs}.{kind}"] = value + torch.randn_like(value) / 9
    decoder = {
        key: torch.randn(shape) / max(1, shape[0]) ** 0.5
        for key, shape in decoder_shapes(sizes).items()
    }
    for key, factor in _FACTORS.items():
        decoder[key] = factor * decoder[key]
    return {CLIP + key: value for key, value in clip.items()} | {
        DECODER + key: value for key, value in decoder.items()
    }


def decoder_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of ERR-Seg's decoder."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int, bias: int | None = None) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (shape[0] if bias is None else bias,)

    width, channels = sizes.widths[0], sizes.channels
    for i, level in enumerate((5, 4)):
        layer(f"corr_proj_convs.{i}.0", 2 * width, 1, 7, 7)
        layer(f"img_guidance_projection_agg.{i}.0", 2 * width, channels[level], 3, 3)
    layer("low_corr_fusion", width, 2 * width, 1, 1)
    layer("low_img_fusion", width, 2 * width, 1, 1)
    layer("text_guidance_projection.0", width, sizes.architecture["embed_dim"])
    for i in range(sizes.layers):
        for block in ("spatial_fusion", "class_fusion"):
            name = f"aggregator_layers.{i}.{block}.sa"
            layer(f"{name}.norm1", width)
            layer(f"{name}.norm2", width)
            for part, inside in (("q", 2), ("k", 2), ("v", 1), ("proj", 1)):
                layer(f"{name}.attention.{part}", width, inside * width)
            for part in ("fc1", "fc2"):
                layer(f"{name}.mlp.{part}", 3 * width, width)
            layer(f"{name}.mlp.fc3", width, 3 * width)
        name = f"aggregator_layers.{i}.spatial_fusion.sa"
        for part, inside in (("k", 2), ("v", 1)):
            layer(f"{name}.attention.sr_{part}", inside * width, inside * width, 2, 2)
            layer(f"{name}.attention.norm_{part}", inside * width)
        layer(f"{name}.mlp.dwconv.dwconv", width, 1, 7, 7)
    for i, level in enumerate((4, 3, 2)):
        inside, outside, small = sizes.widths[i], sizes.widths[i + 1], sizes.projections[i]
        layer(f"img_guidance_projection_dec.{i}.0", small, channels[level], 3, 3)
        name = f"up_decoder{i + 1}"
        if i == 0:
            layer(f"{name}.up_conv", outside, inside, 1, 1)
        else:
            layer(f"{name}.up_conv", inside, outside, 2, 2, bias=outside)
        shapes[f"{name}.textual_fusion.0.weight"] = (outside, outside + small, 3, 3)
        shapes[f"{name}.textual_fusion.3.weight"] = (outside, outside, 3, 3)
        layer(f"{name}.textual_fusion.1", outside)
        layer(f"{name}.textual_fusion.4", outside)
    layer("head", 1, sizes.widths[-1], 1, 1)
    return shapes


def read_out(clip: torch.nn.Module, state: Mapping[str, Tensor], pixels: Tensor) -> tuple[
    Tensor, Tensor, dict[int, Tensor]
]:  # fmt: skip
    """Embeddings at strides 16 and 32 and the trunk's stages, by timm's own forward.

    Args:
        clip: open_clip's model with the checkpoint's towers.
        state: the checkpoint's `model`.
        pixels: normalised, B 3 H W.
    """
    visual = clip.visual
    stages = visual.trunk.forward_intermediates(pixels, intermediates_only=True)
    levels = dict(zip((2, 3, 4, 5), stages, strict=True))
    prefix = f"{CLIP}visual.modify_downsample."
    scale, shift, weight, bias = (
        state[f"{prefix}{part}"] for part in ("0.weight", "0.bias", "2.weight", "2.bias")
    )
    eps = visual.trunk.stages[3].downsample[0].eps
    y = F.layer_norm(levels[4].movedim(1, -1), scale.shape, scale, shift, eps).movedim(-1, 1)
    y = F.conv2d(F.pad(y, (1, 1, 1, 1)), weight, bias)
    y = F.interpolate(y, levels[4].shape[-2:], mode="bilinear", align_corners=False)
    fine = visual.trunk.stages[3].blocks(y)

    def project(x: Tensor) -> Tensor:
        head = visual.trunk.head.norm
        x = F.layer_norm(x.movedim(1, -1), head.weight.shape, head.weight, head.bias, head.eps)
        return visual.head(x).movedim(-1, 1)

    return project(fine), project(levels[5]), levels


class Reference:
    """The decoder of a checkpoint.

    Args:
        state: the checkpoint's `model`.
        layers: of the aggregator.
    """

    def __init__(self, state: Mapping[str, Tensor], layers: int = LAYERS) -> None:
        self.layers = layers
        self.state = {
            key.removeprefix(DECODER): value
            for key, value in state.items()
            if key.startswith(DECODER)
        }

    def layer(self, name: str) -> tuple[Tensor, Tensor | None]:
        return self.state[f"{name}.weight"], self.state.get(f"{name}.bias")

    def __call__(
        self,
        fine: Tensor,
        coarse: Tensor,
        levels: Mapping[int, Tensor],
        text: Tensor,
        chosen: int,
    ) -> tuple[Tensor, list[int]]:
        """Logits K H W and the chosen classes, of one image; text is K D."""
        words = text / text.norm(dim=-1, keepdim=True)
        costs = [
            torch.einsum("dhw,kd->khw", e[0] / e[0].norm(dim=0), words) for e in (fine, coarse)
        ]
        classes = self.select(costs[0], chosen)
        logits = self.decode(*(c[classes] for c in costs), levels, words[classes])
        out = logits.new_full((len(text), *logits.shape[1:]), -100.0)
        out[classes] = logits
        return out, classes

    @staticmethod
    def select(cost: Tensor, chosen: int) -> list[int]:
        """Vote place by place, in plain Python."""
        votes = [0.0] * len(cost)
        for place in cost.flatten(1).T:
            ranked = sorted(range(len(cost)), key=lambda k: -place[k].item())
            for k, vote in zip(ranked, (1, 0.1, 0.01), strict=False):
                votes[k] += vote
        return sorted(sorted(range(len(cost)), key=lambda k: -votes[k])[:chosen])

    def decode(
        self, fine: Tensor, coarse: Tensor, levels: Mapping[int, Tensor], words: Tensor
    ) -> Tensor:
        """From cosine maps, S h w and S h/2 w/2, to logits, S H W."""
        levels = {j: one.clamp(-16, 16) for j, one in levels.items()}
        size = fine.shape[-2:]

        def up(x: Tensor) -> Tensor:
            return F.interpolate(x, size, mode="bilinear", align_corners=False)

        a = F.conv2d(fine[:, None], *self.layer("corr_proj_convs.0.0"), padding=3)
        b = F.conv2d(coarse[:, None], *self.layer("corr_proj_convs.1.0"), padding=3)
        x = F.conv2d((a + up(b)) / 2, *self.layer("low_corr_fusion"))
        low = F.conv2d(levels[5], *self.layer("img_guidance_projection_agg.0.0"), padding=1)
        high = F.conv2d(levels[4], *self.layer("img_guidance_projection_agg.1.0"), padding=1)
        g = F.conv2d((F.relu6(high) + up(F.relu6(low))) / 2, *self.layer("low_img_fusion"))
        t = F.gelu(F.linear(words, *self.layer("text_guidance_projection.0")))
        for i in range(self.layers):
            x = self.spatial(x, g.expand(len(x), -1, -1, -1), f"aggregator_layers.{i}")
            x = self.classes(x, t, f"aggregator_layers.{i}")
        for i, level in enumerate((4, 3, 2)):
            guide = self.layer(f"img_guidance_projection_dec.{i}.0")
            features = F.relu6(F.conv2d(levels[level], *guide, padding=1))
            name = f"up_decoder{i + 1}"
            weight, bias = self.layer(f"{name}.up_conv")
            x = F.conv_transpose2d(x, weight, bias, stride=2) if i else F.conv2d(x, weight, bias)
            x = torch.cat([x, features.expand(len(x), -1, -1, -1)], dim=1)
            for convolution, norm in ((0, 1), (3, 4)):
                x = F.conv2d(x, self.layer(f"{name}.textual_fusion.{convolution}")[0], padding=1)
                norms = self.layer(f"{name}.textual_fusion.{norm}")
                x = F.group_norm(x, x.shape[1] // 8, *norms).relu()
        return F.conv2d(x, *self.layer("head"))[:, 0]

    def spatial(self, x: Tensor, g: Tensor, layer: str) -> Tensor:
        name = f"{layer}.spatial_fusion.sa"
        size = x.shape[-2:]
        u = self.norm(x.permute(0, 2, 3, 1), f"{name}.norm1")  # S h w C
        c = torch.cat([u, g.permute(0, 2, 3, 1)], dim=-1)

        def reduced(tokens: Tensor, part: str) -> Tensor:
            sr = self.layer(f"{name}.attention.sr_{part}")
            maps = F.conv2d(tokens.permute(0, 3, 1, 2), *sr, stride=2)
            return self.norm(maps.permute(0, 2, 3, 1), f"{name}.attention.norm_{part}").flatten(
                1, 2
            )

        y = self.attention(c.flatten(1, 2), reduced(c, "k"), reduced(u, "v"), name)
        x = x + y.unflatten(1, size).permute(0, 3, 1, 2)
        m = self.mlp(self.norm(x.permute(0, 2, 3, 1), f"{name}.norm2"), name)
        depthwise = self.layer(f"{name}.mlp.dwconv.dwconv")
        return x + F.conv2d(m.permute(0, 3, 1, 2), *depthwise, padding=3, groups=x.shape[1])

    def classes(self, x: Tensor, t: Tensor, layer: str) -> Tensor:
        name = f"{layer}.class_fusion.sa"
        maps = F.avg_pool2d(x, 2)
        p = maps.permute(2, 3, 0, 1).flatten(0, 1)  # places S C
        u = self.norm(p, f"{name}.norm1")
        c = torch.cat([u, t.expand(len(p), -1, -1)], dim=-1)
        p = p + self.attention(c, c, u, name)
        p = p + F.relu6(self.mlp(self.norm(p, f"{name}.norm2"), name))
        maps = p.unflatten(0, maps.shape[-2:]).permute(2, 3, 0, 1)
        return x + F.interpolate(maps, x.shape[-2:], mode="bilinear", align_corners=True)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, name: str) -> Tensor:
        q, k, v = (
            F.linear(one, *self.layer(f"{name}.attention.{part}"))
            .unflatten(-1, (HEADS, -1))
            .transpose(1, 2)
            for one, part in ((q, "q"), (k, "k"), (v, "v"))
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        return F.linear(mixed, *self.layer(f"{name}.attention.proj"))

    def mlp(self, x: Tensor, name: str) -> Tensor:
        gate = F.relu6(F.linear(x, *self.layer(f"{name}.mlp.fc1")))
        hidden = gate * F.linear(x, *self.layer(f"{name}.mlp.fc2"))
        return F.linear(hidden, *self.layer(f"{name}.mlp.fc3"))

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *self.layer(name), 1e-5)
