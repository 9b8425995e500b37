"""A refinement round inside training, against the round of inference."""

import numpy as np
import pytest
import torch

from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.prompt_set import build_prompts, show_pictures
from dpseg.prompts.refine import RefineSettings, refine_prompts, sigmoid
from dpseg.train.lite.refinement import refine_in_training
from dpseg.vocabulary import Vocabulary

SETTINGS = RefineSettings(alpha=0.3, min_area=0.05, min_score=0.5)


@pytest.fixture
def prompts(engine, red_picture):
    words = build_prompts(engine, Vocabulary.of("red, blue, green"))
    return show_pictures(words, [0], [red_picture])


@pytest.fixture
def red_picture(engine):
    features = engine.encode_prompt(np.full((32, 32, 3), (200, 30, 60), np.uint8))
    return pool_regions(features, np.ones((1, 1, 1), np.float32))


def test_makes_the_prompts_that_a_pool_round_makes(engine, prompts):
    features = engine.encode_image(np.full((96, 96, 3), (220, 20, 40), np.uint8))
    logits = np.full((3, 6, 6), -2, np.float32)
    logits[0, :, :3], logits[1, :, 3:], logits[2, 0, 0] = 1.5, 1, 4  # the last one is too small
    expected = refine_prompts(
        prompts, features, logits.argmax(0), sigmoid(logits), engine=engine, settings=SETTINGS
    )
    start = prompts.map(torch.from_numpy)
    moved = refine_in_training(start, features, torch.from_numpy(logits), SETTINGS)
    assert moved.visual_mask.tolist() == [True, True, False]
    reference = expected.to_tensors()
    for name, table in moved.to_tensors().items():
        np.testing.assert_allclose(table[:2].numpy(), reference[name][:2], atol=1e-6)
    torch.testing.assert_close(moved.text_embedding, start.text_embedding)


def test_unsure_regions_leave_the_prompts(engine, prompts):
    features = engine.encode_image(np.zeros((96, 96, 3), np.uint8))
    start = prompts.map(torch.from_numpy)
    logits = torch.full((3, 6, 6), -4.0)
    assert refine_in_training(start, features, logits, SETTINGS) is start
