"""Results for people: Markdown tables, and one HTML file with photos that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dpseg.arrays import IntArray
from dpseg.errors import DataError
from dpseg.evaluate.metrics import class_iou
from dpseg.evaluate.results import Answer, Evaluation, save_json
from dpseg.files import write_text
from dpseg.imaging.draw import overlay

#: Figure to column heading, in the order of the columns.
COLUMNS = {
    "miou": "mIoU",
    "seen_miou": "seen",
    "unseen_miou": "unseen",
    "harmonic_miou": "harmonic",
    "small_miou": "small",
    "medium_miou": "medium",
    "large_miou": "large",
    "boundary_iou": "boundary",
    "frequency_weighted_iou": "fwIoU",
    "pixel_accuracy": "pixel acc.",
    "mean_accuracy": "mean acc.",
}
SPLIT_FIGURES = ("seen_miou", "unseen_miou", "harmonic_miou")
SHOWN_SIDE = 560  # pixels, of a photo in the HTML file

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem;
       color: #202226; background: #fafaf8; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; } .pair { display: flex; gap: .7rem; align-items: flex-start; }
.pair img { min-width: 0; flex: 1; } figcaption { color: #60656c; }
details { margin: 1rem 0; }
"""


def markdown(evaluation: Evaluation) -> str:
    """Write one set's figures, in percent.

    Args:
        evaluation: what was counted.

    Returns:
        A heading and a table with one row a configuration.
    """
    header, rows = _figure_table(evaluation)
    title = f"### {evaluation.name}: {_size_of(evaluation)}"
    return f"{title}\n\n{_markdown_table(header, rows)}"


def markdown_rows(evaluations: Sequence[Evaluation], rows: Mapping[str, str]) -> str:
    """Write chosen configurations: mIoU of every set, then means over the sets.

    Args:
        evaluations: one a set, all with the same configurations.
        rows: label to configuration name.

    Returns:
        A Markdown table.
    """
    means = ["miou", "small_miou", "boundary_iou"]
    if all(evaluation.unseen is not None for evaluation in evaluations):
        means.insert(1, "unseen_miou")
    header = ["", *(e.name for e in evaluations), *(f"mean {COLUMNS[mean]}" for mean in means)]
    tables = [evaluation.figures() for evaluation in evaluations]
    lines = [
        [
            label,
            *(_percent(table[name]["miou"]) for table in tables),
            *(_percent(float(np.mean([table[name][mean] for table in tables]))) for mean in means),
        ]
        for label, name in rows.items()
    ]
    return _markdown_table(header, lines)


def save_html(evaluations: Sequence[Evaluation], path: Path, title: str = "Results") -> None:
    """Write a page with all tables, and the photos that went best and worst.

    Args:
        evaluations: one a set.
        path: where to.
        title: of the page.
    """
    body = "".join(_section(evaluation) for evaluation in evaluations)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{html.escape(title)}</h1>{body}</body></html>\n"
    )
    write_text(path, page)


def save_report(
    evaluations: Sequence[Evaluation], folder: Path, tables: str, title: str = "Results"
) -> None:
    """Write `results.json`, `results.md` and `results.html`.

    Args:
        evaluations: one a set.
        folder: where to; it is made.
        tables: the Markdown.
        title: of the page.

    Raises:
        DataError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_json(evaluations, folder / "results.json")
        write_text(folder / "results.md", tables)
        save_html(evaluations, folder / "results.html", title)
    except OSError as error:
        raise DataError(f"cannot write results to {folder}: {error.strerror}") from error


def _section(evaluation: Evaluation) -> str:
    header, rows = _figure_table(evaluation)
    first = next(iter(evaluation.accumulators.values()))
    order = np.argsort(-np.nan_to_num(class_iou(first.confusion), nan=-1), kind="stable")
    names = evaluation.names
    columns = [class_iou(accumulator.confusion) for accumulator in evaluation.accumulators.values()]
    class_rows = [[names[index], *(_percent(iou[index]) for iou in columns)] for index in order]
    best = "".join(_figure(evaluation, answer) for answer in evaluation.best)
    worst = "".join(_figure(evaluation, answer) for answer in evaluation.worst)
    return (
        f"<h2>{html.escape(evaluation.name)}</h2><p>{_size_of(evaluation)}; in percent.</p>"
        f"{_html_table(header, rows)}"
        f"<details><summary>IoU of each class</summary>"
        f"{_html_table(['class', *evaluation.accumulators], class_rows)}</details>"
        f"<h3>Best</h3>{best}<h3>Worst</h3>{worst}"
    )


def _figure(evaluation: Evaluation, answer: Answer) -> str:
    """Show what was true beside what was said."""
    pictures = "".join(
        f'<img alt="{kind}" src="{_painted(evaluation, answer, labels)}">'
        for kind, labels in (("true", answer.target), ("found", answer.prediction))
    )
    return (
        f'<figure><div class="pair">{pictures}</div><figcaption>picture {answer.number}: true '
        f"(left), found (right); mIoU {_percent(answer.miou)}; pixels without a true label do not "
        f"count</figcaption></figure>"
    )


def _painted(evaluation: Evaluation, answer: Answer, labels: IntArray) -> str:
    """Draw labels over the photo, as a data URL."""
    areas = np.bincount(labels[labels >= 0], minlength=len(evaluation.names)) / labels.size
    shares = dict(zip(evaluation.names, areas.tolist(), strict=True))
    picture = overlay(answer.image, labels.astype(np.int32), shares)
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _figure_table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    columns = [c for c in COLUMNS if evaluation.unseen is not None or c not in SPLIT_FIGURES]
    rows = [
        [name, *(_percent(figures[column]) for column in columns)]
        for name, figures in evaluation.figures().items()
    ]
    return ["configuration", *(COLUMNS[column] for column in columns)], rows


def _size_of(evaluation: Evaluation) -> str:
    split = "" if evaluation.unseen is None else f" ({len(evaluation.unseen)} unseen)"
    return f"{evaluation.pictures} pictures, {len(evaluation.names)} classes{split}"


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
