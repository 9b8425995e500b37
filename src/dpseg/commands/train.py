"""`dpseg train`: a recipe becomes a model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpseg.errors import require_extra


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/lite.yaml.")],
    data: Annotated[Path, typer.Option(help="Folder with the recipe's labelled sets.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run goes on.")],
    start: Annotated[
        Path | None, typer.Option(help="Another model's folder, to begin from.")
    ] = None,
) -> None:
    """Train a model; the run's folder is then one that `segment --model` reads.

    Recipes of CLIP models also run in several processes: `torchrun -m -- dpseg train ...`.
    """
    require_extra("torch", "train")
    from dpseg.train.clip.run import train_clip
    from dpseg.train.lite.run import train_lite
    from dpseg.train.recipe import ClipRecipe, load_recipe

    settings = load_recipe(recipe)
    if isinstance(settings, ClipRecipe):
        train_clip(settings, data, out, start=start)
    else:
        train_lite(settings, data, out, start=start)
    typer.echo(f"The model is in {out}")
