"""Where each tensor of a CAT-Seg checkpoint belongs in this project's module.

The towers keep open_clip's names, but for query, key and value of their attention, which are
joined; the decoder's parts are renamed. The first convolution of an enlargement is split into what
it does to class maps and what it does to image features.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from dpseg.factory.importers.fill import Part

CLIP = "sem_seg_head.predictor.clip_model."
DECODER = "sem_seg_head.predictor.transformer."
#: A key that SED's and ERR-Seg's checkpoints do not have.
MARK = "upsample1.weight"

_PROJECTION = re.compile(r"(?P<attention>.*\.attn\.)(?P<part>[qkv])_proj_weight")
_FUSION = re.compile(r"decoder(\d)\.conv\.double_conv\.0\.weight")
_LAYER, _STEP = r"layers\.(?P<first>\d)\.", r"decoder(?P<step>\d)\."
_SPATIAL = _LAYER + r"swin_block\.block_(?P<block>\d)\."
_CLASSES = _LAYER + r"attention\."
_WINDOW, _CLASS = "layers.{first}.windows.{block}.", "layers.{first}.classes."
#: CAT-Seg's name and ours, of whole tensors; what CAT-Seg counts from 1 is counted from 0 here.
_RENAMED = {
    r"conv1\.": "embed.",
    r"guidance_projection\.0\.": "image_guidance.",
    r"text_guidance_projection\.0\.": "text_guidance.",
    r"decoder_guidance_projection\.(?P<first>\d)\.0\.": (
        "enlargements.{first}.fusion.project_image."
    ),
    _LAYER + r"swin_block\.guidance_norm\.": "layers.{first}.guidance_norm.",
    _SPATIAL + r"norm1\.": _WINDOW + "norm.",
    _SPATIAL + r"norm2\.": _WINDOW + "mlp_norm.",
    _SPATIAL + r"attn\.q\.": _WINDOW + "query.",
    _SPATIAL + r"attn\.k\.": _WINDOW + "key.",
    _SPATIAL + r"attn\.v\.": _WINDOW + "value.",
    _SPATIAL + r"attn\.proj\.": _WINDOW + "output.",
    _SPATIAL + r"mlp\.fc1\.": _WINDOW + "mlp.0.",
    _SPATIAL + r"mlp\.fc2\.": _WINDOW + "mlp.2.",
    _CLASSES + r"norm1\.": _CLASS + "norm.",
    _CLASSES + r"norm2\.": _CLASS + "mlp_norm.",
    _CLASSES + r"attention\.q\.": _CLASS + "query.",
    _CLASSES + r"attention\.k\.": _CLASS + "key.",
    _CLASSES + r"attention\.v\.": _CLASS + "value.",
    _CLASSES + r"MLP\.": _CLASS + "mlp.",
    _CLASSES + r"padding_tokens$": _CLASS + "padding",
    _CLASSES + r"padding_guidance$": _CLASS + "padding_guidance",
    _STEP + r"up\.": "enlargements.{step}.enlarge.",
    _STEP + r"conv\.double_conv\.1\.": "enlargements.{step}.fusion.norm.",
    _STEP + r"conv\.double_conv\.3\.": "enlargements.{step}.fusion.refine.",
    _STEP + r"conv\.double_conv\.4\.": "enlargements.{step}.fusion.refine_norm.",
    r"upsample(?P<step>\d)\.": "enlargements.{step}.enlarge_image.",
    r"head\.": "head.",
    # Computed here; a place that no model has, so that it is left out.
    _SPATIAL + r"attn_mask$": _WINDOW + "mask",
}


def cat_seg_parts(state: Mapping[str, Tensor]) -> Iterator[Part]:
    """Translate a checkpoint.

    Args:
        state: the checkpoint's keys, with their prefixes.

    Yields:
        Every tensor of the model that the checkpoint has, and what is left over.
    """
    for key, value in state.items():
        if key.startswith(CLIP):
            yield from _tower_part(key, state)
            continue
        name = key.removeprefix(DECODER)
        if match := _FUSION.fullmatch(name):
            yield from _split(key, int(match[1]), state)
        elif "padding_" in name:
            yield Part((key,), _renamed(name), value.flatten(), "copied")
        else:
            yield Part((key,), _renamed(name), value, "copied")


def _tower_part(key: str, state: Mapping[str, Tensor]) -> Iterator[Part]:
    """Join query, key and value of the towers' attention, under the name of the query."""
    match = _PROJECTION.fullmatch(key)
    if match is None:
        yield Part((key,), f"encoder.clip.{key.removeprefix(CLIP)}", state[key], "copied")
        return
    sources = tuple(f"{match['attention']}{part}_proj_weight" for part in "qkv")
    if match["part"] == "q" and all(source in state for source in sources):
        target = f"encoder.clip.{match['attention'].removeprefix(CLIP)}in_proj_weight"
        yield Part(sources, target, torch.cat([state[source] for source in sources]), "joined")


def _renamed(name: str) -> str | None:
    for pattern, target in _RENAMED.items():
        if match := re.match(pattern, name):
            groups: dict[str, Any] = match.groupdict()
            counted = {one: int(groups[one]) - 1 for one in ("block", "step") if one in groups}
            return f"network.{target.format(**(groups | counted))}{name[match.end() :]}"
    return None


def _split(key: str, step: int, state: Mapping[str, Tensor]) -> Iterator[Part]:
    """Split a convolution over class maps and image features, in this order."""
    maps = state.get(f"{DECODER}decoder{step}.up.bias")
    if maps is None:
        return
    prefix = f"network.enlargements.{step - 1}.fusion"
    weight, first = state[key], len(maps)
    yield Part((key,), f"{prefix}.fuse_cost.weight", weight[:, :first], "split")
    yield Part((key,), f"{prefix}.fuse_image.weight", weight[:, first:], "split")
