"""What commands share."""

from __future__ import annotations

import typer

#: Exit codes: nothing worked; some of many files did not.
FAILED, PARTLY = 1, 2


def complain(error: object) -> None:
    """Say on one line of standard error what is wrong."""
    typer.echo("dpseg: " + " ".join(str(error).split()), err=True)
