"""Corrections: regions of photos of which a user said what they are, or what they are not.

A correction keeps what its region looks like to the encoder, so that similar places of this photo
and of others follow (`dpseg.inference.correction_evidence`). In the photo where it was made, it
keeps the region itself, too. They are saved without photos, as a small file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from dpseg.arrays import BoolArray, FloatArray, ImageArray
from dpseg.errors import PromptError
from dpseg.prompts.array_file import read_arrays, write_arrays

LAYOUT = "dpseg-corrections-1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Correction:
    """What a user said of one region.

    Attributes:
        name: what the region is, or is not.
        wanted: False for "this is not ...".
        vectors: unit vector of the region in each view that shows it, V D.
        photo: where it was said, H W 3; None for one that was saved.
        region: the pixels that it was said of, H W; None for one that was saved.
    """

    name: str
    wanted: bool
    vectors: FloatArray
    photo: ImageArray | None = None
    region: BoolArray | None = None

    def is_of(self, photo: ImageArray) -> bool:
        """Return whether it was said in this photo, H W 3."""
        return self.photo is photo or (self.photo is not None and np.array_equal(self.photo, photo))


@dataclass(frozen=True)
class Corrections:
    """Corrections in the order in which they were made.

    `Segmentation.correct` makes them, `Segmenter` takes them.

    Attributes:
        encoder_key: hash of the weights that their vectors belong to.
        items: the corrections.
    """

    encoder_key: str
    items: tuple[Correction, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def names(self) -> list[str]:
        """The names that something is, each once."""
        return list(dict.fromkeys(one.name for one in self.items if one.wanted))

    def plus(self, correction: Correction) -> Corrections:
        """Add one."""
        return replace(self, items=(*self.items, correction))

    def undone(self) -> Corrections:
        """Leave the last one out.

        Raises:
            PromptError: there is none.
        """
        if not self.items:
            raise PromptError("there is no correction to undo.")
        return replace(self, items=self.items[:-1])

    def check_encoder(self, encoder_key: str) -> None:
        """Refuse corrections that were made with another model.

        Raises:
            PromptError: they were.
        """
        if self.items and encoder_key != self.encoder_key:
            raise PromptError(
                f"the corrections were made with encoder {self.encoder_key!r} and do not fit "
                f"{encoder_key!r}; make them again with this model."
            )

    def save(self, path: str | PathLike[str]) -> None:
        """Write what the regions look like; the file appears whole or not at all.

        Raises:
            PromptError: there are none, or the file cannot be written.
        """
        if not self.items:
            raise PromptError("there are no corrections to save.")
        arrays = {f"vectors.{index}": one.vectors for index, one in enumerate(self.items)}
        said = [[one.name, one.wanted] for one in self.items]
        metadata = {
            "encoder_key": self.encoder_key,
            "corrections": json.dumps(said, ensure_ascii=False),
        }
        write_arrays(Path(path), arrays, metadata, layout=LAYOUT)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Corrections:
        """Read a file that `save` wrote.

        Raises:
            PromptError: the file is missing, damaged, or holds something else.
        """
        arrays, metadata = read_arrays(Path(path), layout=LAYOUT, what="file of corrections")
        try:
            items = tuple(
                Correction(name=str(name), wanted=bool(wanted), vectors=arrays[f"vectors.{index}"])
                for index, (name, wanted) in enumerate(json.loads(metadata["corrections"]))
            )
            if any(one.vectors.ndim != 2 for one in items) or not items:
                raise ValueError("it has no vectors")
            return cls(metadata["encoder_key"], items)
        except (KeyError, TypeError, ValueError) as error:
            raise PromptError(f"cannot read corrections {path}: {error}") from error
