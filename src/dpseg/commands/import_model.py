"""`dpseg import`: a checkpoint that another project published becomes a model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dpseg.errors import require_extra


def import_model(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A detectron2 .pth file of SED, ERR-Seg or CAT-Seg."),
    ],
    out: Annotated[Path, typer.Option(help="The model's folder, for `segment --model`.")],
    network: Annotated[
        Literal["as it is", "sed", "err-seg", "cat-seg", "dpseg"],
        typer.Option(help="The published network, or a DPSeg that begins from what they share."),
    ] = "as it is",
    ignore_extra: Annotated[
        bool, typer.Option("--ignore-extra", help="Leave out tensors that should not be there.")
    ] = False,
) -> None:
    """Make a model of a published checkpoint; import.json tells what became of every key."""
    require_extra("torch", "clip")
    from rich.console import Console

    from dpseg.factory.importers.fill import save_import, summary
    from dpseg.factory.importers.published import import_checkpoint, read_checkpoint

    with Console(stderr=True).status(f"Importing {checkpoint} ..."):
        model, fates = import_checkpoint(
            read_checkpoint(checkpoint),
            network=None if network == "as it is" else network,
            extra="leave out" if ignore_extra else "refuse",
        )
        save_import(model, fates, out)
    typer.echo(f"{out}: {model.config.name}: {summary(fates)}")
