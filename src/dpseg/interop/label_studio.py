"""Label Studio's form of masks: what a project asks for, and predictions that it shows.

A project's labelling interface names the labels; they are the vocabulary. `BrushLabels` get masks
to the pixel, `PolygonLabels` get one outline a region, holes joined to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np

from dpseg.arrays import BoolArray
from dpseg.errors import DataError
from dpseg.imaging.masks import trace_outlines
from dpseg.interop.rings import keyhole
from dpseg.segmentation import Segmentation
from dpseg.vocabulary import Vocabulary

_CONTROLS = {"BrushLabels": "brushlabels", "PolygonLabels": "polygonlabels"}

# A brush mask is a stream of bits: 32 of the number of values, 5 of a value's size less 1, and four
# times 4 of the sizes of run lengths less 1. Then for each run: 1, two bits that choose the size of
# its length, its length less 1, its value. The values are those of an RGBA image.
_CHANNELS = 4
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST_RUN = 1 << _LENGTH_BITS[-1]


@dataclass(frozen=True, slots=True)
class Interface:
    """What a project's labelling interface asks for.

    Attributes:
        control: name of the control that gets the labels.
        kind: `"brushlabels"` or `"polygonlabels"`.
        image: name of the image that it belongs to.
        variable: the key of a task's data that holds the image's address.
        labels: as the project spells them; `"car|automobile"` has a synonym.
    """

    control: str
    kind: str
    image: str
    variable: str
    labels: tuple[str, ...]

    @property
    def vocabulary(self) -> Vocabulary:
        """The labels as classes, in the same order."""
        return Vocabulary.of(list(self.labels))


def read_interface(config: str) -> Interface:
    """Read a labelling interface.

    Args:
        config: the project's XML.

    Raises:
        DataError: it is no XML, or lacks an image or `BrushLabels` or `PolygonLabels`.
    """
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise DataError(f"the labelling interface is no XML: {error}.") from error
    images = {tag.get("name"): tag.get("value", "") for tag in root.iter("Image")}
    for tag in root.iter():
        image = tag.get("toName")
        labels = tuple(label.get("value", "") for label in tag.iter("Label"))
        if tag.tag in _CONTROLS and image in images and labels:
            variable = images[image].removeprefix("$")
            return Interface(tag.get("name", ""), _CONTROLS[tag.tag], image or "", variable, labels)
    raise DataError("the labelling interface has no image with BrushLabels or PolygonLabels.")


def to_prediction(result: Segmentation, interface: Interface) -> dict[str, Any]:
    """Write a result as a prediction.

    Args:
        result: of the interface's vocabulary.
        interface: what the project asks for.

    Returns:
        A prediction with `result`, `score` and `model_version`.
    """
    height, width = result.labels.shape
    entries, scores = [], []
    for entry in result.summary()["classes"]:
        if not entry["pixels"]:
            continue
        label = interface.labels[entry["index"]]
        scores.append(entry["confidence"])
        for part, value in enumerate(_values(result.mask(entry["name"]), interface.kind)):
            entries.append(
                {
                    "id": f"dpseg-{entry['index']}-{part}",
                    "from_name": interface.control,
                    "to_name": interface.image,
                    "type": interface.kind,
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "score": entry["confidence"],
                    "value": {**value, interface.kind: [label]},
                }
            )
    return {
        "result": entries,
        "score": float(np.mean(scores)) if scores else 0.0,
        "model_version": str(result.settings.get("model", "dpseg")),
    }


def encode_brush(mask: BoolArray) -> list[int]:
    """Encode a mask, H W, as the bytes of a brush."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    bits = [f"{flat.size * _CHANNELS:032b}", f"{_VALUE_BITS - 1:05b}"]
    bits += [f"{size - 1:04b}" for size in _LENGTH_BITS]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = "1" * _VALUE_BITS if flat[start] else "0" * _VALUE_BITS
        for begun in range(0, length, _LONGEST_RUN):
            run = min(length - begun, _LONGEST_RUN)
            choice = next(k for k, size in enumerate(_LENGTH_BITS) if run <= 1 << size)
            bits.append(f"1{choice:02b}{run - 1:0{_LENGTH_BITS[choice]}b}{value}")
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def _values(mask: BoolArray, kind: str) -> Iterator[dict[str, Any]]:
    """Return what is stored of a mask: one brush, or one polygon a region in percent."""
    if kind == "brushlabels":
        yield {"format": "rle", "rle": encode_brush(mask)}
        return
    height, width = mask.shape
    for region in trace_outlines(mask):
        corners = keyhole(region).astype(np.float64) * (100 / width, 100 / height)
        yield {"points": corners.tolist(), "closed": True}
