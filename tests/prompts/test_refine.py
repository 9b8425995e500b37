"""Refinement of prompts by what was found."""

import numpy as np
import pytest

from colour_engine import COLOURS, paint
from dpseg.errors import PromptError, ShapeError
from dpseg.prompts.ontology import PromptOntology
from dpseg.prompts.refine import (
    RefineSettings,
    found_classes,
    is_still,
    refine_prompts,
    refine_rounds,
    sigmoid,
)
from dpseg.vocabulary import Vocabulary

RED, BLUE = list(COLOURS).index("red"), list(COLOURS).index("blue")
PICTURE = paint(("red", 0, 48, 0, 96), ("blue", 48, 96, 0, 96))


@pytest.fixture
def ontology(engine):
    return PromptOntology.build(engine, Vocabulary.of("red, blue, green"))


@pytest.fixture
def found(engine, ontology):
    logits = engine.score(engine.encode_image(PICTURE), ontology.arrays)
    return logits.argmax(axis=0), sigmoid(logits)


@pytest.mark.parametrize("mode", ["pool", "crop"])
def test_what_was_found_becomes_a_prompt(engine, ontology, found, mode):
    labels, scores = found
    refined = refine_prompts(ontology, PICTURE, labels, scores, engine=engine, mode=mode)
    assert refined.origins == ("refined", "refined", None)
    assert refined.visual.embedding[0, 0].argmax() == RED
    assert refined.visual.embedding[1, 0].argmax() == BLUE


def test_pooling_needs_no_encoder(engine, ontology, found):
    features = engine.encode_image(PICTURE)
    before = dict(engine.calls)
    refine_prompts(ontology, features, *found, engine=engine)
    assert engine.calls == before


def test_alpha_is_the_share_of_the_new(engine, ontology, found):
    once = refine_prompts(ontology, PICTURE, *found, engine=engine, alpha=1)
    old = once.replace_visual(0, pooled_white(engine))
    refined = refine_prompts(old, PICTURE, *found, engine=engine, alpha=0.25)
    mixed = 0.75 * old.visual.embedding[0] + 0.25 * once.visual.embedding[0]
    mixed /= np.linalg.norm(mixed, axis=-1, keepdims=True)
    np.testing.assert_allclose(refined.visual.embedding[0], mixed, atol=1e-5)


def pooled_white(engine):
    from dpseg.prompts.pooling import pool_regions

    return pool_regions(engine.encode_prompt(paint()), np.ones((1, 1, 1), np.float32))


def test_small_or_unsure_regions_keep_their_prompt(engine, ontology, found):
    labels, scores = found
    features = engine.encode_image(PICTURE)
    assert refine_prompts(ontology, features, labels, scores * 0.1, engine=engine) is ontology
    speck = np.zeros_like(labels)
    speck[0, 0] = 1
    refined = refine_prompts(
        ontology, features, speck, np.ones_like(scores), engine=engine, min_area=0.02
    )
    assert refined.origins == ("refined", None, None)


def test_a_picture_all_unlabelled_keeps_all_prompts(engine, ontology, found):
    labels, scores = found
    features = engine.encode_image(PICTURE)
    nothing = np.full_like(labels, -1)
    assert refine_prompts(ontology, features, nothing, scores, engine=engine) is ontology


def test_a_region_without_any_score_is_left_out(engine, ontology, found):
    labels, scores = found
    refined = refine_prompts(
        ontology, PICTURE, labels, scores * 0, engine=engine, min_score=0, min_area=0
    )
    assert refined is ontology


def test_words_alone_stay_words_alone(engine, found):
    ontology = PromptOntology.build(engine, Vocabulary.of("red, blue, green"), prompts="text")
    assert refine_prompts(ontology, PICTURE, *found, engine=engine) is ontology


