"""From a vocabulary to its prompts, and how pictures change them."""

import numpy as np
import pytest

from colour_engine import COLOURS, DIMENSION, ColourEngine, paint
from dpseg.arrays import concat_records
from dpseg.errors import PromptError, ShapeError
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.blend import fill_templates, match_tokens
from dpseg.prompts.pooling import VisualEmbedding, l2_normalize, pool_regions
from dpseg.prompts.prompt_set import build_prompts, in_mode, repeat_templates, show_pictures
from dpseg.vocabulary import Vocabulary

RED, BLUE, GREEN = (list(COLOURS).index(name) for name in ("red", "blue", "green"))


def picture_prompt(*colours: str) -> VisualEmbedding:
    """One row for each colour."""
    rows = []
    for colour in colours:
        features = ColourEngine().encode_prompt(paint(ground=colour))
        rows.append(pool_regions(features, np.ones((1, 1, 1), np.float32)))
    return concat_records(rows)


@pytest.fixture
def bank() -> PromptBank:
    colours = ("red", "green", "blue", "yellow")
    text = ColourEngine().encode_text(colours).class_wise
    return PromptBank("colour", colours, text, picture_prompt(*colours))


def test_shapes(engine, bank):
    prompts = build_prompts(engine, Vocabulary.of("red, sky, x y z"), bank=bank)
    assert prompts.text_embedding.shape == prompts.visual_embedding.shape == (3, 2, DIMENSION)
    assert {j: v.shape for j, v in prompts.visual_features.items()} == {3: (3, 2, 3), 2: (3, 2, 3)}
    assert prompts.text_tokens.shape == (3, 3, DIMENSION)
    assert prompts.visual_tokens.shape == (3, 4, DIMENSION)
    assert prompts.visual_mask.all()


def test_pictures_outrank_the_bank(engine, bank):
    vocabulary = Vocabulary.of(["scarlet|red", "sky", "blue"])
    prompts = build_prompts(engine, vocabulary, bank=bank, pictures={2: picture_prompt("green")})
    assert prompts.visual_embedding[0, 0].argmax() == RED
    assert prompts.visual_embedding[2, 0].argmax() == GREEN


def test_a_class_has_the_prompts_that_it_has_alone(engine, bank):
    whole = build_prompts(engine, Vocabulary.of(["cat", "grass", "sky"]), bank=bank)
    alone = build_prompts(engine, Vocabulary.of(["sky", "cat"]), bank=bank)
    for name, table in whole.select([2, 0]).to_tensors().items():
        np.testing.assert_allclose(table, alone.to_tensors()[name], atol=1e-6)


def test_classes_can_come_one_after_the_other(engine, bank):
    green = picture_prompt("green")
    first = build_prompts(engine, Vocabulary.of("red, x y z"), bank=bank)
    second = build_prompts(engine, Vocabulary.of("blue"), bank=bank, pictures={0: green})
    whole = build_prompts(engine, Vocabulary.of("red, x y z, blue"), bank=bank, pictures={2: green})
    for name, table in first.concat(second).to_tensors().items():
        np.testing.assert_allclose(table, whole.to_tensors()[name], atol=1e-6)


def test_without_any_source_there_is_no_visual_prompt(engine):
    prompts = build_prompts(engine, Vocabulary.of("red, blue"))
    assert not prompts.visual_mask.any()
    assert prompts.visual_features[3].shape == (2, 2, 3)  # the shapes are the model's all the same


def test_one_class_of_many_has_pictures(engine):
    prompts = build_prompts(
        engine, Vocabulary.of("red, blue"), pictures={1: picture_prompt("blue")}
    )
    assert prompts.visual_mask.tolist() == [False, True]
    assert not prompts.visual_embedding[0].any()


def test_pictures_spread_over_the_template_slots():
    rows = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(fill_templates(rows[:1], 2), rows[[0, 0]])
    np.testing.assert_allclose(fill_templates(rows[:2], 3), rows[[0, 1, 0]])
    np.testing.assert_allclose(fill_templates(rows, 2), l2_normalize([[1, 0, 1], [0, 1, 0]]))
    np.testing.assert_allclose(fill_templates(rows, 1), l2_normalize([[1, 1, 1]]))


def test_only_text_and_only_visual(engine, bank):
    dual = build_prompts(engine, Vocabulary.of("red, sky"), bank=bank)
    assert in_mode(dual, "dual") is dual
    text, visual = in_mode(dual, "text"), in_mode(dual, "visual")
    assert not text.visual_mask.any()
    np.testing.assert_array_equal(text.text_embedding, dual.text_embedding)
    np.testing.assert_array_equal(visual.text_embedding, dual.visual_embedding)
    assert not visual.text_token_mask.any()
    assert visual.visual_mask.all()


