"""Finding and loading weights: the shipped ones by name, others by folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dpseg.config import PRESETS
from dpseg.errors import CheckpointError

if TYPE_CHECKING:
    from dpseg.prompts.bank import PromptBank
    from dpseg.runtime import Runtime

MODEL_FILE = "dpseg-lite.safetensors"
BANK_FILE = "dpseg-lite-bank.safetensors"


def load_runtime(name_or_folder: str | Path) -> tuple[Runtime, PromptBank | None]:
    """Load a model and its prompt bank.

    Args:
        name_or_folder: a preset's name, or a folder with `dpseg-lite.safetensors` and, if there is
            one, `dpseg-lite-bank.safetensors`.

    Returns:
        The runtime, and the bank or None.

    Raises:
        CheckpointError: there is no such preset or folder, or its files are damaged or do not
            belong together.
    """
    from dpseg.prompts.bank import PromptBank

    folder = _find(name_or_folder)
    from dpseg.lite_model import load_lite
    from dpseg.torch_runtime import TorchRuntime

    runtime = TorchRuntime(load_lite(folder / MODEL_FILE))
    bank_path = folder / BANK_FILE
    bank = PromptBank.load(bank_path) if bank_path.exists() else None
    if bank is not None and bank.encoder_key != runtime.info.encoder_key:
        raise CheckpointError(
            f"{bank_path} was made with encoder {bank.encoder_key}, but {MODEL_FILE} holds "
            f"{runtime.info.encoder_key}; build the bank again"
        )
    return runtime, bank


def _find(name_or_folder: str | Path) -> Path:
    if str(name_or_folder) in PRESETS:
        return Path(__file__).parent
    folder = Path(name_or_folder)
    if (folder / MODEL_FILE).is_file():
        return folder
    raise CheckpointError(
        f"{str(name_or_folder)!r} is neither a preset ({', '.join(PRESETS)}) "
        f"nor a folder that holds {MODEL_FILE}"
    )
