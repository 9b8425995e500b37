"""The result: which class each pixel of a photo belongs to, and how to take it elsewhere.

The last step on the data's path. A `Segmentation` is plain arrays; it saves itself, converts
itself and can say why a pixel got its label.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpseg.arrays import BoolArray, FloatArray, ImageArray, LabelArray, equal_fields
from dpseg.errors import DataError, require_extra
from dpseg.explain import Evidence, Explanation, explain_pixel
from dpseg.files import atomic_write, write_text
from dpseg.imaging.draw import overlay as draw_overlay
from dpseg.imaging.label_image import to_picture
from dpseg.imaging.masks import Polygon, bounding_box, encode_mask, mean_score, trace_outlines
from dpseg.prompts.corrections import Correction, Corrections
from dpseg.prompts.snapping import describe_region, snap_region
from dpseg.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Instance:
    """A single thing, or all that there is of some stuff.

    Attributes:
        index: of its class.
        name: of its class.
        thing: False for stuff, which is never parted.
        score: mean score of its class in it, in [0, 1].
        box_xyxy: left, top, right (beyond the last column) and bottom, in pixels.
        crop: its pixels within the box, h w.
        size_hw: of the photo.
    """

    index: int
    name: str
    thing: bool
    score: float
    box_xyxy: tuple[int, int, int, int]
    crop: BoolArray
    size_hw: tuple[int, int]

    @classmethod
    def of(cls, mask: BoolArray, *, index: int, name: str, score: float, thing: bool) -> Instance:
        """Make one of its pixels in the photo, H W."""
        left, top, right, bottom = bounding_box(mask)
        return cls(
            index=index,
            name=name,
            thing=thing,
            score=score,
            box_xyxy=(left, top, right, bottom),
            crop=mask[top:bottom, left:right].copy(),
            size_hw=(mask.shape[0], mask.shape[1]),
        )

    @property
    def mask(self) -> BoolArray:
        """Its pixels in the photo, H W."""
        left, top, right, bottom = self.box_xyxy
        mask = np.zeros(self.size_hw, np.bool_)
        mask[top:bottom, left:right] = self.crop
        return mask

    @property
    def pixels(self) -> int:
        """Number of its pixels."""
        return int(self.crop.sum())

    @property
    def area(self) -> float:
        """Share of the photo, in [0, 1]."""
        return self.pixels / (self.size_hw[0] * self.size_hw[1])

    def summary(self) -> dict[str, Any]:
        """Put it into plain numbers and strings, as `result.json` has it."""
        return {
            "index": self.index,
            "name": self.name,
            "thing": self.thing,
            "pixels": self.pixels,
            "area": round(self.area, 6),
            "score": round(self.score, 4),
            "box_xyxy": list(self.box_xyxy),
            "rle": encode_mask(self.mask),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """What was found in one photo.

    Attributes:
        photo: the photo as it was understood, upright RGB, H W 3.
        labels: index into `classes`, -1 for unlabelled, H W.
        classes: the names that were asked for.
        scores: how sure the model is of each class, in [0, 1], at low resolution, K h w.
        settings: model and options of the run, for the record.
        evidence: what `explain` needs; None for a result that was put together by hand.
        presence: probability that each class is in the photo at all; empty for a result that was
            put together by hand.
        instances: single things, class by class; None if they were not asked for.
    """

    photo: ImageArray
    labels: LabelArray
    classes: tuple[str, ...]
    scores: FloatArray
    settings: Mapping[str, Any] = field(default_factory=dict)
    evidence: Evidence | None = field(default=None, repr=False)
    presence: Mapping[str, float] = field(default_factory=dict)
    instances: tuple[Instance, ...] | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        """Return whether two results say the same of the same photo; evidence does not count."""
        if not isinstance(other, Segmentation):
            return NotImplemented
        return equal_fields(self, other, ("photo", "labels", "classes", "scores", "settings"))

    @cached_property
    def pixels(self) -> dict[str, int]:
        """Number of pixels of every class, also of those that are not there."""
        counts = np.bincount((self.labels + 1).ravel(), minlength=len(self.classes) + 1)
        return {name: int(counts[k + 1]) for k, name in enumerate(self.classes)}

    @property
    def areas(self) -> dict[str, float]:
        """Share of the photo of every class, in [0, 1]."""
        return {name: count / self.labels.size for name, count in self.pixels.items()}

    @property
    def unlabelled_area(self) -> float:
        """Share of the photo that belongs to none of the classes, in [0, 1]."""
        return 1 - sum(self.pixels.values()) / self.labels.size

    @property
    def counts(self) -> dict[str, int]:
        """Number of things of every class that is there and is no stuff; empty if not asked for."""
        things = [one.name for one in self.instances or () if one.thing]
        return {name: things.count(name) for name in dict.fromkeys(things)}

    def mask(self, name: str) -> BoolArray:
        """Pick out the pixels of one class.

        Args:
            name: one of `classes`.

        Returns:
            H W.

        Raises:
            DataError: no class has that name.
        """
        if name not in self.classes:
            raise DataError(f"no class is named {name!r}; there are: {', '.join(self.classes)}.")
        mask: BoolArray = self.labels == self.classes.index(name)
        return mask

    def overlay(self, *, opacity: float = 0.5, hidden: Collection[int] = ()) -> Image.Image:
        """Draw the photo with colours, outlines and a legend, at a size to look at.

        Args:
            opacity: of the colours, in [0, 1].
            hidden: indices of classes to leave without colour.
        """
        return draw_overlay(
            self.photo, self.labels, self.areas, counts=self.counts, opacity=opacity, hidden=hidden
        )

    def to_rle(self) -> dict[str, dict[str, Any]]:
        """Encode each class that is there as COCO run lengths: `size` and `counts`."""
        return {name: encode_mask(self.mask(name)) for name, count in self.pixels.items() if count}

    def to_polygons(self) -> dict[str, list[Polygon]]:
        """Trace the outlines of each class that is there.

        Returns:
            For each class its separate regions, each an outline and its holes, in pixels of the
            photo: the pixel in the first row and column covers 0..1 x 0..1.
        """
        return {
            name: trace_outlines(self.mask(name)) for name, count in self.pixels.items() if count
        }

    def to_supervision(self) -> Any:
        """Convert to `supervision.Detections`: one a thing, or a class without things.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        supervision = require_extra("supervision", "supervision")
        if self.instances is None:
            present = [k for k, name in enumerate(self.classes) if self.pixels[name]]
            found = [(k, self.labels == k, self._confidence(k)) for k in present]
        else:
            found = [(one.index, one.mask, one.score) for one in self.instances]
        if not found:
            return supervision.Detections.empty()
        indices, every_mask, confidences = zip(*found, strict=True)
        masks = np.stack(every_mask)
        return supervision.Detections(
            xyxy=supervision.mask_to_xyxy(masks),
            mask=masks,
            confidence=np.array(confidences, np.float32),
            class_id=np.array(indices, np.int64),
            data={"class_name": np.array([self.classes[k] for k in indices], dtype=str)},
        )

    def explain(self, x: int, y: int) -> Explanation:
        """Explain a pixel's label by its cosines with prompts, beside the runner-up.

        Args:
            x: column.
            y: row.

        Returns:
            Scores and cosines of the winner, the runner-up and the best name not asked for.

        Raises:
            DataError: the pixel lies outside the photo, or the result has no evidence.
        """
        evidence = self._evidence_at(x, y)
        height, width = self.labels.shape
        label = int(self.labels[y, x])
        name = self.classes[label] if label >= 0 else None
        return explain_pixel(evidence, x, y, photo_hw=(height, width), label=name)

    def correct(self, x: int, y: int, name: str, *, wanted: bool = True) -> Corrections:
        """Say what a place is, or is not; the region around it that looks alike is meant.

        Ask a `Segmenter` again with what this returns, `corrections=`. What looks like the region
        follows, in this photo and in others.

        Args:
            x: column.
            y: row.
            name: one of `classes`, or for what is wanted any name.
            wanted: False for "this is not NAME".

        Returns:
            The corrections of this result, and this one.

        Raises:
            DataError: the pixel lies outside the photo, the result has no evidence, or what is not
                wanted is none of the classes.
            VocabularyError: the name is not usable.
        """
        evidence = self._evidence_at(x, y)
        if not wanted and name not in self.classes:
            raise DataError(f"no class is named {name!r}; there are: {', '.join(self.classes)}.")
        (entry,) = Vocabulary.of([name])
        region = snap_region(self.labels, evidence.image_embeddings[0], x, y)
        said = Correction(
            name=entry.name,
            wanted=wanted,
            vectors=describe_region(region, evidence.image_embeddings, evidence.views),
            photo=self.photo,
            region=region,
        )
        return (evidence.corrections or Corrections(evidence.encoder_key)).plus(said)

    def summary(self) -> dict[str, Any]:
        """Put the result into plain numbers and strings, as `result.json` has it."""
        height, width = self.labels.shape
        masks, counts = self.to_rle(), self.counts
        entries = [
            {
                "index": k,
                "name": name,
                "pixels": self.pixels[name],
                "area": round(self.areas[name], 6),
                "count": counts.get(name),
                "presence": round(self.presence[name], 4) if name in self.presence else None,
                "confidence": round(self._confidence(k), 4) if name in masks else None,
                "box_xyxy": bounding_box(self.labels == k) if name in masks else None,
                "rle": masks.get(name),
            }
            for k, name in enumerate(self.classes)
        ]
        return {
            "width": width,
            "height": height,
            "unlabelled_area": round(self.unlabelled_area, 6),
            "classes": entries,
            "instances": None
            if self.instances is None
            else [one.summary() for one in self.instances],
            "settings": dict(self.settings),
        }

    def save(
        self, folder: str | os.PathLike[str], *, overlay: bool = True, palette: bool = False
    ) -> Path:
        """Write `overlay.png`, `labels.png` and `result.json`; each appears whole or not at all.

        `labels.png` holds the class index of each pixel; 255 is unlabelled. Above 255 classes it
        has 16 bits, and 65535 is unlabelled.

        Args:
            folder: made if it is not there; files of these names in it are replaced.
            overlay: write `overlay.png` too; the others are written faster without it.
            palette: give `labels.png` the colours of `overlay.png`, for eyes; OpenCV, skimage and
                imageio then read colours, not indices.

        Returns:
            The folder. `result.json` is written last, so where it is, the others are.

        Raises:
            DataError: the folder cannot be written.
        """
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            if overlay:
                with atomic_write(target / "overlay.png") as temporary:
                    self.overlay().save(temporary, "PNG", compress_level=3)
            with atomic_write(target / "labels.png") as temporary:
                picture = to_picture(self.labels, len(self.classes), with_palette=palette)
                picture.save(temporary, "PNG")
            text = json.dumps(self.summary(), indent=2, ensure_ascii=False)
            write_text(target / "result.json", text + "\n")
        except OSError as error:
            raise DataError(f"{target} cannot be written: {error.strerror or error}.") from error
        return target

    def _evidence_at(self, x: int, y: int) -> Evidence:
        """Return the evidence; refuse a place outside of the photo."""
        height, width = self.labels.shape
        if not (0 <= x < width and 0 <= y < height):
            raise DataError(f"pixel x={x}, y={y} lies outside the photo of {width} x {height}.")
        if self.evidence is None:
            raise DataError("this result carries no evidence; only one from a Segmenter does.")
        return self.evidence

    def _confidence(self, k: int) -> float:
        """Average the score of a class over its own region, at low resolution."""
        return mean_score(self.labels == k, self.scores[k])
