"""`dpseg convert`: results in the forms of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def convert(
    results: Annotated[Path, typer.Argument(help="A folder that `dpseg segment` wrote.")],
    target: Annotated[Path, typer.Argument(help="A .json file for COCO, a folder for YOLO.")],
    to: Annotated[
        Literal["coco", "coco-polygons", "yolo"], typer.Option(help="Which form; no pixel is lost.")
    ],
) -> None:
    """Write the results of a folder of photos as one COCO file or as a YOLO data set."""
    from dpseg.interop.coco import write_coco
    from dpseg.interop.saved import results_in
    from dpseg.interop.yolo import write_yolo

    if to == "yolo":
        count = write_yolo(results_in(results), target)
    else:
        masks: Literal["rle", "polygons"] = "rle" if to == "coco" else "polygons"
        count = write_coco(results_in(results), target, masks=masks)
    typer.echo(f"{count} photos -> {target}")
