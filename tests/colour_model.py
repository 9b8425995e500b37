"""A `Runtime` that can be foreseen: it sees colours, and reads the names of colours.

Each of eight colours is an axis of the joint space; a few words mean a colour roughly. All other
words have an axis that no picture reaches.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from dpseg.runtime import (
    FloatArray,
    ImageArray,
    ImageFeatures,
    ModelInfo,
    PromptArrays,
    TextEmbedding,
)

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
}
MEANS = {"grass": "green", "sky": "blue", "snow": "white"}
DIMENSION = 24
CELL = 8


class ColourRuntime:
    """Compares colours with words."""

    def __init__(self) -> None:
        self.passes = 0
        self.info = ModelInfo(
            name="colours",
            encoder_key="colours-1",
            image_size=64,
            stride=16,
            levels=(4, 3),
            templates=("a photo of a {}.", "{}"),
            score_threshold=0.4,
        )

    def encode_text(self, sentences: Sequence[str]) -> TextEmbedding:
        vectors = np.stack([_word_vector(sentence) for sentence in sentences])
        return TextEmbedding(
            class_wise=vectors,
            token_wise=vectors[:, None],
            token_mask=np.ones((len(sentences), 1), bool),
        )

    def encode_image(self, image: ImageArray) -> ImageFeatures:
        height, width = image.shape[:2]
        assert height % self.info.stride == width % self.info.stride == 0
        cells = image.reshape(height // CELL, CELL, width // CELL, CELL, 3).mean(axis=(1, 3))
        anchors = np.array(list(COLOURS.values()), np.float32)
        distance = ((cells[..., None, :] - anchors) ** 2).sum(axis=-1)
        embedding = np.zeros((DIMENSION, *cells.shape[:2]), np.float32)
        embedding[: len(anchors)] = np.moveaxis(np.exp(-distance / 100.0**2), -1, 0)
        level = np.moveaxis(cells, -1, 0).astype(np.float32) / 255 + 0.1
        return ImageFeatures(image_embedding=embedding, image_features={4: level, 3: level})

    encode_prompt = encode_image

    def score(self, features: ImageFeatures, prompts: PromptArrays) -> FloatArray:
        self.passes += 1
        visual = np.where(prompts.visual_mask[:, None, None], prompts.visual_embedding, 0)
        joint = _unit(prompts.text_embedding + visual).mean(axis=1)
        places = _unit(np.moveaxis(features.image_embedding, 0, -1))
        logits: FloatArray = 12 * (np.moveaxis(places @ joint.T, -1, 0) - 0.5)
        return logits.astype(np.float32)


def _word_vector(sentence: str) -> FloatArray:
    words = sentence.lower().strip(".").split()
    vector = np.zeros(DIMENSION, np.float32)
    unknown = hashlib.sha256(words[-1].encode()).digest()[0] % (DIMENSION - len(COLOURS))
    colour = next((MEANS.get(w, w) for w in words if MEANS.get(w, w) in COLOURS), None)
    if colour is None:
        vector[len(COLOURS) + unknown] = 1
        return vector
    vector[list(COLOURS).index(colour)] = 1
    if colour not in words:
        vector[len(COLOURS) + unknown] = 0.4
    return _unit(vector)


def _unit(vectors: FloatArray) -> FloatArray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = (vectors / np.maximum(length, 1e-9)).astype(np.float32)
    return unit
