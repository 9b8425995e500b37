"""The `dpseg` command: a thin layer of words over `Segmenter`.

Commands import what they need when they run, so that `--help` is quick. An error that dpseg raises
on purpose becomes one line on standard error.
"""

from __future__ import annotations

import glob
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dpseg import __version__
from dpseg.commands import data
from dpseg.commands.serve import serve
from dpseg.errors import DPSegError, ImageError, PromptError

if TYPE_CHECKING:
    from dpseg.prompts.examples import PictureLike
    from dpseg.segmentation import Segmentation
    from dpseg.vocabulary import Vocabulary

#: Exit codes: nothing worked; some of many photos did not.
FAILED, PARTLY = 1, 2

app = typer.Typer(
    help="Name it, or show it, and get its pixels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; errors of ours end in one line and exit code 1."""
    try:
        app()
    except DPSegError as error:
        _complain(error)
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


@app.command()
def segment(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders of photos, or globs.")],
    classes: Annotated[
        str, typer.Option("-c", "--classes", help="Names, by commas; 'car|automobile' is one.")
    ] = "",
    vocabulary: Annotated[
        str, typer.Option(help="A built-in class list (voc20, ade150, ...), a .txt or .json file.")
    ] = "",
    example: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="An example picture of a class; repeatable."),
    ] = None,
    examples_folder: Annotated[
        Path | None, typer.Option(help="Example pictures as NAME/*.jpg, with NAME/*.mask.png.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where a folder for each photo is made.")] = Path("out"),
    refine: Annotated[int, typer.Option(min=0, help="Rounds of prompt refinement.")] = 0,
    refine_mode: Annotated[
        Literal["pool", "crop"], typer.Option(help="How refinement reads the photo again.")
    ] = "pool",
    unlabelled: Annotated[
        bool, typer.Option(help="Leave pixels without a label where no name convinces.")
    ] = True,
    prompts: Annotated[
        Literal["dual", "text", "visual"], typer.Option(help="Names, pictures, or both.")
    ] = "dual",
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "dpseg-lite",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a photo, for machines.")
    ] = False,
) -> None:
    """Find the named things in photos; write overlay.png, labels.png and result.json for each."""
    from rich.console import Console
    from rich.progress import track

    names = _vocabulary(classes, vocabulary)
    examples = _examples(example or [], examples_folder)
    paths = find_photos(photos)
    screen = Console(stderr=True)
    with screen.status(f"Loading {model} ..."):
        from dpseg.segmenter import Segmenter

        segmenter = Segmenter.from_pretrained(model)
    folders = output_folders(paths, out)
    failures = 0
    for path in track(paths, "Segmenting", console=screen, transient=True, disable=len(paths) == 1):
        try:
            result = segmenter(
                path,
                names,
                examples=examples,
                refine=refine,
                refine_mode=refine_mode,
                unlabelled=unlabelled,
                prompts=prompts,
            )
        except ImageError as error:
            failures += 1
            _complain(error)
            continue
        folder = result.save(folders[path])
        typer.echo(_as_json(path, folder, result) if as_json else _as_line(path, folder, result))
    if failures:
        raise typer.Exit(FAILED if failures == len(paths) else PARTLY)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/lite.yaml.")],
    data: Annotated[Path, typer.Option(help="Folder with the recipe's labelled sets.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run goes on.")],
    start: Annotated[
        Path | None, typer.Option(help="An earlier run's folder, to begin from its model.")
    ] = None,
) -> None:
    """Train a model; the run's folder is then one that `segment --model` reads."""
    from dpseg.train.lite import train_lite
    from dpseg.train.recipe import load_recipe

    train_lite(load_recipe(recipe), data, out, start=start)
    typer.echo(f"The model is in {out}")


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List the models that `segment --model` knows by name."""
    from dpseg import weights
    from dpseg.config import PRESETS

    folder = Path(str(weights.__file__)).parent
    records = []
    for name in PRESETS:
        files = sorted(folder.glob(f"{name}*.safetensors"))
        megabytes = round(sum(file.stat().st_size for file in files) / 1e6, 1)
        source = "shipped" if files else PRESETS[name].source
        records.append({"name": name, "source": source, "megabytes": megabytes})
    if as_json:
        typer.echo(json.dumps(records))
        return
    for record in records:
        size = f", {record['megabytes']} MB" if record["megabytes"] else ""
        typer.echo(f"{record['name']}  {record['source']}{size}")


app.command()(serve)
app.add_typer(data.app, name="data")


def find_photos(given: Iterable[str]) -> list[Path]:
    """Resolve files, folders and globs.

    Args:
        given: each a file, a folder (its photos are taken, not those of folders in it) or a glob.

    Returns:
        Photos in the order given, each once; those of folders and globs by name.

    Raises:
        ImageError: a folder or glob holds no photo.
    """
    from dpseg.photo import SUFFIXES

    found: dict[Path, None] = {}
    for item in given:
        path = Path(item)
        if path.is_dir():
            matches = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif glob.has_magic(item) and not path.exists():
            matches = sorted(Path(match) for match in glob.glob(item, recursive=True))
            matches = [match for match in matches if match.is_file()]
        else:
            matches = [path]
        if not matches:
            raise ImageError(f"{item} holds no photo ({', '.join(sorted(SUFFIXES))}).")
        found.update(dict.fromkeys(matches))
    return list(found)


def output_folders(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Give each photo a folder of its own, named like the photo; a number tells namesakes apart."""
    folders: dict[Path, Path] = {}
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 2
        while name.casefold() in taken:
            name, number = f"{path.stem}-{number}", number + 1
        taken.add(name.casefold())
        folders[path] = out / name
    return folders


def _vocabulary(classes: str, vocabulary: str) -> str | Vocabulary:
    from dpseg.vocabulary import Vocabulary

    if not vocabulary:
        return classes
    loaded = Vocabulary.load(vocabulary)
    return Vocabulary([*loaded, *Vocabulary.of(classes)]) if classes else loaded


def _examples(given: Sequence[str], folder: Path | None) -> dict[str, list[PictureLike]]:
    from dpseg.prompts.examples import pictures_in

    examples = pictures_in(folder) if folder else {}
    for item in given:
        name, equals, file = item.partition("=")
        if not (name.strip() and equals and file):
            raise PromptError(f"--example is {item!r}; it must be NAME=FILE, such as cat=tom.jpg.")
        examples.setdefault(name.strip(), []).append(Path(file))
    return examples


def _as_line(path: Path, folder: Path, result: Segmentation) -> str:
    from dpseg.draw import percent

    areas = sorted(result.areas.items(), key=lambda entry: -entry[1])
    parts = [f"{name} {percent(area)}" for name, area in areas if area]
    if result.unlabelled_area:
        parts.append(f"unlabelled {percent(result.unlabelled_area)}")
    return f"{path} -> {folder}: {', '.join(parts)}"


def _as_json(path: Path, folder: Path, result: Segmentation) -> str:
    record: dict[str, Any] = {"photo": str(path), "folder": str(folder), **result.summary()}
    return json.dumps(record, ensure_ascii=False)


def _complain(error: DPSegError) -> None:
    typer.echo("dpseg: " + " ".join(str(error).split()), err=True)
