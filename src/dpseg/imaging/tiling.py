"""Views of a photo, and one label map out of the scores of all of them.

A model looks at images of one size. A small photo is one view; a large one is a global view, for
what things are, and overlapping tiles, for where they end. Scores stay at the decoder's low
resolution until the very end, and are enlarged class by class in strips of rows, so that memory
does not grow with K x H x W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dpseg.arrays import FloatArray, ImageArray, LabelArray
from dpseg.imaging.resize import resize_image

#: From winner, its score and the best distractor's score to labels; all of one strip, h w.
Decide = Callable[[LabelArray, FloatArray, FloatArray], LabelArray]

#: Pixels that one strip of rows holds; a few such arrays fit a processor's cache.
STRIP_PIXELS = 1 << 16
#: Classes whose scores are compared together, for the same reason.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class View:
    """A rectangle of the photo and the size at which the model sees it.

    Attributes:
        top: first row of the photo in the view.
        left: first column.
        bottom: row after the last.
        right: column after the last.
        size_hw: size given to the model, multiples of its stride.
    """

    top: int
    left: int
    bottom: int
    right: int
    size_hw: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TilingRules:
    """When and how a photo is cut into tiles.

    Attributes:
        tile_above: tiles are used if the long side exceeds this many times the model's size.
        overlap: share of a tile that it has in common with its neighbour.
        budget: all tiles together hold at most this many times the pixels of one square view;
            above it, tiles cover more of the photo each, at lower resolution.
        global_share: weight of the global view; the tiles share the rest.
    """

    tile_above: float = 1.75
    overlap: float = 0.25
    budget: float = 12.0
    global_share: float = 0.5


DEFAULT_RULES = TilingRules()


def plan_views(
    photo_hw: tuple[int, int],
    *,
    image_size: int,
    stride: int,
    rules: TilingRules = DEFAULT_RULES,
) -> list[View]:
    """Choose the views of a photo.

    Args:
        photo_hw: size of the photo.
        image_size: long side of a view, as the model likes it.
        stride: sides of a view are multiples of this, at least one.
        rules: when and how to cut tiles.

    Returns:
        The global view, then the tiles from top left to bottom right, if any.
    """
    height, width = photo_hw
    views = [View(0, 0, height, width, _view_size(photo_hw, image_size, stride))]
    if max(photo_hw) <= rules.tile_above * image_size:
        return views
    side = image_size
    while True:
        tile_hw = (min(side, height), min(side, width))
        tops = _starts(height, tile_hw[0], rules.overlap)
        lefts = _starts(width, tile_hw[1], rules.overlap)
        fit = _view_size(tile_hw, image_size, stride)
        if len(tops) * len(lefts) * fit[0] * fit[1] <= rules.budget * image_size**2:
            break
        side = int(side * 1.05) + 1
    if len(tops) * len(lefts) > 1:
        views += [
            View(top, left, top + tile_hw[0], left + tile_hw[1], fit)
            for top in tops
            for left in lefts
        ]
    return views


def cut_views(photo: ImageArray, views: Sequence[View]) -> Iterator[ImageArray]:
    """Cut the views out of a photo and resize each to its size, one after the other."""
    picture = Image.fromarray(photo)
    for view in views:
        box = (view.left, view.top, view.right, view.bottom)
        yield resize_image(picture, view.size_hw, box=box)


def view_weights(
    views: Sequence[View],
    photo_hw: tuple[int, int],
    rows: tuple[int, int],
    rules: TilingRules = DEFAULT_RULES,
) -> list[FloatArray]:
    """Weigh the views at each pixel of some rows of the photo; the weights of a pixel sum to 1.

    A tile's weight falls off towards its inner edges as a raised cosine.

    Args:
        views: as `plan_views` made them.
        photo_hw: size of the photo.
        rows: first row, and row after the last.
        rules: says the share of the global view.

    Returns:
        For each view its weights, (rows that it covers) x (its columns).
    """
    top, bottom = rows
    if len(views) == 1:
        return [np.ones((bottom - top, photo_hw[1]), np.float32)]
    total = np.zeros((bottom - top, photo_hw[1]), np.float32)
    windows = []
    for view in views[1:]:
        first, last = _shared_rows(view, rows)
        down = _ramp(view.top, view.bottom, photo_hw[0])[first - view.top : last - view.top]
        across = _ramp(view.left, view.right, photo_hw[1])
        windows.append(down[:, None] * across)
        total[first - top : last - top, view.left : view.right] += windows[-1]
    weights = [np.full_like(total, rules.global_share)]
    for view, window in zip(views[1:], windows, strict=True):
        first, last = _shared_rows(view, rows)
        covered = total[first - top : last - top, view.left : view.right]
        weights.append((1 - rules.global_share) * window / covered)
    return weights


def merge_labels(
    scores: Sequence[FloatArray],
    views: Sequence[View],
    photo_hw: tuple[int, int],
    *,
    kept: int,
    decide: Decide | None = None,
    rules: TilingRules = DEFAULT_RULES,
) -> LabelArray:
    """Enlarge and blend the views' scores and take the best class of each pixel.

    Args:
        scores: for each view the scores of K classes in [0, 1], K h w.
        views: as `plan_views` made them.
        photo_hw: size of the photo.
        kept: only the first `kept` of the K classes may win; the others are distractors, whose best
            score `decide` gets to see.
        decide: last word on the labels of a strip; None keeps the winners.
        rules: says the share of the global view.

    Returns:
        The winning class of each pixel, H W.
    """
    height, width = photo_hw
    labels = np.empty(photo_hw, np.int32)
    candidates = _candidates(scores, kept)
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        rows = (top, min(top + step, height))
        weights = view_weights(views, photo_hw, rows, rules)
        winner = np.full((rows[1] - top, width), candidates[0], np.int32)
        best, distractor = np.full((2, *winner.shape), -np.inf, np.float32)
        for k in candidates:
            blended = _blend([view_scores[k] for view_scores in scores], views, weights, rows)
            if k < kept:
                np.copyto(winner, k, where=blended > best)
                np.maximum(best, blended, out=best)
            else:
                np.maximum(distractor, blended, out=distractor)
        labels[rows[0] : rows[1]] = winner if decide is None else decide(winner, best, distractor)
    return labels


def merge_scores(
    scores: Sequence[FloatArray],
    views: Sequence[View],
    photo_hw: tuple[int, int],
    rules: TilingRules = DEFAULT_RULES,
) -> FloatArray:
    """Blend the views' scores at the global view's low resolution.

    Args:
        scores: for each view the scores of K classes, K h w; the first is the global view.
        views: as `plan_views` made them.
        photo_hw: size of the photo.
        rules: says the share of the global view.

    Returns:
        K h w of the global view.
    """
    if len(views) == 1:
        return scores[0]
    _, grid_h, grid_w = scores[0].shape
    down, across = grid_h / photo_hw[0], grid_w / photo_hw[1]
    low = [View(0, 0, grid_h, grid_w, views[0].size_hw)]
    for view in views[1:]:
        top, left = int(view.top * down), int(view.left * across)
        bottom = min(grid_h, int(np.ceil(view.bottom * down)))
        right = min(grid_w, int(np.ceil(view.right * across)))
        low.append(View(top, left, bottom, right, view.size_hw))
    weights = view_weights(low, (grid_h, grid_w), (0, grid_h), rules)
    merged = [
        _blend([view_scores[k] for view_scores in scores], low, weights, (0, grid_h))
        for k in range(len(scores[0]))
    ]
    return np.stack(merged)


def _view_size(size_hw: tuple[int, int], image_size: int, stride: int) -> tuple[int, int]:
    """Scale a rectangle so that its long side is `image_size`, in multiples of `stride`."""
    scale = image_size / max(size_hw)
    strides = [max(1, round(side * scale / stride)) for side in size_hw]
    return strides[0] * stride, strides[1] * stride


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Place tiles of equal size evenly along one side."""
    count = 1 + int(np.ceil((length - tile) / max(1.0, tile * (1 - overlap))))
    return [int(start) for start in np.linspace(0, length - tile, count).round()]


