"""`dpseg evaluate` and `dpseg ablate`: figures on labelled folders, as tables and as a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from dpseg.commands.common import Device

Sets = Annotated[
    list[Path], typer.Argument(help="Labelled folders, such as those of `dpseg data prepare`.")
]
Model = Annotated[str, typer.Option(help="A model's name or folder.")]
Split = Annotated[str, typer.Option(help="Which list of photos.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first photos of each set.")]
Unseen = Annotated[
    str, typer.Option(help="A zero-shot split (voc20-5, ...) or a file with unseen names.")
]
Processes = Annotated[int, typer.Option(min=1, help="Share the work between so many processes.")]
Out = Annotated[
    Path | None, typer.Option(help="Folder for results.json, results.md and results.html.")
]


def evaluate(
    sets: Sets,
    model: Model = "dpseg-lite",
    split: Split = "val",
    row: Annotated[
        list[str] | None, typer.Option(help='Only this row ("text", "dual", ...); repeatable.')
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, help="Also rows with so many example pictures a class from train.")
    ] = 0,
    tuned: Annotated[
        Path | None, typer.Option(help="Also a row with the prompts of `dpseg tune`.")
    ] = None,
    unseen: Unseen = "",
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Leave pixels unlabelled; background is a class.")
    ] = False,
    instances: Annotated[
        bool, typer.Option("--instances", help="Single things instead: panoptic quality, counts.")
    ] = False,
    protocol: Annotated[
        Literal["dpseg", "sed"], typer.Option(help="Keep the aspect, or squash photos as SED does.")
    ] = "dpseg",
    engine: Annotated[
        Literal["torch", "onnx"] | None, typer.Option(help="What runs the model.")
    ] = None,
    device: Device = "auto",
    limit: Limit = None,
    processes: Processes = 1,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Measure a model on labelled photos: mIoU, seen and unseen, object sizes, outlines."""
    import json

    if instances:
        _evaluate_instances(sets, model, split, limit, engine, device, out, as_json)
        return

    from dpseg.evaluate.configuration import STANDARD, WITH_EXAMPLES, WITH_TUNED, chosen
    from dpseg.evaluate.folder import Task, evaluate_folder
    from dpseg.evaluate.report import markdown, save_report

    rows = [*STANDARD, *(WITH_EXAMPLES if examples else ()), *(WITH_TUNED if tuned else ())]
    rows = chosen(rows, row or [])
    tasks = [
        Task(
            root=root,
            model=model,
            split=split,
            limit=limit,
            configurations=rows,
            examples=examples,
            tuned=tuned,
            unseen=_unseen(unseen),
            unlabelled=unlabelled,
            protocol=protocol,
            engine=engine,
            device=device,
        )
        for root in sets
    ]
    evaluations = [evaluate_folder(task, processes=processes, progress=True) for task in tasks]
    tables = "\n".join(markdown(evaluation) for evaluation in evaluations)
    if out is not None:
        save_report(evaluations, out, tables, f"{model} on {', '.join(r.name for r in sets)}")
    typer.echo(json.dumps([e.to_dict() for e in evaluations]) if as_json else tables)


def _evaluate_instances(
    sets: Sequence[Path],
    model: str,
    split: str,
    limit: int | None,
    engine: Literal["torch", "onnx"] | None,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    import json

    from dpseg.evaluate.instance_folder import evaluate_instances
    from dpseg.files import write_text
    from dpseg.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(model, engine=engine, device=device)
    found = [
        evaluate_instances(segmenter, root, split=split, limit=limit, progress=True)
        for root in sets
    ]
    figures = json.dumps([one.to_dict() for one in found])
    tables = "\n".join(one.markdown() for one in found)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "instances.json", figures)
        write_text(out / "instances.md", tables)
    typer.echo(figures if as_json else tables)


def ablate(
    sets: Sets,
    model: Model = "dpseg-lite",
    split: Split = "val",
    table: Annotated[
        list[str] | None,
        typer.Option(help="prompts, cost, guidance, tokens, templates or rounds; repeatable."),
    ] = None,
    unseen: Unseen = "",
    device: Device = "auto",
    limit: Limit = None,
    processes: Processes = 1,
    out: Out = None,
) -> None:
    """Print the paper's ablation tables: the same model with one part changed in each row."""
    from dpseg.evaluate.ablate import ablation_markdown, ablations, choose, configurations_of
    from dpseg.evaluate.folder import Task, evaluate_folder
    from dpseg.evaluate.report import save_report
    from dpseg.factory.load import load_engine

    tables = choose(ablations(load_engine(model, device=device)[0].info), table or [])
    evaluations = [
        evaluate_folder(
            Task(
                root=root,
                model=model,
                split=split,
                limit=limit,
                configurations=configurations_of(tables),
                unseen=_unseen(unseen),
                device=device,
            ),
            processes=processes,
            progress=True,
        )
        for root in sets
    ]
    text = "\n".join(ablation_markdown(one, evaluations) for one in tables)
    if out is not None:
        save_report(evaluations, out, text, f"Ablations of {model}")
    typer.echo(text)


def _unseen(name: str) -> tuple[str, ...] | None:
    from dpseg.data.splits import read_split

    return tuple(read_split(name)) if name else None
