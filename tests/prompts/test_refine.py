"""Refinement of prompts by what was found."""

import numpy as np
import pytest

from colour_runtime import COLOURS, paint
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
def ontology(runtime):
    return PromptOntology.build(runtime, Vocabulary.of("red, blue, green"))


@pytest.fixture
def found(runtime, ontology):
    logits = runtime.score(runtime.encode_image(PICTURE), ontology.arrays)
    return logits.argmax(axis=0), sigmoid(logits)


@pytest.mark.parametrize("mode", ["pool", "crop"])
def test_what_was_found_becomes_a_prompt(runtime, ontology, found, mode):
    labels, scores = found
    refined = refine_prompts(ontology, PICTURE, labels, scores, runtime=runtime, mode=mode)
    assert refined.origins == ("refined", "refined", None)
    assert refined.visual.embedding[0, 0].argmax() == RED
    assert refined.visual.embedding[1, 0].argmax() == BLUE


def test_pooling_needs_no_encoder(runtime, ontology, found):
    features = runtime.encode_image(PICTURE)
    before = dict(runtime.calls)
    refine_prompts(ontology, features, *found, runtime=runtime)
    assert runtime.calls == before


def test_alpha_is_the_share_of_the_new(runtime, ontology, found):
    once = refine_prompts(ontology, PICTURE, *found, runtime=runtime, alpha=1)
    old = once.replace_visual(0, pooled_white(runtime))
    refined = refine_prompts(old, PICTURE, *found, runtime=runtime, alpha=0.25)
    mixed = 0.75 * old.visual.embedding[0] + 0.25 * once.visual.embedding[0]
    mixed /= np.linalg.norm(mixed, axis=-1, keepdims=True)
    np.testing.assert_allclose(refined.visual.embedding[0], mixed, atol=1e-5)


def pooled_white(runtime):
    from dpseg.prompts.pooling import pool_regions

    return pool_regions(runtime.encode_prompt(paint()), np.ones((1, 1, 1), np.float32))


def test_small_or_unsure_regions_keep_their_prompt(runtime, ontology, found):
    labels, scores = found
    features = runtime.encode_image(PICTURE)
    assert refine_prompts(ontology, features, labels, scores * 0.1, runtime=runtime) is ontology
    speck = np.zeros_like(labels)
    speck[0, 0] = 1
    refined = refine_prompts(
        ontology, features, speck, np.ones_like(scores), runtime=runtime, min_area=0.02
    )
    assert refined.origins == ("refined", None, None)


def test_a_picture_all_unlabelled_keeps_all_prompts(runtime, ontology, found):
    labels, scores = found
    features = runtime.encode_image(PICTURE)
    nothing = np.full_like(labels, -1)
    assert refine_prompts(ontology, features, nothing, scores, runtime=runtime) is ontology


def test_a_region_without_any_score_is_left_out(runtime, ontology, found):
    labels, scores = found
    refined = refine_prompts(
        ontology, PICTURE, labels, scores * 0, runtime=runtime, min_score=0, min_area=0
    )
    assert refined is ontology


def test_words_alone_stay_words_alone(runtime, found):
    ontology = PromptOntology.build(runtime, Vocabulary.of("red, blue, green"), prompts="text")
    assert refine_prompts(ontology, PICTURE, *found, runtime=runtime) is ontology


def test_bad_input_is_refused(runtime, ontology, found):
    labels, scores = found
    features = runtime.encode_image(PICTURE)
    with pytest.raises(PromptError, match="'zoom'"):
        refine_prompts(ontology, features, labels, scores, runtime=runtime, mode="zoom")
    with pytest.raises(PromptError, match="needs the picture's pixels"):
        refine_prompts(ontology, features, labels, scores, runtime=runtime, mode="crop")
    with pytest.raises(PromptError, match="give image"):
        refine_rounds(runtime, features, ontology, rounds=1, mode="crop")
    with pytest.raises(ShapeError, match="do not fit 3 classes"):
        refine_prompts(ontology, features, labels, scores[:2], runtime=runtime)


def test_rounds_stop_when_nothing_changes(runtime, ontology):
    features = runtime.encode_image(PICTURE)
    refined = refine_rounds(runtime, features, ontology, rounds=5)
    assert refined.rounds == 1
    assert runtime.calls["score"] == 2
    assert refined.logits.shape == (3, 12, 12)


def test_a_round_scores_the_found_classes_only(runtime, ontology):
    features = runtime.encode_image(PICTURE)
    first = runtime.score(features, ontology.arrays)
    found = found_classes(first.argmax(axis=0))
    refined = refine_rounds(runtime, features, ontology, rounds=1)
    changed = [k for k in range(3) if not np.array_equal(refined.logits[k], first[k])]
    assert set(changed) <= set(found) < {0, 1, 2}


def test_found_classes():
    assert found_classes(np.array([[3, -1], [0, 3]])) == [0, 3]


def test_rounds_stop_when_no_class_takes_part(runtime, ontology):
    features = runtime.encode_image(PICTURE)
    settings = RefineSettings(min_score=2)
    refined = refine_rounds(runtime, features, ontology, rounds=5, settings=settings)
    assert refined.rounds == 0
    assert refined.ontology is ontology


def test_no_rounds_only_score(runtime, ontology):
    features = runtime.encode_image(PICTURE)
    refined = refine_rounds(runtime, features, ontology, rounds=0)
    assert runtime.calls["score"] == 1
    np.testing.assert_array_equal(refined.logits, runtime.score(features, ontology.arrays))


def test_crop_rounds(runtime, ontology):
    refined = refine_rounds(
        runtime, runtime.encode_image(PICTURE), ontology, rounds=1, mode="crop", image=PICTURE
    )
    assert refined.ontology.origins[0] == "refined"
    assert runtime.calls["prompt"] == 3  # two crops; one empty picture for the shapes


def test_refinement_makes_the_found_classes_surer(runtime, ontology):
    features = runtime.encode_image(PICTURE)
    first = runtime.score(features, ontology.arrays).max(axis=0)
    assert refine_rounds(runtime, features, ontology, rounds=1).logits.max(axis=0).mean() > (
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


def test_an_unsure_region_does_not_become_surer(runtime, ontology, found):
    labels, scores = found
    sure = np.where(scores == scores.max(axis=0), 0.61, 0).astype(np.float32)
    refined = refine_prompts(ontology, PICTURE, labels, sure, runtime=runtime)
    assert refined.origins[:2] == ("refined", "refined")
    assert refine_prompts(ontology, PICTURE, labels, sure - 0.02, runtime=runtime) is ontology


def test_the_scenes_prior_stands_in_every_round(runtime, ontology):
    features = runtime.encode_image(PICTURE)
    classes = len(ontology.vocabulary)
    prior = np.zeros((classes, 1, 1), np.float32)
    prior[0] = -50
    logits = runtime.score(features, ontology.arrays)
    for rounds in (0, 1):
        refined = refine_rounds(runtime, features, ontology, rounds=rounds, prior=prior)
        assert refined.logits[0].max() < -20
    plain = refine_rounds(runtime, features, ontology, rounds=0, prior=prior)
    np.testing.assert_allclose(plain.logits, logits + prior, rtol=1e-5)
