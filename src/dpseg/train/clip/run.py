"""The whole of a CLIP model's training run: checks, prompts, training, a folder with the model.

Everything that can be wrong with data, start and recipe is looked at before the first step.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dpseg.data.dataset import LabelledFolder
from dpseg.data.splits import read_split, unseen_classes
from dpseg.errors import CheckpointError
from dpseg.factory.clip import ClipModel, clip_engine, load_clip, save_clip
from dpseg.factory.clip_names import named_clip_config
from dpseg.factory.load import CLIP_BANK_FILE, CLIP_FILE
from dpseg.files import write_text
from dpseg.model.dpseg import ForwardOptions
from dpseg.prompts.bank import PromptBank
from dpseg.train.check_data import check_photos, check_vocabulary, fingerprint
from dpseg.train.clip.crop_stream import CropStream, Share
from dpseg.train.clip.prompts import load_prompts, make_prompts, save_prompts
from dpseg.train.clip.stage import ClipTraining
from dpseg.train.loop import launched_fabric, run_stage
from dpseg.train.recipe import ClipRecipe, keep_recipe
from dpseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PROMPTS, _CHECKED = "prompts.safetensors", "checked.txt"


def train_clip(
    recipe: ClipRecipe, data_root: Path, folder: Path, *, start: Path | None = None
) -> None:
    """Train a model on CLIP towers to a folder that `Segmenter` loads.

    Args:
        recipe: all settings.
        data_root: holds the recipe's labelled set.
        folder: receives the run's files and, at the end, the model and its prompt bank. A finished
            run is left as it is.
        start: a model's folder to begin from, as `dpseg import` makes; None takes the towers'
            published weights.

    Raises:
        DataError: the set is empty, incomplete, or not as its class list or the recipe says.
        CheckpointError: the start is another model, the run was begun by another recipe, or its
            checkpoint cannot be used.
        PromptError: pictures of the names cannot be used.
        MissingExtraError: an extra is missing.
    """
    if (folder / CLIP_FILE).exists():
        return
    data, vocabulary, seen = _training_set(recipe, data_root)
    fabric = launched_fabric(recipe.precision)
    share = Share(recipe.batch_size, recipe.loop.accumulate, fabric.world_size, fabric.global_rank)
    model = _begun(recipe.model, start)
    folder.mkdir(parents=True, exist_ok=True)
    keep_recipe(recipe, folder)
    _check_once(data, folder, fabric)
    engine = clip_engine(model, options=ForwardOptions())
    model.to(fabric.device)
    if fabric.is_global_zero and not (folder / _PROMPTS).exists():
        prompts, bank = make_prompts(engine, data, vocabulary, seen, recipe.prompts, data_root)
        bank.save(folder / CLIP_BANK_FILE)
        save_prompts(prompts, vocabulary.names, folder / _PROMPTS)  # last: then both are there
    fabric.barrier()
    stage = ClipTraining(
        model=model,
        prompts=load_prompts(folder / _PROMPTS, vocabulary.names),
        seen=seen,
        stream=CropStream(data, recipe.crop, recipe.loop.seed),
        share=share,
        workers=recipe.workers,
        settings=recipe.loss,
        fabric=fabric,
    )
    run_stage(stage, recipe.loop, folder / "training", fabric)
    if fabric.is_global_zero:
        _save(model.cpu().eval(), folder)
    fabric.barrier()


def _training_set(
    recipe: ClipRecipe, data_root: Path
) -> tuple[LabelledFolder, Vocabulary, list[int]]:
    """Open the labelled set; tell the words for its classes, and which of them to ask for."""
    root = data_root / recipe.source
    data = LabelledFolder(root, recipe.split)
    vocabulary = Vocabulary.load(recipe.vocabulary) if recipe.vocabulary else data.vocabulary
    check_vocabulary(data, vocabulary)
    unseen: tuple[int, ...] = ()
    if recipe.unseen is not None:
        unseen = unseen_classes(read_split(recipe.unseen), vocabulary)
        ignored = frozenset(data.names[index] for index in unseen)
        data = LabelledFolder(root, recipe.split, ignored_names=ignored)
    return data, vocabulary, [index for index in range(len(vocabulary)) if index not in unseen]


def _begun(name: str, start: Path | None) -> ClipModel:
    """Make the model that training begins from, with a frozen copy of its image tower."""
    if start is None:
        model = ClipModel(named_clip_config(name))
    else:
        model = load_clip(start / CLIP_FILE)
        if model.config.name != name:
            raise CheckpointError(f"{start} holds {model.config.name}; the recipe trains {name}")
    model.keep_prompt_tower()
    return model


def _check_once(data: LabelledFolder, folder: Path, fabric: Fabric) -> None:
    """Look at every photo and label, each process at its share, unless the run did so before."""
    mark = folder / _CHECKED
    if mark.exists() and mark.read_text(encoding="utf-8") == fingerprint(data):
        return
    mine = range(fabric.global_rank, len(data), fabric.world_size)
    check_photos(data, mine, progress=fabric.is_global_zero)
    fabric.barrier()
    if fabric.is_global_zero:
        write_text(mark, fingerprint(data))


def _save(model: ClipModel, folder: Path) -> None:
    """Write the trained model behind its bank, whose prompts the frozen encoders made."""
    bank = PromptBank.load(folder / CLIP_BANK_FILE)
    replace(bank, encoder_key=model.encoder_key()).save(folder / CLIP_BANK_FILE)
    save_clip(model, folder / CLIP_FILE)
