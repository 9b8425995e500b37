"""The tables of a Markdown page, so that tests can hold what they say against the code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
_BETWEEN_CELLS = re.compile(r"(?<!\\)\|(?=(?:[^`]*`[^`]*`)*[^`]*$)")  # not inside of `code`


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        section: the heading above it.
        head: its columns' names.
        rows: cells by row.
    """

    section: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, number: int) -> list[str]:
        return [row[number] for row in self.rows]


def tables_of(page: str) -> Iterator[Table]:
    """Read the tables of a page of the documents, such as `"guides/formats.md"`."""
    section, lines = "", []
    for line in [*(DOCS / page).read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            lines.append(tuple(cell.strip() for cell in _BETWEEN_CELLS.split(line.strip("|"))))
        elif lines:
            assert len({len(cells) for cells in lines}) == 1, lines
            yield Table(section, lines[0], tuple(lines[2:]))
            lines = []
        if line.startswith("#"):
            section = line.lstrip("# ")


def table_of(page: str, *head: str) -> Table:
    """Find the one table of a page with these columns."""
    (table,) = [table for table in tables_of(page) if table.head == head]
    return table


class Rows:
    """The rows of a table by their first cell, and a case for each: what the row says, done.

    Args:
        table: any.
    """

    def __init__(self, table: Table) -> None:
        self._cells = {row[0]: row[1:] for row in table.rows}
        self._cases: dict[str, Callable[..., None] | tuple[str, ...]] = {}

    @property
    def rows(self) -> list[str]:
        """The rows of the page, and those of which only a case is left."""
        return list(dict.fromkeys([*self._cells, *self._cases]))

    def cells(self, given: str) -> tuple[str, ...]:
        """The other cells of a row."""
        return self._cells[given]

    def row(self, given: str) -> Callable[[Callable[..., None]], None]:
        """Take a function as the case of a row; what it takes are fixtures."""

        def take(case: Callable[..., None]) -> None:
            assert given not in self._cases
            self._cases[given] = case

        return take

    def proven(self, given: str, *tests: str) -> None:
        """Let tests elsewhere, each `"folder/test_file.py::test_name"`, be the case of a row."""
        assert given not in self._cases
        self._cases[given] = tests

    def check(self, given: str, request: pytest.FixtureRequest) -> str | None:
        """Run the case of a row, or return the source of the tests that prove it."""
        assert given in self._cells, "the page has no such row"
        assert given in self._cases, "the row has no case"
        case = self._cases[given]
        if isinstance(case, tuple):
            return "".join(map(_source_of, case))
        case(*map(request.getfixturevalue, inspect.signature(case).parameters))
        return None


def _source_of(test: str) -> str:
    """Read a test function, or fail if there is none of that name."""
    file, name = test.split("::")
    text = (TESTS / file).read_text(encoding="utf-8")
    (found,) = [one for one in ast.parse(text).body if getattr(one, "name", "") == name] or [None]
    assert found, f"there is no {test}"
    first = min([found.lineno, *(one.lineno for one in found.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : found.end_lineno])


def codes_in(cell: str) -> list[str]:
    """Find what a cell writes as `code`."""
    return re.findall(r"`([^`]+)`", cell)


def names_in(cells: Iterable[str]) -> list[str]:
    """Find the names that cells write as `code`; "`pc59-2`, `-4`" are two names."""
    names: list[str] = []
    for cell in cells:
        for code in codes_in(cell):
            short = re.fullmatch(r"-\w+", code)
            names.append(names[-1].rpartition("-")[0] + code if short else code)
    return names
