"""Show what prompt tuning brings on names that training did not see: 1, 5 and 10 photos of each.

    python benchmarks/tuning.py --data DATA --model runs/zero_shot --unseen splits/unseen.txt

The rows: text alone, text and bank, the photos as plain examples, and prompts tuned on the same
photos. Photos come from `train`, figures from `val`. mIoU of the unseen names; their mean over
the sets is what counts.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dpseg.data.dataset import LabelledFolder
from dpseg.data.plain_names import plain_name
from dpseg.data.splits import read_split, unseen_classes
from dpseg.evaluate.configuration import STANDARD, Configuration, chosen
from dpseg.evaluate.folder import Task, evaluate_folder
from dpseg.factory.load import load_engine
from dpseg.train.prompt_tuning import TuneSettings, tune_on_folder

SETS = ("voc", "coco_things", "coco_panoptic")
SHOTS = (1, 5, 10)


def measure(
    root: Path, arguments: argparse.Namespace, unseen: tuple[str, ...], settings: TuneSettings
) -> dict[str, tuple[float, float]]:
    """Measure every row on one set: unseen and seen mIoU."""
    data = LabelledFolder(root, "train")
    names = [data.names[index] for index in unseen_classes(unseen, data.vocabulary)]
    engine, bank = load_engine(arguments.model, engine="torch")
    figures: dict[str, tuple[float, float]] = {}
    for shots in arguments.shots:
        rows = [
            *(chosen(STANDARD, ["text", "dual"]) if not figures else ()),
            Configuration(f"{shots} examples", examples=True),
            Configuration(f"{shots} tuned", tuned=True),
        ]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tuned.safetensors"
            tune_on_folder(
                engine, bank, data, names=names, shots=shots, settings=settings, progress=True
            ).save(file)
            evaluation = evaluate_folder(
                Task(
                    root=root,
                    model=arguments.model,
                    limit=arguments.limit,
                    configurations=rows,
                    examples=shots,
                    example_names=tuple(names),
                    tuned=file,
                    unseen=unseen,
                ),
                processes=arguments.processes,
                progress=True,
            )
        for name, row in evaluation.figures().items():
            figures[name] = row["unseen_miou"], row["seen_miou"]
    return figures


def print_table(title: str, sets: Sequence[str], rows: dict[str, list[float]]) -> None:
    """Print one figure of every row and set, in percent, and the mean over the sets."""
    table = Table("prompts", *sets, "mean", title=title)
    for name, values in rows.items():
        cells = ["–" if math.isnan(v) else f"{100 * v:.1f}" for v in (*values, np.mean(values))]
        table.add_row(name, *cells)
    Console(width=100).print(table)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the labelled sets")
    parser.add_argument("--model", default="dpseg-lite", help="preset or a run's folder")
    parser.add_argument("--unseen", required=True, help="file below DATA with the unseen names")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="sets to measure")
    parser.add_argument("--shots", nargs="+", type=int, default=list(SHOTS), help="photos a class")
    parser.add_argument("--limit", type=int, help="only the first photos of each set")
    parser.add_argument("--processes", type=int, default=1, help="processes that share the work")
    parser.add_argument("--steps", type=int, default=TuneSettings.steps)
    parser.add_argument("--rate", type=float, default=TuneSettings.rate)
    parser.add_argument("--hold", type=float, default=TuneSettings.hold)
    arguments = parser.parse_args()
    unseen = tuple(map(plain_name, read_split(arguments.data / arguments.unseen)))
    settings = TuneSettings(steps=arguments.steps, rate=arguments.rate, hold=arguments.hold)
    found = [measure(arguments.data / name, arguments, unseen, settings) for name in arguments.sets]
    for position, title in enumerate(("mIoU, unseen names", "mIoU, seen names")):
        rows = {name: [figures[name][position] for figures in found] for name in found[0]}
        print_table(title, arguments.sets, rows)


if __name__ == "__main__":
    main()
