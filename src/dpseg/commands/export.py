"""`dpseg export`: a model as ONNX graphs, which run without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

_Precision: TypeAlias = Literal["fp32", "fp16", "int8-weights", "int8"]


def export(
    out: Annotated[Path, typer.Option(help="The folder, for `segment --model`.")],
    model: Annotated[str, typer.Option(help="A lite model's name or folder.")] = "dpseg-lite",
    image: Annotated[_Precision, typer.Option(help="Numbers of the image tower.")] = "fp16",
    text: Annotated[_Precision, typer.Option(help="Numbers of the text tower.")] = "int8-weights",
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of photos; `--image int8` measures ranges on them.")
    ] = None,
) -> None:
    """Write a model as ONNX; words, examples and sizes stay free at run time."""
    from rich.console import Console

    from dpseg.export.model import export_model

    with Console(stderr=True).status(f"Exporting {model} ..."):
        files = export_model(model, out, image=image, text=text, pictures=pictures)
    for file in files:
        typer.echo(f"{file}  {file.stat().st_size / 1e6:.1f} MB")
