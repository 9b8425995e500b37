"""`dpseg tune`: fit prompts to a few labelled photos; the network stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpseg.commands.common import Device
from dpseg.errors import require_extra


def tune(
    folder: Annotated[Path, typer.Argument(help="A labelled folder; see `dpseg data prepare`.")],
    out: Annotated[Path, typer.Option(help="The file to write, such as mine.safetensors.")],
    name: Annotated[
        list[str] | None, typer.Option(help="Only this class; repeatable. All by default.")
    ] = None,
    shots: Annotated[int, typer.Option(min=1, help="Pictures of each class.")] = 5,
    split: Annotated[str, typer.Option(help="Which list of photos.")] = "train",
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "dpseg-lite",
    device: Device = "auto",
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps, one picture each.")] = 120,
    rate: Annotated[float, typer.Option(help="Peak rate of the optimiser.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 0,
) -> None:
    """Tune the prompts of classes on labelled photos; `segment --tuned` reads the file."""
    require_extra("torch", "torch")
    from dpseg.data.dataset import LabelledFolder
    from dpseg.factory.load import load_engine
    from dpseg.train.prompt_tuning import TuneSettings, tune_on_folder

    data = LabelledFolder(folder, split)
    engine, bank = load_engine(model, engine="torch", device=device)
    settings = TuneSettings(steps=steps, rate=rate, seed=seed)
    tuned = tune_on_folder(
        engine, bank, data, names=name, shots=shots, settings=settings, progress=True
    )
    tuned.save(out)
    typer.echo(f"{out}: prompts of {len(tuned.names)} classes for {engine.info.name}")
