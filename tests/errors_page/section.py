"""A section of docs/errors.md, and how what it says is checked: each row by giving its input."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import dpseg.errors
from page_tables import Rows, codes_in, tables_of

PAGE = "errors.md"
_SAYS_ERROR = re.compile(r"(?<!standard )\berror\b")


class Section(Rows):
    """The rows of a section, which end in the error that its heading names, or in none.

    Args:
        heading: how the section is called. If it names no error, the first cell of each row does.
    """

    def __init__(self, heading: str) -> None:
        (table,) = [one for one in tables_of(PAGE) if one.section == heading]
        super().__init__(table)
        self._kind = next(iter(codes_in(heading)), None)
        self._checked, self._refusals = "", 0

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
        self._checked, self._refusals = given, 0
        sources = super().check(given, request)
        says_error = self._kind is None or bool(_SAYS_ERROR.search(self.cells(given)[0]))
        if sources is None:
            assert bool(self._refusals) == says_error
        elif says_error:
            assert re.search(rf"{self._kind or codes_in(given)[0]}|\.error\b", sources)
