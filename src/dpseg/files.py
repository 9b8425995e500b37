"""Files that appear whole or not at all, written beside their place; and what tells files apart."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK = 1 << 20


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write; put it in place if the block ends without an error.

    Args:
        path: where the file shall be; its folder is there. An older file is replaced.

    Yields:
        An empty file in the same folder, with the same suffix.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    A file name's bytes that are no UTF-8 become escapes, which JSON reads as what they were.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def hash_file(path: Path, start: str = "") -> str:
    """Hash a file's content, behind some text, block by block.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256(start.encode())
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
