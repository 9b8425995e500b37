"""The tables of a Markdown page, so that tests can hold what they say against the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
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


def codes_in(cell: str) -> list[str]:
    """Find what a cell writes as `code`."""
    return re.findall(r"`([^`]+)`", cell)
