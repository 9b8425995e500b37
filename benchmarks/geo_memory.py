"""Measure that the memory of a map's segmentation does not grow with the map.

    python benchmarks/geo_memory.py --sides 2000 5000 20000

Each map is made for the measurement and segmented in a process of its own; the most memory that
the process held is printed. `--windows-only` replaces the model by one that labels by brightness,
so that reading, windows and writing can be measured at full size within minutes. Needs the `geo`
extra.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MEGABYTE = 1024  # ru_maxrss counts kilobytes
NAMES = "tree, road, roof|building, grass, water"


def make_map(path: Path, side: int) -> None:
    """Write a georeferenced map of soft noise, block row by block row."""
    import rasterio
    from rasterio.transform import from_origin

    random = np.random.default_rng(side)
    profile = {
        "driver": "GTiff", "count": 3, "height": side, "width": side, "dtype": "uint8",
        "tiled": True, "compress": "deflate", "crs": "EPSG:32633",
        "transform": from_origin(400_000, 5_900_000, 0.1, 0.1),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        for top in range(0, side, 256):
            rows = min(256, side - top)
            coarse = random.integers(0, 255, (3, rows // 32 + 1, side // 32 + 1), np.uint8)
            strip = coarse.repeat(32, axis=1).repeat(32, axis=2)[:, :rows, :side]
            dataset.write(strip, window=((top, top + rows), (0, side)))


class Brightness:
    """Stands in for a prepared question: two classes, by brightness."""

    classes = ("dark", "bright")

    def __call__(self, photo: np.ndarray) -> object:
        """Label a window."""
        from dpseg import Segmentation

        labels = (photo.mean(axis=2) > 127).astype(np.int32)
        scores = np.zeros((2, 4, 4), np.float32)
        return Segmentation(photo=photo, labels=labels, classes=self.classes, scores=scores)


def segment(path: Path, out: Path, *, model: str, windows_only: bool) -> dict[str, float]:
    """Segment a map in this process; tell the time and the most memory held."""
    from dpseg import Segmenter
    from dpseg.geo.rules import MapRules
    from dpseg.geo.segment_map import segment_map

    find = Brightness() if windows_only else Segmenter.from_pretrained(model).prepare(NAMES)
    find(np.zeros((1024, 1024, 3), np.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE
    start = time.perf_counter()
    segment_map(find, path, out, rules=MapRules())  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE
    return {"seconds": seconds, "one_window": before, "peak": peak}


def main() -> None:
    """Measure each size in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--model", default="dpseg-lite", help="preset or folder")
    parser.add_argument("--windows-only", action="store_true", help="leave the model out")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # a map: measure it here
    arguments = parser.parse_args()
    if arguments.one:
        with tempfile.TemporaryDirectory() as out:
            figures = segment(
                arguments.one,
                Path(out),
                model=arguments.model,
                windows_only=arguments.windows_only,
            )
        print(json.dumps(figures))
        return
    print(f"{'side':>8} {'one window MB':>14} {'peak MB':>9} {'seconds':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for side in arguments.sides:
            path = Path(folder) / f"{side}.tif"
            make_map(path, side)
            command = [sys.executable, __file__, "--one", str(path), "--model", arguments.model]
            command += ["--windows-only"] if arguments.windows_only else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            figures = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{side:>8} {figures['one_window']:>14.0f} {figures['peak']:>9.0f} "
                f"{figures['seconds']:>9.1f}",
                flush=True,
            )
            path.unlink()


if __name__ == "__main__":
    main()
