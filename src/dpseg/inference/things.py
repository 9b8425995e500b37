"""Single things: each class's pixels parted where a neck tells that two things touch.

A region is connected pixels of one class. Within it, how far a pixel lies from the border and how
surely it is of the class make a height; two peaks are two things if the way from one to the other
goes through a neck much narrower, or much less sure, than the lower of them. Stuff is never parted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image

from dpseg.arrays import BoolArray, FloatArray
from dpseg.errors import require_extra
from dpseg.imaging.masks import mean_score
from dpseg.inference.hypernyms import first_hypernym, stem
from dpseg.segmentation import Instance, Segmentation
from dpseg.vocabulary import ClassEntry, fold

LEAST_SHARE = 2e-4  # of the photo's pixels; a smaller region is no thing
LEAST_PIXELS = 9
LEAST_OF_LARGEST = 0.02  # of the pixels of the class's largest thing; a smaller one is a speck
NECK = 0.7  # of the height of the lower peak: a higher way between two peaks joins them
LEAST_PEAK = 0.6  # of the region's highest; a lower one is a limb, not a thing
WORK_SIDE = 512  # longer regions are parted at this size

#: Common stuff; a class is stuff if it is one of these words or a kind of one.
STUFF = (
    "sky|clouds|air|sea|ocean|river|lake|water|waterfall|swimming pool|road|street|sidewalk"
    "|pavement|gravel|dirt|soil|sand|beach|snow|ice|mud|ground|land|terrain|field|grass|lawn|rock"
    "|floor|ceiling|wall|roof|fence|building|house|mountain|hill|tree|bush|hedge|leaves|moss|vine"
    "|vegetation|foliage|plants|forest|background|curtain|carpet|platform|railroad|rice|soup"
    "|salad|coffee|wine|beer"
)


def is_stuff(entry: ClassEntry) -> bool:
    """Tell whether a class is stuff by the built-in list.

    Args:
        entry: its words count, and what its name is a kind of by its most frequent sense.
    """
    kind = first_hypernym(entry.name)
    words = [*entry.words, fold(entry.name).split()[-1], *([kind] if kind else [])]
    return any(stem(word) in _stuff() for word in words)


def least_pixels(photo_pixels: int) -> float:
    """Return how many pixels a thing has at least in a photo of so many."""
    return max(LEAST_PIXELS, LEAST_SHARE * photo_pixels)


def part_things(
    result: Segmentation,
    entries: Sequence[ClassEntry],
    stuff: Collection[str] | None = None,
    *,
    touching: bool = True,
) -> Segmentation:
    """Add single things to a result.

    Args:
        result: of one photo.
        entries: its classes, in English words.
        stuff: names that are never parted; None for the built-in list.
        touching: part things that touch, too; False leaves connected regions whole.

    Returns:
        The same result with `instances`; regions too small for a thing are in none.

    Raises:
        MissingExtraError: scikit-image is not installed.

    Source: dpseg choice; watershed from the peaks of distance times score that stay when all
    within a share of each other are joined.
    """
    given = None if stuff is None else set(map(fold, stuff))
    least = least_pixels(result.labels.size)
    found = []
    for k, entry in enumerate(entries):
        mask: BoolArray = result.labels == k
        if not mask.any():
            continue
        name = result.classes[k]
        words = map(fold, (name, *entry.words))
        whole = is_stuff(entry) if given is None else not given.isdisjoint(words)
        parts = [mask] if whole else list(_parts(mask, result.scores[k], least, touching))
        largest = max((int(part.sum()) for part in parts), default=0)
        for part in parts:
            if part.sum() < LEAST_OF_LARGEST * largest:
                continue
            score = mean_score(part, result.scores[k])
            found.append(Instance.of(part, index=k, name=name, score=score, thing=not whole))
    return replace(result, instances=tuple(found))


def _parts(
    mask: BoolArray, scores: FloatArray, least: float, touching: bool
) -> Iterator[BoolArray]:
    """Part a mask, H W, into things of at least so many pixels."""
    measure = require_extra("skimage.measure", "instances")
    regions = measure.label(mask, connectivity=2)
    for region in measure.regionprops(regions):
        if region.area < least:
            continue
        top, left, bottom, right = region.bbox
        box = (left, top, right, bottom)
        things = region.image.astype(np.int32)
        if touching:
            things = _split(region.image, _scores_in(scores, box, mask.shape))
        for number in range(1, things.max() + 1):
            thing = things == number
            if thing.sum() >= least:
                part = np.zeros_like(mask)
                part[top:bottom, left:right] = thing
                yield part


def _split(
    region: BoolArray, scores: FloatArray
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Number the things of one connected region, h w, from 1, maybe with gaps; 0 outside."""
    ndimage = require_extra("scipy.ndimage", "instances")
    morphology = require_extra("skimage.morphology", "instances")
    segmentation = require_extra("skimage.segmentation", "instances")
    step = -(-max(region.shape) // WORK_SIDE)
    small = np.pad(region[::step, ::step], 1)  # the photo's border is a border, too
    sure = np.pad(scores[::step, ::step], 1, mode="edge").clip(1e-3)
    distance = ndimage.distance_transform_edt(small)
    height = np.log(np.maximum(distance * sure, 1e-3))
    peaks, count = ndimage.label(morphology.h_maxima(height, -np.log(NECK)), np.ones((3, 3)))
    if count > 1:
        tops = ndimage.maximum(height, peaks, np.arange(1, count + 1))
        low = np.flatnonzero(tops < tops.max() + np.log(LEAST_PEAK)) + 1
        peaks[np.isin(peaks, low)] = 0
    if len(np.unique(peaks)) <= 2:
        return region.astype(np.int32)
    things = segmentation.watershed(-height, peaks, mask=small)
    # at full size, a pixel that the small region lacks goes to the nearest thing
    row, column = ndimage.distance_transform_edt(
        things == 0, return_distances=False, return_indices=True
    )
    nearest = things[row, column][1:-1, 1:-1].repeat(step, 0).repeat(step, 1)
    numbers = np.where(region, nearest[: region.shape[0], : region.shape[1]], 0)
    return numbers.astype(np.int32)


def _scores_in(
    scores: FloatArray, box: tuple[int, int, int, int], photo_hw: tuple[int, ...]
) -> FloatArray:
    """Enlarge a class's scores, h w, within a box of the photo."""
    down, across = scores.shape[0] / photo_hw[0], scores.shape[1] / photo_hw[1]
    left, top, right, bottom = box
    size_wh = (right - left, bottom - top)
    source = (left * across, top * down, right * across, bottom * down)
    picture = Image.fromarray(scores).resize(size_wh, Image.Resampling.BILINEAR, box=source)
    return np.asarray(picture)


@cache
def _stuff() -> frozenset[str]:
    return frozenset(map(stem, STUFF.split("|")))
