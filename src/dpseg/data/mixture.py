"""Several labelled folders as one training set with one list of names.

A pixel's label says what it is, and by that what it is not. Which other names it rules out depends
on the set: `names` of one set exclude each other, background excludes all names of its set, and
sets with the same idea of a class (`exclusive` groups) exclude each other's names too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import BoolArray, IntArray
from dpseg.data.dataset import BACKGROUND, UNLABELLED, LabelledFolder, Sample
from dpseg.errors import DataError


@dataclass(frozen=True)
class SourceSettings:
    """One folder of the mixture.

    Attributes:
        name: folder name below the data root.
        repeat: how often an epoch shows each photo.
        exclusive: whether its labels also exclude the names of the other exclusive sources.
        too_coarse: labels of it that may contain other names; they exclude only the set's own.
        labelled: False for photos without labels.
        holdout_every: every n-th photo is kept aside for choosing (0 keeps none).
    """

    name: str
    repeat: int = 1
    exclusive: bool = False
    too_coarse: tuple[str, ...] = ()
    labelled: bool = True
    holdout_every: int = 0


class Mixture:
    """Photos of several sources in memory, with labels as positions in one list of names.

    Args:
        root: folder that holds the sources.
        sources: what to mix.
        unseen: plain names whose pixels are ignored everywhere (zero-shot protocol).
        rare_repeats: photos of rare names are shown up to this many times as often.

    Attributes:
        names: all plain names, unseen ones left out.
        excludes: label L rules out name N for pixels of source S; S (N + 1) N, where the last label
            row is background.
    """

    def __init__(
        self,
        root: Path,
        sources: Sequence[SourceSettings],
        *,
        unseen: frozenset[str] = frozenset(),
        rare_repeats: float = 1.0,
    ) -> None:
        self.sources = list(sources)
        self.samples: list[tuple[int, Sample]] = []
        self.holdout: list[tuple[int, Sample]] = []
        folders = [
            LabelledFolder(root / s.name, "train", ignored_names=unseen) if s.labelled else None
            for s in sources
        ]
        self.names = sorted({n for f in folders if f for n in f.names} - unseen)
        position = {name: i for i, name in enumerate(self.names)}
        for source, folder in zip(self.sources, folders, strict=True):
            unknown = set(source.too_coarse) - unseen - set(folder.names if folder else ())
            if unknown:
                raise DataError(f"{source.name} has no class {sorted(unknown)}; see too_coarse")
        for index, (source, folder) in enumerate(zip(self.sources, folders, strict=True)):
            if folder is None:
                self.samples += [(index, s) for s in _unlabelled_samples(root / source.name)]
                continue
            mapping = np.array([position.get(n, UNLABELLED) for n in folder.names], dtype=np.int32)
            for i in range(len(folder)):
                sample = folder[i]
                named = mapping[np.maximum(sample.label, 0)]
                label = np.where(sample.label >= 0, named, sample.label)
                kept = Sample(sample.key, sample.image, label.astype(np.int16).astype(np.int32))
                held = source.holdout_every and i % source.holdout_every == 0
                (self.holdout if held else self.samples).append((index, kept))
        self.excludes = self._exclusions(folders)
        repeats = [self.sources[source].repeat for source, _ in self.samples]
        self._repeats = self._rarity(rare_repeats) * repeats

    def _exclusions(self, folders: Sequence[LabelledFolder | None]) -> BoolArray:
        count = len(self.names)
        position = {name: i for i, name in enumerate(self.names)}
        members = np.zeros((len(folders), count), dtype=bool)
        for index, folder in enumerate(folders):
            if folder:
                members[index, [position[n] for n in folder.names if n in position]] = True
        shared = np.zeros(count, dtype=bool)
        for index, source in enumerate(self.sources):
            if source.exclusive:
                shared |= members[index]
        excludes = np.zeros((len(folders), count + 1, count), dtype=bool)
        for index, (source, folder) in enumerate(zip(self.sources, folders, strict=True)):
            if folder is None:
                continue
            reach = members[index] | shared if source.exclusive else members[index]
            excludes[index, :count] = reach
            for name in source.too_coarse:
                if name in position:
                    excludes[index, position[name]] = members[index]
            excludes[index, np.arange(count), np.arange(count)] = False
            if folder.has_background:
                excludes[index, BACKGROUND_ROW] = members[index]
        return excludes

    def _rarity(self, most: float) -> npt.NDArray[np.float64]:
        """Weigh each photo by its rarest name, in [1, `most`].

        Source: repeat-factor sampling of LVIS, with `RARE` as its threshold.
        """
        present = np.zeros((len(self.samples), len(self.names)), dtype=bool)
        for row, (_, sample) in zip(present, self.samples, strict=True):
            found = np.unique(sample.label)
            row[found[found >= 0]] = True
        labelled = max(1, int(present.any(axis=1).sum()))
        factor = np.sqrt(RARE * labelled / present.sum(axis=0).clip(min=1))
        rarest: npt.NDArray[np.float64] = (present * factor).max(axis=1, initial=1.0)
        return rarest.clip(max=most)

    def half(self, which: int) -> Mixture:
        """Keep one half of the photos, with all names and rules.

        Args:
            which: 0 or 1; the two halves share no photo. A photo's half hangs on its name alone.
        """
        part = copy.copy(self)
        kept = [i for i, (_, s) in enumerate(self.samples) if crc32(s.key.encode()) % 2 == which]
        part.samples = [self.samples[i] for i in kept]
        part._repeats = self._repeats[kept]
        return part

    def epoch(self, generator: np.random.Generator) -> IntArray:
        """Draw an epoch's order of samples; a fractional repeat is a chance."""
        whole = np.floor(self._repeats + generator.random(len(self._repeats))).astype(np.int32)
        return generator.permutation(np.repeat(np.arange(len(whole), dtype=np.int32), whole))


RARE = 0.02  # photos whose names are in a smaller share of all photos are shown more often
BACKGROUND_ROW = BACKGROUND + 1  # the last row: -1


def _unlabelled_samples(folder: Path) -> list[Sample]:
    paths = sorted((folder / "images").glob("*.jpg"))
    if not paths:
        raise DataError(f"no photos in {folder / 'images'}")
    samples = []
    for path in paths:
        image = np.asarray(Image.open(path).convert("RGB"))
        label = np.full(image.shape[:2], UNLABELLED, dtype=np.int32)
        samples.append(Sample(path.stem, image, label))
    return samples
