"""Running configurations of a model over the labelled photos of a folder.

Every pixel gets one of the set's names, and the label's own size counts. With unlabelled pixels
on, what is left unlabelled is one more class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dpseg.arrays import IntArray
from dpseg.data.dataset import BACKGROUND, LabelledFolder
from dpseg.data.plain_names import is_background
from dpseg.data.splits import unseen_classes
from dpseg.engines.detector import Detector
from dpseg.engines.protocol import Engine
from dpseg.errors import DataError
from dpseg.evaluate.configuration import STANDARD, WITH_UNLABELLED, Configuration
from dpseg.evaluate.parallel import Job, count
from dpseg.evaluate.predictions import Predictions
from dpseg.evaluate.results import Evaluation, Predict, Sample
from dpseg.factory import load
from dpseg.inference.options import Protocol
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.tuned import TunedPrompts
from dpseg.prompts.visual import CropSource
from dpseg.vocabulary import Vocabulary

UNLABELLED_NAME = "unlabelled"
Loaded: TypeAlias = "tuple[Engine, PromptBank | None, Detector | None]"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One labelled folder, and how to measure on it.

    Attributes:
        root: the folder.
        model: a model's name or folder.
        split: the list of photos.
        holdout_every: every n-th photo of `train` is kept aside from training; 0 keeps none.
        holdout: measure on those that are kept aside, in place of `split`.
        limit: only so many photos, from the beginning; None for all.
        configurations: what to compare.
        examples: how many a class, from the photos of `train` that are not kept aside, for
            the configurations that show examples.
        example_names: the classes that are shown; None for all.
        tuned: file of tuned prompts, for the configurations that use them.
        unseen: names that training did not see; None for no split.
        unlabelled: let the segmenter leave pixels unlabelled, and count background as one more
            class; `configurations` is then ignored.
        protocol: how photos are brought to the model's size.
        engine: what runs the model; None takes torch where parts of the network are switched off,
            else what the model runs on by default.
        device: where the model runs.
    """

    root: Path
    model: str = "dpseg-lite"
    split: str = "val"
    holdout_every: int = 0
    holdout: bool = False
    limit: int | None = None
    configurations: Sequence[Configuration] = STANDARD
    examples: int = 0
    example_names: tuple[str, ...] | None = None
    tuned: Path | None = None
    unseen: tuple[str, ...] | None = None
    unlabelled: bool = False
    protocol: Protocol = "dpseg"
    engine: load.EngineName | None = None
    device: str = "auto"

    @property
    def rows(self) -> Sequence[Configuration]:
        """The configurations that are run; those with a detector fall out where there is none.

        It has seen names that a zero-shot figure counts as unseen, so it has no part in those.
        """
        rows = WITH_UNLABELLED if self.unlabelled else self.configurations
        may_speak = self.unseen is None and load.load_detector(self.model) is not None
        return [one for one in rows if may_speak or not one.options.detector]

    def load(self) -> Loaded:
        """Load the model, its bank and its detector."""
        switched = any(one.forward for one in self.rows)
        engine: load.EngineName | None = self.engine or ("torch" if switched else None)
        loaded = load.load_engine(self.model, engine=engine, device=self.device)
        return *loaded, load.load_detector(self.model)


@dataclass(frozen=True)
class LabelledSamples:
    """Some photos of a folder, with labels as the classes that an evaluation counts.

    Attributes:
        folder: where they are.
        indices: of the photos.
        positions: the counted class of each of the folder's names; the last entries are those of
            its negative labels.
    """

    folder: LabelledFolder
    indices: Sequence[int]
    positions: IntArray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> Sample:
        sample = self.folder[self.indices[number]]
        return sample.image, self.positions[sample.label]


def evaluate_folder(task: Task, *, processes: int = 1, progress: bool = False) -> Evaluation:
    """Measure on a labelled folder.

    Args:
        task: what to measure.
        processes: how many share the work.
        progress: show a bar.

    Returns:
        The counts, equal for any number of processes.

    Raises:
        DataError: the folder, or what is asked of it, cannot be used.
        CheckpointError: the model cannot be loaded.
    """
    names, samples, groups = _open(task)
    vocabulary = samples.folder.vocabulary
    unseen = None if task.unseen is None else unseen_classes(task.unseen, Vocabulary.of(names))
    loaded = task.load()
    examples = _examples(task, loaded[0]) if task.examples else None
    job = Job(
        predict=partial(
            _predictions, task, vocabulary, groups, examples, loaded if processes == 1 else None
        ),
        samples=samples,
        configurations=len(task.rows),
        classes=len(names),
    )
    counted = count(job, processes=processes, name=samples.folder.name, progress=progress)
    return Evaluation(
        name=samples.folder.name,
        names=tuple(names),
        unseen=unseen,
        pictures=counted.pictures,
        accumulators=dict(zip((one.name for one in task.rows), counted.accumulators, strict=True)),
        best=counted.best,
        worst=counted.worst,
    )


def _predictions(
    task: Task,
    vocabulary: Vocabulary,
    groups: IntArray | None,
    examples: CropSource | None,
    loaded: Loaded | None,
) -> Predict:
    engine, bank, detector = loaded or task.load()
    return Predictions(
        engine,
        vocabulary,
        task.rows,
        bank=bank,
        detector=detector,
        examples=examples,
        tuned=None if task.tuned is None else TunedPrompts.load(task.tuned),
        cache=PromptCache(),
        protocol=task.protocol,
        groups=groups,
    )


def _open(task: Task) -> tuple[list[str], LabelledSamples, IntArray | None]:
    """Find the counted classes, the photos, and the counted class of each word of the model."""
    folder = LabelledFolder(task.root, "train" if task.holdout else task.split)
    indices: Sequence[int] = range(len(folder))
    if task.holdout:
        if task.holdout_every < 1:
            raise DataError(f"{folder.name} has no photos that are kept aside from training")
        indices = indices[:: task.holdout_every]
    names, groups = list(folder.names), None
    if folder.vocabulary.names != names:
        names, groups = folder.vocabulary.roll_up()
        if not set(folder.names) <= set(names):
            raise DataError(f"{task.root}/vocabulary.json does not name the classes of classes.txt")
    positions = np.full(len(folder.names) + 2, -1, np.int32)
    positions[: len(folder.names)] = [names.index(name) for name in folder.names]
    background = [index for index, name in enumerate(names) if is_background(name)]
    if task.unlabelled:
        if groups is not None or not folder.has_background:
            raise DataError(
                f"{folder.name} labels no background, so unlabelled pixels have no truth"
            )
        background = [len(names)]
        names = [*names, UNLABELLED_NAME]
    if background:
        positions[BACKGROUND] = background[0]
    return names, LabelledSamples(folder, indices[: task.limit], positions), groups


def _examples(task: Task, engine: Engine) -> CropSource:
    """Take the first few regions of every class from photos that may be trained on."""
    train = LabelledFolder(task.root, "train")
    every = task.holdout_every
    allowed = (index for index in range(len(train)) if not every or index % every)
    names = train.names if task.example_names is None else task.example_names
    classes = [train.names.index(name) for name in names]
    chosen = (train[index] for index in train.showing(classes, task.examples, among=allowed))
    pairs = ((sample.image, sample.label) for sample in chosen)
    return CropSource.from_samples(
        engine, pairs, train.names, wanted=names, per_class=task.examples
    )
