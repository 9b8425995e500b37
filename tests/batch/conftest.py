"""Photos of one colour each, to be segmented by every engine."""

from pathlib import Path

import pytest
from PIL import Image

from colour_engine import COLOURS
from dpseg.batch.folder import make_tasks
from dpseg.batch.work import Task


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Six photos, one of them black, and one file that is no photo."""
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "zz.jpg").write_bytes(b"\xff\xd8\xff broken")
    return make_tasks(sorted([*tmp_path.glob("*.png"), tmp_path / "zz.jpg"]), tmp_path / "out")
