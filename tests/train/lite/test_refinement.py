"""A refinement round inside training, against the round of inference."""

import numpy as np
import pytest
import torch

from dpseg.engines.torch_engine import prompt_tensors
from dpseg.prompts.ontology import PromptOntology
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.refine import RefineSettings, refine_prompts, sigmoid
from dpseg.train.lite.refinement import refine_in_training
from dpseg.vocabulary import Vocabulary

SETTINGS = RefineSettings(alpha=0.3, min_area=0.05, min_score=0.5)


@pytest.fixture
def ontology(engine, red_picture):
    words = PromptOntology.build(engine, Vocabulary.of("red, blue, green"))
    return words.replace_visual(0, red_picture)


@pytest.fixture
def red_picture(engine):
    features = engine.encode_prompt(np.full((32, 32, 3), (200, 30, 60), np.uint8))
    return pool_regions(features, np.ones((1, 1, 1), np.float32))


def test_makes_the_prompts_that_a_pool_round_makes(engine, ontology):
    features = engine.encode_image(np.full((96, 96, 3), (220, 20, 40), np.uint8))
    logits = np.full((3, 6, 6), -2, np.float32)
    logits[0, :, :3], logits[1, :, 3:], logits[2, 0, 0] = 1.5, 1, 4  # the last one is too small
    expected = refine_prompts(
        ontology, features, logits.argmax(0), sigmoid(logits), engine=engine,
        alpha=SETTINGS.alpha, min_area=SETTINGS.min_area, min_score=SETTINGS.min_score,
    )  # fmt: skip
    start = prompt_tensors(ontology.arrays)
    moved = refine_in_training(start, features, torch.from_numpy(logits), SETTINGS)
    reference = prompt_tensors(expected.arrays)
    assert moved.visual_mask.tolist() == [True, True, False]
    for name in ("visual_embedding", "visual_tokens"):
        torch.testing.assert_close(getattr(moved, name)[:2], getattr(reference, name)[:2])
    for level, table in moved.visual_features.items():
        torch.testing.assert_close(table[:2], reference.visual_features[level][:2])
    assert moved.text_embedding is start.text_embedding


def test_unsure_regions_leave_the_prompts(engine, ontology):
    features = engine.encode_image(np.zeros((96, 96, 3), np.uint8))
    prompts = prompt_tensors(ontology.arrays)
    logits = torch.full((3, 6, 6), -4.0)
    assert refine_in_training(prompts, features, logits, SETTINGS) is prompts
