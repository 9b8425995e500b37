"""Running a model over labelled pictures, in several configurations at once.

Each picture is encoded once; configurations that differ only later (refinement rounds) share
their first scores too. The answer is the best of the set's names at every pixel, at the label's
own size: nothing is left unlabelled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from rich.progress import track

from dpseg.errors import DataError, ShapeError
from dpseg.evaluate.configuration import STANDARD, Configuration
from dpseg.evaluate.confusion import IntArray
from dpseg.evaluate.metrics import miou
from dpseg.evaluate.objects import object_truth
from dpseg.evaluate.tally import Tally, decide
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.ontology import Examples, PromptOntology
from dpseg.prompts.refine import RefineSettings, refine_rounds
from dpseg.prompts.regions import fit_picture
from dpseg.runtime import FloatArray, ImageArray, Runtime
from dpseg.vocabulary import Vocabulary

#: A picture H W 3 and its class indices H W.
Sample: TypeAlias = "tuple[ImageArray, IntArray]"

REMARKABLE = 4  # pictures kept of the best, and of the worst


@dataclass(frozen=True)
class Answer:
    """One picture with what was true and what was said; negative is unlabelled.

    Attributes:
        number: position among the samples.
        miou: over the classes in the picture.
        image: H W 3.
        target: H W.
        prediction: H W.
    """

    number: int
    miou: float
    image: ImageArray
    target: IntArray
    prediction: IntArray


@dataclass(frozen=True)
class Evaluation:
    """What was counted on one set.

    Attributes:
        name: of the set.
        vocabulary: its classes.
        unseen: indices of those that training did not see; None for no split.
        pictures: how many were counted.
        tallies: configuration name to counts.
        best: pictures that went best, in the first configuration.
        worst: pictures that went worst.
    """

    name: str
    vocabulary: Vocabulary
    unseen: tuple[int, ...] | None
    pictures: int
    tallies: Mapping[str, Tally]
    best: tuple[Answer, ...] = field(default=(), repr=False)
    worst: tuple[Answer, ...] = field(default=(), repr=False)

    def figures(self) -> dict[str, dict[str, float]]:
        """Compute every figure of every configuration."""
        return {name: tally.figures(self.unseen) for name, tally in self.tallies.items()}

    def to_dict(self) -> dict[str, object]:
        """Turn into what JSON can hold."""
        names = self.vocabulary.names
        return {
            "set": self.name,
            "pictures": self.pictures,
            "classes": names,
            "unseen": None if self.unseen is None else [names[index] for index in self.unseen],
            "configurations": {
                name: tally.to_dict(names, self.unseen) for name, tally in self.tallies.items()
            },
        }

    def save_json(self, path: Path | str) -> None:
        """Write all figures."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")


def evaluate_dataset(
    runtime: Runtime,
    samples: Iterable[Sample],
    vocabulary: Vocabulary,
    configurations: Sequence[Configuration] = STANDARD,
    *,
    name: str = "set",
    bank: PromptBank | None = None,
    examples: Examples | None = None,
    unseen: Sequence[int] | None = None,
    ignore_index: int = 255,
    cache: PromptCache | None = None,
    variant: Callable[[Configuration], Runtime] | None = None,
    refine_settings: RefineSettings | None = None,
    progress: bool = False,
) -> Evaluation:
    """Run every configuration over every picture.

    Args:
        runtime: encodes pictures and prompts.
        samples: pictures with labels; `ignore_index` and negative values do not count.
        vocabulary: the set's classes, K.
        configurations: what to compare; the first one chooses the best and worst pictures.
        name: of the set.
        bank: for the configurations that use one.
        examples: for the configurations that show examples.
        unseen: indices of the classes that training did not see.
        ignore_index: label of pixels that do not count.
        cache: for prompt embeddings.
        variant: gives the runtime that scores for a configuration with parts switched off; it
            must share the encoders of `runtime`.
        refine_settings: which classes take part in refinement.
        progress: show a bar.

    Returns:
        The counts.

    Raises:
        DataError: there are no samples, a label is no class, two configurations have one name, or
            one asks for examples or switched-off parts that were not given.
        ShapeError: a picture and its label differ in size.
    """
    _check(configurations, examples, variant)
    ontologies = {
        (bank_on, examples_on): PromptOntology.build(
            runtime,
            vocabulary,
            bank=bank if bank_on else None,
            examples=examples if examples_on else None,
            cache=cache,
        )
        for bank_on, examples_on in {(one.bank, one.examples) for one in configurations}
    }
    plans = [
        _Plan(
            one,
            runtime if variant is None or one.is_whole else variant(one),
            ontologies[one.bank, one.examples].seen_as(one.prompts),
        )
        for one in configurations
    ]
    classes = len(vocabulary)
    tallies = [Tally.empty(classes) for _ in plans]
    remarkable = _Remarkable()
    pictures = 0
    total = len(samples) if isinstance(samples, Sized) else None
    for image, label in track(samples, name, total, disable=not progress):
        if image.shape[:2] != label.shape:
            raise ShapeError(f"picture {image.shape} and label {label.shape} differ in size")
        truth = object_truth(label, ignore_index)
        predictions = _predict(runtime, plans, image, refine_settings or RefineSettings())
        for index, prediction in enumerate(predictions):
            counts = Tally.of_picture(prediction, truth, classes)
            tallies[index] = tallies[index] + counts
            if index == 0:
                figure = miou(counts.confusion)
                remarkable.offer(Answer(pictures, figure, image, truth.target, prediction))
        pictures += 1
    if not pictures:
        raise DataError(f"{name!r} has no labelled pictures")
    return Evaluation(
        name=name,
        vocabulary=vocabulary,
        unseen=None if unseen is None else tuple(unseen),
        pictures=pictures,
        tallies={plan.configuration.name: t for plan, t in zip(plans, tallies, strict=True)},
        best=tuple(remarkable.best),
        worst=tuple(remarkable.worst),
    )


