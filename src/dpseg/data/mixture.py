"""Several labelled folders as one training set with one list of names.

A pixel's label says what it is, and by that what it is not. Which other names it rules out depends
on the set: `names` of one set exclude each other, background excludes all names of its set, and
sets with the same idea of a class (`exclusive` groups) exclude each other's names too. A pixel of a
pigeon is one of a bird as well (`kinds`), and certainly none of a curtain (`distractors`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.arrays import BoolArray, IntArray, LabelArray
from dpseg.data.dataset import BACKGROUND, MIN_AREA, UNLABELLED, LabelledFolder, Sample
from dpseg.errors import DataError


@dataclass(frozen=True)
class SourceSettings:
    """One folder of the mixture.

    Attributes:
        name: folder name below the data root.
        repeat: how often an epoch shows each photo; a fraction is a probability.
        exclusive: whether its labels also exclude the names of the other exclusive sources.
        too_coarse: labels of it that may contain other names; they exclude only the set's own.
        labelled: False for photos without labels.
        holdout_every: every n-th photo is kept aside for choosing (0 keeps none).
        pasted: whether its things are also cut out and pasted into other photos.
        taught: whether its labels are other networks', so that some are wrong.
        renamed: its class names to those of the mixture.
        kept_from: labelled folder below the data root with the same photos, whose labels stand;
            this source's fill what is silent or background there, but not with that folder's names.
    """

    name: str
    repeat: float = 1
    exclusive: bool = False
    too_coarse: tuple[str, ...] = ()
    labelled: bool = True
    holdout_every: int = 0
    pasted: bool = False
    taught: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)
    kept_from: str | None = None


class Mixture:
    """Photos of several sources in memory, with labels as positions in one list of names.

    Args:
        root: folder that holds the sources.
        sources: what to mix.
        unseen: plain names whose pixels are ignored everywhere (zero-shot protocol).
        repeat_factor_max: photos of rare names are shown up to this many times as often.
        hypernyms: a name to the wider names that its pixels are as well.
        distractors: tells which words a thing of a name certainly is none of. They count as names,
            ruled out on things of the exclusive sources that label background.

    Attributes:
        names: all plain names, unseen ones left out.
        samples: index of the source and photo.
        holdout: those that are kept aside.
        cutouts: those whose things are pasted into other photos.
        pasted_names: positions of the names that only they show.
        includes: a pixel of name N is one of name M, N M.
        excludes: label L rules out name N for pixels of source S; S (N + 1) N, where the last label
            row is background.
    """

    def __init__(
        self,
        root: Path,
        sources: Sequence[SourceSettings],
        *,
        unseen: frozenset[str] = frozenset(),
        repeat_factor_max: float = 1.0,
        hypernyms: Mapping[str, Sequence[str]] | None = None,
        distractors: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        self.sources = list(sources)
        self.samples: list[tuple[int, Sample]] = []
        self.holdout: list[tuple[int, Sample]] = []
        folders = [
            LabelledFolder(root / s.name, "train", ignored_names=unseen) if s.labelled else None
            for s in sources
        ]
        kept = [
            LabelledFolder(root / s.kept_from, "train", ignored_names=unseen)
            if s.kept_from
            else None
            for s in sources
        ]
        members = [
            {source.renamed.get(n, n): None for one in (people, folder) if one for n in one.names}
            for source, people, folder in zip(self.sources, kept, folders, strict=True)
        ]
        wider = {name: set(words) - unseen for name, words in (hypernyms or {}).items()}
        ruled_out: dict[str, set[str]] = {}
        for index, source in enumerate(self.sources):
            unknown = set(source.too_coarse) - unseen - set(members[index])
            if unknown:
                raise DataError(f"{source.name} has no class {sorted(unknown)}; see too_coarse")
            folder = folders[index]
            if distractors and source.exclusive and folder and folder.has_background:
                things = set(members[index]) - set(source.too_coarse)
                ruled_out |= {name: set(distractors(name)) - unseen for name in things}
        labelled = {name for names in members for name in names} - unseen
        self.names = sorted(
            labelled.union(*(wider.get(n, ()) for n in labelled)).union(*ruled_out.values())
        )
        position = {name: i for i, name in enumerate(self.names)}
        for index, (source, folder) in enumerate(zip(self.sources, folders, strict=True)):
            if folder is None:
                self.samples += [(index, s) for s in _unlabelled_samples(root / source.name)]
                continue
            for i in range(len(folder)):
                sample = folder[i]
                label = _renamed(sample.label, folder, source, position)
                if people := kept[index]:
                    label = _filled(label, sample.key, people, source, position)
                named = Sample(sample.key, sample.image, label)
                held = source.holdout_every and i % source.holdout_every == 0
                (self.holdout if held else self.samples).append((index, named))
        self.cutouts = [(s, sample) for s, sample in self.samples if self.sources[s].pasted]
        elsewhere = {
            n for s, names in zip(self.sources, members, strict=True) if not s.pasted for n in names
        }
        self.pasted_names = np.array(
            [position[n] for n in sorted(labelled - elsewhere)], dtype=np.int32
        )
        self.includes = self._matrix(wider) | np.eye(len(self.names), dtype=bool)
        first = [people or folder for people, folder in zip(kept, folders, strict=True)]
        self.excludes = self._exclusions(members, first, self._matrix(ruled_out))
        repeats = [self.sources[source].repeat for source, _ in self.samples]
        self._repeats = self._rarity(repeat_factor_max) * repeats

    def _matrix(self, related: Mapping[str, Collection[str]]) -> BoolArray:
        """Write which names are related to which as a matrix, N N."""
        position = {name: i for i, name in enumerate(self.names)}
        matrix = np.zeros((len(self.names), len(self.names)), dtype=bool)
        for name, others in related.items():
            if name in position:
                matrix[position[name], [position[other] for other in others]] = True
        return matrix

    def _exclusions(
        self,
        members: Sequence[Collection[str]],
        folders: Sequence[LabelledFolder | None],
        ruled_out: BoolArray,
    ) -> BoolArray:
        count = len(self.names)
        position = {name: i for i, name in enumerate(self.names)}
        own = np.zeros((len(members), count), dtype=bool)
        for index, names in enumerate(members):
            own[index, [position[n] for n in names if n in position]] = True
        own |= own @ self.includes  # a set that knows pigeons knows where no bird is
        shared = np.zeros(count, dtype=bool)
        for index, source in enumerate(self.sources):
            if source.exclusive:
                shared |= own[index]
        excludes = np.zeros((len(members), count + 1, count), dtype=bool)
        for index, (source, folder) in enumerate(zip(self.sources, folders, strict=True)):
            if folder is None:
                continue
            reach = own[index] | shared if source.exclusive else own[index]
            excludes[index, :count] = reach
            if source.exclusive and folder.has_background:
                excludes[index, :count] |= ruled_out
            told = [source.renamed.get(n, n) for n in folder.names]
            own_names = self.includes[[position[n] for n in told if n in position]].any(axis=0)
            for name in source.too_coarse:
                if name in position:
                    excludes[index, position[name]] = own_names
            excludes[index, :count] &= ~(self.includes | self.includes.T)
            if folder.has_background:
                excludes[index, BACKGROUND_ROW] = own_names
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
        return self._part(
            [i for i, (_, s) in enumerate(self.samples) if crc32(s.key.encode()) % 2 == which]
        )

    def labelled_by_people(self) -> Mixture:
        """Keep the photos whose labels are no network's, with all names and rules."""
        return self._part(
            [i for i, (s, _) in enumerate(self.samples) if not self.sources[s].taught]
        )

    def few_of_each(self, most: int) -> Mixture:
        """Keep the first photos that show each name large enough to see, each of them once.

        Args:
            most: photos of a name, at most, but for photos that show rarer names too.
        """
        missing = np.full(len(self.names), most)
        kept = []
        for index, (_, sample) in enumerate(self.samples):
            found, pixels = np.unique(sample.label, return_counts=True)
            found = found[(found >= 0) & (pixels >= MIN_AREA * sample.label.size)]
            if (missing[found] > 0).any():
                kept.append(index)
                missing[found] -= 1
        part = self._part(kept)
        part._repeats = np.ones(len(kept))
        return part

    def _part(self, kept: Sequence[int]) -> Mixture:
        part = copy.copy(self)
        part.samples = [self.samples[i] for i in kept]
        part._repeats = self._repeats[list(kept)]
        return part

    def epoch(self, generator: np.random.Generator) -> IntArray:
        """Draw an epoch's order of samples; a fractional repeat is a chance."""
        whole = np.floor(self._repeats + generator.random(len(self._repeats))).astype(np.int32)
        return generator.permutation(np.repeat(np.arange(len(whole), dtype=np.int32), whole))


RARE = 0.02  # photos whose names are in a smaller share of all photos are shown more often
BACKGROUND_ROW = BACKGROUND + 1  # the last row: -1


def _filled(
    label: LabelArray,
    key: str,
    people: LabelledFolder,
    source: SourceSettings,
    position: Mapping[str, int],
) -> LabelArray:
    """Fill what people left silent in a photo's label, all in positions of the mixture."""
    if key not in people.keys:
        raise DataError(f"{source.kept_from} has no photo {key!r} of {source.name}; see kept_from")
    told = _renamed(people.label(people.keys.index(key)), people, source, position)
    theirs = [position[n] for n in people.names if n in position]
    free = (told < 0) & (label >= 0) & ~np.isin(label, theirs)
    return np.where(free, label, told)


def _renamed(
    label: LabelArray, folder: LabelledFolder, source: SourceSettings, position: Mapping[str, int]
) -> LabelArray:
    """Turn positions in a folder's names into those in the mixture's."""
    mapping = np.array(
        [position.get(source.renamed.get(n, n), UNLABELLED) for n in folder.names], dtype=np.int32
    )
    named: LabelArray = np.where(label >= 0, mapping[np.maximum(label, 0)], label).astype(np.int32)
    return named


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
