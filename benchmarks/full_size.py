"""Time and weigh DPSeg at the paper's size beside the SED baseline, in one run.

    python benchmarks/full_size.py

Both have the same ConvNeXt-B towers, the same 768x768 picture and the same number of names, with
random weights and prompts: time does not depend on what they say. But early rejection is faster the
fewer names survive, so prompts lie nearer to the picture or farther from it, name by name, until
about as many survive as on photos (`--spread`; how many did is printed). Matrix products are in
bfloat16. The two take turns, so that a busy machine slows both; medians. The most memory is that of
a process of its own for each network and number of names, with nothing rejected. Needs the `clip`
extra, and for 847 names some minutes and 6 GB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from own_process import measure_apart, peak_megabytes
from rich.console import Console
from rich.table import Table

from dpseg.arrays import PromptSet
from dpseg.encoders.protocol import FeaturePyramid
from dpseg.factory.clip import CLASS_CHUNK, ClipModel
from dpseg.factory.config import PRESETS, ClipConfig
from dpseg.model.dpseg import ForwardOptions
from dpseg.model.rejection import surviving_classes

NETWORKS = ("sed", "dpseg")
CLASSES = (20, 59, 171, 847)
KEEP = 8
# As many of 847 names survive as of ADE-847 with dpseg-lite on 18 photos, 137 in the median.
SPREAD = 0.15
TEXT_TOKENS, VISUAL_TOKENS = 8, 4
TINY = {
    "clip": "convnext_tiny",
    "architecture": {
        "embed_dim": 16,
        "vision_cfg": {
            "timm_model_name": "test_convnext",
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 64,
        },
        "text_cfg": {"width": 16, "heads": 2, "layers": 2},
    },
    "templates": ("{}", "a photo of a {}."),
    "widths": (16, 12, 8, 8),
    "projections": (4, 4, 4),
    "image_size": 64,
}


def make_model(network: str, *, tiny: bool) -> ClipModel:
    """Make a preset with random weights."""
    config = PRESETS[f"{network}-convnext-b"]
    assert isinstance(config, ClipConfig)
    changes = {"pretrained": None, **(TINY if tiny else {})}
    return ClipModel(config.model_copy(update=changes)).eval().requires_grad_(False)


def make_prompts(
    model: ClipModel, classes: int, image_embedding: torch.Tensor, spread: float
) -> PromptSet:
    """Draw prompts of K classes; some are like the picture, as some names are in a photo."""
    generator = torch.Generator().manual_seed(classes)
    templates = len(model.config.templates)
    mean = image_embedding.float().mean((0, 2, 3))  # D
    dimension = len(mean)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(classes, *shape, generator=generator)

    likeness = spread * normal(1, 1) * torch.nn.functional.normalize(mean, dim=0) * dimension**0.5

    channels = model.encoder.level_channels
    return PromptSet(
        text_embedding=normal(templates, dimension) + likeness,
        visual_embedding=normal(templates, dimension) + likeness,
        visual_features={j: normal(templates, channels[j]) for j in model.config.guidance_levels},
        text_tokens=normal(TEXT_TOKENS, dimension),
        text_token_mask=torch.ones(classes, TEXT_TOKENS, dtype=torch.bool),
        visual_tokens=normal(VISUAL_TOKENS, dimension),
        visual_mask=torch.ones(classes, dtype=torch.bool),
    )


def picture(model: ClipModel) -> torch.Tensor:
    """Make a picture of soft noise, 1 3 H W."""
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    side = model.config.image_size
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def timed(run: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Time a call; give its result too."""
    start = time.perf_counter()
    result = run(*arguments)
    return time.perf_counter() - start, result


@torch.inference_mode()
def measure_times(classes: int, options: argparse.Namespace) -> dict[str, Any]:
    """Time encoder and both networks in turn, with and without early rejection."""
    models = {name: make_model(name, tiny=options.tiny) for name in NETWORKS}
    image, encoder = picture(models["sed"]), models["sed"].encoder
    times: dict[str, list[float]] = defaultdict(list)
    survivors = {}

    def decode(name: str, pyramid: FeaturePyramid, keep: int | None) -> torch.Tensor:
        forward = ForwardOptions(top_k=keep, class_chunk=options.class_chunk or None)
        _, output = models[name].network.decode(
            pyramid.image_embedding, pyramid.image_features, prompts, forward
        )
        assert output is not None
        return output.auxiliary[-1]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedding = encoder.encode_image(image).image_embedding
        prompts = make_prompts(models["sed"], classes, embedding, options.spread)
        for turn in range(options.repeats + 1):
            encoding, pyramid = timed(encoder.encode_image, image)
            found = {"encoder": encoding}
            for keep in (KEEP, None):
                for name in NETWORKS:
                    key = name if keep is None else f"{name}, rejecting"
                    found[key], last = timed(decode, name, pyramid, keep)
                    if keep is not None:
                        survivors[name] = len(surviving_classes(last, keep))
            if turn:  # the first warms up
                for key, value in found.items():
                    times[key].append(value)
    return {"times": times, "survivors": survivors}


@torch.inference_mode()
def measure_memory(network: str, classes: int, options: argparse.Namespace) -> float:
    """Tell the most memory in MB that this process held during one forward pass."""
    model = make_model(network, tiny=options.tiny)
    forward = ForwardOptions(top_k=None, class_chunk=options.class_chunk or None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pyramid = model.encoder.encode_image(picture(model))
        prompts = make_prompts(model, classes, pyramid.image_embedding, options.spread)
        model.network(pyramid.image_embedding, pyramid.image_features, prompts, forward)
    return peak_megabytes()


def main() -> None:
    """Measure each number of names, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES), help="K, several")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--class-chunk", type=int, default=CLASS_CHUNK, help="0 decodes all at once"
    )
    parser.add_argument(
        "--spread", type=float, default=SPREAD, help="how differently near the names are; 0: alike"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try the command")
    parser.add_argument("--part", choices=("times", *NETWORKS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        torch.set_num_threads(options.threads)
        torch.manual_seed(0)
        classes = options.classes[0]
        if options.part == "times":
            print(json.dumps(measure_times(classes, options)))
        else:
            print(json.dumps(measure_memory(options.part, classes, options)))
        return

    table = Table("K", "rejection", "encoder s", "SED s", "DPSeg s", "DPSeg / SED", "left", "MB")
    speedups = []
    for classes in options.classes:
        measured, *memory = (
            measure_apart(__file__, options, part=part, classes=classes)
            for part in ("times", *NETWORKS)
        )
        medians = {key: statistics.median(values) for key, values in measured["times"].items()}
        encoder, survivors = medians["encoder"], measured["survivors"]
        for kind in ("", ", rejecting"):
            sed, dpseg = (encoder + medians[name + kind] for name in NETWORKS)
            left = [survivors[name] if kind else classes for name in NETWORKS]
            table.add_row(
                str(classes),
                "on" if kind else "off",
                f"{encoder:.2f}",
                f"{sed:.2f}",
                f"{dpseg:.2f}",
                f"{dpseg / sed:.2f}",
                f"{left[0]}, {left[1]}",
                "" if kind else ", ".join(f"{one:.0f}" for one in memory),
            )
        whole, early = (encoder + medians[key] for key in ("dpseg", "dpseg, rejecting"))
        speedups.append(f"K={classes}: early rejection makes DPSeg {whole / early:.1f}x faster")
    console = Console(width=110)
    console.print(table)
    console.print("times with the encoder's; left and MB: SED, DPSeg", *speedups, sep="\n")


if __name__ == "__main__":
    main()
