"""The page of twelve examples asks what its pictures were drawn for."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
SCRIPT = runpy.run_path(str(ROOT / "docs" / "draw_examples.py"))
EXAMPLES = SCRIPT["EXAMPLES"]
FENCE = r"^```(?:bash|python)\n(.*?)^```"
MOST_BYTES = 1_200_000


def asked(example: Any) -> str:
    """The line of the page that asks for this."""
    if not (SCRIPT["PHOTOS"] / f"{example.photo}.jpg").exists():
        return f'result = segmenter(skimage.data.{example.photo}(), "{example.words}")'
    shown = [f"{name}=examples/pictures/{file}" for name, file in example.examples.items()]
    options = [part for pair in shown for part in ("--example", pair)]
    options += ["--refine", str(example.refine)] * bool(example.refine)
    options += ["--no-unlabelled"] * (not example.unlabelled)
    photo = f"examples/photos/{example.photo}.jpg"
    return shlex.join(["dpseg", "segment", photo, "-c", example.words, *options])


def test_there_are_twelve() -> None:
    assert len(EXAMPLES) == 12
    assert PAGE.count("![") == 12


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_asks_and_shows(name: str) -> None:
    before, picture, _ = PAGE.partition(f"(images/{SCRIPT['picture_of'](name).name})")
    assert picture, name
    block = re.findall(FENCE, before, flags=re.MULTILINE | re.DOTALL)[-1]
    line = block.splitlines()[-1]
    assert shlex.split(line) == shlex.split(asked(EXAMPLES[name]))
    with Image.open(SCRIPT["picture_of"](name)) as drawn:
        assert drawn.width <= SCRIPT["BOX"][0]


def test_the_pictures_are_light() -> None:
    assert sum(SCRIPT["picture_of"](name).stat().st_size for name in EXAMPLES) < MOST_BYTES
