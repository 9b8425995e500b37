"""Prompt tuning: fit the prompts of a few classes to labelled pictures, the network frozen.

Text and visual prompts, class-wise, level-wise and token-wise, are optimised together through the
whole decoder. Pictures are encoded once, before the first step: a step is one decoder pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from dpseg.arrays import AnyArray, ImageArray, LabelArray, PromptSet
from dpseg.data.dataset import BACKGROUND, LabelledFolder
from dpseg.engines.protocol import Engine
from dpseg.engines.torch_engine import TorchEngine
from dpseg.errors import DataError
from dpseg.model.dpseg import DPSeg
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.pooling import l2_normalize
from dpseg.prompts.prompt_set import build_prompts
from dpseg.prompts.regions import fit_picture
from dpseg.prompts.tuned import TunedPrompts
from dpseg.prompts.visual import CropSource
from dpseg.vocabulary import Vocabulary

IGNORED = -1
MASKS = ("text_token_mask", "visual_mask")
COMPARED = ("text_embedding", "visual_embedding", "text_tokens", "visual_tokens")


@dataclass(frozen=True)
class TuneSettings:
    """How far and how long prompts are tuned.

    Attributes:
        steps: optimiser steps, one picture each.
        rate: peak rate of Adam, in units of the prompts, which have length 1.
        hold: weight of the pull back to where the prompts began.
        classes: at most so many compete in a step: those in the picture, and a sample of others.
        seed: of all random numbers.
    """

    steps: int = 120
    rate: float = 2e-3
    hold: float = 1.0
    classes: int = 16
    seed: int = 0


@dataclass(frozen=True)
class _Shown:
    """A labelled picture, encoded, in half precision: E 1 D h w, E_j; and its label H W."""

    image_embedding: Tensor
    image_features: dict[int, Tensor]
    label: Tensor


def tune_prompts(
    engine: TorchEngine,
    prompts: PromptSet[AnyArray],
    vocabulary: Vocabulary,
    samples: Sequence[tuple[ImageArray, LabelArray]],
    classes: Sequence[int],
    settings: TuneSettings | None = None,
    *,
    progress: bool = False,
) -> TunedPrompts:
    """Tune the prompts of some classes.

    Args:
        engine: the model, which stays as it is.
        prompts: where they begin; the other classes compete as they are.
        vocabulary: the classes of the prompts.
        samples: pictures H W 3 with class indices H W; -1 is ignored, -2 is none of the classes.
        classes: indices of those to tune.
        settings: how far and how long.
        progress: show a bar.

    Returns:
        The tuned prompts.

    Raises:
        DataError: there is nothing to tune, or none of the classes is in a picture.
    """
    settings = settings or TuneSettings()
    present = {int(index) for _, label in samples for index in np.unique(label) if index >= 0}
    lacking = [vocabulary[index].name for index in classes if index not in present]
    if not classes or lacking:
        raise DataError(f"no picture shows {', '.join(lacking) or 'any class to tune'}")
    generator = np.random.default_rng(settings.seed)
    shown = [_encode(engine, image, label) for image, label in samples]
    frozen = _begun(prompts, classes).map(torch.from_numpy)
    chosen = torch.tensor(list(classes))
    tuned = _parameters(frozen, chosen)
    began = {name: values.detach().clone() for name, values in tuned.items()}
    optimiser = torch.optim.Adam(tuned.values())
    steps = range(settings.steps)
    screen = Console(stderr=True)
    for step in track(steps, "Tuning", console=screen, transient=True, disable=not progress):
        rate = settings.rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        optimiser.param_groups[0]["lr"] = rate
        picture = shown[generator.integers(len(shown))]
        competing = _competing(picture.label, chosen, len(vocabulary), settings, generator)
        asked = _with_parameters(frozen, chosen, tuned).select(competing)
        loss = _loss(engine, picture, asked, competing) + settings.hold * _moved(tuned, began)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    done = _with_parameters(frozen, chosen, {n: v.detach() for n, v in tuned.items()})
    return TunedPrompts.of_classes(_unit_length(done), vocabulary, classes, engine.info.encoder_key)


def tune_on_folder(
    engine: Engine,
    bank: PromptBank | None,
    folder: LabelledFolder,
    *,
    names: Sequence[str] | None = None,
    shots: int = 5,
    settings: TuneSettings | None = None,
    progress: bool = False,
) -> TunedPrompts:
    """Tune prompts on the first few photos of each class in a labelled folder.

    Args:
        engine: the model; one that runs on torch.
        bank: its prompt bank, or None.
        folder: the photos.
        names: classes to tune; None for all that are shown.
        shots: photos of each class; they serve as its example pictures, too.
        settings: how far and how long.
        progress: show a bar.

    Returns:
        The tuned prompts.

    Raises:
        DataError: a name is no class, a class to tune is in no photo, or the model does not run on
            torch.
    """
    if not isinstance(engine, TorchEngine) or not isinstance(engine.network, DPSeg):
        raise DataError(f"prompts can be tuned for dpseg models on torch, not {engine.info.name}")
    vocabulary = folder.vocabulary
    if vocabulary.names != folder.names:
        raise DataError(f"{folder.root}: labels of grouped classes cannot tune single ones")
    wanted = [vocabulary.find(name) for name in names or folder.names]
    unknown = [name for name, index in zip(names or (), wanted, strict=False) if index is None]
    if unknown:
        raise DataError(f"{unknown[0]!r} is no class of {folder.root}")
    classes = sorted({index for index in wanted if index is not None})
    chosen = (folder[number] for number in folder.showing(classes, shots))
    samples = [(sample.image, sample.label) for sample in chosen]
    if names is None:
        shown = {int(index) for _, label in samples for index in np.unique(label)}
        classes = [index for index in classes if index in shown]
    pictures = CropSource.from_samples(
        engine, samples, folder.names, wanted=[folder.names[i] for i in classes], per_class=shots
    )
    prompts = build_prompts(
        engine,
        vocabulary,
        bank=bank,
        pictures=pictures.prompts_for(vocabulary),
        cache=PromptCache(),
    )
    return tune_prompts(engine, prompts, vocabulary, samples, classes, settings, progress=progress)


def _begun(prompts: PromptSet[AnyArray], classes: Sequence[int]) -> PromptSet[AnyArray]:
    """Let a class without a visual prompt begin with its text as the class-wise one."""
    embedding, mask = prompts.visual_embedding.copy(), prompts.visual_mask.copy()
    bare = [index for index in classes if not mask[index]]
    embedding[bare] = prompts.text_embedding[bare]
    mask[list(classes)] = True
    return replace(prompts, visual_embedding=embedding, visual_mask=mask)


def _encode(engine: TorchEngine, image: ImageArray, label: LabelArray) -> _Shown:
    features = engine.encode_image(fit_picture(image, engine.info))
    return _Shown(
        torch.from_numpy(features.image_embedding)[None].half(),
        {level: torch.from_numpy(f)[None].half() for level, f in features.image_features.items()},
        torch.from_numpy(np.asarray(label, np.int64)),
    )


def _parameters(prompts: PromptSet[Tensor], classes: Tensor) -> dict[str, Tensor]:
    """Copy what is tuned of some classes, by name: all but the masks."""
    rows = prompts.select(classes).to_tensors()
    return {name: rows[name].clone().requires_grad_() for name in rows if name not in MASKS}


def _with_parameters(
    prompts: PromptSet[Tensor], classes: Tensor, tuned: dict[str, Tensor]
) -> PromptSet[Tensor]:
    """Put tuned values in the places of some classes."""
    tables = prompts.to_tensors()
    changed = {name: tables[name].index_copy(0, classes, rows) for name, rows in tuned.items()}
    return PromptSet.from_tensors(tables | changed)


def _competing(
    label: Tensor,
    tuned: Tensor,
    classes: int,
    settings: TuneSettings,
    generator: np.random.Generator,
) -> Tensor:
    """Choose the classes of a step: all in the picture, and others, tuned ones first."""
    present = torch.unique(label[label >= 0]).tolist()
    absent_tuned = [int(index) for index in generator.permutation(tuned.numpy())]
    others = [int(index) for index in generator.permutation(classes)]
    half = max(1, (settings.classes - len(present)) // 2)
    wanted = [*present, *[i for i in absent_tuned if i not in present][:half], *others]
    kept = list(dict.fromkeys(wanted))[: max(settings.classes, len(present))]
    return torch.tensor(sorted(kept))


def _loss(
    engine: TorchEngine, picture: _Shown, prompts: PromptSet[Tensor], competing: Tensor
) -> Tensor:
    """Cross-entropy of the coarse and of the final logits; background speaks against all."""
    assert isinstance(engine.network, DPSeg)
    coarse, output = engine.network.decode(
        picture.image_embedding.float(),
        {level: features.float() for level, features in picture.image_features.items()},
        prompts,
        engine.options.replace(top_k=None),
    )
    logits = [coarse] if output is None else [coarse, output.logits]
    return torch.stack([_fit_of(one[0].float(), picture.label, competing) for one in logits]).sum()


def _fit_of(logits: Tensor, label: Tensor, competing: Tensor) -> Tensor:
    """How badly logits, K h w, fit a label, H W; every class in the picture weighs the same."""
    size = logits.shape[-2:]
    small = F.interpolate(label[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    target = torch.searchsorted(competing, small.clamp_min(0))
    target = torch.where(small >= 0, target, IGNORED)  # h w
    weight = torch.bincount(target[target >= 0], minlength=len(competing)).clamp_min(1)
    fit = F.cross_entropy(
        logits[None], target[None], weight=1 / weight.float(), ignore_index=IGNORED
    )
    background = small == BACKGROUND
    spilled = F.softplus(logits[:, background]).mean() if background.any() else logits.new_zeros(())
    return (fit if (target >= 0).any() else logits.new_zeros(())) + spilled


def _moved(tuned: dict[str, Tensor], began: dict[str, Tensor]) -> Tensor:
    """How far prompts have turned from where they began, 1 - cosine, in the mean."""
    turned = [1 - F.cosine_similarity(tuned[name], began[name], dim=-1).mean() for name in COMPARED]
    return torch.stack(turned).mean()


def _unit_length(prompts: PromptSet[Tensor]) -> PromptSet[AnyArray]:
    """Write tensors back as unit vectors."""
    tables = {name: table.numpy() for name, table in prompts.to_tensors().items()}
    return PromptSet.from_tensors(
        {name: one if name in MASKS else l2_normalize(one) for name, one in tables.items()}
    )
