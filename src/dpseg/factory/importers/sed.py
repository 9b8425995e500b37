"""SED's published checkpoints as a start for DPSeg.

DPSeg takes what the two networks share and begins afresh with the rest, softly, so that the parts
still fit together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from dpseg.factory.clip import ClipModel
from dpseg.factory.importers.fill import KeyFate, Part, place_whole
from dpseg.model.dpseg import DPSeg
from dpseg.model.stage import DecoderStage

#: What DPSeg has no place for, by a part of the baseline's key.
_UNSHARED = {
    ".spatial.": "DPSeg spreads costs by hybrid dilated convolutions",
    ".class_transformer.": "DPSeg's MLP stands before the class attention and is another",
    ".enlarge_cost.": "DPSeg is guided by shallow visual costs, not by the enlarged cost volume",
}

_SOFT = 0.1
#: How DPSeg's own parts begin, by a part of the key.
_BEGINNINGS = {
    "network.log_scale": "coarse logits begin as bare cosines",
    "network.bias": "coarse logits begin as bare cosines",
    "network.template_projection.": "at random: SED has no visual costs",
    ".class_attention.output.": "identity: SED has no such layer",
    ".spatial.convolutions.2.": f"at random, times {_SOFT}",
    ".spatial.": "at random: SED spreads costs in another way",
    ".mlp.3.": f"at random, times {_SOFT}",
    ".mlp.": "at random: SED's MLP stands elsewhere",
}


def place_beside_sed(part: Part, own: Mapping[str, Tensor]) -> tuple[KeyFate, Tensor]:
    """Find the place in DPSeg of what it shares with SED, and leave out the rest.

    Raises:
        CheckpointError: a part's shape is not that of its place.
    """
    if part.target is None:
        return place_whole(part, own)
    target = part.target.replace(".class_transformer.attention.", ".class_attention.")
    for name, reason in _UNSHARED.items():
        if name in f".{target}":
            return KeyFate(part.sources, None, "left out", reason), part.value
    if target == "network.decoder.embed.weight":
        return _widened(part, target, own[target])
    return place_whole(replace(part, target=target), own)


def _widened(part: Part, target: str, position: Tensor) -> tuple[KeyFate, Tensor]:
    """Put the cost embedding of M channels before the token-wise ones, which start at zero."""
    templates = part.value.shape[1]
    widened = part.value.new_zeros(position.shape)
    widened[:, :templates] = part.value
    note = f"{templates} of {position.shape[1]} input channels; token-wise costs start at zero"
    return KeyFate(part.sources, target, "copied in part", note), widened


@torch.no_grad()
def begin_near_sed(model: ClipModel) -> None:
    """Start what SED lacks as the identity or small, so that SED's parts still fit together."""
    network = model.network
    assert isinstance(network, DPSeg)
    network.log_scale.zero_()
    network.bias.zero_()
    for stage in network.decoder.stages:
        assert isinstance(stage, DecoderStage)
        output = stage.class_attention.output
        assert isinstance(output, nn.Linear)
        nn.init.eye_(output.weight)
        nn.init.zeros_(output.bias)
        for last in (stage.spatial.convolutions[-1], stage.mlp[-1]):
            for parameter in last.parameters():
                parameter.mul_(_SOFT)


def beside_sed(key: str) -> str | None:
    """Return how a key of DPSeg begins that SED has no part for; None if SED should have it."""
    if not key.startswith("network."):
        return None
    return next((note for name, note in _BEGINNINGS.items() if name in key), None)
