"""Models on the Hugging Face hub and in folders that can go there."""

from __future__ import annotations

import shutil
from pathlib import Path

from dpseg.engines.protocol import ModelInfo
from dpseg.errors import CheckpointError, DataError, MissingExtraError, require_extra
from dpseg.files import atomic_write, write_text

#: Files that are fetched of a hub repository.
_PATTERNS = ["*.safetensors", "*.onnx", "*.json", "*.md"]

_CARD = """\
---
library_name: dpseg
pipeline_tag: image-segmentation
license: {license}
tags:
- dpseg
- open-vocabulary-segmentation
---

# {title}

Open-vocabulary segmentation: name it, or show it, and get its pixels.

```python
from dpseg import Segmenter

segmenter = Segmenter.from_pretrained("{source}")
result = segmenter("photo.jpg", ["road", "car|automobile", "sky"])
result.save("out")
```

| | |
|---|---|
| model | {name} |
| best size of a photo's long side | {image_size} px |
| guidance levels | {levels} |
| sentence templates | {templates} |
| score below which a pixel is unlabelled, with up to four names | {threshold:g} |
| encoder key | `{key}` |
| detector | {detector} |

Files: {files}.

{notes}
"""

_NO_NOTES = """\
Nothing was noted about its data, figures and failures. Write it here before you share the model."""


def is_hub_id(name: str) -> bool:
    """Return whether a name has the form `owner/model` and is no path that is there."""
    owner, slash, model = name.partition("/")
    plain = all(part.replace("-", "").replace("_", "").replace(".", "").isalnum()
                for part in (owner, model))  # fmt: skip
    return bool(slash) and plain and not name.startswith(".") and not Path(name).exists()


def resolve(name: str, *, revision: str | None = None) -> str:
    """Turn the hub's name of a model into its folder on this machine; leave other names alone.

    Args:
        name: a preset's name, a folder, or `owner/model`.
        revision: a branch, tag or commit, if it is a hub's name.

    Raises:
        MissingExtraError: huggingface_hub is needed and not installed.
        CheckpointError: there is no such model, or the hub cannot be reached.
    """
    return str(download(name, revision=revision)) if is_hub_id(name) else name


def download(name: str, *, revision: str | None = None) -> Path:
    """Fetch a model from the hub, or find it in the hub's cache on this machine.

    Args:
        name: `owner/model`.
        revision: a branch, tag or commit.

    Returns:
        The folder with its files.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        CheckpointError: there is no such model, or the hub cannot be reached.
    """
    try:
        hub = require_extra("huggingface_hub", "hub")
    except MissingExtraError as error:
        raise MissingExtraError(f"{name!r} is no folder. If it is on the hub: {error}") from error
    try:
        api = hub.HfApi()
        return Path(api.snapshot_download(name, revision=revision, allow_patterns=_PATTERNS))
    except Exception as error:  # the client passes on errors of several libraries
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{name!r} is no folder, and cannot be fetched from the hub: {told}"
        ) from error


def save_model(
    files: list[Path],
    folder: Path,
    *,
    info: ModelInfo,
    source: str | None = None,
    notes: str = "",
    detector: str | None = None,
    license_name: str = "apache-2.0",
) -> Path:
    """Copy a model's files into a folder and write a model card beside them.

    Args:
        files: of the model; see `dpseg.factory.load.model_files`.
        folder: made if it is not there; files of the same names in it are replaced.
        info: of the loaded model.
        source: what the card tells to load; None for the folder.
        notes: what the card says of data, figures and failures, as Markdown.
        detector: where the weights of its detector come from; None without one.
        license_name: the hub's name of the weights' licence.

    Returns:
        The folder.

    Raises:
        DataError: the folder cannot be written.
    """
    card = _CARD.format(
        license=license_name,
        title=source.rpartition("/")[2] if source else folder.name,
        source=source or folder.name,
        name=info.name,
        image_size=info.image_size,
        levels=", ".join(map(str, info.levels)),
        templates=", ".join(f"`{template}`" for template in info.templates),
        threshold=info.score_threshold,
        key=info.encoder_key,
        detector=detector or "none",
        files=", ".join(f"`{path.name}`" for path in files),
        notes=notes or _NO_NOTES,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in files:
            if path.parent.resolve() != folder.resolve():
                with atomic_write(folder / path.name) as temporary:
                    shutil.copyfile(path, temporary)
        write_text(folder / "README.md", card)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return folder


def upload(folder: Path, name: str, *, private: bool = False, message: str = "Add a model") -> str:
    """Send a folder to the hub.

    Args:
        folder: as `save_model` made it.
        name: `owner/model`; made if it is not there.
        private: who may see it, if it is made.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        CheckpointError: the hub refuses it, or cannot be reached.
    """
    hub = require_extra("huggingface_hub", "hub")
    try:
        api = hub.HfApi()
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=name, folder_path=str(folder), commit_message=message)
    except Exception as error:  # the client passes on errors of several libraries
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"model {name!r} cannot be sent to the hub: {told}") from error
    return str(commit.commit_url)
