"""`dpseg calibrate`: choose the score that a pixel needs, on a labelled folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpseg.commands.common import Device


def calibrate(
    folder: Annotated[Path, typer.Argument(help="A labelled folder; see `dpseg data prepare`.")],
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "dpseg-lite",
    split: Annotated[str, typer.Option(help="Which list of photos.")] = "train",
    limit: Annotated[int, typer.Option(min=1, help="At most so many photos.")] = 200,
    device: Device = "auto",
) -> None:
    """Choose the score below which the model leaves pixels unlabelled, and keep it beside it."""
    from rich.progress import track

    from dpseg.data.dataset import LabelledFolder
    from dpseg.data.plain_names import with_synonyms
    from dpseg.errors import DataError
    from dpseg.evaluate.thresholds import THRESHOLDS, lowest_good, threshold_curve
    from dpseg.factory.calibration import calibration_path, write_threshold
    from dpseg.factory.hub import resolve
    from dpseg.factory.load import load_engine
    from dpseg.segmenter import Segmenter
    from dpseg.vocabulary import Vocabulary

    data = LabelledFolder(folder, split)
    if not data.has_background:
        raise DataError(
            f"{folder} labels no background: nothing there belongs to none of its names"
        )
    name = resolve(model)
    segmenter = Segmenter(*load_engine(name, device=device))
    every = max(1, -(-len(data) // limit))
    chosen = track(range(0, len(data), every), description="Measuring ...", transient=True)
    vocabulary = Vocabulary.of([with_synonyms(one) for one in data.names])
    curve = threshold_curve(segmenter, (data[index] for index in chosen), vocabulary)
    threshold = lowest_good([curve])
    path = calibration_path(name)
    photos = len(range(0, len(data), every))
    write_threshold(
        path, segmenter.info.encoder_key, threshold, f"{photos} photos of {folder}, {split}"
    )
    found = curve[THRESHOLDS.index(threshold)]
    typer.echo(f"{path}: {threshold:g} ({100 * found:.1f} mIoU with background, {photos} photos)")
