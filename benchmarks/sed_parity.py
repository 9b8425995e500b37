"""Compare the SED baseline with what SED's reference implementation computed.

A fixture is a folder with `fixture.json` (parameter names and shapes, classes, image recipe, pixel
statistics) and `expected.safetensors` (embeddings and logits of the reference implementation, from
weights that both sides make from the parameters' names). Full size, single precision: give it a few
minutes and 4 GB.

    python benchmarks/sed_parity.py --fixture FOLDER --weights deterministic_weights.py
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from dpseg.factory.clip import ClipModel, clip_engine
from dpseg.factory.importers.sed import import_sed, matching_preset, summary
from dpseg.model.dpseg import ForwardOptions, Prompts
from dpseg.prompts.text import encode_classes
from dpseg.vocabulary import ClassEntry, Vocabulary

LIMITS = {"embedding": 1e-4, "logits": 1e-3, "mean": 1e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fixture", type=Path, required=True, help="folder of the fixture")
    parser.add_argument(
        "--weights", type=Path, required=True, help="script that makes the weights and the image"
    )
    options = parser.parse_args()

    recipe = json.loads((options.fixture / "fixture.json").read_text())
    expected = load_file(options.fixture / "expected.safetensors")
    maker = runpy.run_path(str(options.weights))
    state = maker["deterministic_state"](recipe["parameters"])
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    model, fates = import_sed(tensors, matching_preset(tensors, "sed"))
    print(f"imported: {summary(fates)}", flush=True)

    found = compute(model, recipe, maker)
    failures = 0
    for name, reference in expected.items():
        difference = float(np.abs(found[name] - reference).max())
        limit = LIMITS[next(kind for kind in LIMITS if kind in name)]
        failures += difference > limit
        print(f"{name:18} max difference {difference:.2e}  (limit {limit:.0e})")
    agreed = found["logits"].argmax(1) == expected["logits"].argmax(1)
    print(f"labels that agree  {agreed.mean():.4%}")
    if failures:
        sys.exit(f"{failures} of {len(expected)} arrays differ by more than they may")


@torch.inference_mode()
def compute(
    model: ClipModel, recipe: Mapping[str, Any], maker: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Compute what the fixture holds, through dpseg's own text prompts, encoders and network."""
    entries = []
    for line in recipe["classes"]:
        name, *synonyms = line.split(", ")
        entries.append(ClassEntry(name, synonyms=tuple(synonyms)))
    text, _, _ = encode_classes(clip_engine(model), Vocabulary(entries))

    image = torch.from_numpy(maker["deterministic_image"](**recipe["image"]))[None]  # 1 3 H W
    encoder = model.encoder
    for own, name in ((encoder.pixel_mean, "pixel_mean"), (encoder.pixel_std, "pixel_std")):
        difference = (own.flatten() * 255 - torch.tensor(recipe[name])).abs().max()
        if difference > 1e-3:
            sys.exit(f"{name} differs by {difference:.3f} grey levels")
    pyramid = encoder.encode_image(image / 255)

    _, output = model.network.decode(
        pyramid.image_embedding,
        pyramid.image_features,
        text_prompts(torch.from_numpy(text)),
        ForwardOptions(keep=None),
    )
    assert output is not None
    auxiliary = dict(zip((5, 4, 3), output.auxiliary, strict=True))
    return {
        "text_embedding": text,
        "image_embedding": pyramid.image_embedding.numpy(),
        "logits": output.logits.numpy(),
        **{f"aux_logits_{level}": one.numpy() for level, one in auxiliary.items()},
        **{
            f"res{level}_mean": one.mean((2, 3)).numpy()
            for level, one in pyramid.image_features.items()
        },
    }


def text_prompts(text: torch.Tensor) -> Prompts:
    """Make prompts of text alone, K M D."""
    classes = len(text)
    return Prompts(
        text_embedding=text,
        visual_embedding=torch.zeros_like(text),
        visual_features={},
        text_tokens=text[:, :0],
        text_token_mask=torch.zeros(classes, 0, dtype=torch.bool),
        visual_tokens=text[:, :0],
        visual_mask=torch.zeros(classes, dtype=torch.bool),
    )


if __name__ == "__main__":
    main()
