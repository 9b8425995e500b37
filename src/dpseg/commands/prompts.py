"""`dpseg prompts`: make visual prompts of many names once, and keep them as a bank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dpseg.commands.common import Device

app = typer.Typer(help="Make banks of visual prompts.", no_args_is_help=True)


@app.callback()
def _group() -> None:  # keeps `build` a word of its own while it is the only command
    pass


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="The bank to write, such as bank.safetensors.")],
    source: Annotated[
        Literal["diffusion", "folder"], typer.Option(help="Where pictures come from.")
    ] = "diffusion",
    classes: Annotated[
        str, typer.Option("-c", "--classes", help="Names, by commas; 'car|automobile' is one.")
    ] = "",
    vocabulary: Annotated[
        str, typer.Option(help="A built-in class list, a .txt or .json file.")
    ] = "",
    pictures: Annotated[
        Path, typer.Option(help="Folder of pictures: NAME/*.jpg, or where diffusion keeps its own.")
    ] = Path("pictures"),
    template: Annotated[
        list[str] | None, typer.Option(help="A sentence with one {}; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Pictures of each sentence.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Of the diffusion sampler.")] = 30,
    size: Annotated[int, typer.Option(min=8, help="Side of the pictures in pixels.")] = 512,
    batch: Annotated[int, typer.Option(min=1, help="Pictures made at once.")] = 1,
    diffusion_model: Annotated[str, typer.Option(help="A hub id, or a folder.")] = "",
    revision: Annotated[str, typer.Option(help="A commit of the hub id.")] = "",
    model: Annotated[str, typer.Option(help="Whose prompts: a model's name or folder.")] = (
        "dpseg-lite"
    ),
    device: Device = "auto",
) -> None:
    """Make pictures of names, or take those of a folder, and write their prompts as a bank.

    A run that was stopped goes on: pictures and embeddings that are there are used.
    """
    from dpseg.commands.common import given_vocabulary
    from dpseg.factory.load import load_engine
    from dpseg.prompts.bank import build_bank
    from dpseg.prompts.cache import PromptCache
    from dpseg.prompts.diffusion import DiffusionSettings, make_pictures
    from dpseg.prompts.examples import PictureLike, pictures_in
    from dpseg.prompts.visual import ExemplarSource
    from dpseg.vocabulary import Vocabulary

    given = given_vocabulary(classes, vocabulary)
    shown: dict[str, list[PictureLike]]
    if source == "folder":
        shown = pictures_in(pictures)
        names = Vocabulary.of(given or list(shown))
    else:
        names = Vocabulary.of(given)
        standard = DiffusionSettings()
        settings = DiffusionSettings(
            model=diffusion_model or standard.model,
            revision=revision or (None if diffusion_model else standard.revision),
            templates=tuple(template or standard.templates),
            seeds=tuple(range(seeds)),
            steps=steps,
            size=size,
            batch=batch,
        )
        made = make_pictures(names, pictures, settings, progress=True)
        shown = {name: list(paths) for name, paths in made.items()}
    engine, _ = load_engine(model, device=device)
    cache = PromptCache()
    visuals = ExemplarSource(engine, shown, cache).prompts_for(names)
    bank = build_bank(engine, names, visuals, cache=cache)
    bank.save(out)
    typer.echo(f"{out}: prompts of {len(bank.names)} of {len(names)} names for {model}")
