"""Time the shipped model beside a peer and beside its own floor, in one run.

    python benchmarks/latency.py
    python benchmarks/latency.py --engines onnx torch

One 640x480 photo, 20 names, two threads, on the engine that runs by default or on those named. The
peer is CLIPSeg (transformers, default architecture, random weights, bfloat16: time does not depend
on what the weights say); the floor is the image tower alone. `dpseg segment` is timed in new
processes, once with an empty folder of prompts and once with a filled one. Medians; the spread
tells the machine's noise. Needs the `dev` extra.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from dpseg import Segmenter, Vocabulary
from dpseg.factory.load import EngineName, load_engine
from dpseg.prompts.cache import CACHE_VARIABLE

THREADS = 2
PHOTO = np.asarray(Image.fromarray(data.astronaut()).resize((640, 480)))
NAMES = Vocabulary.load("voc20").names


def seconds(run: Callable[[], object], repeats: int) -> list[float]:
    """Time a call several times, after two calls that do not count."""
    for _ in range(2):
        run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def clipseg(photo: np.ndarray, names: Sequence[str]) -> Callable[[], object]:
    """Set up the peer on the same photo and names."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    model = CLIPSegForImageSegmentation(CLIPSegConfig()).eval().to(torch.bfloat16)
    side = model.config.vision_config.image_size
    resized = torch.from_numpy(np.asarray(Image.fromarray(photo).resize((side, side))).copy())
    pixels = (resized.permute(2, 0, 1)[None].to(torch.bfloat16) / 255).repeat(len(names), 1, 1, 1)
    tokens = torch.randint(1, 1000, (len(names), 8))

    @torch.inference_mode()
    def run() -> object:
        return model(pixel_values=pixels, input_ids=tokens)

    return run


def rows_of(name: EngineName, model: str, repeats: int) -> dict[str, list[float]]:
    """Time an engine, in this process."""
    engine, bank = load_engine(model, engine=name)
    segmenter = Segmenter(engine, bank)

    def ask(**options: object) -> Callable[[], object]:
        return lambda: segmenter(PHOTO, NAMES, **options)  # type: ignore[call-overload]

    def refined() -> None:
        found = segmenter(PHOTO, NAMES, refine=1)
        if found.settings["refine_rounds"] != 1:
            raise SystemExit("no class was sure enough for a round: there is nothing to time")

    return {
        f"{name}: image tower alone (floor)": seconds(lambda: engine.encode_image(PHOTO), repeats),
        f"{name}: every pixel labelled": seconds(ask(unlabelled=False), repeats),
        f"{name}: unlabelled pixels": seconds(ask(), repeats),
        f"{name}: the same and one pool round": seconds(refined, repeats),
    }


def new_processes(model: str, repeats: int) -> dict[str, list[float]]:
    """Time the command line in new processes, without and with known prompts."""
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "photo.jpg", Path(folder) / "prompts"
        Image.fromarray(PHOTO).save(path)
        command = [sys.executable, "-m", "dpseg", "segment", str(path), "-c", ",".join(NAMES)]
        command += ["--model", model, "--out", folder, "--again"]
        environment = os.environ | {CACHE_VARIABLE: str(cache), "OMP_NUM_THREADS": str(THREADS)}

        def known() -> None:
            subprocess.run(command, check=True, capture_output=True, env=environment)

        def cold() -> None:
            shutil.rmtree(cache, ignore_errors=True)
            known()

        return {
            "dpseg segment, new process, new words": seconds(cold, repeats),
            "dpseg segment, new process, known words": seconds(known, repeats),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--model", default="dpseg-lite", help="preset or a run's folder")
    parser.add_argument("--engines", nargs="+", choices=["onnx", "torch"], default=["onnx"])
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)  # onnxruntime's threads, by our own rule
    torch.set_num_threads(THREADS)

    rows: dict[str, list[float]] = {}
    for engine in arguments.engines:
        rows |= rows_of(engine, arguments.model, arguments.repeats)
    rows["CLIPSeg"] = seconds(clipseg(PHOTO, NAMES), 3)
    rows |= new_processes(arguments.model, 3)

    base = statistics.median(rows[f"{arguments.engines[0]}: every pixel labelled"])
    table = Table("what", "median s", "min", "max", "x dpseg", title="640x480, 20 names, 2 threads")
    for name, times in rows.items():
        median = statistics.median(times)
        cells = [f"{value:.3f}" for value in (median, min(times), max(times))]
        table.add_row(name, *cells, f"{median / base:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
