"""The files of an exported model, and what is written in each about where it belongs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from dpseg.engines.protocol import ModelInfo
from dpseg.errors import CheckpointError

MODEL_FILE = "dpseg-lite.safetensors"
IMAGE_FILE = "dpseg-lite-image.onnx"
TEXT_FILE = "dpseg-lite-text.onnx"
SCORE_FILE = "dpseg-lite-score.onnx"
TOKENIZER_FILE = "dpseg-lite-tokenizer.json"
ONNX_FILES = (IMAGE_FILE, TEXT_FILE, SCORE_FILE, TOKENIZER_FILE)
PROMPT_FILE = "dpseg-lite-prompt.onnx"  # where the prompt encoder has weights of its own
_LITE, _CLIP = "dpseg-lite", "model"  # how the names of a model's files begin
INFO_KEY = "dpseg"
WEIGHTS_KEY = "dpseg-weights"  # hash of the file of weights that a graph was made of


def graph_name(tensor: str) -> str:
    """Name a graph's input or output after a tensor; `visual_features.4` is `visual_features_4`."""
    return tensor.replace(".", "_")


def names_of(name: str, levels: Iterable[int]) -> list[str]:
    """Name a graph's inputs or outputs of several levels."""
    return [graph_name(f"{name}.{level}") for level in levels]


def is_exported(folder: Path) -> bool:
    """Tell whether a folder holds an exported model."""
    return holds_lite(folder) or holds_clip(folder)


def holds_lite(folder: Path) -> bool:
    """Tell whether a folder holds an exported `dpseg-lite`."""
    return all((folder / name).is_file() for name in ONNX_FILES)


def holds_clip(folder: Path) -> bool:
    """Tell whether a folder holds an exported model on CLIP towers."""
    return all((folder / clip_name(name)).is_file() for name in ONNX_FILES)


def clip_name(lite_name: str) -> str:
    """Name a model's file on CLIP towers after that of `dpseg-lite`."""
    return lite_name.replace(_LITE, _CLIP)


def info_to_text(info: ModelInfo) -> str:
    """Write what the product must know of a model, as a graph carries it under `INFO_KEY`."""
    return json.dumps(asdict(info))


def info_from(metadata: Mapping[str, str], path: Path) -> ModelInfo:
    """Read it back.

    Args:
        metadata: of a graph.
        path: the graph's file, for the error.

    Raises:
        CheckpointError: the graph is not ours.
    """
    try:
        fields = json.loads(metadata[INFO_KEY])
        sequences = {name: tuple(fields[name]) for name in ("levels", "templates")}
        return ModelInfo(**(fields | sequences))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no graph of a dpseg-lite model") from error
