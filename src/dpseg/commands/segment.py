"""`dpseg segment`: photos, folders, maps and videos in; a folder of results for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from dpseg.commands.common import FAILED, PARTLY, Device, complain, given_vocabulary
from dpseg.errors import DataError, DPSegError, PromptError

if TYPE_CHECKING:
    from dpseg.batch.work import Outcome
    from dpseg.geo.rules import MapRules, PolygonFormat
    from dpseg.prompts.examples import PictureLike

    #: Runs the job; takes `progress`, told how far the file in work is.
    Run = Callable[..., Iterator[Outcome]]

Number = TypeVar("Number", int, float)


def segment(
    photos: Annotated[
        list[str], typer.Argument(help="Photos, maps, videos, folders of photos, or globs.")
    ],
    classes: Annotated[
        str,
        typer.Option(
            "-c",
            "--classes",
            help="Names, by commas; 'car|automobile' is one; 'auto' lets the model name things.",
        ),
    ] = "",
    vocabulary: Annotated[
        str, typer.Option(help="A built-in class list (voc20, ade150, ...), a .txt or .json file.")
    ] = "",
    not_classes: Annotated[
        list[str] | None,
        typer.Option(
            "--not", metavar="NAME", help="A name that competes and is never shown; repeatable."
        ),
    ] = None,
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
    detector: Annotated[
        bool, typer.Option(help="Let the model's detector speak for the names that it knows.")
    ] = True,
    snap: Annotated[
        bool, typer.Option(help="Let outlines follow the edges that the photo shows.")
    ] = True,
    instances: Annotated[
        bool, typer.Option("--instances", help="Photos: part each class into single things.")
    ] = False,
    stuff: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A class that is never parted; repeatable."),
    ] = None,
    min_presence: Annotated[
        float, typer.Option(help="Leave out names that are less probably in the photo, 0 to 1.")
    ] = 0.0,
    language: Annotated[
        str, typer.Option(help="Of the names, such as fr; en takes them as they are.")
    ] = "auto",
    prompts: Annotated[
        Literal["dual", "text", "visual"], typer.Option(help="Names, pictures, or both.")
    ] = "dual",
    tuned: Annotated[
        Path | None, typer.Option(help="Prompts that `dpseg tune` fitted to labelled pictures.")
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="Corrections that were saved from the page or in Python.")
    ] = None,
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "dpseg-lite",
    device: Device = "auto",
    overlay: Annotated[bool, typer.Option(help="Write overlay.png, too.")] = True,
    palette: Annotated[
        bool, typer.Option(help="Give labels.png colours; OpenCV then reads those, not indices.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Segment files anew whose results are there.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with the model.")] = 1,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This machine, or a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster; without it, Ray starts here.")
    ] = None,
    bands: Annotated[
        str, typer.Option(help="Maps: bands for red, green and blue, such as 4,3,2; or one.")
    ] = "",
    value_range: Annotated[
        str, typer.Option(help="Maps: values that become black and white, such as 0,3000.")
    ] = "",
    window: Annotated[
        int, typer.Option(min=64, help="Maps: side in pixels of what is seen at once.")
    ] = 1024,
    polygons: Annotated[
        Literal["none", "geojson", "gpkg"], typer.Option(help="Maps: write regions as polygons.")
    ] = "none",
    smooth: Annotated[
        float, typer.Option(min=0, max=0.99, help="Videos: weight of the past frames.")
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a photo, for machines.")
    ] = False,
) -> None:
    """Find the named things in photos; write overlay.png, labels.png and result.json for each.

    A run that was stopped goes on where it was: results that are there are kept, if photo,
    query and model are the same.
    """
    from dpseg.batch.folder import ERRORS_FILE, find_photos, make_tasks, run_local
    from dpseg.batch.job import Job
    from dpseg.inference.negatives import read_negatives
    from dpseg.inference.options import SegmentOptions, split_names

    job = Job(
        classes=given_vocabulary(classes, vocabulary),
        not_classes=read_negatives(not_classes or []),
        examples=_examples(example or [], examples_folder),
        options=SegmentOptions(
            refine=refine,
            refine_mode=refine_mode,
            unlabelled=unlabelled,
            detector=detector,
            prompts=prompts,
            snap=snap,
            things=instances,
            stuff=split_names(stuff),
            min_presence=min_presence,
            language=language,
        ),
        tuned=tuned,
        corrections=corrections,
        model=model,
        device=device,
        overlay=overlay,
        palette=palette,
        maps=_map_rules(bands, value_range, window, polygons),
        smooth=smooth,
    )
    tasks = make_tasks(find_photos(photos, tell=complain), out)
    if engine == "ray":
        from dpseg.batch.ray import run_ray

        run: Run = partial(run_ray, job, tasks, workers=workers, again=again, address=address)
    else:
        run = partial(run_local, job, tasks, workers=workers, again=again)
    errors = out / ERRORS_FILE
    if errors.is_file():
        errors.unlink()
    failures, troubles = 0, 0
    for outcome in _behind_bars(run, len(tasks)):
        trouble = outcome.error
        if trouble is None:
            result = _result(outcome)
            typer.echo((_as_json if as_json else _as_line)(outcome, result))
            if bad := result.get("bad_frames"):
                trouble = f"{outcome.path}: {bad} damaged frames were left out."
            if result["settings"].get("scale", 1) != 1:
                complain(f"{outcome.path} is very large; it was read at half its size.")
        if trouble is not None:
            failures += outcome.error is not None
            troubles += 1
            complain(trouble)
            if len(tasks) > 1:
                _note(errors, replace(outcome, error=trouble))
    if troubles:
        raise typer.Exit(FAILED if failures == len(tasks) else PARTLY)


def _behind_bars(run: Run, files: int) -> Iterator[Outcome]:
    """Show a bar for all files and one for the file in work; raise what concerns all files."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as bars:
        all_files = bars.add_task("Segmenting", total=files, visible=files > 1)
        one_file = bars.add_task("this file", visible=False)

        def progress(done: int, total: int) -> None:
            bars.update(one_file, completed=done, total=total, visible=done < total)

        for outcome in run(progress=progress):
            if outcome.fatal:
                raise DPSegError(outcome.error)
            bars.advance(all_files)
            yield outcome


