"""From an official archive to a labelled folder: lists, class indices, checksums; file by file.

The folder is one that `LabelledFolder` reads. Labels keep any number of classes without loss. A
run that was cut off goes on where it was; the split's list is written last, so an unfinished folder
is never taken for a finished one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from dpseg.arrays import LabelArray
from dpseg.data.archives import DatasetSpec
from dpseg.data.label_values import UNKNOWN
from dpseg.data.layouts import Record
from dpseg.errors import DataError
from dpseg.files import atomic_write, write_text
from dpseg.imaging.label_image import read_label_picture, to_picture, unlabelled_index
from dpseg.vocabulary import BUILTIN_FOLDER

AHEAD = 64  # photos that are in work at once at most; memory does not grow with the set
QUALITY = 95  # JPEG quality of photos that are made smaller


@dataclass(frozen=True)
class Prepared:
    """What was written for one split.

    Attributes:
        split: `"train"` or `"val"`.
        photos: how many.
        written: how many of them this run made; the others were there.
        pixels: of every class index, in order, then of ignored pixels.
    """

    split: str
    photos: int
    written: int
    pixels: tuple[int, ...]


def prepare(
    spec: DatasetSpec,
    root: Path,
    out: Path,
    *,
    splits: Sequence[str] = ("train", "val"),
    partial: bool = False,
    workers: int = 4,
    progress: bool = False,
) -> list[Prepared]:
    """Write a set as a labelled folder.

    Args:
        spec: of the set.
        root: where its archives were extracted.
        out: the folder to make; what is there already is kept.
        splits: which.
        partial: take what is there, even if archives are not complete.
        workers: photos in work at once.
        progress: show a bar.

    Returns:
        What each split holds now.

    Raises:
        DataError: a file is missing or not as it should be, or photos are missing.
    """
    records = {split: _records(spec, root, split, partial) for split in splits}
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    lines = [f"{index}\t{name}\n" for index, name in enumerate(spec.class_names)]
    _write_once(out / "classes.txt", "".join(lines))
    vocabulary = (BUILTIN_FOLDER / f"{spec.name}.json").read_text(encoding="utf-8")
    _write_once(out / "vocabulary.json", vocabulary)
    return [_prepare_split(spec, out, split, records[split], workers, progress) for split in splits]


def verify(out: Path) -> dict[str, int]:
    """Check every label of a prepared folder against its checksum.

    Args:
        out: a folder that `prepare` finished.

    Returns:
        Split to number of photos.

    Raises:
        DataError: the folder was not finished, or a file is missing or was changed; names it.
    """
    splits = sorted(path.name.removesuffix(".sha256") for path in out.glob("*.sha256"))
    if not splits:
        raise DataError(f"{out} holds no prepared set; there is no list of checksums")
    counts = {}
    for split in splits:
        try:
            keys = (out / f"{split}.txt").read_text(encoding="utf-8").split()
        except OSError as error:
            raise DataError(f"{out}: split {split!r} was not finished; prepare it again") from error
        digests = _read_digests(out / f"{split}.sha256")
        for key in keys:
            path = out / "labels" / f"{key}.png"
            if not (out / "images" / f"{key}.jpg").is_file() or not path.is_file():
                raise DataError(f"{out}: photo or label {key!r} is missing; prepare it again")
            if digests.get(key) != _digest(path):
                raise DataError(f"{path} was changed since it was written; prepare it again")
        counts[split] = len(keys)
    return counts


def _records(spec: DatasetSpec, root: Path, split: str, partial: bool) -> list[Record]:
    """List a split, and check it before any work is done."""
    if split not in spec.splits:
        raise DataError(f"{spec.name} has no split {split!r}; it has {', '.join(spec.splits)}")
    if not root.is_dir():
        raise DataError(f"{root} is no folder; extract {spec.archives} there")
    records = list(spec.records(root, spec.splits[split]))
    for record in records:
        files = [record.image, *([record.label] if isinstance(record.label, Path) else [])]
        missing = [path for path in files if not path.is_file()]
        if missing:
            raise DataError(f"{missing[0]} is missing; extract {spec.archives} into {root}")
    twice = [key for key, count in Counter(record.key for record in records).items() if count > 1]
    if twice:
        raise DataError(f"{root}: two photos of {split} are called {twice[0]!r}")
    expected = spec.counts[split]
    if not records or not (partial or len(records) in expected):
        wanted = " or ".join(map(str, expected))
        raise DataError(
            f"{root} holds {len(records)} photos of {spec.name} {split}; complete archives "
            f"({spec.archives}) have {wanted}. To go on with a part, allow partial sets"
        )
    return records


def _prepare_split(
    spec: DatasetSpec, out: Path, split: str, records: list[Record], workers: int, progress: bool
) -> Prepared:
    digest_file = out / f"{split}.sha256"
    digests = _read_digests(digest_file) if digest_file.exists() else {}
    pixels = np.zeros(len(spec.class_names) + 1, np.int64)
    written = 0

    def work(record: Record) -> tuple[Record, str, LabelArray]:
        """Make one photo and label, unless an earlier run did: its digest and its pixels."""
        path = out / "labels" / f"{record.key}.png"
        image = out / "images" / f"{record.key}.jpg"
        finished = record.key in digests and image.is_file() and path.is_file()
        if finished and _digest(path) == digests[record.key]:
            return record, digests[record.key], read_label_picture(path)
        label = _convert(spec, record, image, path)
        return record, _digest(path), label

    with ThreadPoolExecutor(workers) as pool, digest_file.open("a", encoding="utf-8") as file:
        batches = (records[start : start + AHEAD] for start in range(0, len(records), AHEAD))
        results = (result for batch in batches for result in pool.map(work, batch))
        for record, digest, label in track(
            results,
            f"{spec.name} {split}",
            len(records),
            console=Console(stderr=True),
            disable=not progress,
        ):
            pixels += np.bincount(np.where(label < 0, len(pixels) - 1, label).ravel(),
                                  minlength=len(pixels))  # fmt: skip
            if digests.get(record.key) != digest:
                written += 1
                digests[record.key] = digest
                file.write(_digest_line(record.key, digest))
                file.flush()
    prepared = Prepared(split, len(records), written, tuple(pixels.tolist()))
    write_text(digest_file, "".join(_digest_line(one.key, digests[one.key]) for one in records))
    write_text(out / f"{split}.json", _manifest(spec, prepared))
    write_text(out / f"{split}.txt", "".join(f"{one.key}\n" for one in records))
    return prepared


def _convert(spec: DatasetSpec, record: Record, image: Path, path: Path) -> LabelArray:
    """Write one photo and its label; the photo is linked where it can be."""
    try:
        label = spec.read(record.label)
        if (label == UNKNOWN).any():
            raise DataError(f"the label of {record.key} has values that {spec.name} does not")
        with Image.open(record.image, formats=["JPEG"]) as photo:
            size_wh = photo.size
            if label.shape != size_wh[::-1]:
                raise DataError(
                    f"{record.image} has {size_wh[::-1]} pixels, its label {label.shape}"
                )
            small_wh = _made_smaller(size_wh, spec.short_side)
            if small_wh == size_wh:
                _link(record.image, image)
            else:
                with atomic_write(image) as temporary:
                    photo.convert("RGB").resize(small_wh, Image.Resampling.BILINEAR).save(
                        temporary, quality=QUALITY
                    )
                shrunk = Image.fromarray(label).resize(small_wh, Image.Resampling.NEAREST)
                label = np.asarray(shrunk)
    except (OSError, SyntaxError, IndexError) as error:
        raise DataError(f"cannot read {record.key} of {spec.name}: {error}") from error
    with atomic_write(path) as temporary:
        to_picture(label, len(spec.class_names), with_palette=True).save(temporary)
    return label


def _made_smaller(size_wh: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    shorter = min(size_wh)
    if short_side is None or shorter <= short_side:
        return size_wh
    width, height = (round(side * short_side / shorter) for side in size_wh)
    return width, height


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system cannot."""
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        with atomic_write(target) as temporary:
            shutil.copyfile(source, temporary)


def _manifest(spec: DatasetSpec, prepared: Prepared) -> str:
    """List what was written, for people and for comparison between machines."""
    ignored = unlabelled_index(len(spec.class_names))
    counts = dict(zip([*spec.class_names, f"ignored ({ignored})"], prepared.pixels, strict=True))
    record = {"set": spec.name, "split": prepared.split, "photos": prepared.photos}
    return json.dumps({**record, "pixels": counts}, indent=2, ensure_ascii=False) + "\n"


def _write_once(path: Path, text: str) -> None:
    """Write a file, or make sure that the one which is there says the same."""
    if not path.exists():
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise DataError(f"{path} belongs to another set; prepare this one in another folder")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest_line(key: str, digest: str) -> str:
    """Write a line of a list of checksums, in the form that `sha256sum --check` reads."""
    return f"{digest}  labels/{key}.png\n"


def _read_digests(path: Path) -> dict[str, str]:
    """Read key to checksum; a line that was cut off by a kill is passed over."""
    digests = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  labels/")
        if len(digest) == 64 and name.endswith(".png"):
            digests[name.removesuffix(".png")] = digest
    return digests
