"""A model without a network, for tests: it knows colours, by word and by sight.

A word such as "red" and a red position get nearly the same unit vector; unknown words get a vector
of their own. Enough for prompts, refinement and evaluation to behave as with a real model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from dpseg.arrays import FloatArray, ImageArray, PromptSet
from dpseg.engines.protocol import ImageFeatures, ModelInfo, TextEmbedding
from dpseg.imaging.resize import resize_area

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 40),
    "blue": (30, 50, 220),
    "yellow": (230, 220, 40),
    "black": (10, 10, 10),
    "white": (245, 245, 245),
}
DIMENSION = 12  # one axis a colour, the rest for unknown words
STRIDE = 8
MAX_WORDS = 12


class ColourEngine:
    """Implements `Engine`; counts the calls of each of its methods."""

    def __init__(self, *, templates: Sequence[str] = ("{}", "a photo of {}."), key: str = "colour"):
        self.info = ModelInfo("colour", key, 96, STRIDE, (3, 2), tuple(templates), 0.5)
        self.calls = {"text": 0, "image": 0, "prompt": 0, "score": 0}
        self.sentences: list[str] = []

    def calibrated(self, threshold: float) -> ColourEngine:
        other = copy(self)
        other.info = replace(self.info, score_threshold=threshold)
        return other

    def encode_text(self, sentences: Sequence[str]) -> TextEmbedding:
        self.calls["text"] += 1
        self.sentences += sentences
        class_wise = np.zeros((len(sentences), DIMENSION), np.float32)
        token_wise = np.zeros((len(sentences), MAX_WORDS, DIMENSION), np.float32)
        mask = np.zeros((len(sentences), MAX_WORDS), bool)
        for row, sentence in enumerate(sentences):
            words = sentence.replace(".", "").replace(",", "").lower().split()[:MAX_WORDS]
            vectors = [_word_vector(word) for word in words]
            known = [v for w, v in zip(words, vectors, strict=True) if w in COLOURS] or vectors[-1:]
            class_wise[row] = _unit(np.sum(known, axis=0))
            token_wise[row, : len(words)] = vectors
            mask[row, : len(words)] = True
        return TextEmbedding(class_wise, token_wise, mask)

    def encode_image(self, image: ImageArray) -> ImageFeatures:
        self.calls["image"] += 1
        return _features(image)

    def encode_prompt(self, image: ImageArray) -> ImageFeatures:
        self.calls["prompt"] += 1
        return _features(image)

    def score(self, features: ImageFeatures, prompts: PromptSet) -> FloatArray:
        self.calls["score"] += 1
        visible = prompts.visual_mask[:, None, None]
        joint = prompts.text_embedding + np.where(visible, prompts.visual_embedding, 0)  # K M D
        cost = np.einsum("kmd,dhw->khw", _unit(joint), _unit(features.image_embedding, 0))
        logits: FloatArray = 20 * (cost / joint.shape[1] - 0.6)
        return logits.astype(np.float32)


def paint(*blocks: tuple[str, int, int, int, int], ground: str = "white", side: int = 96):
    """A square picture with blocks of colour: name, top, bottom, left, right."""
    image = np.empty((side, side, 3), np.uint8)
    image[:] = COLOURS[ground]
    for name, top, bottom, left, right in blocks:
        image[top:bottom, left:right] = COLOURS[name]
    return image


def _features(image: ImageArray) -> ImageFeatures:
    assert image.shape[0] % STRIDE == 0
    assert image.shape[1] % STRIDE == 0
    planes = image.transpose(2, 0, 1).astype(np.float32) / 255  # 3 H W
    height, width = image.shape[:2]
    levels = {j: resize_area(planes, (height >> j, width >> j)) for j in (3, 2)}
    positions = levels[3].reshape(3, -1).T  # (h w) 3
    anchors = np.array(list(COLOURS.values()), np.float32) / 255
    distance = ((positions[:, None] - anchors) ** 2).sum(axis=-1)
    embedding = np.full((len(positions), DIMENSION), 0.05, np.float32)
    embedding[:, : len(COLOURS)] += np.exp(-distance / 0.1)
    grid = (DIMENSION, height >> 3, width >> 3)
    return ImageFeatures(np.ascontiguousarray(embedding.T).reshape(grid), levels)


def _word_vector(word: str) -> FloatArray:
    vector = np.zeros(DIMENSION, np.float32)
    if word in COLOURS:
        vector[list(COLOURS).index(word)] = 1
        return vector
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
    vector[len(COLOURS) :] = np.random.default_rng(seed).normal(size=DIMENSION - len(COLOURS))
    return _unit(vector)


def _unit(array: FloatArray, axis: int = -1) -> FloatArray:
    return array / np.maximum(np.linalg.norm(array, axis=axis, keepdims=True), 1e-9)
