"""The path from a photo to labels: what is asked once, what is asked again, and in which order."""

import numpy as np
import pytest

from colour_engine import ColourEngine, paint
from dpseg.errors import PromptError
from dpseg.imaging.tiling import View, merge_labels
from dpseg.inference import class_prior as prior_module
from dpseg.inference.class_prior import class_prior
from dpseg.inference.options import DEFAULT_OPTIONS, OptionFields, SegmentOptions
from dpseg.inference.outlines import snap_scores
from dpseg.inference.predictor import Predictor
from dpseg.inference.unlabelled import UnlabelledRules
from dpseg.prompts.refine import RefineSettings, sigmoid
from dpseg.vocabulary import Vocabulary

PICTURE = paint(("red", 0, 48, 0, 96), ("blue", 48, 96, 0, 96))
NAMES = Vocabulary.of("red, blue, green")
EVERY_PIXEL = SegmentOptions(unlabelled=False)


@pytest.fixture
def predictor(engine, cache):
    return Predictor(engine, cache=cache)


def test_other_words_need_no_second_look(predictor, engine):
    encoded = predictor.encode(PICTURE)
    seen = engine.calls["image"]
    for names in ("red, blue", "green", "white, black"):
        query = predictor.prepare(Vocabulary.of(names), EVERY_PIXEL)
        fresh = query(PICTURE)
        np.testing.assert_array_equal(query(encoded).labels, fresh.labels)
    assert engine.calls["image"] == seen + 3  # the fresh ones alone


def test_every_pixel_is_labelled_with_the_class_prior(predictor, engine):
    """The prior is added to the logits; without the option it is not."""
    photo = paint(("red", 0, 4, 0, 4), ground="blue")
    encoded = predictor.encode(photo)
    query = predictor.prepare(NAMES, EVERY_PIXEL)
    logits = engine.score(encoded.features[0], query.prompts)
    prior = class_prior(logits)
    assert prior.min() < -1
    for with_prior, bias in ((True, prior), (False, 0)):
        options = EVERY_PIXEL.replace(class_prior=with_prior, snap=False)
        result = predictor.prepare(NAMES, options)(encoded)
        np.testing.assert_allclose(result.scores, sigmoid(logits + bias), atol=1e-6)
        whole = [View(0, 0, 96, 96, (96, 96))]
        expected = merge_labels([sigmoid(logits + bias)], whole, (96, 96), kept=3)
        np.testing.assert_array_equal(result.labels, expected)


def test_scores_and_labels_follow_the_edges_of_their_view(predictor):
    encoded = predictor.encode(PICTURE)
    plain, snapped = (
        predictor.prepare(NAMES, EVERY_PIXEL.replace(snap=snap))(encoded) for snap in (False, True)
    )
    (expected,) = snap_scores([plain.scores], encoded.images)
    assert not np.array_equal(plain.scores, expected)
    np.testing.assert_array_equal(snapped.scores, expected)
    np.testing.assert_array_equal(snapped.evidence.scores, expected)
    labels = merge_labels([expected], encoded.views, encoded.size_hw, kept=3)
    np.testing.assert_array_equal(snapped.labels, labels)
    assert (plain.settings["snap"], snapped.settings["snap"]) == (False, True)


def test_a_round_scores_the_found_classes_only(predictor, engine):
    first = predictor.prepare(NAMES, EVERY_PIXEL)(PICTURE).scores
    refined = predictor.prepare(NAMES, EVERY_PIXEL.replace(refine=1))(PICTURE)
    changed = [k for k in range(3) if not np.array_equal(refined.scores[k], first[k])]
    assert changed == [0, 1]
    assert refined.settings["refine_rounds"] == 1


def test_rounds_stop_when_nothing_changes(predictor, engine):
    before = engine.calls["score"]
    result = predictor.prepare(NAMES, EVERY_PIXEL.replace(refine=5))(PICTURE)
    assert result.settings["refine_rounds"] == 1
    assert engine.calls["score"] == before + 2


def test_rounds_stop_when_no_class_takes_part(predictor):
    options = EVERY_PIXEL.replace(refine=5, refinement=RefineSettings(min_score=2))
    assert predictor.prepare(NAMES, options)(PICTURE).settings["refine_rounds"] == 0


