"""Measure a model on the labelled sets: text-only, visual-only and dual prompts side by side.

    python benchmarks/quality.py --data DATA                        # the shipped model
    python benchmarks/quality.py --data DATA --model runs/zero_shot --unseen splits/unseen.txt

The main job's table: `dpseg evaluate` on every set, one table a figure. Unlabelled is off; the
answer is the best of the set's names at every pixel of the `val` split; mIoU over the classes
present, from one confusion matrix a set. `--split holdout` measures on the photos that the recipe
keeps aside from training, which is where choices are made. `--processes 2` shares the work.
`--one-word` names sets on whose photos each name that is there is asked alone, unlabelled on;
`--instances` those on which single things are counted, touching ones parted and plain regions.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dpseg.data.dataset import MIN_AREA, UNLABELLED, LabelledFolder
from dpseg.data.plain_names import plain_name
from dpseg.data.splits import read_split
from dpseg.evaluate.configuration import STANDARD, WITH_EXAMPLES, chosen
from dpseg.evaluate.folder import Task, evaluate_folder
from dpseg.evaluate.instance_folder import evaluate_instances
from dpseg.evaluate.results import Evaluation, save_json
from dpseg.segmenter import Segmenter
from dpseg.train.recipe import load_recipe
from dpseg.vocabulary import Vocabulary

SETS = ("voc", "coco_things", "coco_panoptic", "stanford", "msrc")
ZERO_SHOT_SETS = ("voc", "coco_things", "coco_panoptic")
RECIPE = load_recipe(Path(__file__).parent.parent / "recipes" / "lite_more.yaml")
HOLDOUT_EVERY = {source.name: source.holdout_every for source in RECIPE.sources}
EXAMPLES_PER_CLASS = 3
INSIDE_OUT = 0.01  # of what is not the thing: where less is labelled, nothing is turned inside out


def task_for(
    name: str, arguments: argparse.Namespace, unseen: tuple[str, ...] | None, unlabelled: bool
) -> Task:
    """Say what to measure on one set."""
    root = arguments.data / name
    has_train = (root / "train.txt").exists()
    with_examples = has_train and not (arguments.no_examples or unlabelled)
    return Task(
        root=root,
        model=arguments.model,
        holdout=arguments.split == "holdout",
        holdout_every=HOLDOUT_EVERY.get(name, 0),
        limit=arguments.limit,
        configurations=[
            *chosen(STANDARD, arguments.only or []),
            *(WITH_EXAMPLES if with_examples else ()),
        ],
        examples=EXAMPLES_PER_CLASS if with_examples else 0,
        unseen=None if unlabelled else unseen,
        unlabelled=unlabelled,
    )


def print_table(evaluations: Sequence[Evaluation], figure: str, title: str) -> None:
    """Print one figure of every configuration and set, in percent, and the mean over the sets."""
    table = Table("configuration", *[e.name for e in evaluations], "mean", title=title)
    names = dict.fromkeys(name for e in evaluations for name in e.accumulators)
    for name in names:
        values = [
            e.figures()[name][figure] if name in e.accumulators else math.nan for e in evaluations
        ]
        cells = ["–" if math.isnan(v) else f"{100 * v:.1f}" for v in values]
        mean = "–" if any(map(math.isnan, values)) else f"{100 * float(np.mean(values)):.1f}"
        table.add_row(name, *cells, mean)
    Console(width=120).print(table)


def one_word(name: str, arguments: argparse.Namespace) -> tuple[float, float]:
    """Ask for one name at a time, on photos that show it.

    Returns:
        The mean over names of their mean IoU, and the share of answers that are inside out: of what
        is not the thing a larger part is labelled than of the thing.
    """
    holdout = arguments.split == "holdout"
    folder = LabelledFolder(arguments.data / name, "train" if holdout else arguments.split)
    every = HOLDOUT_EVERY[name] if holdout else 1
    segmenter = Segmenter.from_pretrained(arguments.model)
    words = [segmenter.prepare(Vocabulary([entry])) for entry in folder.vocabulary]
    found: dict[int, list[float]] = {}
    turned: list[bool] = []
    for index in range(len(folder))[::every][: arguments.limit]:
        sample = folder[index]
        for k, pixels in zip(*np.unique(sample.label, return_counts=True), strict=True):
            if k < 0 or pixels < MIN_AREA * sample.label.size:
                continue
            thing = sample.label == k
            ground = ~thing & (sample.label != UNLABELLED)
            answer = words[k](sample.image).labels == 0
            union = thing | (answer & ground)
            found.setdefault(int(k), []).append((answer & thing).sum() / union.sum())
            on_ground = answer[ground].mean() if ground.any() else 0.0
            turned.append(bool(on_ground > max(answer[thing].mean(), INSIDE_OUT)))
    return float(np.mean([np.mean(ious) for ious in found.values()])), float(np.mean(turned))


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
    parser.add_argument("--one-word", nargs="*", help="sets to ask for one word at a time")
    parser.add_argument("--instances", nargs="*", help="sets on which to part and count things")
    parser.add_argument("--processes", type=int, default=1, help="processes that share the work")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    unseen = None
    if arguments.unseen:
        unseen = tuple(map(plain_name, read_split(arguments.data / arguments.unseen)))
    default = ZERO_SHOT_SETS if unseen else SETS
    sets = [s for s in arguments.sets or default if arguments.split == "val" or s in HOLDOUT_EVERY]

    def measure(name: str, unlabelled: bool = False) -> Evaluation:
        task = task_for(name, arguments, unseen, unlabelled)
        return evaluate_folder(task, processes=arguments.processes, progress=True)

    evaluations = [measure(name) for name in sets]
    print_table(evaluations, "miou", "mIoU")
    if unseen:
        print_table(evaluations, "seen_miou", "mIoU, seen names")
        print_table(evaluations, "unseen_miou", "mIoU, unseen names")
    print_table(evaluations, "small_miou", "mIoU, small objects (under 1% of the photo)")
    print_table(evaluations, "boundary_iou", "boundary IoU")
    whole = [measure(name, unlabelled=True) for name in arguments.unlabelled or []]
    if whole:
        print_table(whole, "miou", "mIoU with unlabelled pixels, background as one more class")
    if arguments.one_word:
        table = Table("set", "one word", "inside out", title="one word at a time, unlabelled on")
        for name in arguments.one_word:
            table.add_row(name, *(f"{100 * figure:.1f}" for figure in one_word(name, arguments)))
        Console(width=120).print(table)
    for name in arguments.instances or []:
        segmenter = Segmenter.from_pretrained(arguments.model)
        root, limit = arguments.data / name, arguments.limit
        print(evaluate_instances(segmenter, root, limit=limit, progress=True).markdown())
    if arguments.json:
        save_json([*evaluations, *whole], arguments.json)


if __name__ == "__main__":
    main()
