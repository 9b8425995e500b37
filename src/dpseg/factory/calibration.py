"""A threshold that a user measured, beside the model that it was measured with.

`dpseg calibrate` writes it; whoever loads the model gets it. A model's folder holds its own; a
model that is known by name has a folder in the cache.
"""

from __future__ import annotations

import json
from pathlib import Path

from dpseg.errors import CheckpointError
from dpseg.files import write_text
from dpseg.prompts.cache import CACHE_VARIABLE, default_folder

CALIBRATION_FILE = "calibration.json"


def calibration_path(name_or_folder: str | Path) -> Path:
    """Return where a model's calibration is kept.

    Raises:
        CheckpointError: there is no folder for a model that is known by name.
    """
    folder = Path(name_or_folder)
    if not folder.is_dir():
        plain = "".join(c if c.isalnum() or c in "-_.@" else "_" for c in str(name_or_folder))
        folder = named_model_folder(plain)
    return folder / CALIBRATION_FILE


def named_model_folder(name: str) -> Path:
    """Return where the files of a model that is known by name are kept on this machine.

    Raises:
        CheckpointError: this user has no folder for them.
    """
    prompts = default_folder()
    if prompts is None:
        raise CheckpointError(f"no folder to keep {name} in: set {CACHE_VARIABLE} to one")
    return prompts.with_name("models") / name


def read_threshold(path: Path, encoder_key: str) -> float | None:
    """Read the threshold that was measured with a model.

    Args:
        path: of the calibration.
        encoder_key: of the model.

    Returns:
        The threshold, in [0, 1]; None where none was measured.

    Raises:
        CheckpointError: the file is damaged, or was made with other weights.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        key, threshold = str(stored["encoder_key"]), float(stored["score_threshold"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged; remove it or calibrate again") from error
    if key != encoder_key or not 0 <= threshold <= 1:
        raise CheckpointError(f"{path} was made with other weights; remove it or calibrate again")
    return threshold


def write_threshold(path: Path, encoder_key: str, threshold: float, measured_on: str) -> None:
    """Keep a threshold.

    Args:
        path: of the calibration.
        encoder_key: of the model.
        threshold: in [0, 1].
        measured_on: what it was measured on, in words.

    Raises:
        CheckpointError: it cannot be written.
    """
    note = {
        "encoder_key": encoder_key,
        "score_threshold": threshold,
        "measured_on": measured_on,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(note, indent=1))
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error
