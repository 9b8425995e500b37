"""Why a pixel got its label: how similar it is to each prompt of the best classes.

A `Segmentation` keeps the dense embedding of each view and the prompts; from these the cosines of
any pixel with any class's prompts can be read without running the model again.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from dpseg.arrays import AnyArray, FloatArray, PromptSet
from dpseg.engines.detector import Boxes
from dpseg.imaging.tiling import View, view_weights
from dpseg.prompts.corrections import Corrections
from dpseg.prompts.pooling import l2_normalize


@dataclass(frozen=True, slots=True)
class Vote:
    """How similar a class's prompts are to a pixel: cosines, None where there is no such prompt.

    Attributes:
        name: the class.
        score: the decoder's score in [0, 1].
        text_prompt: cosine with the class's name in sentences.
        visual_prompt: cosine with the class's examples.
        text_token: cosine with the word of the name that fits best.
        visual_token: cosine with the part of the examples that fits best.
        box: score in [0, 1] of the surest box of the detector's name for it, 0 where none covers
            the pixel; None where the detector knows no such name.
    """

    name: str
    score: float
    text_prompt: float
    visual_prompt: float | None
    text_token: float | None
    visual_token: float | None
    box: float | None = None

    def __str__(self) -> str:
        parts = {
            "name": self.text_prompt,
            "pictures": self.visual_prompt,
            "best word": self.text_token,
            "best part of the pictures": self.visual_token,
        }
        cosines = ", ".join(
            f"{what} {value:+.2f}" for what, value in parts.items() if value is not None
        )
        box = "" if self.box is None else f", box {self.box:.2f}"
        return f"{self.name}: score {self.score:.2f} (cosines: {cosines}{box})"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a pixel got its label.

    Attributes:
        label: the class that it got; None for an unlabelled pixel.
        winner: the best of the given classes.
        runner_up: the second best of them, if there is one.
        distractor: the best of the built-in names that compete, if any did.
        negative: the best of the names that are not wanted, if any were given.
    """

    label: str | None
    winner: Vote
    runner_up: Vote | None
    distractor: Vote | None
    negative: Vote | None = None

    @property
    def rival(self) -> Vote | None:
        """Give `distractor`, by its earlier name."""
        warnings.warn("rival is now distractor", DeprecationWarning, stacklevel=2)
        return self.distractor

    def __str__(self) -> str:
        lines = [f"{self.label or 'unlabelled'}", f"  best       {self.winner}"]
        if self.runner_up:
            lines.append(f"  runner-up  {self.runner_up}")
        if self.negative:
            lines.append(f"  not wanted {self.negative}")
        if self.distractor:
            lines.append(f"  not named  {self.distractor}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is kept of a run, so that it can be explained.

    Attributes:
        names: the given classes, those that are not wanted, the built-in distractors that took
            part.
        given: how many classes were given.
        scores: low-resolution scores of all names in [0, 1], (names) h w.
        views: the views of the photo.
        image_embeddings: of each view, D h w.
        prompts: of all names.
        boxes: what the detector found; None without one.
        box_names: the detector's name for each of the names, -1 where it knows none; empty without
            a detector.
        negatives: how many names are not wanted.
        encoder_key: hash of the weights that the embeddings belong to.
        corrections: what the user had said before; None for nothing.
    """

    names: tuple[str, ...]
    given: int
    scores: FloatArray
    views: tuple[View, ...]
    image_embeddings: tuple[FloatArray, ...]
    prompts: PromptSet[AnyArray]
    boxes: Boxes | None = None
    box_names: tuple[int, ...] = ()
    negatives: int = 0
    encoder_key: str = ""
    corrections: Corrections | None = None


def explain_pixel(
    evidence: Evidence, x: int, y: int, *, photo_hw: tuple[int, int], label: str | None
) -> Explanation:
    """Weigh the prompts of the classes that came out best at one pixel.

    Args:
        evidence: of the run.
        x: column of the photo.
        y: row of the photo.
        photo_hw: size of the photo.
        label: what the pixel was labelled in the end.

    Returns:
        The winner, the runner-up, the best distractor and the best negative with their cosines.
    """
    scores = _sample(evidence.scores, (y + 0.5) / photo_hw[0], (x + 0.5) / photo_hw[1])
    position = _embedding_at(evidence, x, y, photo_hw)
    order = np.argsort(-scores[: evidence.given], kind="stable")
    first = int(order[0]) if label is None else evidence.names.index(label)
    others = [int(k) for k in order if k != first]
    built_in = evidence.given + evidence.negatives

    across, down = (x + 0.5) / photo_hw[1], (y + 0.5) / photo_hw[0]

    def vote(k: int) -> Vote:
        box = _surest_box(evidence, k, across, down)
        return _vote(evidence, k, float(scores[k]), position, box)

    def best(start: int, stop: int) -> Vote | None:
        return vote(start + int(scores[start:stop].argmax())) if start < stop else None

    return Explanation(
        label=label,
        winner=vote(first),
        runner_up=vote(others[0]) if others else None,
        distractor=best(built_in, len(scores)),
        negative=best(evidence.given, built_in),
    )


def _surest_box(evidence: Evidence, k: int, across: float, down: float) -> float | None:
    """Find the surest box of a name over a point, given as shares of width and height."""
    boxes = evidence.boxes
    if boxes is None or evidence.box_names[k] < 0:
        return None
    left, top, right, bottom = boxes.corners.T
    over = (left <= across) & (across <= right) & (top <= down) & (down <= bottom)
    return float(boxes.scores[over & (boxes.names == evidence.box_names[k])].max(initial=0))


def _vote(
    evidence: Evidence, k: int, score: float, position: FloatArray, box: float | None
) -> Vote:
    prompts = evidence.prompts
    seen = bool(prompts.visual_mask[k])
    tokens = prompts.text_tokens[k][prompts.text_token_mask[k]]
    return Vote(
        name=evidence.names[k],
        score=score,
        text_prompt=float((prompts.text_embedding[k] @ position).mean()),
        visual_prompt=float((prompts.visual_embedding[k] @ position).mean()) if seen else None,
        text_token=_best(tokens, position),
        visual_token=_best(prompts.visual_tokens[k], position) if seen else None,
        box=box,
    )


def _best(tokens: FloatArray, position: FloatArray) -> float | None:
    return float((tokens @ position).max()) if len(tokens) else None


def _embedding_at(evidence: Evidence, x: int, y: int, photo_hw: tuple[int, int]) -> FloatArray:
    """Blend the embeddings of all views that cover a pixel, as their scores were blended."""
    weights = view_weights(evidence.views, photo_hw, (y, y + 1))
    total = np.zeros(len(evidence.image_embeddings[0]), np.float32)
    for view, weight, embedding in zip(
        evidence.views, weights, evidence.image_embeddings, strict=True
    ):
        if view.top <= y < view.bottom and view.left <= x < view.right:
            down = (y + 0.5 - view.top) / (view.bottom - view.top)
            across = (x + 0.5 - view.left) / (view.right - view.left)
            total += weight[0, x - view.left] * l2_normalize(_sample(embedding, down, across))
    return l2_normalize(total)


def _sample(maps: FloatArray, down: float, across: float) -> FloatArray:
    """Read C h w at one point, given as shares of height and width; bilinear -> C."""
    rows, columns = (
        np.clip((share * size - 0.5), 0, size - 1)
        for share, size in ((down, maps.shape[1]), (across, maps.shape[2]))
    )
    top, left = int(rows), int(columns)
    bottom, right = min(top + 1, maps.shape[1] - 1), min(left + 1, maps.shape[2] - 1)
    upper = maps[:, top, left] * (1 - (columns - left)) + maps[:, top, right] * (columns - left)
    lower = maps[:, bottom, left] * (1 - (columns - left)) + maps[:, bottom, right] * (
        columns - left
    )
    value: FloatArray = (upper * (1 - (rows - top)) + lower * (rows - top)).astype(np.float32)
    return value