def test_fewer_templates_repeat_the_first(engine, bank):
    engine = ColourEngine(templates=("{}", "a {}", "red {}"))
    prompts = build_prompts(engine, Vocabulary.of("blue, sky"), bank=bank)
    two = repeat_templates(prompts, 2)
    np.testing.assert_array_equal(two.text_embedding, prompts.text_embedding[:, [0, 1, 0]])
    np.testing.assert_array_equal(two.visual_features[3], prompts.visual_features[3][:, [0, 1, 0]])
    with pytest.raises(PromptError, match="4 templates are asked for; the model has 3"):
        repeat_templates(prompts, 4)


def test_a_bank_of_another_encoder_is_refused(bank):
    with pytest.raises(PromptError, match="does not fit 'other'"):
        build_prompts(ColourEngine(key="other"), Vocabulary.of("red"), bank=bank)


def test_the_weight_is_the_share_of_the_pictures(engine, bank):
    prompts = build_prompts(engine, Vocabulary.of("red, sky"), bank=bank)
    green = picture_prompt("green")
    full, half, none = (show_pictures(prompts, [0], [green], w) for w in (1, 0.5, 0))
    before, after = prompts.visual_embedding, half.visual_embedding
    np.testing.assert_allclose(full.visual_embedding[0, 0], green.class_wise[0], atol=1e-6)
    np.testing.assert_allclose(after[0], l2_normalize(before[0] + green.class_wise), atol=1e-6)
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_allclose(none.visual_embedding, before, atol=1e-6)
    np.testing.assert_allclose(none.visual_tokens[1], prompts.visual_tokens[1], atol=1e-6)
    assert show_pictures(prompts, [], []) is prompts


def test_a_class_without_a_prompt_starts_from_its_text(engine):
    prompts = build_prompts(engine, Vocabulary.of("red, sky"))
    blue = picture_prompt("blue")
    shown = show_pictures(prompts, [1], [blue], 0.3)
    mixed = l2_normalize(0.7 * prompts.text_embedding[1] + 0.3 * blue.class_wise)
    np.testing.assert_allclose(shown.visual_embedding[1], mixed, atol=1e-6)
    np.testing.assert_allclose(shown.visual_features[3][1, 0], blue.level_wise[3][0], atol=1e-6)
    np.testing.assert_allclose(shown.visual_tokens[1], blue.token_wise[0], atol=1e-6)
    assert shown.visual_mask.tolist() == [False, True]


def test_several_classes_are_shown_at_once(engine, bank):
    prompts = build_prompts(engine, Vocabulary.of("red, sky, blue"), bank=bank)
    green, yellow = picture_prompt("green"), picture_prompt("yellow")
    together = show_pictures(prompts, [2, 0], [green, yellow], 0.5)
    one = show_pictures(show_pictures(prompts, [2], [green], 0.5), [0], [yellow], 0.5)
    for name, table in together.to_tensors().items():
        np.testing.assert_allclose(table, one.to_tensors()[name], atol=1e-6)


def test_pictures_that_do_not_fit_are_refused(engine, bank):
    prompts = build_prompts(engine, Vocabulary.of("red"), bank=bank)
    other = VisualEmbedding(np.ones((1, 5)), {3: np.ones((1, 3))}, np.ones((1, 4, 5)))
    with pytest.raises(ShapeError, match="different models"):
        show_pictures(prompts, [0], [other])
    with pytest.raises(PromptError, match="weight is 2"):
        show_pictures(prompts, [0], [picture_prompt("red")], 2)
    with pytest.raises(PromptError, match="no class 1; there are 1"):
        show_pictures(prompts, [1], [picture_prompt("red")])
    with pytest.raises(ShapeError, match="different models"):
        concat_records([picture_prompt("red"), other])


def test_tokens_are_matched_not_mixed_by_order():
    tokens = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(match_tokens(tokens, tokens[[2, 0, 3, 1]]), tokens)


def test_dual_prompts_tell_what_words_alone_do_not(engine):
    picture = paint(("green", 0, 48, 0, 96), ("blue", 48, 96, 0, 96))
    dual = build_prompts(
        engine, Vocabulary.of("zorblax, blue"), pictures={0: picture_prompt("green")}
    )
    labels = engine.score(engine.encode_image(picture), dual).argmax(axis=0)
    assert (labels[:6] == 0).all()
    assert (labels[6:] == 1).all()
