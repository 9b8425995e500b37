"""`dpseg data`: benchmark sets from their archives, checks of them, labels for other photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpseg.commands.common import Device

app = typer.Typer(
    help="Prepare the benchmark sets, check them, label photos.", no_args_is_help=True
)


@app.command()
def prepare(
    name: Annotated[
        str, typer.Argument(help="coco_stuff171, ade150, ade847, pc59, pc459, voc20 or voc20b.")
    ],
    root: Annotated[Path, typer.Option(help="Where the official archives were extracted.")],
    out: Annotated[Path, typer.Option(help="The folder to make; an unfinished one goes on.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split, train or val; repeatable.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Take what is there, if archives are not complete.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Photos in work at once.")] = 4,
) -> None:
    """Write a set as a folder of photos and label images that every other command reads."""
    from dpseg.data.archives import spec_of
    from dpseg.data.prepare import prepare as prepare_set

    splits = split or ["train", "val"]
    for done in prepare_set(
        spec_of(name), root, out, splits=splits, partial=partial, workers=workers, progress=True
    ):
        typer.echo(f"{out}: {done.split} {done.photos} photos, {done.written} of them new")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that `dpseg data prepare` made.")],
) -> None:
    """Compare every label of a prepared set with its checksum."""
    from dpseg.data.prepare import verify as verify_set

    for split, photos in verify_set(folder).items():
        typer.echo(f"{folder}: {split} {photos} photos, all as they were written")


@app.command()
def label(
    recipe: Annotated[Path, typer.Argument(help="A YAML file such as recipes/labels.yaml.")],
    data: Annotated[Path, typer.Option(help="The folder that holds the recipe's folders.")],
    teachers: Annotated[Path, typer.Option(help="Where the teachers' files are.")],
    out: Annotated[Path, typer.Option(help="The labelled folder to make; goes on if unfinished.")],
    device: Device = "auto",
) -> None:
    """Label photos where the model and networks that you have are sure; measure how right it is."""
    from math import isnan

    from rich.console import Console
    from rich.table import Table

    from dpseg.segmenter import Segmenter
    from dpseg.train.labels.label_folder import Labeller, measure, write_labels
    from dpseg.train.labels.recipe import SilhouetteRecipe, load_label_recipe
    from dpseg.train.labels.silhouettes import label_silhouettes

    settings = load_label_recipe(recipe)
    if isinstance(settings, SilhouetteRecipe):
        photos, share = label_silhouettes(
            settings, data=data, teachers=teachers, out=out, progress=True
        )
        typer.echo(f"{out}: {photos} photos, {share:.0%} of their pixels labelled")
        return
    segmenter = Segmenter.from_pretrained(settings.model, device=device)
    labeller = Labeller(settings, segmenter, data=data, teachers=teachers)
    for name, precisions in measure(labeller, settings, data=data, progress=True):
        table = Table("name", "precision", "found", "pixels", title=f"labels on {name}")
        for word, one in precisions.items():
            shares = ("–" if isnan(x) else f"{x:.0%}" for x in (one.precision, one.found))
            table.add_row(word, *shares, f"{one.given:,}")
        Console().print(table)
    photos, share = write_labels(labeller, data / settings.photos, out, progress=True)
    typer.echo(f"{out}: {photos} photos, {share:.0%} of their pixels labelled")
