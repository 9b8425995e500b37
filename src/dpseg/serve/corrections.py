"""Corrections over the wire: what was said of a kept answer, and files of what was said."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from dpseg.errors import PromptError
from dpseg.prompts.corrections import Corrections
from dpseg.serve.results import Answer

#: Corrections that one answer may carry.
MAX_CORRECTIONS = 200


class Said(BaseModel):
    """What a user says of a place."""

    x: int = Field(description="column of the photo", examples=[120])
    y: int = Field(description="row of the photo", examples=[80])
    name: str = Field(description="what it is, or is not", examples=["cat"])
    wanted: bool = Field(default=True, description="false for: this is not NAME")


class CorrectionsBody(BaseModel):
    """What a user says of places of one result, in this order."""

    corrections: list[Said]


def corrected(answer: Answer, said: Sequence[Said]) -> Answer:
    """Answer again, with what was said of an answer.

    Args:
        answer: which the places are of.
        said: at least one.

    Raises:
        PromptError: nothing was said, or too much.
        DataError: a place lies outside the photo, or a name that it is not is none of the classes.
        VocabularyError: a name is not usable, or is not wanted.
    """
    if not said:
        raise PromptError("no corrections were given; give at least one.")
    earlier = answer.query.corrections
    made = [answer.result.correct(one.x, one.y, one.name, wanted=one.wanted) for one in said]
    corrections = earlier or Corrections(made[0].encoder_key)
    for one in made:
        corrections = corrections.plus(one.items[-1])
    if len(corrections) > MAX_CORRECTIONS:
        raise PromptError(f"at most {MAX_CORRECTIONS} corrections are possible.")
    return Answer.of(answer.query.corrected(corrections), answer.encoded)


def read_corrections(file: bytes) -> Corrections:
    """Read a file of corrections.

    Raises:
        PromptError: it is damaged, or holds something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corrections.safetensors"
        path.write_bytes(file)
        try:
            return Corrections.load(path)
        except PromptError as error:
            raise PromptError("the file of corrections is damaged, or holds no such.") from error


def write_corrections(answer: Answer) -> bytes:
    """Write what was said of an answer and of those before it.

    Raises:
        PromptError: nothing was.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corrections.safetensors"
        (answer.query.corrections or Corrections("")).save(path)
        return path.read_bytes()
