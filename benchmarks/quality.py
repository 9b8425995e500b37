"""Measure a model on the labelled sets: text-only, visual-only and dual prompts side by side.

    python benchmarks/quality.py --data DATA                        # the shipped model
    python benchmarks/quality.py --data DATA --model runs/zero_shot --unseen splits/unseen.txt

Unlabelled is off; the answer is the best of the set's names at every pixel of the `val` split;
mIoU over the classes present, from one confusion matrix a set. `--split holdout` measures on the
photos that the recipe keeps aside from training, which is where choices are made.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dpseg import Segmenter
from dpseg.data.dataset import BACKGROUND, LabelledFolder
from dpseg.data.labels import plain_name, with_synonyms
from dpseg.evaluate.configuration import STANDARD, WITH_EXAMPLES, Configuration
from dpseg.evaluate.evaluate import Evaluation, evaluate_dataset, tally_predictions
from dpseg.model.dpseg import Switches
from dpseg.prompts.visual import CropSource
from dpseg.runtime import Runtime
from dpseg.torch_runtime import TorchRuntime
from dpseg.train.recipe import load_recipe
from dpseg.vocabulary import Vocabulary
from dpseg.weights import load_runtime

SETS = ("voc", "coco_things", "coco_panoptic", "stanford", "msrc")
ZERO_SHOT_SETS = ("voc", "coco_things", "coco_panoptic")
RECIPE = load_recipe(Path(__file__).parent.parent / "recipes" / "lite.yaml")
HOLDOUT_EVERY = {source.name: source.holdout_every for source in RECIPE.sources}
EXAMPLES_PER_CLASS = 3


class Samples:
    """Some photos of a labelled folder, as (image, label) pairs."""

    def __init__(self, folder: LabelledFolder, indices: Sequence[int]) -> None:
        self.folder = folder
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index in self.indices:
            sample = self.folder[index]
            yield sample.image, sample.label


def measure(name: str, arguments: argparse.Namespace, unseen: frozenset[str]) -> Evaluation:
    """Run all configurations on one set."""
    root = arguments.data / name
    every = HOLDOUT_EVERY.get(name, 0)
    train = LabelledFolder(root, "train") if every else None
    if arguments.split == "holdout":
        assert train is not None
        samples = Samples(train, range(0, len(train), every))
    else:
        folder = LabelledFolder(root, "val")
        samples = Samples(folder, range(len(folder))[: arguments.limit])
    runtime, bank = load_runtime(arguments.model)
    names = samples.folder.names
    configurations = [c for c in STANDARD if not arguments.only or c.name in arguments.only]
    examples = None
    if train is not None and not arguments.no_examples:
        others = Samples(train, [i for i in range(len(train)) if i % every])
        examples = CropSource.from_samples(runtime, others, names, per_class=EXAMPLES_PER_CLASS)
        configurations += WITH_EXAMPLES
    return evaluate_dataset(
        runtime,
        samples,
        Vocabulary.of([with_synonyms(n) for n in names]),
        configurations,
        name=name,
        bank=bank,
        examples=examples,
        unseen=[i for i, n in enumerate(names) if n in unseen] if unseen else None,
        variant=lambda configuration: with_parts_off(runtime, configuration),
        progress=True,
    )


def measure_unlabelled(name: str, arguments: argparse.Namespace) -> float:
    """Run the whole segmenter with unlabelled pixels on; background is one more class."""
    root, every = arguments.data / name, HOLDOUT_EVERY[name]
    holdout = arguments.split == "holdout"
    folder = LabelledFolder(root, "train" if holdout else "val")
    samples = Samples(folder, range(0, len(folder), every if holdout else 1)[: arguments.limit])
    count = len(folder.names)
    runtime, bank = load_runtime(arguments.model)
    segmenter = Segmenter(runtime, bank)
    vocabulary = Vocabulary.of([with_synonyms(n) for n in folder.names])

    def predict(image: np.ndarray) -> np.ndarray:
        labels = segmenter(image, vocabulary).labels
        return np.where(labels < 0, count, labels)

    with_background = (
        (image, np.where(label == BACKGROUND, count, label)) for image, label in samples
    )
    return tally_predictions(predict, with_background, count + 1).figures()["miou"]


def with_parts_off(runtime: Runtime, configuration: Configuration) -> Runtime:
    """Make a runtime that scores with a configuration's parts switched off."""
    assert isinstance(runtime, TorchRuntime)
    levels = runtime.info.levels if configuration.guidance else ()
    switches = Switches(token_wise=configuration.token_wise, guidance_levels=levels)
    return TorchRuntime(runtime.model, switches=switches)


def print_table(evaluations: Sequence[Evaluation], figure: str, title: str) -> None:
    """Print one figure of every configuration and set, in percent, and the mean over the sets."""
    table = Table("configuration", *[e.name for e in evaluations], "mean", title=title)
    names = dict.fromkeys(name for e in evaluations for name in e.tallies)
    for name in names:
        values = [e.figures()[name][figure] if name in e.tallies else math.nan for e in evaluations]
        cells = ["–" if math.isnan(v) else f"{100 * v:.1f}" for v in values]
        mean = "–" if any(map(math.isnan, values)) else f"{100 * float(np.mean(values)):.1f}"
        table.add_row(name, *cells, mean)
    Console(width=120).print(table)


def main() -> None:
    """Read the command line, measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the labelled sets")
    parser.add_argument("--model", default="dpseg-lite", help="preset or a run's folder")
    parser.add_argument("--sets", nargs="+", help="sets to measure")
    parser.add_argument("--unseen", help="file below DATA with the names unseen in training")
    parser.add_argument("--split", choices=["val", "holdout"], default="val")
    parser.add_argument("--limit", type=int, help="only the first photos of each set")
    parser.add_argument("--only", nargs="+", help="only these configurations")
    parser.add_argument("--no-examples", action="store_true", help="leave the example pictures out")
    parser.add_argument("--unlabelled", nargs="*", help="sets to measure with unlabelled pixels on")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    unseen: frozenset[str] = frozenset()
    if arguments.unseen:
        lines = (arguments.data / arguments.unseen).read_text().splitlines()
        unseen = frozenset(plain_name(line) for line in lines if line.strip())
    default = ZERO_SHOT_SETS if unseen else SETS
    sets = [s for s in arguments.sets or default if arguments.split == "val" or s in HOLDOUT_EVERY]
    evaluations = [measure(name, arguments, unseen) for name in sets]
    print_table(evaluations, "miou", "mIoU")
    if unseen:
        print_table(evaluations, "seen_miou", "mIoU, seen names")
        print_table(evaluations, "unseen_miou", "mIoU, unseen names")
    print_table(evaluations, "small_miou", "mIoU, small objects (under 1% of the photo)")
    print_table(evaluations, "boundary_iou", "boundary IoU")
    for name in arguments.unlabelled or []:
        figure = measure_unlabelled(name, arguments)
        print(f"{name}, unlabelled on, background as one more class: mIoU {100 * figure:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps([e.to_dict() for e in evaluations], indent=2))


if __name__ == "__main__":
    main()
