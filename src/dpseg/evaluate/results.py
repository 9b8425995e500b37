"""What is kept of an evaluation: counts of every configuration, and remarkable images.

Parts of a set are counted apart, in any number of processes, and added; the sum is the same
whatever the parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dpseg.arrays import ImageArray, IntArray
from dpseg.errors import ShapeError
from dpseg.evaluate.accumulators import Accumulators
from dpseg.evaluate.metrics import miou
from dpseg.evaluate.objects import object_truth
from dpseg.files import write_text

#: An image H W 3 and its class indices H W.
Sample: TypeAlias = "tuple[ImageArray, IntArray]"
#: Gives class indices H W of an image H W 3, one map a configuration.
Predict: TypeAlias = "Callable[[ImageArray], Sequence[IntArray]]"

REMARKABLE = 4  # images kept of the best, and of the worst


@dataclass(frozen=True)
class Answer:
    """One image with what was true and what was said; negative is unlabelled.

    Attributes:
        number: position among the samples.
        miou: over the classes in the image.
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
class PartialResult:
    """What was counted on some of the images of a set.

    Attributes:
        pictures: how many.
        accumulators: one a configuration.
        best: images that went best, in the first configuration.
        worst: images that went worst.
    """

    pictures: int
    accumulators: tuple[Accumulators, ...]
    best: tuple[Answer, ...] = ()
    worst: tuple[Answer, ...] = ()

    @classmethod
    def nothing(cls, configurations: int, classes: int) -> PartialResult:
        """Begin to count."""
        return cls(0, tuple(Accumulators.empty(classes) for _ in range(configurations)))

    def __add__(self, other: PartialResult) -> PartialResult:
        best = sorted([*self.best, *other.best], key=lambda a: (-a.miou, a.number))
        worst = sorted([*self.worst, *other.worst], key=lambda a: (a.miou, a.number))
        return PartialResult(
            pictures=self.pictures + other.pictures,
            accumulators=tuple(
                a + b for a, b in zip(self.accumulators, other.accumulators, strict=True)
            ),
            best=tuple(best[:REMARKABLE]),
            worst=tuple(worst[:REMARKABLE]),
        )


def count_picture(
    predict: Predict, number: int, sample: Sample, classes: int, *, ignore_index: int = 255
) -> PartialResult:
    """Count the predict to one image.

    Args:
        predict: of a model or anything else that labels images.
        number: position of the image among the samples.
        sample: the image and its labels.
        classes: K.
        ignore_index: label of pixels that do not count, besides negative ones.

    Returns:
        Its counts.

    Raises:
        ShapeError: the image and its label differ in size.
        DataError: a label or an answer is no class.
    """
    image, label = sample
    if image.shape[:2] != label.shape:
        raise ShapeError(f"picture {image.shape} and label {label.shape} differ in size")
    truth = object_truth(label, ignore_index)
    said = predict(image)
    accumulators = tuple(Accumulators.of_picture(one, truth, classes) for one in said)
    figure = miou(accumulators[0].confusion)
    answer = Answer(number, figure, image, truth.target, said[0])
    remarkable = () if np.isnan(figure) else (answer,)
    return PartialResult(1, accumulators, remarkable, remarkable)


def count_pictures(
    predict: Predict,
    samples: Iterable[tuple[int, Sample]],
    configurations: int,
    classes: int,
    *,
    ignore_index: int = 255,
) -> PartialResult:
    """Count the predict to some images; see `count_picture`."""
    counted = PartialResult.nothing(configurations, classes)
    for number, sample in samples:
        counted += count_picture(predict, number, sample, classes, ignore_index=ignore_index)
    return counted


@dataclass(frozen=True)
class Evaluation:
    """What was counted on one set.

    Attributes:
        name: of the set.
        names: of its classes, K.
        unseen: indices of those that training did not see; None for no split.
        pictures: how many were counted.
        accumulators: configuration name to counts.
        best: images that went best, in the first configuration.
        worst: images that went worst.
    """

    name: str
    names: tuple[str, ...]
    unseen: tuple[int, ...] | None
    pictures: int
    accumulators: Mapping[str, Accumulators]
    best: tuple[Answer, ...] = field(default=(), repr=False)
    worst: tuple[Answer, ...] = field(default=(), repr=False)

    def figures(self) -> dict[str, dict[str, float]]:
        """Compute every figure of every configuration."""
        return {
            name: accumulator.figures(self.unseen)
            for name, accumulator in self.accumulators.items()
        }

    def to_dict(self) -> dict[str, object]:
        """Turn into what JSON can hold."""
        unseen = None if self.unseen is None else [self.names[index] for index in self.unseen]
        return {
            "set": self.name,
            "pictures": self.pictures,
            "classes": list(self.names),
            "unseen": unseen,
            "configurations": {
                name: accumulator.to_dict(self.names, self.unseen)
                for name, accumulator in self.accumulators.items()
            },
        }


def save_json(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write all figures of some sets.

    Args:
        evaluations: one a set.
        path: where to.
    """
    plain = [evaluation.to_dict() for evaluation in evaluations]
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")