def _examples(given: Sequence[str], folder: Path | None) -> dict[str, list[PictureLike]]:
    from dpseg.prompts.examples import pictures_in

    examples = pictures_in(folder) if folder else {}
    for item in given:
        name, equals, file = item.partition("=")
        if not (name.strip() and equals and file):
            raise PromptError(f"--example is {item!r}; it must be NAME=FILE, such as cat=tom.jpg.")
        examples.setdefault(name.strip(), []).append(Path(file))
    return examples


def _map_rules(
    bands: str, value_range: str, window: int, polygons: PolygonFormat | Literal["none"]
) -> MapRules:
    from dpseg.geo.rules import MapRules

    low_high = _numbers(value_range, float, "--value-range")
    if len(low_high) not in (0, 2):
        raise DataError(f"--value-range is {value_range!r}; it must be two numbers: 0,3000.")
    return MapRules(
        bands=tuple(_numbers(bands, int, "--bands")),
        value_range=(low_high[0], low_high[1]) if low_high else None,
        window=window,
        polygons=None if polygons == "none" else polygons,
    )


def _numbers(text: str, kind: Callable[[str], Number], option: str) -> list[Number]:
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise DataError(f"{option} is {text!r}; it must be numbers with commas.") from error


def _as_line(outcome: Outcome, result: dict[str, Any]) -> str:
    from dpseg.imaging.draw import percent

    areas = sorted(result["classes"], key=lambda entry: -float(entry["area"]))
    parts = [
        f"{entry['name']} {percent(entry['area'])}"
        + (f" in {entry['count']}" if entry.get("count") else "")
        for entry in areas
        if entry["pixels"]
    ]
    if result["unlabelled_area"]:
        parts.append(f"unlabelled {percent(result['unlabelled_area'])}")
    return f"{outcome.path} -> {outcome.folder}: {', '.join(parts)}"


def _as_json(outcome: Outcome, result: dict[str, Any]) -> str:
    record = {"photo": str(outcome.path), "folder": str(outcome.folder), **result}
    return json.dumps(record)  # in ASCII, which every output can print


def _result(outcome: Outcome) -> dict[str, Any]:
    from dpseg.batch.work import RESULT_FILE

    record: dict[str, Any] = json.loads((outcome.folder / RESULT_FILE).read_text(encoding="utf-8"))
    return record


def _note(errors: Path, outcome: Outcome) -> None:
    """Append a file's error to the list; each line is whole as soon as it is there."""
    record = {"photo": str(outcome.path), "error": outcome.error}
    if outcome.trace is not None:
        record["trace"] = outcome.trace
    try:
        errors.parent.mkdir(parents=True, exist_ok=True)
        with errors.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(f"{errors} cannot be written: {error.strerror or error}.") from error
