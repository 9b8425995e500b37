"""The page on architecture tells of the code as it is: its layers, and the files that it names."""

import re
from pathlib import Path

import pytest
from importlinter.api import read_configuration

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def test_the_table_of_rooms_is_the_import_contract() -> None:
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    enforced = {
        (number, room.strip())
        for number, layer in enumerate(layers, start=1)
        for room in layer.split("|")
    }
    told = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert {(int(number), room) for number, room in told} == enforced
    assert len(told) == len(enforced)


@pytest.mark.parametrize("page", ["architecture.md", "decisions.md", "images/data-path.svg"])
def test_every_file_that_is_named_is_there(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"[`>]((?:\w+/)[\w./-]*\.(?:py|yaml|md|svg))[`<]", text))
    bases = (ROOT / "src/dpseg", ROOT)
    assert named
    assert {one for one in named if not any((base / one).is_file() for base in bases)} == set()