def _shared_rows(view: View, rows: tuple[int, int]) -> tuple[int, int]:
    """Intersect a view's rows with given rows; an empty range if they do not meet."""
    first = min(max(rows[0], view.top), view.bottom)
    return first, max(first, min(rows[1], view.bottom))


def _ramp(start: int, stop: int, length: int) -> FloatArray:
    """Weigh a tile along one side: a raised cosine, flat towards the photo's own borders."""
    position = (np.arange(stop - start, dtype=np.float32) + 0.5) / (stop - start)
    weight: FloatArray = np.maximum(np.sin(np.pi * position) ** 2, 1e-3).astype(np.float32)
    if start == 0:
        weight[position <= 0.5] = 1
    if stop == length:
        weight[position >= 0.5] = 1
    return weight


def _candidates(scores: Sequence[FloatArray], kept: int) -> list[int]:
    """Leave out the classes that cannot win; exact for one view.

    Between four places a class never rises above the largest of them, and the winner never falls
    below the largest, over classes, of the smallest of them.
    """
    needed = np.zeros(len(scores[0]), np.bool_)
    for view_scores in scores:
        for group in (range(kept), range(kept, len(view_scores))):
            parts = [group[start : start + _AT_ONCE] for start in range(0, len(group), _AT_ONCE)]
            windows = [slice(part.start, part.stop) for part in parts]
            lowest = [_of_four(view_scores[part], np.minimum).max(axis=0) for part in windows]
            for part in windows:
                highest = _of_four(view_scores[part], np.maximum)
                needed[part] |= (highest >= np.max(lowest, axis=0)).any(axis=(1, 2))
    return [int(k) for k in np.flatnonzero(needed)]


def _of_four(scores: FloatArray, pick: np.ufunc) -> FloatArray:
    """Take the largest or smallest of each four neighbours, K h w -> K h+1 w+1."""
    padded = np.pad(scores, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = pick(padded[:, 1:], padded[:, :-1])
    picked: FloatArray = pick(rows[:, :, 1:], rows[:, :, :-1])
    return picked


def _blend(
    parts: Sequence[FloatArray],
    views: Sequence[View],
    weights: Sequence[FloatArray],
    rows: tuple[int, int],
) -> FloatArray:
    """Enlarge one class's scores of every view over some rows and add them by weight."""
    blended = np.zeros((rows[1] - rows[0], views[0].right), np.float32)
    for part, view, weight in zip(parts, views, weights, strict=True):
        first, last = _shared_rows(view, rows)
        if first == last:
            continue
        scale = part.shape[0] / (view.bottom - view.top)
        lower = min((last - view.top) * scale, part.shape[0])
        box = (0, (first - view.top) * scale, part.shape[1], lower)
        enlarged = Image.fromarray(part).resize(
            (view.right - view.left, last - first), Image.Resampling.BILINEAR, box=box
        )
        target = blended[first - rows[0] : last - rows[0], view.left : view.right]
        target += weight * np.asarray(enlarged)
    return blended
