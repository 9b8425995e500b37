"""What commands share."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from dpseg.vocabulary import Vocabulary

#: Option of every command that runs a model.
Device: TypeAlias = Annotated[
    str, typer.Option(help="Where the model runs: auto, cpu, cuda, cuda:1, mps.")
]

#: Exit codes: nothing worked; some of many files did not.
FAILED, PARTLY = 1, 2


def given_vocabulary(classes: str, vocabulary: str) -> str | Vocabulary:
    """Put the classes of a list and names given by commas together.

    Args:
        classes: names, by commas; may be empty.
        vocabulary: a built-in list, or a file; may be empty.

    Returns:
        What `Segmenter` takes as classes.

    Raises:
        VocabularyError: the list cannot be read, or a name is in both.
    """
    from dpseg.vocabulary import Vocabulary

    if not vocabulary:
        return classes
    loaded = Vocabulary.load(vocabulary)
    return Vocabulary([*loaded, *Vocabulary.of(classes)]) if classes else loaded


def complain(error: object) -> None:
    """Say on one line of standard error what is wrong."""
    typer.echo("dpseg: " + " ".join(str(error).split()), err=True)


def tell_warnings() -> None:
    """Let warnings of ours be said like complaints, and each only once."""
    usual = warnings.showwarning
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        if not category.__module__.startswith("dpseg."):
            usual(message, category, *args, **kwargs)
        elif str(message) not in told:
            told.add(str(message))
            complain(message)

    warnings.showwarning = show
