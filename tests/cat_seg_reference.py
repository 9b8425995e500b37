"""CAT-Seg in torch primitives, on the names of its own checkpoints; nothing of dpseg is used.

Every concatenation and all 256 classes are computed as written, with nothing split, shared or
summed up. Also makes tiny checkpoints in CAT-Seg's layout, for a tiny vision transformer.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

CLIP, DECODER = "sem_seg_head.predictor.clip_model.", "sem_seg_head.predictor.transformer."
HEADS, LAYERS, WIDTHS, PROJECTIONS, D, PADDED, WINDOW = 2, 2, (16, 32, 16), (8, 4), 12, 256, 12
PATCH, SIDE, WIDTH = 4, 96, 24  # 24 x 24 patches; the tower was trained on 14 x 14
ARCHITECTURE: dict[str, Any] = {
    "embed_dim": D,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 14 * PATCH,
        "layers": 6,
        "width": WIDTH,
        "head_width": 12,
        "patch_size": PATCH,
    },
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2
    },
}  # fmt: skip
#: By the end of a key: so that every part matters.
_FACTORS = {
    "transformer.conv1.weight": 10.0,
    "text_guidance_projection.0.weight": 5.0,
    "attn.q.weight": 3.0,
    "attn.k.weight": 3.0,
    "attention.v.weight": 5.0,
    "padding_tokens": 3.0,
    "head.weight": 3.0,
}


def tiny_checkpoint(seed: int = 0) -> dict[str, Tensor]:
    """A checkpoint's `model`, random, with every key that CAT-Seg's have."""
    torch.manual_seed(seed)
    state: dict[str, Tensor] = {}
    for key, value in open_clip.CLIP(**ARCHITECTURE).state_dict().items():
        value = value + 0.1 * torch.randn_like(value)  # biases and class tokens begin at zero
        if key.endswith("in_proj_weight"):
            stem = key.removesuffix("in_proj_weight")
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                state[f"{CLIP}{stem}{part}_proj_weight"] = rows
        else:
            state[CLIP + key] = value
    for key, shape in decoder_shapes().items():
        fan_in = prod(shape[1:]) if key.endswith(".weight") and len(shape) > 1 else 1
        factor = next((value for end, value in _FACTORS.items() if key.endswith(end)), 1.0)
        state[key] = factor * torch.randn(shape) / fan_in**0.5
    for i in range(LAYERS):
        name = f"{DECODER}layers.{i}.swin_block.block_2.attn_mask"
        state[name] = torch.zeros(4, WINDOW**2, WINDOW**2)
    return state


def decoder_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of CAT-Seg's decoder at the tiny size."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int, bias: int | None = None) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (shape[0] if bias is None else bias,)

    c = WIDTHS[0]
    layer(f"{DECODER}conv1", c, 1, 7, 7)
    layer(f"{DECODER}guidance_projection.0", c, D, 3, 3)
    layer(f"{DECODER}text_guidance_projection.0", c, D)
    for i in range(LAYERS):
        swin = f"{DECODER}layers.{i}.swin_block"
        layer(f"{swin}.guidance_norm", c)
        blocks = [(f"{swin}.block_{b}", "attn.", "mlp.fc1", "mlp.fc2") for b in (1, 2)]
        classes = f"{DECODER}layers.{i}.attention"
        for name, attention, first, second in (*blocks, (classes, "attention.", "MLP.0", "MLP.2")):
            layer(f"{name}.norm1", c)
            layer(f"{name}.norm2", c)
            for part, inside in (("q", 2), ("k", 2), ("v", 1)):
                layer(f"{name}.{attention}{part}", c, inside * c)
            layer(f"{name}.{first}", 4 * c, c)
            layer(f"{name}.{second}", c, 4 * c)
        for name, attention, _, _ in blocks:
            layer(f"{name}.{attention}proj", c, c)
        shapes[f"{classes}.padding_tokens"] = shapes[f"{classes}.padding_guidance"] = (1, 1, c)
    for i, (enlarged, factor) in enumerate(((256, 2), (128, 4))):
        inside, outside, small = WIDTHS[i], WIDTHS[i + 1], PROJECTIONS[i]
        layer(f"upsample{i + 1}", WIDTH, enlarged, factor, factor, bias=enlarged)
        layer(f"{DECODER}decoder_guidance_projection.{i}.0", small, enlarged, 3, 3)
        name = f"{DECODER}decoder{i + 1}"
        layer(f"{name}.up", inside, inside - small, 2, 2, bias=inside - small)
        shapes[f"{name}.conv.double_conv.0.weight"] = (outside, inside, 3, 3)
        layer(f"{name}.conv.double_conv.1", outside)
        shapes[f"{name}.conv.double_conv.3.weight"] = (outside, outside, 3, 3)
        layer(f"{name}.conv.double_conv.4", outside)
    layer(f"{DECODER}head", 1, WIDTHS[-1], 3, 3)
    return shapes


def read_out(state: Mapping[str, Tensor], pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The image path on the checkpoint's own names.

    Args:
        state: the checkpoint's `model`.
        pixels: normalised, 1 3 H W.

    Returns:
        The embedding, 1 D h w, and the tokens after a third and after two thirds of the blocks.
    """
    own = {key.removeprefix(CLIP + "visual."): value for key, value in state.items()}
    patches = F.conv2d(pixels, own["conv1.weight"], stride=PATCH)
    grid = patches.shape[-2:]
    x = torch.cat([own["class_embedding"][None], patches[0].flatten(1).T])  # N C
    positions = own["positional_embedding"]
    maps = positions[1:].T.unflatten(1, (14, 14))[None]
    maps = F.interpolate(maps, grid, mode="bicubic", align_corners=False)[0]
    x = norm(own, "ln_pre", x + torch.cat([positions[:1], maps.flatten(1).T]))
    guides = []
    count = ARCHITECTURE["vision_cfg"]["layers"]
    for number in range(count):
        block = f"transformer.resblocks.{number}."
        u = norm(own, f"{block}ln_1", x)
        biases = own[f"{block}attn.in_proj_bias"].chunk(3)
        q, k, v = (
            F.linear(u, own[f"{block}attn.{part}_proj_weight"], bias)
            for part, bias in zip("qkv", biases, strict=True)
        )
        output = own[f"{block}attn.out_proj.weight"], own[f"{block}attn.out_proj.bias"]
        if number == count - 1:
            x = F.linear(v, *output) + x[0]
        else:
            q, k, v = (one.unflatten(1, (-1, 12)).transpose(0, 1) for one in (q, k, v))
            mixed = (q @ k.mT / 12**0.5).softmax(-1) @ v  # heads N c
            x = x + F.linear(mixed.transpose(0, 1).flatten(1), *output)
        hidden = linear(own, f"{block}mlp.c_fc", norm(own, f"{block}ln_2", x))
        x = x + linear(own, f"{block}mlp.c_proj", hidden * (1.702 * hidden).sigmoid())
        if number in (count // 3 - 1, 2 * count // 3 - 1):
            guides.append(x[1:].T.unflatten(1, grid)[None])
    x = norm(own, "ln_post", x[1:]) @ own["proj"]
    return x.T.unflatten(1, grid)[None], guides[0], guides[1]


def decode(
    state: Mapping[str, Tensor],
    embedding: Tensor,
    first: Tensor,
    second: Tensor,
    text: Tensor,
    most: int = PADDED,
) -> tuple[Tensor, list[int]]:
    """Logits K H W and the chosen classes, of one image; text is K D."""
    own = {key.removeprefix(DECODER): value for key, value in state.items()}
    words = text / text.norm(dim=-1, keepdim=True)
    cost = torch.einsum("dhw,kd->khw", embedding[0] / embedding[0].norm(dim=0), words)
    ranked = sorted(range(len(cost)), key=lambda k: -cost[k].max().item())
    classes = sorted(ranked[:most])
    x = conv(own, "conv1", cost[classes, None])  # S C h w
    g = conv(own, "guidance_projection.0", embedding).relu()  # 1 C h w
    t = linear(own, "text_guidance_projection.0", words[classes]).relu()
    for i in range(LAYERS):
        name = f"layers.{i}.swin_block"
        guide = norm(own, f"{name}.guidance_norm", g[0].permute(1, 2, 0))
        guide = guide.expand(len(x), -1, -1, -1)  # S h w C
        y = x.permute(0, 2, 3, 1)
        for block, shift in ((1, 0), (2, WINDOW // 2)):
            y = window_block(own, f"{name}.block_{block}", y, guide, shift)
        x = class_block(own, f"layers.{i}.attention", y.permute(0, 3, 1, 2), t)
    for i, tokens in enumerate((first, second)):
        factor = 2 << i
        weights = own[f"upsample{i + 1}.weight"], own[f"upsample{i + 1}.bias"]
        image = F.conv_transpose2d(tokens, *weights, stride=factor)
        image = conv(own, f"decoder_guidance_projection.{i}.0", image).relu()
        name = f"decoder{i + 1}"
        weights = own[f"{name}.up.weight"], own[f"{name}.up.bias"]
        x = F.conv_transpose2d(x, *weights, stride=2)
        x = torch.cat([x, image.expand(len(x), -1, -1, -1)], dim=1)
        for convolution, group in ((0, 1), (3, 4)):
            x = F.conv2d(x, own[f"{name}.conv.double_conv.{convolution}.weight"], padding=1)
            key = f"{name}.conv.double_conv.{group}"
            x = F.group_norm(x, x.shape[1] // 16, own[f"{key}.weight"], own[f"{key}.bias"]).relu()
    logits = conv(own, "head", x)[:, 0]
    out = logits.new_full((len(text), *logits.shape[1:]), -100.0)
    out[classes] = logits
    return out, classes


def window_block(
    own: Mapping[str, Tensor], name: str, x: Tensor, guide: Tensor, shift: int
) -> Tensor:
    """One place after the other: who attends to whom is told by coordinates. S h w C."""
    height, width = x.shape[1:3]
    u = norm(own, f"{name}.norm1", x)
    both = torch.cat([u, guide], dim=-1)
    q, k = (linear(own, f"{name}.attn.{part}", both) for part in "qk")
    v = linear(own, f"{name}.attn.v", u)
    mixed = torch.empty_like(v)
    # Windows on the rolled map; a window may hold pieces from opposite edges of the photo.
    for top in range(0, height, WINDOW):
        for left in range(0, width, WINDOW):
            places = [
                ((row + shift) % height, (column + shift) % width)
                for row in range(top, top + WINDOW)
                for column in range(left, left + WINDOW)
            ]
            at = ([row for row, _ in places], [column for _, column in places])
            wrapped = torch.tensor([(row < shift) + 2 * (column < shift) for row, column in places])
            apart = -100.0 * (wrapped[:, None] != wrapped)
            parts = [one[:, at[0], at[1]].unflatten(-1, (HEADS, -1)) for one in (q, k, v)]
            a, b, c = (one.transpose(1, 2) for one in parts)  # S heads L c
            weights = (a @ b.mT / a.shape[-1] ** 0.5 + apart).softmax(-1)
            mixed[:, at[0], at[1]] = (weights @ c).transpose(1, 2).flatten(2)
    x = x + linear(own, f"{name}.attn.proj", mixed)
    hidden = F.gelu(linear(own, f"{name}.mlp.fc1", norm(own, f"{name}.norm2", x)))
    return x + linear(own, f"{name}.mlp.fc2", hidden)


def class_block(own: Mapping[str, Tensor], name: str, x: Tensor, t: Tensor) -> Tensor:
    """At every place, on classes that are padded to 256. S C h w."""
    z = x.permute(2, 3, 0, 1).flatten(0, 1)  # places S C
    missing = PADDED - len(x)
    padding = own[f"{name}.padding_tokens"].expand(len(z), missing, -1)
    z = torch.cat([z, padding], dim=1)
    t = torch.cat([t, own[f"{name}.padding_guidance"][0].expand(missing, -1)])
    u = norm(own, f"{name}.norm1", z)
    both = torch.cat([u, t.expand(len(z), -1, -1)], dim=-1)
    q, k, v = (
        linear(own, f"{name}.attention.{part}", one).unflatten(-1, (HEADS, -1))
        for part, one in (("q", both), ("k", both), ("v", u))
    )  # places K heads c
    q, k = F.elu(q[:, : len(x)]) + 1, F.elu(k) + 1
    alike = torch.einsum("pshc,pkhc->phsk", q, k)
    mixed = torch.einsum("phsk,pkhc->pshc", alike, v)
    mixed = mixed / (alike.sum(-1).transpose(1, 2)[..., None] + 1e-6)
    z = z[:, : len(x)] + mixed.flatten(2)
    hidden = linear(own, f"{name}.MLP.0", norm(own, f"{name}.norm2", z)).relu()
    z = z + linear(own, f"{name}.MLP.2", hidden)
    z = z.unflatten(0, x.shape[-2:]).permute(2, 3, 0, 1)
    return x + z


def linear(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, own[f"{name}.weight"], own[f"{name}.bias"])


def conv(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = own[f"{name}.weight"]
    return F.conv2d(x, weight, own[f"{name}.bias"], padding=weight.shape[-1] // 2)


def norm(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], own[f"{name}.weight"], own[f"{name}.bias"], 1e-5)
