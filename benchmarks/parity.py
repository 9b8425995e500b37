"""Compare models with what their reference implementations computed.

A fixture is a folder with `fixture.json` (parameter names and shapes, classes, image recipe, pixel
statistics) and `expected.safetensors` (embeddings and logits of a reference implementation, from
weights that both sides make from the parameters' names). SED's and ERR-Seg's are known. Full size,
single precision: give each a few minutes and 4 GB.

    python benchmarks/parity.py FIXTURE [FIXTURE ...] --weights deterministic_weights.py

Ends with `worst: X of its limit`, and exits non-zero where X is above 1.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from dpseg.encoders.open_clip import OpenClipEncoder
from dpseg.factory.clip import ClipModel, clip_engine
from dpseg.factory.importers.fill import summary
from dpseg.factory.importers.published import import_checkpoint
from dpseg.model.class_choice import choose_by_votes, count_votes
from dpseg.model.cost_volume import cost_volume
from dpseg.model.dpseg import ForwardOptions
from dpseg.model.err_seg import ErrSeg
from dpseg.prompts.text import encode_classes
from dpseg.vocabulary import ClassEntry, Vocabulary
from text_prompts import text_prompts

Arrays = dict[str, npt.NDArray[Any]]
#: Limits of SED's arrays, whose fixture names none, by a part of the name.
SED_LIMITS = {"embedding": 1e-4, "logits": 1e-3, "mean": 1e-3}
WEIGHTS = "tools/deterministic_weights.py"  # beside the fixtures' folder


def main() -> None:
    """Compare every fixture, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fixtures", type=Path, nargs="+", help="folders")
    parser.add_argument(
        "--weights",
        type=Path,
        help=f"script that makes weights and image; by default {WEIGHTS} beside the fixtures",
    )
    options = parser.parse_args()
    shares = []
    for folder in options.fixtures:
        weights = options.weights or folder.resolve().parent.parent / WEIGHTS
        table, worst = compare(folder, runpy.run_path(str(weights)))
        Console(width=100).print(table)
        shares.append(worst)
    print(f"worst: {max(shares):.3g} of its limit")
    sys.exit(max(shares) > 1)


def compare(folder: Path, maker: Mapping[str, Any]) -> tuple[Table, float]:
    """Compute a fixture's arrays, and set them beside the stored ones.

    Returns:
        A row for each array, and the largest share of a limit.
    """
    recipe = json.loads((folder / "fixture.json").read_text())
    expected = load_file(folder / "expected.safetensors")
    state = maker["deterministic_state"](
        recipe["parameters"], *filter(None, [recipe.get("weight_factors")])
    )
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    model, fates = import_checkpoint(tensors)
    image = torch.from_numpy(maker["deterministic_image"](**recipe["image"]))[None]  # 1 3 H W
    compute = err_seg_arrays if isinstance(model.network, ErrSeg) else sed_arrays
    found = compute(model, recipe, image)
    table = Table("array", "largest difference", "limit", "share", title=recipe["variant"])
    table.caption = f"imported: {summary(fates)}"
    shares = []
    for name, reference in expected.items():
        about = recipe.get("tensors", {}).get(name, {})
        steps = tuple(slice(None, None, step) for step in about.get("steps", ()))
        difference, limit = distance(name, found[name][steps], reference, about.get("limit"))
        shares.append(difference / limit if limit else float(difference > 0) * np.inf)
        if limit == 0 and difference == 0:
            shares[-1] = 0.0
        table.add_row(name, f"{difference:.2e}", f"{limit:.0e}", f"{shares[-1]:.3f}")
    return table, max(shares)


def distance(
    name: str, found: npt.NDArray[Any], reference: npt.NDArray[Any], limit: float | str | None
) -> tuple[float, float]:
    """Tell how far an array is from the stored one, and how far it may be."""
    if found.shape != reference.shape:
        sys.exit(f"{name} has the shape {found.shape}; the fixture has {reference.shape}")
    if isinstance(limit, str):  # "99.9% agree"
        return float((found != reference).mean()), 1 - float(limit.split("%")[0]) / 100
    if limit is None:
        limit = SED_LIMITS[next(kind for kind in SED_LIMITS if kind in name)]
    return float(np.abs(found.astype(np.float64) - reference).max()), float(limit)


def check_pixels(encoder: OpenClipEncoder, recipe: Mapping[str, Any]) -> None:
    """Refuse a model of other pixel statistics than the fixture's."""
    for own, name in ((encoder.pixel_mean, "pixel_mean"), (encoder.pixel_std, "pixel_std")):
        difference = (own.flatten().cpu() * 255 - torch.tensor(recipe[name])).abs().max()
        if difference > 1e-3:
            sys.exit(f"{name} differs by {difference:.3f} grey levels")


