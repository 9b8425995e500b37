"""Time and weigh ERR-Seg at full size beside a direct re-computation of the same layers.

    python benchmarks/err_seg_size.py

The direct one is what the tests compare with: ERR-Seg written down in torch primitives and timm's
own forward, with nothing of dpseg. Both have the same random weights and the same 640x640 picture.
The two take turns, so that a busy machine slows both; medians, with the image tower's time. Single
precision. The most memory is that of a new process, which computes one answer. Needs the `clip`
extra.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from own_process import measure_apart, peak_megabytes

import err_seg_reference as direct
from dpseg.factory.clip import CLASS_CHUNK, ClipModel
from dpseg.factory.config import PRESETS, ClipConfig
from dpseg.factory.importers.published import import_checkpoint
from dpseg.model.class_choice import usual_choice
from dpseg.model.dpseg import ForwardOptions
from text_prompts import text_prompts

CLASSES = (20, 171, 847)
PRESET = "err-seg-convnext-b"


class Direct(direct.Reference):
    """Votes at once; the tests count them one by one."""

    @staticmethod
    def select(cost: torch.Tensor, chosen: int) -> list[int]:
        """Choose the classes with most votes."""
        ranks = cost.flatten(1).topk(3, dim=0).indices  # 3 (h w)
        votes = sum(
            weight * torch.bincount(rank, minlength=len(cost))
            for weight, rank in zip((1.0, 0.1, 0.01), ranks, strict=True)
        )
        assert isinstance(votes, torch.Tensor)
        return sorted(votes.topk(chosen).indices.tolist())


def make(tiny: bool) -> tuple[ClipModel, dict[str, torch.Tensor], int]:
    """Make a checkpoint, and a model of it; with the number of the aggregator's layers."""
    config = PRESETS[PRESET]
    assert isinstance(config, ClipConfig)
    if tiny:
        sizes, side = direct.Sizes(), 64
        config = config.model_copy(
            update={"architecture": sizes.architecture, "clip": "convnext_tiny"}
        )
    else:
        channels = {5: 1024, 4: 512, 3: 256, 2: 128}
        architecture = open_clip.get_model_config(config.clip)
        widths, projections = config.widths, config.projections
        sizes = direct.Sizes(architecture, config.layers, widths, projections, channels)
        side = config.image_size
    own = {"widths": sizes.widths, "projections": sizes.projections, "layers": sizes.layers}
    config = config.model_copy(update={**own, "image_size": side, "pretrained": None})
    state = direct.checkpoint(sizes)
    return import_checkpoint(state, config=config)[0].requires_grad_(False), state, sizes.layers


@torch.inference_mode()
def measure(options: argparse.Namespace) -> Any:
    """Time both in turn, or answer once, and tell the most memory held."""
    torch.set_num_threads(options.threads)
    model, state, layers = make(options.tiny)
    reference = Direct(state, layers)
    classes, side = options.classes[0], model.config.image_size
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, side, side, generator=generator)
    dimension = model.encoder.clip.text_projection.shape[1]
    text = torch.randn(classes, 1, dimension, generator=generator)
    chosen = usual_choice(classes)

    def ours() -> torch.Tensor:
        pyramid = model.encoder.encode_image(image)
        return model.network(
            pyramid.image_embedding,
            pyramid.image_features,
            text_prompts(text),
            ForwardOptions(class_chunk=CLASS_CHUNK),
            coarse_embedding=pyramid.coarse_embedding,
        )

    def directly() -> torch.Tensor:
        encoder = model.encoder
        pixels = (image - encoder.pixel_mean) / encoder.pixel_std
        fine, coarse, levels = direct.read_out(encoder.clip, state, pixels)
        return reference(fine, coarse, levels, text[:, 0], chosen)[0]

    if options.part == "memory":
        ours()
        return peak_megabytes()
    times: dict[str, list[float]] = {"ours": [], "direct": []}
    for turn in range(options.repeats + 1):
        for name, run in (("ours", ours), ("direct", directly)):
            start = time.perf_counter()
            run()
            if turn:  # the first warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure each number of names, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES), help="K, several")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try the command")
    parser.add_argument("--part", choices=("times", "memory"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(measure(options)))
        return
    table = Table("K", "chosen", "dpseg s", "direct s", "dpseg / direct", "MB")
    for classes in options.classes:
        times = measure_apart(__file__, options, part="times", classes=classes)
        memory = measure_apart(__file__, options, part="memory", classes=classes)
        table.add_row(
            str(classes),
            str(usual_choice(classes)),
            f"{times['ours']:.2f}",
            f"{times['direct']:.2f}",
            f"{times['ours'] / times['direct']:.2f}",
            f"{memory:.0f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
