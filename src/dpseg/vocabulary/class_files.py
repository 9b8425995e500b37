"""Class lists as text files: one class a line, and what other tools write in place of that.

Comments, numbers in front of all names, and one line with commas are read. Whatever could mean two
things is refused with the number of its line.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from dpseg.errors import VocabularyError

#: Marks at the beginning of a file, longest first: one kind's mark begins with another's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMENT = re.compile(r"(^|\s)#.*")
#: `0: cat`, `0<tab>cat`, `0,cat`, `0|cat`, `0. cat`, `0) cat`.
_NUMBERED = re.compile(r"(\d+)(?:\s*[:,|\t]\s*|[.)]\s+)(.*)")
#: `0 cat`: may be a name, such as "2 doors", so that numbers must count up from 0 or 1.
_NUMBER_AND_SPACE = re.compile(r"(\d+)\s+(.*)")
#: Columns, code, bullets, other comments, and numbers of WordNet, as ImageNet's lists have them.
_OTHER_FORMS = re.compile(r"[\t:;={}\[\]<>\"]|^[-*+•'/%]|^n\d{8}\b")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in what its byte order mark tells.

    Raises:
        VocabularyError: it cannot be read, or is in another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VocabularyError(
            f"cannot read vocabulary file {path}: {error.strerror or error}"
        ) from error
    encoding = next((e for mark, e in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise VocabularyError(
            f"cannot read vocabulary file {path}: line {line} is not {encoding.upper()} text; "
            "save it as UTF-8"
        ) from error


def names_in(text: str, source: str) -> list[tuple[int, str]]:
    """Find the classes of a text file.

    Args:
        text: one class a line.
        source: how errors call it.

    Returns:
        The number of each line, from 1, and the class in it.

    Raises:
        VocabularyError: a line is not a name; tells its number.
    """
    numbered = enumerate((_COMMENT.sub("", line).strip() for line in text.splitlines()), 1)
    lines = _without_numbers([(n, line) for n, line in numbered if line], source)
    found = []
    for n, line in lines:
        names = [name.strip() for name in line.split(",") if name.strip()]
        if _OTHER_FORMS.search(line) or not names or (len(names) > 1 and len(lines) > 1):
            raise VocabularyError(
                f"{source}, line {n}: {line!r} is not one name; "
                "write one name a line, its synonyms behind '|'"
            )
        found += [(n, name) for name in names]
    return found


def _without_numbers(lines: list[tuple[int, str]], source: str) -> list[tuple[int, str]]:
    """Take the numbers away if every line begins with one."""
    matches = [_NUMBERED.fullmatch(line) for _, line in lines]
    if not any(matches):
        matches = [_NUMBER_AND_SPACE.fullmatch(line) for _, line in lines]
        numbers = [int(match[1]) for match in matches if match]
        if not numbers or numbers != list(range(numbers[0], numbers[0] + len(lines))):
            return lines
        if numbers[0] > 1:
            return lines
    last = -1
    names = []
    for (n, line), match in zip(lines, matches, strict=True):
        if match is None or int(match[1]) <= last:
            raise VocabularyError(
                f"{source}, line {n}: {line!r} has no number as other lines do, or one out of order"
            )
        last = int(match[1])
        names.append((n, match[2].strip()))
    return names
