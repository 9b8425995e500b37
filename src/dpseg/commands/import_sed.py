"""`dpseg import-sed`: a checkpoint of SED becomes a model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dpseg.errors import require_extra


def import_sed(
    checkpoint: Annotated[Path, typer.Argument(help="SED's checkpoint, a detectron2 .pth file.")],
    out: Annotated[Path, typer.Option(help="The model's folder, for `segment --model`.")],
    network: Annotated[
        Literal["sed", "dpseg"],
        typer.Option(help="The baseline as it is, or a DPSeg that begins from what they share."),
    ] = "sed",
) -> None:
    """Make a model of a published SED checkpoint; import.json tells what became of every key."""
    require_extra("torch", "clip")
    from rich.console import Console

    from dpseg.factory.importers import sed

    with Console(stderr=True).status(f"Importing {checkpoint} ..."):
        state = sed.read_sed(checkpoint)
        model, fates = sed.import_sed(state, sed.matching_preset(state, network))
        sed.save_import(model, fates, out)
    typer.echo(f"{out}: {model.config.name}: {sed.summary(fates)}")