def test_words_alone_are_not_refined(predictor):
    options = EVERY_PIXEL.replace(refine=3, prompts="text")
    assert predictor.prepare(NAMES, options)(PICTURE).settings["refine_rounds"] == 0


def test_crop_rounds_encode_what_was_found(predictor, engine):
    query = predictor.prepare(NAMES, EVERY_PIXEL.replace(refine=1, refine_mode="crop"))
    before = engine.calls["prompt"]
    query(PICTURE)
    assert engine.calls["prompt"] == before + 2


def test_refinement_makes_the_found_classes_surer(predictor):
    first, refined = (
        predictor.prepare(NAMES, EVERY_PIXEL.replace(refine=n))(PICTURE).scores.max(axis=0).mean()
        for n in (0, 1)
    )
    assert refined > first


def test_a_region_below_the_threshold_is_no_prompt(engine, cache):
    """What stays unlabelled is not refined, even where its score alone would do."""
    options = SegmentOptions(refine=1, refinement=RefineSettings(min_score=0))
    rounds = {}
    for threshold in (0.0, 1.0):
        rules = UnlabelledRules(threshold=threshold)
        predictor = Predictor(engine, cache=cache, unlabelled_rules=rules)
        rounds[threshold] = predictor.prepare(NAMES, options)(PICTURE).settings["refine_rounds"]
    assert rounds == {0.0: 1, 1.0: 0}


def test_the_bias_of_the_first_round_stands_in_every_round(predictor, monkeypatch):
    def against_red(logits):
        bias = np.zeros((len(logits), 1, 1), np.float32)
        bias[0] = -50
        return bias

    monkeypatch.setattr(prior_module, "class_prior", against_red)
    for rounds in (0, 1):
        result = predictor.prepare(NAMES, EVERY_PIXEL.replace(refine=rounds))(PICTURE)
        assert result.scores[0].max() < 1e-8


def test_seds_protocol_sees_a_square_without_a_prior(predictor, engine):
    photo = np.repeat(PICTURE, 2, axis=1)  # 96 192 3
    options = EVERY_PIXEL.replace(protocol="sed")
    encoded = predictor.encode(photo, "sed")
    assert encoded.images[0].shape == (96, 96, 3)
    result = predictor.prepare(NAMES, options)(encoded)
    query = predictor.prepare(NAMES, options)
    np.testing.assert_allclose(
        result.scores, sigmoid(engine.score(encoded.features[0], query.prompts)), atol=1e-6
    )
    assert result.labels.shape == (96, 192)


def test_distractors_are_made_once(predictor, engine):
    query = predictor.prepare(Vocabulary.of("red"))
    query(PICTURE)
    sentences = len(engine.sentences)
    query(PICTURE)
    assert len(engine.sentences) == sentences


def test_visual_prompts_alone_need_a_picture_of_each_class(predictor):
    with pytest.raises(PromptError, match=r"need a picture of each class; none: \['red', 'blue'"):
        predictor.prepare(NAMES, SegmentOptions(prompts="visual"))


def test_fewer_templates(cache):
    def scores(sentences, templates=None):
        predictor = Predictor(ColourEngine(templates=sentences), cache=cache)
        return predictor.prepare(NAMES, EVERY_PIXEL.replace(templates=templates))(PICTURE).scores

    alone = scores(("{}",))
    np.testing.assert_allclose(scores(("{}", "red {}"), 1), alone, atol=1e-6)
    assert not np.allclose(scores(("{}", "red {}")), alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"refine": -1}, "refine is -1"),
        ({"refine_mode": "zoom"}, "refine_mode is 'zoom'; give one of 'pool', 'crop'"),
        ({"prompts": "both"}, "prompts is 'both'; give one of 'dual', 'text', 'visual'"),
        ({"protocol": "cat"}, "protocol is 'cat'"),
    ],
)
def test_impossible_options_are_refused(change, message):
    with pytest.raises(PromptError, match=message):
        SegmentOptions(**change)


def test_keywords_of_a_call_are_the_fields_of_the_record():
    assert set(OptionFields.__annotations__) == set(DEFAULT_OPTIONS.__dataclass_fields__)
