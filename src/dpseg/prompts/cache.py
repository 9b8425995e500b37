"""Prompt embeddings on disk, so that no sentence and no image is encoded twice.

One small safetensors file an entry, under a key of (encoder, content, template). The encoder's
key is recorded in the file; an entry of another encoder is refused, never used. Files appear by
renaming, so readers and writers in any number of processes see whole files only.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

CACHE_VARIABLE = "DPSEG_CACHE"
LAYOUT = "dpseg-prompt-1"  # changes when entries of older releases must not be read

Arrays: TypeAlias = "Mapping[str, npt.NDArray[Any]]"


class PromptCacheWarning(UserWarning):
    """An entry cannot be used or written; the embedding is made anew."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What an entry was made from.

    Attributes:
        encoder_key: hash of the encoder's weights.
        content: hash of the sentence or image.
        template: the sentence template or templates, or how the image was pooled.
    """

    encoder_key: str
    content: str
    template: str


class PromptCache:
    """A folder of prompt embeddings, with the latest ones also in memory.

    Args:
        folder: where the files are; None for `default_folder()`. Where there is none, entries are
            kept in memory only.
        in_memory: how many entries to hold in memory.
    """

    def __init__(self, folder: Path | str | None = None, *, in_memory: int = 4096) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self._in_memory = in_memory
        self._entries: OrderedDict[CacheKey, Arrays] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[PromptCache], tuple[Path | None]]:
        """Pickle as the folder."""
        return type(self), (self.folder,)

    def load(self, key: CacheKey) -> Arrays | None:
        """Look an entry up.

        A file that is damaged or belongs to another encoder is reported by a warning and counts
        as absent; the next `store` replaces it.

        Args:
            key: what the entry was made from.

        Returns:
            Its arrays by name, not to be written to, or None if there is no usable entry.
        """
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        path = self.path_of(key)
        if path is None:
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                found = file.metadata() or {}
                expected = _metadata(key)
                if found != expected:
                    _warn(f"{path} is refused: it records {found}, not {expected}")
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError) as error:
            _warn(f"{path} is damaged and will be made anew: {error}")
            return None
        return self._remember(key, arrays)

    def store(self, key: CacheKey, arrays: Arrays) -> None:
        """Write an entry, whole or not at all.

        A folder that cannot be written to is reported by a warning; work goes on without it.

        Args:
            key: what the entry was made from.
            arrays: its arrays by name.
        """
        kept = self._remember(key, arrays)
        path = self.path_of(key)
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(save(dict(kept), metadata=_metadata(key)))
                os.replace(temporary, path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            _warn(f"cannot write {path}: {error}")

    def path_of(self, key: CacheKey) -> Path | None:
        """Return where an entry's file is; its name is a hash, safe on every file system."""
        if self.folder is None:
            return None
        encoder = hash_text(key.encoder_key)[:16]
        entry = hash_text(f"{key.content}\0{key.template}")
        return self.folder / encoder / entry[:2] / f"{entry}.safetensors"

    def _remember(self, key: CacheKey, arrays: Arrays) -> Arrays:
        kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        with self._lock:
            self._entries[key] = kept
            self._entries.move_to_end(key)
            while len(self._entries) > self._in_memory:
                self._entries.popitem(last=False)
        return kept


def default_folder() -> Path | None:
    """Return where prompt embeddings are kept: `$DPSEG_CACHE`, else the platform's cache folder.

    Returns:
        The folder, or None for a user without a home.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen) / "prompts"
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
            return base / "dpseg" / "Cache" / "prompts"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "dpseg" / "prompts"
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return base / "dpseg" / "prompts"
    except RuntimeError:
        return None


def hash_text(text: str) -> str:
    """Hash a sentence."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def hash_arrays(*arrays: npt.NDArray[Any] | None) -> str:
    """Hash an image, or an image and its mask: dtype, shape and values."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none;")
            continue
        digest.update(f"{array.dtype.str}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _metadata(key: CacheKey) -> dict[str, str]:
    return {
        "layout": LAYOUT,
        "encoder_key": key.encoder_key,
        "content": key.content,
        "template": key.template,
    }


def _warn(message: str) -> None:
    warnings.warn(message, PromptCacheWarning, stacklevel=3)
