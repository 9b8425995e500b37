"""A section of docs/errors.md, and how what it says is checked: each row by giving its input."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import dpseg.errors
from page_tables import codes_in, tables_of

PAGE = "errors.md"
TESTS = Path(__file__).parents[1]
_SAYS_ERROR = re.compile(r"(?<!standard )\berror\b")


class Section:
    """The rows of a section by their first cell, and a case for each.

    Args:
        heading: how the section is called.
    """

    def __init__(self, heading: str) -> None:
        (table,) = [one for one in tables_of(PAGE) if one.section == heading]
        self._answers = dict(table.rows)
        self._kind = next(iter(codes_in(heading)), None)
        self._cases: dict[str, Callable[..., None]] = {}
        self._checked, self._refusals = "", 0

    @property
    def rows(self) -> list[str]:
        """The rows of the page, and those of which only a case is left."""
        return list(dict.fromkeys([*self._answers, *self._cases]))

    def answer(self, given: str) -> str:
        """What the page says to a row."""
        return self._answers[given]

    def row(self, given: str) -> Callable[[Callable[..., None]], None]:
        """Take a function as the case of a row; what it takes are fixtures."""

        def take(case: Callable[..., None]) -> None:
            assert given not in self._cases
            self._cases[given] = case

        return take

    def proven(self, given: str, *tests: str, as_text: bool = False) -> None:
        """Let tests elsewhere be the case of a row.

        Args:
            given: the row.
            tests: each as `"folder/test_file.py::test_name"`.
            as_text: they look at what is told of one of many files, not at the error's type.
        """

        def exist() -> None:
            sources = "".join(map(_source_of, tests))
            if self._says_error(given):
                assert as_text or (self._kind or codes_in(given)[0]) in sources
                self._refusals += 1

        self.row(given)(exist)

    @contextmanager
    def refused(self, told: str, *, kind: str | None = None) -> Iterator[None]:
        """Expect the error of the section, in one line that has `told` in it.

        Args:
            told: a pattern.
            kind: of the error, where the heading does not say it.
        """
        expected = getattr(dpseg.errors, kind or self._kind or codes_in(self._checked)[0])
        with pytest.raises(expected, match=told) as caught:
            yield
        assert type(caught.value) is expected
        assert "\n" not in str(caught.value)
        self._refusals += 1

    def check(self, given: str, request: pytest.FixtureRequest) -> None:
        """Run the case of a row; it must refuse something where the row says error."""
        assert given in self._answers, "the page has no such row"
        assert given in self._cases, "the row has no case"
        case, self._checked, self._refusals = self._cases[given], given, 0
        case(*map(request.getfixturevalue, inspect.signature(case).parameters))
        assert bool(self._refusals) == self._says_error(given)

    def _says_error(self, given: str) -> bool:
        return self._kind is None or bool(_SAYS_ERROR.search(self._answers[given]))


def _source_of(test: str) -> str:
    """Read a test function, or fail if there is none of that name."""
    file, name = test.split("::")
    text = (TESTS / file).read_text(encoding="utf-8")
    (found,) = [one for one in ast.parse(text).body if getattr(one, "name", "") == name] or [None]
    assert found, f"there is no {test}"
    first = min([found.lineno, *(one.lineno for one in found.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : found.end_lineno])
