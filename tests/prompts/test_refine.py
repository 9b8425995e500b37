"""The rule by which what was found becomes a prompt."""

import numpy as np
import pytest

from colour_engine import COLOURS, paint
from dpseg.errors import ShapeError
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.prompt_set import build_prompts, show_pictures
from dpseg.prompts.refine import (
    RefineSettings,
    found_classes,
    is_still,
    refine_prompts,
    sigmoid,
)
from dpseg.vocabulary import Vocabulary

RED, BLUE = list(COLOURS).index("red"), list(COLOURS).index("blue")
PICTURE = paint(("red", 0, 48, 0, 96), ("blue", 48, 96, 0, 96))


@pytest.fixture
def prompts(engine):
    return build_prompts(engine, Vocabulary.of("red, blue, green"))


@pytest.fixture
def features(engine):
    return engine.encode_image(PICTURE)


@pytest.fixture
def found(engine, prompts, features):
    logits = engine.score(features, prompts)
    return logits.argmax(axis=0), sigmoid(logits)


@pytest.mark.parametrize("crop", [False, True])
def test_what_was_found_becomes_a_prompt(engine, prompts, features, found, crop):
    refined = refine_prompts(prompts, PICTURE if crop else features, *found, engine=engine)
    assert refined.visual_mask.tolist() == [True, True, False]
    assert refined.visual_embedding[0, 0].argmax() == RED
    assert refined.visual_embedding[1, 0].argmax() == BLUE


def test_pooling_needs_no_encoder(engine, prompts, features, found):
    before = dict(engine.calls)
    refine_prompts(prompts, features, *found, engine=engine)
    assert engine.calls == before


def test_cropping_encodes_each_region(engine, prompts, found):
    before = engine.calls["prompt"]
    refine_prompts(prompts, PICTURE, *found, engine=engine)
    assert engine.calls["prompt"] == before + 2


def test_alpha_is_the_share_of_the_new(engine, prompts, features, found):
    whole, quarter = RefineSettings(alpha=1), RefineSettings(alpha=0.25)
    once = refine_prompts(prompts, features, *found, engine=engine, settings=whole)
    white = pool_regions(engine.encode_prompt(paint()), np.ones((1, 1, 1), np.float32))
    old = show_pictures(once, [0], [white])
    refined = refine_prompts(old, features, *found, engine=engine, settings=quarter)
    mixed = 0.75 * old.visual_embedding[0] + 0.25 * once.visual_embedding[0]
    mixed /= np.linalg.norm(mixed, axis=-1, keepdims=True)
    np.testing.assert_allclose(refined.visual_embedding[0], mixed, atol=1e-5)


def test_small_or_unsure_regions_keep_their_prompt(engine, prompts, features, found):
    labels, scores = found
    assert refine_prompts(prompts, features, labels, scores * 0.1, engine=engine) is prompts
    speck = np.zeros_like(labels)
    speck[0, 0] = 1
    settings = RefineSettings(min_area=0.02)
    refined = refine_prompts(
        prompts, features, speck, np.ones_like(scores), engine=engine, settings=settings
    )
    assert refined.visual_mask.tolist() == [True, False, False]


def test_a_picture_all_unlabelled_keeps_all_prompts(engine, prompts, features, found):
    nothing = np.full_like(found[0], -1)
    assert refine_prompts(prompts, features, nothing, found[1], engine=engine) is prompts


def test_a_region_without_any_score_is_left_out(engine, prompts, features, found):
    labels, scores = found
    settings = RefineSettings(min_score=0, min_area=0)
    refined = refine_prompts(
        prompts, features, labels, scores * 0, engine=engine, settings=settings
    )
    assert refined is prompts


def test_an_unsure_region_does_not_become_surer(engine, prompts, features, found):
    labels, scores = found
    sure = np.where(scores == scores.max(axis=0), 0.61, 0).astype(np.float32)
    refined = refine_prompts(prompts, features, labels, sure, engine=engine)
    assert refined.visual_mask[:2].all()
    assert refine_prompts(prompts, features, labels, sure - 0.02, engine=engine) is prompts


def test_scores_of_other_classes_are_refused(engine, prompts, features, found):
    with pytest.raises(ShapeError, match="do not fit 3 classes"):
        refine_prompts(prompts, features, found[0], found[1][:2], engine=engine)


def test_found_classes():
    assert found_classes(np.array([[3, -1], [0, 3]])) == [0, 3]


def test_stillness_and_sigmoid():
    before = np.zeros((100, 10), int)
    after = before.copy()
    after[0, :4] = 1
    assert is_still(before, after)
    after[0, :5] = 1
    assert not is_still(before, after)
    values = np.array([-500, 0, 2], np.float32)
    np.testing.assert_allclose(sigmoid(values), [0, 0.5, 0.880797], atol=1e-6)
