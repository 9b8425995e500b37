"""The `dpseg` command: a thin layer of words over `Segmenter`.

Commands import what they need when they run, so that `--help` is quick. An error that dpseg raises
on purpose becomes one line on standard error.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Annotated

import typer

from dpseg import __version__
from dpseg.commands import data, prompts
from dpseg.commands.calibrate import calibrate
from dpseg.commands.common import FAILED, complain, tell_warnings
from dpseg.commands.convert import convert
from dpseg.commands.evaluate import ablate, evaluate
from dpseg.commands.export import export
from dpseg.commands.import_model import import_model
from dpseg.commands.label_studio import label_studio
from dpseg.commands.segment import segment
from dpseg.commands.serve import serve
from dpseg.commands.train import train
from dpseg.commands.tune import tune
from dpseg.errors import DPSegError

app = typer.Typer(
    help="Name it, or show it, and get its pixels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; errors of ours end in one line and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot print becomes an escape
            stream.reconfigure(errors="backslashreplace")
    tell_warnings()
    try:
        app()
    except DPSegError as error:
        complain(error)
        sys.exit(FAILED)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dpseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Tell it.")
    ] = False,
) -> None:
    pass


app.command()(segment)
app.command()(convert)
app.command("label-studio")(label_studio)


app.command()(train)


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List the models that `segment --model` knows by name."""
    from dpseg.factory.config import PRESETS
    from dpseg.factory.load import model_files

    records = []
    for name in PRESETS:
        files = model_files(name)
        megabytes = round(sum(file.stat().st_size for file in files) / 1e6, 1)
        source = "shipped" if files else PRESETS[name].source
        records.append({"name": name, "source": source, "megabytes": megabytes})
    if as_json:
        typer.echo(json.dumps(records))
        return
    for record in records:
        size = f", {record['megabytes']} MB" if record["megabytes"] else ""
        typer.echo(f"{record['name']}  {record['source']}{size}")


app.command("import")(import_model)
app.command("import-sed", hidden=True)(import_model)  # its name until others were known too
app.command()(serve)
app.command()(export)
app.command()(evaluate)
app.command()(ablate)
app.command()(tune)
app.command()(calibrate)
app.add_typer(data.app, name="data")
app.add_typer(prompts.app, name="prompts")
