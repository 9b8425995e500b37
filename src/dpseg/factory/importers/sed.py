"""SED's published checkpoints: read as the baseline, or as a start for DPSeg.

A checkpoint is a detectron2 file, `{"model": state_dict}`. The baseline takes all of it. DPSeg
takes what the two networks share and begins afresh with the rest. What became of every key is told.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dpseg.encoders.open_clip import joint_dimension
from dpseg.errors import CheckpointError
from dpseg.factory.clip import ClipModel, save_clip
from dpseg.factory.config import PRESETS, ClipConfig
from dpseg.factory.importers.sed_keys import CLIP, DECODER, Part, baseline_parts
from dpseg.factory.load import CLIP_FILE
from dpseg.files import write_text
from dpseg.model.dpseg import DPSeg
from dpseg.model.stage import DecoderStage

REPORT_FILE = "import.json"
Network = Literal["dpseg", "sed"]
Outcome = Literal["copied", "joined", "split", "copied in part", "left out", "initialised"]

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
    "network.mixes.": "at random: SED has no visual costs",
    ".class_attention.output.": "identity: SED has no such layer",
    ".spatial.convolutions.2.": f"at random, times {_SOFT}",
    ".spatial.": "at random: SED spreads costs in another way",
    ".mlp.3.": f"at random, times {_SOFT}",
    ".mlp.": "at random: SED's MLP stands elsewhere",
}


@dataclass(frozen=True)
class KeyFate:
    """What became of checkpoint keys, or where a model's key came from.

    Attributes:
        sources: the checkpoint's keys; none for what begins afresh.
        target: the model's key; None for what is left out.
        outcome: what happened.
        note: why, or how.
    """

    sources: tuple[str, ...]
    target: str | None
    outcome: Outcome
    note: str = ""


def read_sed(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint of SED.

    Args:
        path: a detectron2 file.

    Returns:
        Its model's keys to tensors.

    Raises:
        CheckpointError: the file is missing, damaged, holds code, or is not SED's.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}") from error
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    state = stored.get("model") if isinstance(stored, Mapping) else None
    if not isinstance(state, Mapping) or not any(str(k).startswith(DECODER) for k in state):
        raise CheckpointError(f"{path} is no SED checkpoint: it has no 'model' with {DECODER}*")
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def matching_preset(state: Mapping[str, Tensor], network: Network) -> ClipConfig:
    """Find the preset of a network that has a checkpoint's size.

    Args:
        state: the checkpoint's keys.
        network: the baseline, or DPSeg.

    Returns:
        The preset, without weights of its own.

    Raises:
        CheckpointError: there is none.
    """
    projection = state.get(f"{CLIP}text_projection")
    found = None if projection is None else projection.shape[-1]
    presets = [c for c in PRESETS.values() if isinstance(c, ClipConfig) and c.network == network]
    sizes = {config.name: joint_dimension(config.clip, config.architecture) for config in presets}
    for config in presets:
        if sizes[config.name] == found:
            return config.model_copy(update={"pretrained": None})
    known = ", ".join(f"{name}: {size}" for name, size in sizes.items())
    raise CheckpointError(f"the checkpoint's joint space has {found} dimensions ({known})")


def import_sed(
    state: Mapping[str, Tensor], config: ClipConfig
) -> tuple[ClipModel, tuple[KeyFate, ...]]:
    """Make a model from a checkpoint of SED.

    Args:
        state: the checkpoint's keys.
        config: the model to make; a `"sed"` network is filled wholly, a `"dpseg"` one where the two
            agree.

    Returns:
        The model in evaluation mode, and what became of every key of both.

    Raises:
        CheckpointError: a tensor that is needed is missing, or has another shape.
    """
    model = ClipModel(config).eval()
    own = model.state_dict()
    taken: dict[str, Tensor] = {}
    fates = []
    for part in baseline_parts(state):
        fate, value = _position(part, own, config.network)
        fates.append(fate)
        if fate.target is not None:
            taken[fate.target] = value
    fresh = [key for key in own if key not in taken]
    needed = [key for key in fresh if config.network == "sed" or _beginning(key) is None]
    if needed:
        raise CheckpointError(
            f"the checkpoint lacks {len(needed)} tensors of {config.name}, such as {needed[0]}"
        )
    model.load_state_dict({**own, **taken})
    if isinstance(model.network, DPSeg):
        _begin_near_sed(model.network)
    fates += [KeyFate((), key, "initialised", _beginning(key) or "") for key in fresh]
    return model, tuple(fates)


def summary(fates: Sequence[KeyFate]) -> str:
    """Count the outcomes, in words."""
    counts = Counter(fate.outcome for fate in fates)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())


def save_import(model: ClipModel, fates: Sequence[KeyFate], folder: Path) -> None:
    """Write a model's folder, with `import.json`: the fate of every key.

    Raises:
        CheckpointError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error
    save_clip(model, folder / CLIP_FILE)
    write_text(folder / REPORT_FILE, json.dumps([asdict(fate) for fate in fates], indent=1))


def _position(part: Part, own: Mapping[str, Tensor], network: Network) -> tuple[KeyFate, Tensor]:
    """Find a part's position in the model, and bring it to that position's shape."""
    target = part.target
    if target is not None and network == "dpseg":
        target = target.replace(".class_transformer.attention.", ".class_attention.")
        for name, reason in _UNSHARED.items():
            if name in f".{target}":
                return KeyFate(part.sources, None, "left out", reason), part.value
    if target is None or target not in own:
        return KeyFate(part.sources, None, "left out", "not part of the model"), part.value
    position = own[target]
    if network == "dpseg" and target == "network.decoder.embed.weight":
        return _widened(part, target, position)
    if part.value.shape != position.shape:
        raise CheckpointError(
            f"{part.sources[0]} gives {target} the shape {tuple(part.value.shape)}; "
            f"the model needs {tuple(position.shape)}"
        )
    return KeyFate(part.sources, target, part.outcome), part.value


def _widened(part: Part, target: str, position: Tensor) -> tuple[KeyFate, Tensor]:
    """Put the cost embedding of M channels before the token-wise ones, which start at zero."""
    templates = part.value.shape[1]
    widened = torch.zeros_like(position)
    widened[:, :templates] = part.value
    note = f"{templates} of {position.shape[1]} input channels; token-wise costs start at zero"
    return KeyFate(part.sources, target, "copied in part", note), widened


@torch.no_grad()
def _begin_near_sed(network: DPSeg) -> None:
    """Let what SED does not have speak softly at first, so that its parts still fit together."""
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


def _beginning(key: str) -> str | None:
    """Tell how a key of DPSeg begins that SED has no part for; None if SED should have it."""
    if not key.startswith("network."):
        return None
    return next((note for name, note in _BEGINNINGS.items() if name in key), None)
