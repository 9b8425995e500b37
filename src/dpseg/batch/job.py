"""What is asked of every file of a run, and a key that tells whether a file's answer is still good.

A `Job` is plain data, so that it can be sent to another process or machine. Its key covers all that
an answer depends on but the file itself: model, names, examples, options, release.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpseg import __version__
from dpseg.errors import ImageError, PromptError
from dpseg.files import hash_file
from dpseg.geo.rules import MapRules
from dpseg.inference.options import DEFAULT_OPTIONS, SegmentOptions
from dpseg.inference.query import Query
from dpseg.prompts.cache import hash_arrays
from dpseg.prompts.examples import PictureLike, load_example
from dpseg.segmenter import Classes, Segmenter
from dpseg.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked of every file; most is as in `Segmenter.__call__`.

    Attributes:
        classes: what to look for.
        not_classes: what competes and is never shown.
        examples: photos that show a class, by its name.
        options: everything else that can be asked of a photo.
        tuned: a file of tuned prompts.
        corrections: a file of corrections.
        model: a preset's name, a folder or a hub id.
        device: where the model runs; answers of another device are still good.
        overlay: write a drawing to look at, too.
        palette: give label images colours.
        maps: how maps are read and what is written of them.
        smooth: share of the past in a video's scores, in [0, 1).
    """

    classes: Classes
    not_classes: Classes | None = None
    examples: Mapping[str, Sequence[PictureLike]] = field(default_factory=dict)
    options: SegmentOptions = DEFAULT_OPTIONS
    tuned: Path | None = None
    corrections: Path | None = None
    model: str = "dpseg-lite"
    device: str = "auto"
    overlay: bool = True
    palette: bool = False
    maps: MapRules = field(default_factory=MapRules)
    smooth: float = 0.0

    def prepare(self, segmenter: Segmenter) -> Query:
        """Encode the prompts; see `Segmenter.prepare`."""
        return segmenter.prepare(
            self.classes,
            not_classes=self.not_classes,
            examples=self.examples,
            tuned=self.tuned,
            corrections=self.corrections,
            options=self.options,
        )

    def key(self) -> str:
        """Hash everything that an answer depends on, but for the file.

        Returns:
            Hexadecimal digits.

        Raises:
            CheckpointError: there is no such model.
            PromptError: an example, the tuned prompts or the corrections cannot be read.
        """
        from dpseg.factory.hub import resolve
        from dpseg.factory.load import model_files

        model = resolve(self.model)
        parts: list[Any] = [
            __version__,
            *[
                [asdict(entry) for entry in Vocabulary.of(classes)] if classes else []
                for classes in (self.classes, self.not_classes)
            ],
            [[name, _digests(name, pictures)] for name, pictures in self.examples.items()],
            asdict(self.options),
            [self.overlay, self.palette, asdict(self.maps), self.smooth],
            _digest_of(self.tuned, "tuned prompts"),
            _digest_of(self.corrections, "corrections"),
            [[path.name, hash_file(path)] for path in model_files(model)] or model,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _digest_of(path: Path | None, what: str) -> str | None:
    try:
        return None if path is None else hash_file(path)
    except OSError as error:
        raise PromptError(f"cannot read {what} {path}: {error.strerror}") from error


def _digests(name: str, pictures: Sequence[PictureLike]) -> list[str]:
    try:
        return [hash_arrays(*load_example(picture)) for picture in pictures]
    except ImageError as error:
        raise PromptError(f"an example of {name!r}: {error}") from error
