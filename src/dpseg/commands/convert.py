"""`dpseg convert`: results in the forms of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dpseg.commands.common import complain


def convert(
    results: Annotated[Path, typer.Argument(help="A folder that `dpseg segment` wrote.")],
    target: Annotated[Path, typer.Argument(help="A .json file for COCO, a folder for YOLO.")],
    to: Annotated[Literal["coco", "coco-polygons", "yolo"], typer.Option(help="Which form.")],
) -> None:
    """Write the results of a folder of photos as one COCO file or as a YOLO data set."""
    from dpseg.interop.coco import write_coco
    from dpseg.interop.saved import SavedResult, results_in
    from dpseg.interop.yolo import write_yolo

    gone: list[SavedResult] = []
    found = results_in(results, gone=gone.append)
    if to == "yolo":
        count = write_yolo(found, target)
    else:
        masks: Literal["rle", "polygons"] = "rle" if to == "coco" else "polygons"
        count = write_coco(found, target, masks=masks)
    if gone:
        complain(
            f"{len(gone)} results were left out: their photos, such as {gone[0].photo}, are gone."
        )
    typer.echo(f"{count} photos -> {target}")
