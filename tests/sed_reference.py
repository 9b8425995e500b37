"""SED in torch primitives, on the names of its own checkpoints; nothing of dpseg is used.

Also makes tiny checkpoints in SED's layout, for a tiny ConvNeXt.
"""

from __future__ import annotations

from collections.abc import Mapping

import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

HEADS, TEMPLATES, WIDTHS, PROJECTIONS = 4, 3, (16, 12, 8, 8), (4, 4, 4)
CLIP, DECODER = "sem_seg_head.predictor.clip_model.", "sem_seg_head.predictor.transformer."
ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {
        "timm_model_name": "test_convnext",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 64,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}
LEVEL_CHANNELS = (48, 32, 24)  # of levels 4, 3, 2 of timm's test_convnext


def tiny_checkpoint(seed: int = 0) -> dict[str, Tensor]:
    """A checkpoint's `model`, random, with every key that SED's have."""
    torch.manual_seed(seed)
    clip = open_clip.CLIP(**ARCHITECTURE).state_dict()
    shapes = {**decoder_shapes()}
    decoder = {key: torch.randn(shape) / max(1, shape[0]) ** 0.5 for key, shape in shapes.items()}
    return {CLIP + key: value for key, value in clip.items()} | {
        DECODER + key: value for key, value in decoder.items()
    }


def decoder_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of SED's decoder at the tiny size."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int, bias: int | None = None) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (shape[0] if bias is None else bias,)

    layer("conv1", WIDTHS[0], TEMPLATES, 7, 7)
    before = (TEMPLATES, *PROJECTIONS)
    for i in range(3):
        inside, outside, small = WIDTHS[i], WIDTHS[i + 1], PROJECTIONS[i]
        layer(f"decoder_guidance_projection.{i}.0", small, LEVEL_CHANNELS[i], 3, 3)
        layer(f"decoder_corr_guidance_projection.{i}.0", before[i], small, 2, 2, bias=small)
        name = f"decoder{i + 1}"
        layer(f"{name}.up", inside, inside - small, 2, 2, bias=inside - small)
        shapes[f"{name}.conv.double_conv.0.weight"] = (outside, inside + small, 3, 3)
        layer(f"{name}.conv.double_conv.1", outside)
        shapes[f"{name}.conv.double_conv.3.weight"] = (outside, outside, 3, 3)
        layer(f"{name}.conv.double_conv.4", outside)
        shapes[f"{name}.cnext.gamma"] = (inside,)
        layer(f"{name}.cnext.dwconv", inside, 1, 9, 9)
        layer(f"{name}.cnext.norm", inside)
        layer(f"{name}.cnext.pwconv1", 4 * inside, inside)
        layer(f"{name}.cnext.pwconv2", inside, 4 * inside)
        for part in "qkv":
            layer(f"{name}.attention.attention.{part}", inside, inside)
        layer(f"{name}.attention.MLP.0", 4 * inside, inside)
        layer(f"{name}.attention.MLP.2", inside, 4 * inside)
        layer(f"{name}.attention.norm1", inside)
        layer(f"{name}.attention.norm2", inside)
        layer(f"head{i}", 1, inside, 3, 3)
    layer("head", 1, WIDTHS[-1], 3, 3)
    return shapes


class Reference:
    """The decoder of a checkpoint.

    Args:
        state: the checkpoint's `model`.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = {
            key.removeprefix(DECODER): value
            for key, value in state.items()
            if key.startswith(DECODER)
        }

    def layer(self, name: str) -> tuple[Tensor, Tensor | None]:
        return self.state[f"{name}.weight"], self.state.get(f"{name}.bias")

    def __call__(
        self, image_embedding: Tensor, image_features: Mapping[int, Tensor], text: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits K H W and the heads' logits, of one image; text is K M D."""
        place = image_embedding[0] / image_embedding[0].norm(dim=0)  # D h w
        words = text / text.norm(dim=-1, keepdim=True)
        cost = torch.einsum("dhw,kmd->kmhw", place, words)
        x = F.conv2d(cost, *self.layer("conv1"), padding=3)
        auxiliary = []
        for i, level in enumerate((4, 3, 2)):
            auxiliary.append(F.conv2d(x, *self.layer(f"head{i}"), padding=1)[:, 0])
            weight, bias = self.layer(f"decoder_corr_guidance_projection.{i}.0")
            cost = F.conv_transpose2d(cost, weight, bias, stride=2).relu()
            guide = self.layer(f"decoder_guidance_projection.{i}.0")
            features = F.conv2d(image_features[level], *guide, padding=1).relu()
            x = self.stage(x, f"decoder{i + 1}", features, cost)
        return F.conv2d(x, *self.layer("head"), padding=1)[:, 0], auxiliary

    def stage(self, x: Tensor, name: str, features: Tensor, cost: Tensor) -> Tensor:
        channels = x.shape[1]
        y = F.conv2d(x, *self.layer(f"{name}.cnext.dwconv"), padding=4, groups=channels)
        y = self.norm(y.movedim(1, -1), f"{name}.cnext.norm", 1e-6)
        y = F.gelu(F.linear(y, *self.layer(f"{name}.cnext.pwconv1")))
        y = F.linear(y, *self.layer(f"{name}.cnext.pwconv2")) * self.state[f"{name}.cnext.gamma"]
        x = x + y.movedim(-1, 1)

        tokens = x.permute(2, 3, 0, 1)  # H W K C
        y = tokens + self.attention(self.norm(tokens, f"{name}.attention.norm1"), name)
        hidden = self.norm(y, f"{name}.attention.norm2")
        hidden = F.linear(hidden, *self.layer(f"{name}.attention.MLP.0")).relu()
        y = y + F.linear(hidden, *self.layer(f"{name}.attention.MLP.2"))
        x = x + y.permute(2, 3, 0, 1)

        weight, bias = self.layer(f"{name}.up")
        x = F.conv_transpose2d(x, weight, bias, stride=2)
        x = torch.cat([x, features.expand(len(x), -1, -1, -1), cost], dim=1)
        for convolution, norm in ((0, 1), (3, 4)):
            x = F.conv2d(x, self.layer(f"{name}.conv.double_conv.{convolution}")[0], padding=1)
            groups = max(1, x.shape[1] // 16)
            x = F.group_norm(x, groups, *self.layer(f"{name}.conv.double_conv.{norm}")).relu()
        return x

    def norm(self, x: Tensor, name: str, eps: float = 1e-5) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *self.layer(name), eps)

    def attention(self, x: Tensor, name: str) -> Tensor:
        """Linear attention in its quadratic form; x is H W K C."""
        q, k, v = (
            F.linear(x, *self.layer(f"{name}.attention.attention.{part}"))
            .unflatten(-1, (HEADS, -1))
            .movedim(-2, -3)
            for part in "qkv"
        )
        weights = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-1, -2)
        return ((weights / weights.sum(-1, keepdim=True)) @ v).movedim(-3, -2).flatten(-2)
