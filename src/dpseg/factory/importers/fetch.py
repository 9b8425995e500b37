"""Published checkpoints of a preset, from the hub: chosen by size and content, imported once.

What was fetched is written down beside the imported model, with the hash of its content. If the
model is ever fetched again, it must be that file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import torch
from rich.console import Console

from dpseg.errors import CheckpointError, require_extra
from dpseg.factory.calibration import named_model_folder
from dpseg.factory.clip import ClipModel
from dpseg.factory.config import REPOSITORIES, ClipConfig, Repository
from dpseg.factory.importers.fill import save_import
from dpseg.factory.importers.published import import_checkpoint, read_checkpoint
from dpseg.factory.load import CLIP_FILE
from dpseg.files import hash_file, write_text

SOURCE_FILE = "source.json"
_SUFFIXES = {".pth", ".pt", ".pkl", ".bin", ".ckpt", ".safetensors"}
#: A file may be this many times as large as the weights in single precision: half precision, or
#: with an optimiser's state.
_LEAST, _MOST = 0.45, 4.5


@dataclass(frozen=True)
class Source:
    """Where an imported model came from.

    Attributes:
        repository: on the hub.
        revision: the commit.
        file: in the repository.
        sha256: of its content.
    """

    repository: str
    revision: str
    file: str
    sha256: str


def published_model(config: ClipConfig) -> Path:
    """Fetch and import a preset's published checkpoint, unless that was done before.

    Args:
        config: a preset whose network is in `REPOSITORIES`.

    Returns:
        The model's folder, in the cache.

    Raises:
        CheckpointError: there is no cache, the hub cannot be reached or refuses, none of the
            repository's files is the preset's checkpoint, or it is no longer the file that it was.
        MissingExtraError: huggingface_hub is not installed.
    """
    folder = named_model_folder(config.name)
    if (folder / CLIP_FILE).is_file():
        return folder
    hub = require_extra("huggingface_hub", "hub")
    repository = REPOSITORIES[config.network]
    says = Console(stderr=True, soft_wrap=True).print
    pin = _pin(folder / SOURCE_FILE)
    candidates = [(pin.file, pin.revision)] if pin else _candidates(hub, config)
    refused = []
    for file, revision in candidates:
        says(f"{config.name}: fetching {file} of {repository.name} ...")
        path = _download(hub, repository, file, revision)
        source = Source(repository.name, revision, file, hash_file(path))
        if pin is not None and source != pin:
            raise CheckpointError(
                f"{file} of {repository.name} is no longer the file that {folder / SOURCE_FILE} "
                "records; remove that to take it as it is now"
            )
        try:
            model, fates = import_checkpoint(read_checkpoint(path), config=config.without_weights())
        except CheckpointError as error:
            refused.append(f"{file}: {error}")
            continue
        save_import(model, fates, folder)
        write_text(folder / SOURCE_FILE, json.dumps(asdict(source), indent=1))
        says(f"{config.name}: imported {file} of {repository.name}, sha256 {source.sha256[:16]}")
        return folder
    raise CheckpointError(
        f"no file of {repository.name} is {config.name}'s checkpoint ({'; '.join(refused)}); "
        f"{_BY_HAND}"
    )


_BY_HAND = "with a file that you have: dpseg import FILE --out FOLDER"


def _pin(path: Path) -> Source | None:
    """Read what was fetched before."""
    try:
        return Source(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged; remove it: {error}") from error


def _candidates(hub: ModuleType, config: ClipConfig) -> list[tuple[str, str]]:
    """List the files that may be a preset's checkpoint, the one of the likeliest size first."""
    repository = REPOSITORIES[config.network]
    try:
        info = hub.HfApi().repo_info(
            repository.name, repo_type=repository.kind, files_metadata=True
        )
    except Exception as error:  # the client passes on errors of several libraries
        raise _unreachable(config.name, error) from error
    expected = _bytes_of(config)
    sizes = {one.rfilename: one.size or 0 for one in info.siblings}
    likely = {
        file: abs(math.log(size / expected))
        for file, size in sizes.items()
        if Path(file).suffix in _SUFFIXES and _LEAST <= size / expected <= _MOST
    }
    if not likely:
        found = ", ".join(f"{file} ({size / 1e6:.0f} MB)" for file, size in sizes.items())
        raise CheckpointError(
            f"no file of {repository.name} has the size of {config.name}'s checkpoint, about "
            f"{expected / 1e6:.0f} MB (it has {found or 'none'}); {_BY_HAND}"
        )
    return [(file, str(info.sha)) for file in sorted(likely, key=lambda one: likely[one])]


def _bytes_of(config: ClipConfig) -> int:
    """Return how large a model's weights are in single precision."""
    with torch.device("meta"):
        state: Mapping[str, torch.Tensor] = ClipModel(config.without_weights()).state_dict()
    return 4 * sum(tensor.numel() for tensor in state.values())


def _download(hub: ModuleType, repository: Repository, file: str, revision: str) -> Path:
    try:
        return Path(
            hub.hf_hub_download(repository.name, file, repo_type=repository.kind, revision=revision)
        )
    except Exception as error:  # as above
        raise _unreachable(f"{file} of {repository.name}", error) from error


def _unreachable(what: str, error: Exception) -> CheckpointError:
    told = (str(error).strip() or type(error).__name__).splitlines()[0]
    return CheckpointError(f"{what} cannot be fetched from the hub: {told}; {_BY_HAND}")
