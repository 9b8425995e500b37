"""Where each tensor of an ERR-Seg checkpoint belongs in this project's module.

The towers keep open_clip's names; the decoder's parts are renamed. The first convolution of an
enlargement is split into what it does to class maps and what it does to image features.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from dpseg.factory.importers.fill import Part

CLIP = "sem_seg_head.clip_model."
DECODER = "sem_seg_head.decoder."
#: A key that SED's and CAT-Seg's checkpoints do not have.
MARK = f"{DECODER}low_corr_fusion.weight"

_FUSION = re.compile(r"up_decoder(\d)\.textual_fusion\.0\.weight")
_LAYER = r"aggregator_layers\.(?P<index>\d)\."
_SPATIAL, _CLASSES = _LAYER + r"spatial_fusion\.sa\.", _LAYER + r"class_fusion\.sa\."
_STEP = r"up_decoder(?P<step>\d)\."
_PARTS = {
    r"norm1\.": "norm.",
    r"norm2\.": "mlp_norm.",
    r"attention\.q\.": "query.",
    r"attention\.k\.": "key.",
    r"attention\.v\.": "value.",
    r"attention\.proj\.": "output.",
    r"attention\.sr_k\.": "reduce_key.",
    r"attention\.norm_k\.": "key_norm.",
    r"attention\.sr_v\.": "reduce_value.",
    r"attention\.norm_v\.": "value_norm.",
    r"mlp\.fc1\.": "mlp.gate.",
    r"mlp\.fc2\.": "mlp.value.",
    r"mlp\.fc3\.": "mlp.output.",
    r"mlp\.dwconv\.dwconv\.": "depthwise.",
}
#: ERR-Seg's name and ours, of whole tensors; `{}` is the layer, or the enlargement, which ERR-Seg
#: counts from 1.
_RENAMED = {
    r"corr_proj_convs\.0\.0\.": "cost_embedding.fine.",
    r"corr_proj_convs\.1\.0\.": "cost_embedding.coarse.",
    r"low_corr_fusion\.": "cost_embedding.fuse.",
    r"img_guidance_projection_agg\.0\.0\.": "image_guidance.coarse.",
    r"img_guidance_projection_agg\.1\.0\.": "image_guidance.fine.",
    r"low_img_fusion\.": "image_guidance.fuse.",
    r"text_guidance_projection\.0\.": "text_guidance.0.",
    r"img_guidance_projection_dec\.(?P<index>\d)\.0\.": "enlargements.{}.fusion.project_image.",
    _STEP + r"up_conv\.": "enlargements.{}.enlarge.",
    _STEP + r"textual_fusion\.1\.": "enlargements.{}.fusion.norm.",
    _STEP + r"textual_fusion\.3\.": "enlargements.{}.fusion.refine.",
    _STEP + r"textual_fusion\.4\.": "enlargements.{}.fusion.refine_norm.",
    r"head\.": "head.",
    **{_SPATIAL + part: f"layers.{{}}.spatial.{name}" for part, name in _PARTS.items()},
    **{_CLASSES + part: f"layers.{{}}.classes.{name}" for part, name in _PARTS.items()},
}


def err_seg_parts(state: Mapping[str, Tensor]) -> Iterator[Part]:
    """Translate a checkpoint.

    Args:
        state: the checkpoint's keys, with their prefixes.

    Yields:
        Every tensor of the model that the checkpoint has, and what is left over.
    """
    for key, value in state.items():
        if key.startswith(CLIP):
            yield Part((key,), _tower_key(key.removeprefix(CLIP)), value, "copied")
            continue
        name = key.removeprefix(DECODER)
        if match := _FUSION.fullmatch(name):
            yield from _split(key, int(match[1]) - 1, state)
        else:
            yield Part((key,), _renamed(name), value, "copied")
    yield from _absent_downsampling(state)


def _tower_key(name: str) -> str:
    """Name a tensor of the towers; the padding between its norm and convolution has no place."""
    fine = name.replace("visual.modify_downsample.2.", "visual.fine_downsample.1.")
    return "encoder.clip." + fine.replace("visual.modify_downsample.", "visual.fine_downsample.")


def _absent_downsampling(state: Mapping[str, Tensor]) -> Iterator[Part]:
    """Take stage 4's downsampling where a file does not have its copy at stride 1."""
    if any(key.startswith(f"{CLIP}visual.modify_downsample.") for key in state):
        return
    prefix = f"{CLIP}visual.trunk.stages.3.downsample."
    for key, value in state.items():
        if key.startswith(prefix):
            target = f"encoder.clip.visual.fine_downsample.{key.removeprefix(prefix)}"
            yield Part((key,), target, value, "copied")


def _renamed(name: str) -> str | None:
    for pattern, target in _RENAMED.items():
        if match := re.match(pattern, name):
            groups = match.groupdict()
            place = int(groups["step"]) - 1 if "step" in groups else groups.get("index")
            return f"network.decoder.{target.format(place)}{name[match.end() :]}"
    return None


def _split(key: str, step: int, state: Mapping[str, Tensor]) -> Iterator[Part]:
    """Split a convolution over class maps and image features, in this order."""
    maps = state.get(f"{DECODER}up_decoder{step + 1}.up_conv.bias")
    if maps is None:
        return
    prefix = f"network.decoder.enlargements.{step}.fusion"
    weight, first = state[key], len(maps)
    yield Part((key,), f"{prefix}.fuse_cost.weight", weight[:, :first], "split")
    yield Part((key,), f"{prefix}.fuse_image.weight", weight[:, first:], "split")
