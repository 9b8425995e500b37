"""What the rows of docs/errors.md are checked with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from common_words import CommonWords
from dpseg import Segmenter
from dpseg.cli import app
from dpseg.prompts.cache import PromptCache

#: Runs a command in this process, in an empty folder; returns its exit code, lets errors through.
Command = Callable[..., int]


@pytest.fixture
def segmenter(tmp_path: Path) -> Segmenter:
    """A model that sees colours only."""
    return Segmenter(CommonWords(), cache=PromptCache(tmp_path / "cache"))


@pytest.fixture
def command(segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setattr(Segmenter, "from_pretrained", lambda _, **__: segmenter)
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> int:
        return typer.main.get_command(app).main([*map(str, arguments)], standalone_mode=False) or 0

    return run
