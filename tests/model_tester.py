"""What every model must do, whatever its encoders and its network; a new one costs three lines.

class TestMine(ModelTester):
    @pytest.fixture(scope="class")
    def engine(self): return ...
"""

import numpy as np
import pytest

from dpseg.arrays import PromptSet, to_tensors
from dpseg.engines.protocol import Engine
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.prompt_set import build_prompts
from dpseg.vocabulary import Vocabulary

NAMES = Vocabulary.of("cat, grass, red wall, sky, cup")


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


class ModelTester:
    """Shapes, determinism, free sizes, free vocabulary; subclasses give the fixture `engine`."""

    #: A side of the smallest picture, in strides of the model.
    strides = 3
    #: Whether the network sees the pictures of classes.
    visual = True

    def positions(self, side: int, level: int) -> int:
        """Positions of a level's features along a side of a picture."""
        return side >> level

    @pytest.fixture(scope="class")
    def prompts(self, engine: Engine) -> PromptSet:
        side = self.strides * engine.info.stride
        pictures = {}
        if self.visual:
            features = engine.encode_prompt(picture(side, side))
            pictures = {1: pool_regions(features, np.ones((1, 4, 4), np.float32))}
        return build_prompts(engine, NAMES, pictures=pictures)

    @pytest.fixture(scope="class")
    def image(self, engine: Engine) -> np.ndarray:
        stride = engine.info.stride
        return picture(self.strides * stride, (self.strides + 1) * stride)

    def test_features_have_the_shapes_that_the_model_tells(self, engine, image, prompts):
        features = engine.encode_image(image)
        dimension, *positions = features.image_embedding.shape
        assert dimension == prompts.text_embedding.shape[-1]
        assert positions[1] / positions[0] == image.shape[1] / image.shape[0]
        assert tuple(features.image_features) == tuple(engine.info.levels)
        for level, one in features.image_features.items():
            expected = [self.positions(side, level) for side in image.shape[:2]]
            assert list(one.shape[1:]) == expected
        assert prompts.text_embedding.shape[1] == len(engine.info.templates)

    def test_the_same_picture_gives_the_same_features(self, engine, image):
        first, second = (to_tensors(engine.encode_image(image)) for _ in range(2))
        for name, values in first.items():
            np.testing.assert_array_equal(values, second[name])

    @pytest.mark.parametrize("larger", [(0, 0), (2, 1)])
    def test_any_size_is_scored(self, engine, image, prompts, larger):
        stride = engine.info.stride
        size = [side + more * stride for side, more in zip(image.shape, larger, strict=False)]
        logits = engine.score(engine.encode_image(picture(*size)), prompts)
        assert len(logits) == len(NAMES)
        assert logits.shape[2] / logits.shape[1] == size[1] / size[0]
        assert np.isfinite(logits).all()

    def test_the_order_of_the_classes_changes_nothing_else(self, engine, image, prompts):
        features, order = engine.encode_image(image), [3, 0, 4, 2, 1]
        plain = engine.score(features, prompts)
        np.testing.assert_allclose(
            engine.score(features, prompts.select(order)), plain[order], atol=2e-2, rtol=1e-2
        )

    def test_one_class_is_enough(self, engine, image, prompts):
        logits = engine.score(engine.encode_image(image), prompts.select([0]))
        assert len(logits) == 1

    def test_pictures_speak_where_the_network_sees_them(self, engine, image, prompts):
        features = engine.encode_image(image)
        mute = prompts.map(np.copy)
        mute.visual_mask[:] = False
        same = np.allclose(engine.score(features, mute), engine.score(features, prompts))
        assert same is not self.visual
