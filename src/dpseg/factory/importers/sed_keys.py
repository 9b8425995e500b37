"""Where each tensor of a SED checkpoint belongs in the baseline's module.

The towers keep open_clip's names; the decoder's parts are renamed. Query, key and value are joined,
and a stage's first fusion convolution is split into what it does to class maps and what it does to
image features.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dpseg.factory.importers.fill import Part

CLIP = "sem_seg_head.predictor.clip_model."
DECODER = "sem_seg_head.predictor.transformer."
#: A key that ERR-Seg's and CAT-Seg's checkpoints do not have.
MARK = f"{DECODER}head0.weight"

_STAGE = r"decoder(?P<stage>\d)\."
_ATTENTION = re.compile(_STAGE + r"attention\.attention\.(?P<part>[qkv])\.(?P<kind>weight|bias)")
_FUSION = re.compile(_STAGE + r"conv\.double_conv\.0\.weight")
#: SED's name and ours, of whole tensors; `{}` is the stage, which SED counts from 1 in `decoder`.
_RENAMED = {
    r"conv1\.": "network.decoder.embed.",
    r"decoder_guidance_projection\.(?P<index>\d)\.0\.": (
        "network.decoder.stages.{}.fusion.project_image."
    ),
    r"decoder_corr_guidance_projection\.(?P<index>\d)\.0\.": "network.enlarge_cost.{}.",
    r"head(?P<index>\d)\.": "network.decoder.heads.{}.",
    r"head\.": "network.decoder.predict.",
    _STAGE + r"up\.": "network.decoder.stages.{}.enlarge.",
    _STAGE + r"conv\.double_conv\.1\.": "network.decoder.stages.{}.fusion.norm.",
    _STAGE + r"conv\.double_conv\.3\.": "network.decoder.stages.{}.fusion.refine.",
    _STAGE + r"conv\.double_conv\.4\.": "network.decoder.stages.{}.fusion.refine_norm.",
    _STAGE + r"cnext\.gamma": "network.decoder.stages.{}.spatial.gamma",
    _STAGE + r"cnext\.dwconv\.": "network.decoder.stages.{}.spatial.depthwise.",
    _STAGE + r"cnext\.norm\.": "network.decoder.stages.{}.spatial.norm.",
    _STAGE + r"cnext\.pwconv1\.": "network.decoder.stages.{}.spatial.mlp.0.",
    _STAGE + r"cnext\.pwconv2\.": "network.decoder.stages.{}.spatial.mlp.2.",
    _STAGE + r"attention\.norm1\.": "network.decoder.stages.{}.class_transformer.attention.norm.",
    _STAGE + r"attention\.norm2\.": "network.decoder.stages.{}.class_transformer.norm.",
    _STAGE + r"attention\.MLP\.": "network.decoder.stages.{}.class_transformer.mlp.",
}


def baseline_parts(state: Mapping[str, Tensor]) -> Iterator[Part]:
    """Translate a checkpoint.

    Args:
        state: the checkpoint's keys, with their prefixes.

    Yields:
        Every tensor of the baseline that the checkpoint has, and what is left over.
    """
    for key, value in state.items():
        if key.startswith(CLIP):
            target = f"encoder.clip.{key.removeprefix(CLIP)}"
            yield Part((key,), target, value, "copied")
            continue
        name = key.removeprefix(DECODER)
        if match := _ATTENTION.fullmatch(name):
            yield from _attention(key, match, state)
        elif match := _FUSION.fullmatch(name):
            yield from _fusion(key, int(match["stage"]) - 1, state)
        else:
            yield Part((key,), _renamed(name), value, "copied")


def _renamed(name: str) -> str | None:
    for pattern, target in _RENAMED.items():
        if match := re.match(pattern, name):
            groups = match.groupdict()
            stage = int(groups["stage"]) - 1 if "stage" in groups else groups.get("index")
            return target.format(stage) + name[match.end() :]
    return None


def _attention(key: str, match: re.Match[str], state: Mapping[str, Tensor]) -> Iterator[Part]:
    """Join query, key and value, under the name of the query."""
    sources = tuple(re.sub(r"\.[qkv]\.", f".{part}.", key) for part in "qkv")
    if match["part"] == "q" and all(source in state for source in sources):
        target = (
            f"network.decoder.stages.{int(match['stage']) - 1}"
            f".class_transformer.attention.query_key_value.{match['kind']}"
        )
        yield Part(sources, target, torch.cat([state[source] for source in sources]), "joined")


def _fusion(key: str, stage: int, state: Mapping[str, Tensor]) -> Iterator[Part]:
    """Split a convolution over class maps, image features and enlarged costs, in this order."""
    image = state.get(f"{DECODER}decoder_guidance_projection.{stage}.0.bias")
    maps = state.get(f"{DECODER}decoder{stage + 1}.up.bias")
    if image is None or maps is None:
        return
    weight, first, last = state[key], len(maps), len(maps) + len(image)
    prefix = f"network.decoder.stages.{stage}.fusion"
    costs = torch.cat([weight[:, :first], weight[:, last:]], dim=1)
    yield Part((key,), f"{prefix}.fuse_cost.weight", costs, "split")
    yield Part((key,), f"{prefix}.fuse_image.weight", weight[:, first:last], "split")