def text_of(model: ClipModel, recipe: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """Embed the fixture's classes through the product's text prompts, K M D."""
    entries = []
    for line in recipe["classes"]:
        name, *synonyms = line.split(", ")
        entries.append(ClassEntry(name, synonyms=tuple(synonyms)))
    return encode_classes(clip_engine(model), Vocabulary(entries))[0]


@torch.inference_mode()
def sed_arrays(model: ClipModel, recipe: Mapping[str, Any], image: torch.Tensor) -> Arrays:
    """Compute what SED's fixture holds."""
    check_pixels(model.encoder, recipe)
    text = text_of(model, recipe)
    pyramid = model.encoder.encode_image(image / 255)
    _, output = model.network.decode(
        pyramid.image_embedding,
        pyramid.image_features,
        text_prompts(torch.from_numpy(text)),
        ForwardOptions(top_k=None),
    )
    assert output is not None
    auxiliary = dict(zip((5, 4, 3), output.auxiliary, strict=True))
    levels = pyramid.image_features
    return {
        "text_embedding": text,
        "image_embedding": pyramid.image_embedding.numpy(),
        "logits": output.logits.numpy(),
        **{f"aux_logits_{level}": one.numpy() for level, one in auxiliary.items()},
        **{f"res{level}_mean": one.mean((2, 3)).numpy() for level, one in levels.items()},
    }


@torch.inference_mode()
def err_seg_arrays(model: ClipModel, recipe: Mapping[str, Any], image: torch.Tensor) -> Arrays:
    """Compute what ERR-Seg's fixture holds, of one image."""
    encoder, network = model.encoder, model.network
    assert isinstance(network, ErrSeg)
    check_pixels(encoder, recipe)
    text = text_of(model, recipe)
    words = [line.split(", ")[0] for line in recipe["classes"]]
    side, chosen = recipe["resolution"], recipe["classes_kept"]
    square = F.interpolate(image / 255, (side, side), mode="bilinear", align_corners=False)
    pyramid = encoder.encode_image(square)
    given = (
        pyramid.image_embedding,
        pyramid.image_features,
        text_prompts(torch.from_numpy(text)),
    )
    assert pyramid.coarse_embedding is not None
    with watched(network) as inside:
        cosines, output = network.decode(
            *given, ForwardOptions(chosen=chosen), pyramid.coarse_embedding
        )
    assert output is not None
    scores = F.interpolate(
        output.logits.sigmoid(), image.shape[-2:], mode="bilinear", align_corners=False
    )
    images = {
        "network_input": (square - encoder.pixel_mean) / encoder.pixel_std,
        **{f"os{1 << level}": one for level, one in pyramid.image_features.items()},
        "image_embedding_16": pyramid.image_embedding,
        "image_embedding_32": pyramid.coarse_embedding,
        "cost_16": cosines,
        "cost_32": cost_volume(pyramid.coarse_embedding, torch.from_numpy(text))[:, :, 0],
        "class_counts": count_votes(cosines),
        "selected": choose_by_votes(cosines, chosen),
        "logits": output.logits,
        "logits_all": network(*given, ForwardOptions(chosen=len(text)), pyramid.coarse_embedding),
        "scores": scores,
        "labels": scores.argmax(1),
    }
    return {
        "tokens": encoder.tokenize([recipe["template"].format(word) for word in words]).numpy(),
        "text_embedding": text[:, 0],
        **{name: one[0].numpy() for name, one in images.items()},
        **{name: one.numpy() for name, one in inside.items()},
    }


@contextmanager
def watched(network: ErrSeg) -> Iterator[dict[str, torch.Tensor]]:
    """Collect what the parts of ERR-Seg's decoder give, of one image."""
    decoder = network.decoder
    parts: dict[str, nn.Module] = {
        "cost_embedding": decoder.cost_embedding,
        "image_guidance": decoder.image_guidance,
        "text_guidance": decoder.text_guidance,
    }
    for number, layer in enumerate(decoder.layers, 1):
        parts |= {f"spatial_{number}": layer.spatial, f"class_{number}": layer.classes}
    for number, step in enumerate(decoder.enlargements, 1):
        parts |= {f"up_{number}": step}
        parts |= {f"decoder_guidance_{32 >> number}": step.fusion.project_image}
    found: dict[str, torch.Tensor] = {}

    def keep(name: str, output: torch.Tensor) -> None:
        if "guidance_" in name:  # clipped behind the convolution
            output = F.relu6(output)
        found[name] = output[0] if "guidance_" in name or name == "image_guidance" else output

    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, part in parts.items()
    ]
    yield found
    for hook in hooks:
        hook.remove()


if __name__ == "__main__":
    main()
