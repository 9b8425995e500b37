"""The prompts that a CLIP model trains with: made once, by frozen encoders, kept in a file.

The paper draws pictures of the training names by Stable Diffusion. Here they come from a folder,
which may hold pictures drawn like that, or are regions of the training photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import PositiveInt
from torch import Tensor

from dpseg.arrays import PromptSet
from dpseg.data.dataset import LabelledFolder
from dpseg.engines.protocol import Engine
from dpseg.errors import CheckpointError
from dpseg.factory.checkpoint import read_tensors, write_tensors
from dpseg.prompts.bank import PromptBank, build_bank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.diffusion import MANIFEST, made_pictures
from dpseg.prompts.examples import PictureLike, pictures_in
from dpseg.prompts.prompt_set import build_prompts
from dpseg.prompts.visual import CropSource, ExemplarSource, VisualPromptSource
from dpseg.vocabulary import Vocabulary


@dataclass(frozen=True)
class PromptSettings:
    """Where the pictures of the training names come from.

    Attributes:
        folder: example pictures below the data root, `NAME/*.jpg` or what `dpseg prompts build`
            drew; None takes regions of the training photos.
        pictures: regions of each name.
    """

    folder: str | None = None
    pictures: PositiveInt = 16


def make_prompts(
    engine: Engine,
    data: LabelledFolder,
    vocabulary: Vocabulary,
    seen: Sequence[int],
    settings: PromptSettings,
    data_root: Path,
) -> tuple[PromptSet[Tensor], PromptBank]:
    """Make the prompts of a set's classes, and the bank by which the trained model answers words.

    Args:
        engine: the model, not trained yet.
        data: the training photos.
        vocabulary: words for their classes.
        seen: the classes that training may ask for.
        settings: where pictures come from.
        data_root: holds the folder of example pictures.

    Returns:
        The prompts, in the classes' order, and the bank.

    Raises:
        PromptError: a picture cannot be used, or there is none of any class.
    """
    cache = PromptCache()
    source: VisualPromptSource
    shown: Mapping[str, Sequence[PictureLike]]
    if settings.folder is None:
        samples = (data[index] for index in data.showing(seen, settings.pictures))
        source = CropSource.from_samples(
            engine,
            ((sample.image, sample.label) for sample in samples),
            vocabulary.names,
            per_class=settings.pictures,
        )
    else:
        pictures = data_root / settings.folder
        drawn = (pictures / MANIFEST).exists()
        shown = made_pictures(pictures) if drawn else pictures_in(pictures)
        source = ExemplarSource(engine, shown, cache)
    visuals = source.prompts_for(vocabulary)
    bank = build_bank(engine, vocabulary, visuals, cache=cache)
    prompts = build_prompts(engine, vocabulary, pictures=visuals, cache=cache)
    return prompts.map(torch.from_numpy), bank


def save_prompts(prompts: PromptSet[Tensor], names: list[str], path: Path) -> None:
    """Write prompts, whole or not at all."""
    write_tensors(path, prompts.to_tensors(), {"names": "\n".join(names)})


def load_prompts(path: Path, names: list[str]) -> PromptSet[Tensor]:
    """Read what `save_prompts` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or has other names.
    """
    tensors, header = read_tensors(path, kind="file of training prompts")
    if header.get("names") != "\n".join(names):
        raise CheckpointError(f"{path} holds the prompts of other names; use another folder")
    try:
        return PromptSet.from_tensors(tensors)
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error}; use another folder") from error
