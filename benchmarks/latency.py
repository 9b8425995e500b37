"""Time the shipped model beside a peer and beside its own floor, in one run.

    python benchmarks/latency.py

One 640x480 photo, 20 names, two threads. The peer is CLIPSeg (transformers, default architecture,
random weights, bfloat16: time does not depend on what the weights say); the floor is the image
tower alone. Medians; the spread tells the machine's noise. Needs the `dev` extra.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from dpseg import Segmenter, Vocabulary
from dpseg.weights import load_runtime

SIZE_WH = (640, 480)
THREADS = 2


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


def clipseg(photo: np.ndarray, names: list[str]) -> Callable[[], object]:
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


def cold(arguments: list[str]) -> Callable[[], object]:
    """Run the command line in a new process."""
    return lambda: subprocess.run(arguments, check=True, capture_output=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--model", default="dpseg-lite", help="preset or a run's folder")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    photo = np.asarray(Image.fromarray(data.astronaut()).resize(SIZE_WH))
    names = Vocabulary.load("voc20").names
    start = time.perf_counter()
    runtime, bank = load_runtime(arguments.model)
    segmenter = Segmenter(runtime, bank)
    loading = time.perf_counter() - start

    rows: dict[str, list[float]] = {}

    def ask(**options: object) -> Callable[[], object]:
        return lambda: segmenter(photo, names, **options)  # type: ignore[call-overload]

    rows["image tower alone (floor)"] = seconds(
        lambda: runtime.encode_image(photo), arguments.repeats
    )
    rows["dpseg, every pixel labelled"] = seconds(ask(unlabelled=False), arguments.repeats)
    rows["dpseg, unlabelled pixels"] = seconds(ask(), arguments.repeats)
    rows["dpseg, one pool round"] = seconds(ask(unlabelled=False, refine=1), arguments.repeats)
    rows["CLIPSeg"] = seconds(clipseg(photo, names), 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        Image.fromarray(photo).save(path)
        command = [sys.executable, "-m", "dpseg", "segment", str(path), "-c", ",".join(names)]
        command += ["--out", folder, "--again"]
        rows["dpseg segment, new process"] = seconds(cold(command), 3)

    base = statistics.median(rows["dpseg, every pixel labelled"])
    table = Table("what", "median s", "min", "max", "x dpseg", title="640x480, 20 names, 2 threads")
    for name, times in rows.items():
        median = statistics.median(times)
        cells = [f"{value:.3f}" for value in (median, min(times), max(times))]
        table.add_row(name, *cells, f"{median / base:.2f}")
    Console(width=110).print(table)
    print(f"loading, in a process that has imported torch: {loading:.2f} s")


if __name__ == "__main__":
    main()