def test_bad_input_is_refused(engine, ontology, found):
    labels, scores = found
    features = engine.encode_image(PICTURE)
    with pytest.raises(PromptError, match="'zoom'"):
        refine_prompts(ontology, features, labels, scores, engine=engine, mode="zoom")
    with pytest.raises(PromptError, match="needs the picture's pixels"):
        refine_prompts(ontology, features, labels, scores, engine=engine, mode="crop")
    with pytest.raises(PromptError, match="give image"):
        refine_rounds(engine, features, ontology, rounds=1, mode="crop")
    with pytest.raises(ShapeError, match="do not fit 3 classes"):
        refine_prompts(ontology, features, labels, scores[:2], engine=engine)


def test_rounds_stop_when_nothing_changes(engine, ontology):
    features = engine.encode_image(PICTURE)
    refined = refine_rounds(engine, features, ontology, rounds=5)
    assert refined.rounds == 1
    assert engine.calls["score"] == 2
    assert refined.logits.shape == (3, 12, 12)


def test_a_round_scores_the_found_classes_only(engine, ontology):
    features = engine.encode_image(PICTURE)
    first = engine.score(features, ontology.arrays)
    found = found_classes(first.argmax(axis=0))
    refined = refine_rounds(engine, features, ontology, rounds=1)
    changed = [k for k in range(3) if not np.array_equal(refined.logits[k], first[k])]
    assert set(changed) <= set(found) < {0, 1, 2}


def test_found_classes():
    assert found_classes(np.array([[3, -1], [0, 3]])) == [0, 3]


def test_rounds_stop_when_no_class_takes_part(engine, ontology):
    features = engine.encode_image(PICTURE)
    settings = RefineSettings(min_score=2)
    refined = refine_rounds(engine, features, ontology, rounds=5, settings=settings)
    assert refined.rounds == 0
    assert refined.ontology is ontology


def test_no_rounds_only_score(engine, ontology):
    features = engine.encode_image(PICTURE)
    refined = refine_rounds(engine, features, ontology, rounds=0)
    assert engine.calls["score"] == 1
    np.testing.assert_array_equal(refined.logits, engine.score(features, ontology.arrays))


def test_crop_rounds(engine, ontology):
    refined = refine_rounds(
        engine, engine.encode_image(PICTURE), ontology, rounds=1, mode="crop", image=PICTURE
    )
    assert refined.ontology.origins[0] == "refined"
    assert engine.calls["prompt"] == 3  # two crops; one empty picture for the shapes


def test_refinement_makes_the_found_classes_surer(engine, ontology):
    features = engine.encode_image(PICTURE)
    first = engine.score(features, ontology.arrays).max(axis=0)
    assert refine_rounds(engine, features, ontology, rounds=1).logits.max(axis=0).mean() > (
        first.mean()
    )


def test_stillness_and_sigmoid():
    before = np.zeros((100, 10), int)
    after = before.copy()
    after[0, :4] = 1
    assert is_still(before, after)
    after[0, :5] = 1
    assert not is_still(before, after)
    values = np.array([-500, 0, 2], np.float32)
    np.testing.assert_allclose(sigmoid(values), [0, 0.5, 0.880797], atol=1e-6)


def test_an_unsure_region_does_not_become_surer(engine, ontology, found):
    labels, scores = found
    sure = np.where(scores == scores.max(axis=0), 0.61, 0).astype(np.float32)
    refined = refine_prompts(ontology, PICTURE, labels, sure, engine=engine)
    assert refined.origins[:2] == ("refined", "refined")
    assert refine_prompts(ontology, PICTURE, labels, sure - 0.02, engine=engine) is ontology


def test_the_scenes_prior_stands_in_every_round(engine, ontology):
    features = engine.encode_image(PICTURE)
    classes = len(ontology.vocabulary)
    prior = np.zeros((classes, 1, 1), np.float32)
    prior[0] = -50
    logits = engine.score(features, ontology.arrays)
    for rounds in (0, 1):
        refined = refine_rounds(engine, features, ontology, rounds=rounds, prior=prior)
        assert refined.logits[0].max() < -20
    plain = refine_rounds(engine, features, ontology, rounds=0, prior=prior)
    np.testing.assert_allclose(plain.logits, logits + prior, rtol=1e-5)
