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
        self._refusals = 0

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

    def proven(self, given: str, *tests: str) -> None:
        """Let tests elsewhere, `"folder/test_file.py::test_name"`, be the case of a row."""

        def exist() -> None:
            for test in tests:
                file, name = test.split("::")
                body = ast.parse((TESTS / file).read_text(encoding="utf-8")).body
                assert name in {one.name for one in body if isinstance(one, ast.FunctionDef)}, test
            self._refusals += bool(_SAYS_ERROR.search(self._answers[given]))

        self.row(given)(exist)

    @contextmanager
    def refused(self, told: str, *, kind: str | None = None) -> Iterator[None]:
        """Expect the error of the section, in one line that has `told` in it.

        Args:
            told: a pattern.
            kind: of the error, where the heading does not say it.
        """
        expected = getattr(dpseg.errors, kind or self._kind)
        with pytest.raises(expected, match=told) as caught:
            yield
        assert type(caught.value) is expected
        assert "\n" not in str(caught.value)
        self._refusals += 1

    def check(self, given: str, request: pytest.FixtureRequest) -> None:
        """Run the case of a row; it must refuse something where the row says error."""
        assert given in self._answers, "the page has no such row"
        assert given in self._cases, "the row has no case"
        case, self._refusals = self._cases[given], 0
        case(*map(request.getfixturevalue, inspect.signature(case).parameters))
        says_error = self._kind is None or bool(_SAYS_ERROR.search(self._answers[given]))
        assert bool(self._refusals) == says_error
