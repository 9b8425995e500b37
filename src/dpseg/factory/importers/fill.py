"""Fill a model with a published checkpoint's tensors, and account for every key of both."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from dpseg.errors import CheckpointError
from dpseg.factory.clip import ClipModel, save_clip
from dpseg.factory.config import ClipConfig
from dpseg.factory.load import CLIP_FILE
from dpseg.files import write_text

REPORT_FILE = "import.json"
Outcome = Literal["copied", "joined", "split", "copied in part", "left out", "initialised"]
_TOWERS = "encoder."


@dataclass(frozen=True)
class Part:
    """A tensor of a model, made of a checkpoint's.

    Attributes:
        sources: the checkpoint's keys.
        target: the model's key; None where it has no place for the tensor.
        value: the tensor.
        outcome: how it was made.
    """

    sources: tuple[str, ...]
    target: str | None
    value: Tensor
    outcome: Outcome


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


#: Brings a part to the model's shape, given the model's own tensors; or leaves it out.
Place: TypeAlias = Callable[[Part, Mapping[str, Tensor]], tuple[KeyFate, Tensor]]
#: Tells how a key begins that the checkpoint has no part for; None if it should have one.
Beginning: TypeAlias = Callable[[str], "str | None"]


def place_whole(part: Part, own: Mapping[str, Tensor]) -> tuple[KeyFate, Tensor]:
    """Take a part as it is, or leave it out where the model has no place for it.

    Raises:
        CheckpointError: its shape is not that of its place.
    """
    if part.target is None or part.target not in own:
        return KeyFate(part.sources, None, "left out", "not part of the model"), part.value
    expected = own[part.target].shape
    if part.value.shape != expected:
        raise CheckpointError(
            f"{part.sources[0]} gives {part.target} the shape {tuple(part.value.shape)}; "
            f"the model needs {tuple(expected)}"
        )
    return KeyFate(part.sources, part.target, part.outcome), part.value


def fill_model(
    config: ClipConfig,
    parts: Iterable[Part],
    *,
    place: Place = place_whole,
    beginning: Beginning = lambda key: None,
    extra: Literal["refuse", "leave out"] = "refuse",
) -> tuple[ClipModel, tuple[KeyFate, ...]]:
    """Make a model of a checkpoint's parts.

    What does not fit is refused before the model is made.

    Args:
        config: the model to make.
        parts: of the checkpoint.
        place: finds a part's place in the model.
        beginning: tells which keys may begin afresh, and how.
        extra: what to do with tensors that the checkpoint should not have.

    Returns:
        The model in evaluation mode, and what became of every key of both.

    Raises:
        CheckpointError: a tensor that is needed is missing, has another shape, or is one too many.
    """
    with torch.device("meta"):
        own: Mapping[str, Tensor] = ClipModel(config).state_dict()
    taken: dict[str, Tensor] = {}
    fates: list[KeyFate] = []
    for part in parts:
        fate, value = place(part, own)
        if fate.target is None and _is_extra(part, own) and extra == "refuse":
            raise CheckpointError(
                f"the checkpoint has {part.sources[0]}, which {config.name} does not; "
                "if it may be left out: dpseg import FILE --out FOLDER --ignore-extra"
            )
        fates.append(fate)
        if fate.target is not None:
            taken[fate.target] = value
    fresh = [key for key in own if key not in taken]
    if needed := [key for key in fresh if beginning(key) is None]:
        raise CheckpointError(
            f"the checkpoint lacks {len(needed)} tensors of {config.name}, such as {needed[0]}"
        )
    model = ClipModel(config).eval()
    model.load_state_dict({**model.state_dict(), **taken})
    fates += [KeyFate((), key, "initialised", beginning(key) or "") for key in fresh]
    return model, tuple(fates)


def _is_extra(part: Part, own: Mapping[str, Tensor]) -> bool:
    """Return whether no network of its kind has a tensor, not only this one."""
    if part.target is None:
        return True
    in_towers = part.target.startswith(_TOWERS) and "fine_downsample" not in part.target
    return in_towers and part.target not in own


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