def tally_predictions(
    predict: Callable[[ImageArray], IntArray],
    samples: Iterable[Sample],
    classes: int,
    *,
    ignore_index: int = 255,
) -> Tally:
    """Count the answers of anything that labels pictures, such as a whole `Segmenter`.

    Args:
        predict: gives class indices H W for a picture H W 3; for "unlabelled" it gives the index
            of the class that stands for it.
        samples: pictures with labels.
        classes: K, with the class that stands for "unlabelled".
        ignore_index: label of pixels that do not count, besides negative ones.

    Returns:
        The counts.
    """
    tally = Tally.empty(classes)
    for image, label in samples:
        tally += Tally.of_picture(predict(image), object_truth(label, ignore_index), classes)
    return tally


@dataclass(frozen=True)
class _Plan:
    """A configuration with the runtime and the prompts that it needs."""

    configuration: Configuration
    runtime: Runtime
    ontology: PromptOntology

    @property
    def first_round(self) -> Configuration:
        """What decides the first scores: the configuration without name and refinement."""
        return replace(self.configuration, name="", refine=0, refine_mode="pool")


def _check(
    configurations: Sequence[Configuration],
    examples: Examples | None,
    variant: Callable[[Configuration], Runtime] | None,
) -> None:
    names = [configuration.name for configuration in configurations]
    if not names or len(set(names)) < len(names):
        raise DataError(f"configurations need different names, at least one; given are {names}")
    for configuration in configurations:
        if configuration.examples and examples is None:
            raise DataError(f"configuration {configuration.name!r} needs examples; give some")
        if not configuration.is_whole and variant is None:
            raise DataError(
                f"configuration {configuration.name!r} switches parts of the network off; "
                "give variant"
            )


def _predict(
    runtime: Runtime, plans: Sequence[_Plan], image: ImageArray, settings: RefineSettings
) -> list[IntArray]:
    """Answer one picture in every configuration, class indices H W each."""
    fitted = fit_picture(image, runtime.info)
    features = runtime.encode_image(fitted)
    size_hw = (image.shape[0], image.shape[1])
    firsts: dict[Configuration, FloatArray] = {}
    predictions = []
    for plan in plans:
        if plan.first_round not in firsts:
            firsts[plan.first_round] = plan.runtime.score(features, plan.ontology.arrays)
        refined = refine_rounds(
            plan.runtime,
            features,
            plan.ontology,
            rounds=plan.configuration.refine,
            mode=plan.configuration.refine_mode,
            image=fitted,
            settings=settings,
            logits=firsts[plan.first_round],
        )
        predictions.append(decide(refined.logits, size_hw))
    return predictions


class _Remarkable:
    """The pictures that went best and worst so far."""

    def __init__(self) -> None:
        self.best: list[Answer] = []
        self.worst: list[Answer] = []

    def offer(self, answer: Answer) -> None:
        """Keep a picture if it is among the best or the worst."""
        if np.isnan(answer.miou):
            return
        self.best = sorted([*self.best, answer], key=lambda a: (-a.miou, a.number))[:REMARKABLE]
        self.worst = sorted([*self.worst, answer], key=lambda a: (a.miou, a.number))[:REMARKABLE]
