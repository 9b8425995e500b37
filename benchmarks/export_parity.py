"""Compare the exported graphs with torch: sizes, times, equal labels, and mIoU on labelled sets.

    python benchmarks/export_parity.py --work runs/parity
    python benchmarks/export_parity.py --work runs/parity --data DATA --sets voc stanford

Each row is an export of the same weights, image tower / text tower. Labels are compared with torch
in single precision, over the example photos and the ADE20K names, without unlabelled pixels. Int8
image towers are calibrated on `--pictures`. MB counts all files of the folder, so also the bank and
the trained weights. An export that is in `--work` is not made again. Every row has a prompt cache
of its own, or the first row's text would answer for all. With `--data` this is the quality test of
the exports: it ends with 1 if one of them loses more than `--most` points of mIoU on a set.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import dpseg.engines.torch_engine
from dpseg import Segmenter, Vocabulary
from dpseg.arrays import ImageArray, PromptSet
from dpseg.engines.onnx_files import is_exported
from dpseg.engines.protocol import Engine
from dpseg.evaluate.configuration import STANDARD, chosen
from dpseg.evaluate.folder import Task, evaluate_folder
from dpseg.export.model import export_model
from dpseg.factory.load import EngineName, load_engine, model_files
from dpseg.imaging.photo import load_photo
from dpseg.prompts.cache import CACHE_VARIABLE, PromptCache
from dpseg.prompts.prompt_set import build_prompts

EXAMPLES = Path(__file__).parent.parent / "examples" / "photos"
EXPORTS = (
    "fp32/fp32",
    "fp16/int8-weights",  # as shipped
    "fp16/int8",
    "int8/int8",
)
THREADS = 2
SIZE_HW = (384, 512)
NAMES = Vocabulary.load("voc20")
MANY_NAMES = Vocabulary.load("ade150")


def milliseconds(run: Callable[[], object], repeats: int) -> float:
    """Take the median time of a call, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def labels_of(engine: Engine, bank: object, photos: Sequence[ImageArray]) -> list[np.ndarray]:
    """Label photos with many names."""
    with tempfile.TemporaryDirectory() as folder:
        segmenter = Segmenter(engine, bank, cache=PromptCache(folder))  # type: ignore[arg-type]
        results = segmenter(list(photos), MANY_NAMES, unlabelled=False)
    return [result.labels for result in results]


def times_of(engine: Engine, prompts: PromptSet, repeats: int) -> list[float]:
    """Time the three graphs: a 512x384 picture, 20 names, 100 sentences."""
    picture = np.zeros((*SIZE_HW, 3), np.uint8)
    features = engine.encode_image(picture)
    sentences = [f"a photo of a {name}" for name in MANY_NAMES.names[:100]]
    return [
        milliseconds(lambda: engine.encode_image(picture), repeats),
        milliseconds(lambda: engine.score(features, prompts), repeats),
        milliseconds(lambda: engine.encode_text(sentences), repeats),
    ]


def miou_of(model: str, engine: EngineName, root: Path, limit: int | None) -> float:
    """Measure dual prompts on one labelled set, in percent."""
    rows = chosen(STANDARD, ["dual"])
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = folder
        task = Task(root=root, model=model, engine=engine, limit=limit, configurations=rows)
        return 100 * evaluate_folder(task).figures()["dual"]["miou"]


def main() -> None:
    """Export, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="dpseg-lite", help="a lite model's name or folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for the exports")
    parser.add_argument("--pictures", type=Path, default=EXAMPLES, help="calibrate int8 on these")
    parser.add_argument("--exports", nargs="+", default=EXPORTS, metavar="IMAGE/TEXT")
    parser.add_argument("--data", type=Path, help="folder with labelled sets, for mIoU")
    parser.add_argument("--sets", nargs="+", default=["voc", "coco_things", "stanford", "msrc"])
    parser.add_argument("--limit", type=int, help="only the first photos of each set")
    parser.add_argument("--most", type=float, default=1.0, help="mIoU that an export may lose")
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    sets = [arguments.data / name for name in arguments.sets] if arguments.data else []

    photos = [load_photo(path) for path in sorted(EXAMPLES.glob("*.jpg"))]
    torch_engine, bank = load_engine(arguments.model, engine="torch")
    prompts = build_prompts(torch_engine, NAMES, bank=bank)
    columns = ["MB", "image ms", "score ms", "text ms", "equal labels %", "largest difference"]
    table = Table("export", *columns, *(root.name for root in sets), title="dual prompts, mIoU")

    rows: dict[str, list[float]] = {}

    def add(name: str, size: float, engine: Engine, model: str, engine_name: EngineName) -> None:
        pairs = zip(labels_of(engine, bank, photos), expected, strict=True)
        equal = 100 * float(np.mean(np.concatenate([(a == b).ravel() for a, b in pairs])))
        largest = float(np.abs(engine.score(features, prompts) - logits).max())
        cells = [
            f"{size:.1f}",
            *(f"{t:.0f}" for t in times_of(engine, prompts, arguments.repeats)),
        ]
        mious = [miou_of(model, engine_name, root, arguments.limit) for root in sets]
        rows[name] = mious
        shown = [f"{miou:.1f}" for miou in mious]
        table.add_row(name, *cells, f"{equal:.2f}", f"{largest:.1e}", *shown)

    native = dpseg.engines.torch_engine._fast_matrix_types
    dpseg.engines.torch_engine._fast_matrix_types = contextlib.nullcontext  # type: ignore[assignment]
    expected = labels_of(torch_engine, bank, photos)
    features = torch_engine.encode_image(np.zeros((*SIZE_HW, 3), np.uint8))
    logits = torch_engine.score(features, prompts)
    add("torch, fp32", 0, torch_engine, arguments.model, "torch")
    dpseg.engines.torch_engine._fast_matrix_types = native
    add("torch, as it runs here", 0, torch_engine, arguments.model, "torch")
    for name in arguments.exports:
        image, text = name.split("/")
        folder = arguments.work / name.replace("/", "_")
        if not is_exported(folder):
            export_model(
                arguments.model, folder, image=image, text=text, pictures=arguments.pictures
            )
        size = sum(path.stat().st_size for path in model_files(folder)) / 1e6
        add(name, size, load_engine(folder, engine="onnx")[0], str(folder), "onnx")
    Console(width=150).print(table)
    exact = rows["torch, fp32"]
    for name in arguments.exports:
        lost = [before - after for before, after in zip(exact, rows[name], strict=True)]
        if max(lost, default=0) > arguments.most:
            sys.exit(
                f"{name} loses {max(lost):.1f} points of mIoU; at most {arguments.most} may be."
            )


if __name__ == "__main__":
    main()
