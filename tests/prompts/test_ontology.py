"""The prompt ontology."""

import time

import numpy as np
import pytest

from colour_engine import COLOURS, DIMENSION, ColourEngine, paint
from dpseg.engines.protocol import VisualEmbedding
from dpseg.errors import PromptError, ShapeError, VocabularyError
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.embedding import fill_templates, match_tokens, stack_rows, take_rows
from dpseg.prompts.ontology import PromptOntology
from dpseg.prompts.pooling import l2_normalize, pool_regions
from dpseg.vocabulary import Vocabulary

RED, BLUE, GREEN = (list(COLOURS).index(name) for name in ("red", "blue", "green"))


def picture_prompt(*colours: str) -> VisualEmbedding:
    """One row for each colour."""
    rows = []
    for colour in colours:
        features = ColourEngine().encode_prompt(paint(ground=colour))
        rows.append(pool_regions(features, np.ones((1, 1, 1), np.float32)))
    return stack_rows(rows)


@pytest.fixture
def bank() -> PromptBank:
    colours = ("red", "green", "blue", "yellow")
    text = ColourEngine().encode_text(colours).class_wise
    return PromptBank("colour", colours, text, picture_prompt(*colours))


def test_shapes(engine, bank):
    arrays = PromptOntology.build(engine, Vocabulary.of("red, sky, x y z"), bank=bank).arrays
    assert arrays.text_embedding.shape == arrays.visual_embedding.shape == (3, 2, DIMENSION)
    assert {j: v.shape for j, v in arrays.visual_features.items()} == {3: (3, 2, 3), 2: (3, 2, 3)}
    assert arrays.text_tokens.shape == (3, 3, DIMENSION)
    assert arrays.visual_tokens.shape == (3, 4, DIMENSION)
    assert arrays.visual_mask.all()


def test_origins(engine, bank):
    ontology = PromptOntology.build(
        engine,
        Vocabulary.of(["scarlet|red", "sky", "blue"]),
        bank=bank,
        examples={"blue": [paint(ground="green")]},
    )
    assert ontology.origins == ("bank exact", "bank retrieved", "example")
    visual = ontology.arrays.visual_embedding
    assert visual[0, 0].argmax() == RED
    assert visual[2, 0].argmax() == GREEN  # the example outranks the bank


def test_select_gives_the_prompts_of_those_classes_alone(engine, bank):
    whole = PromptOntology.build(engine, Vocabulary.of(["cat", "grass", "sky"]), bank=bank)
    alone = PromptOntology.build(engine, Vocabulary.of(["sky", "cat"]), bank=bank)
    part = whole.select([2, 0])
    assert part.vocabulary.names == ["sky", "cat"]
    assert part.origins == alone.origins
    for name in ("text_embedding", "visual_embedding", "visual_tokens", "visual_mask"):
        np.testing.assert_allclose(
            getattr(part.arrays, name), getattr(alone.arrays, name), atol=1e-6
        )


def test_joined_is_the_ontology_of_all_classes(engine, bank):
    examples = {"blue": [paint(ground="green")]}
    first = PromptOntology.build(engine, Vocabulary.of("red, x y z"), bank=bank)
    second = PromptOntology.build(engine, Vocabulary.of("blue"), bank=bank, examples=examples)
    joined = first.joined(second)
    whole = PromptOntology.build(
        engine, Vocabulary.of("red, x y z, blue"), bank=bank, examples=examples
    )
    assert joined.vocabulary.names == whole.vocabulary.names
    assert joined.origins == whole.origins
    for name in ("text_embedding", "text_tokens", "visual_tokens", "visual_mask"):
        np.testing.assert_array_equal(getattr(joined.arrays, name), getattr(whole.arrays, name))
    with pytest.raises(VocabularyError):
        joined.joined(second)


def test_arrays_of_some_classes(engine, bank):
    arrays = PromptOntology.build(engine, Vocabulary.of("red, sky, blue"), bank=bank).arrays
    some = arrays.select([2, 0])
    for name in ("text_embedding", "text_token_mask", "visual_embedding", "visual_mask"):
        np.testing.assert_array_equal(getattr(some, name), getattr(arrays, name)[[2, 0]])
    np.testing.assert_array_equal(some.visual_features[3], arrays.visual_features[3][[2, 0]])


def test_without_any_source_there_is_no_visual_prompt(engine):
    arrays = PromptOntology.build(engine, Vocabulary.of("red, blue")).arrays
    assert not arrays.visual_mask.any()
    assert arrays.visual_features[3].shape == (2, 2, 3)  # the shapes are the model's all the same


def test_one_class_of_many_has_examples(engine):
    ontology = PromptOntology.build(
        engine, Vocabulary.of("red, blue"), examples={"blue": [paint(ground="blue")]}
    )
    assert ontology.arrays.visual_mask.tolist() == [False, True]
    assert ontology.origins == (None, "example")


def test_pictures_spread_over_the_template_slots():
    rows = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(fill_templates(rows[:1], 2), rows[[0, 0]])
    np.testing.assert_allclose(fill_templates(rows[:2], 3), rows[[0, 1, 0]])
    np.testing.assert_allclose(fill_templates(rows, 2), l2_normalize([[1, 0, 1], [0, 1, 0]]))
    np.testing.assert_allclose(fill_templates(rows, 1), l2_normalize([[1, 1, 1]]))


def test_only_text_and_only_visual(engine, bank):
    vocabulary = Vocabulary.of("red, sky")
    dual = PromptOntology.build(engine, vocabulary, bank=bank).arrays
    text = PromptOntology.build(engine, vocabulary, bank=bank, prompts="text").arrays
    visual = PromptOntology.build(engine, vocabulary, bank=bank, prompts="visual").arrays
    assert not text.visual_mask.any()
    np.testing.assert_array_equal(text.text_embedding, dual.text_embedding)
    np.testing.assert_array_equal(visual.text_embedding, dual.visual_embedding)
    assert not visual.text_token_mask.any()
    assert visual.visual_mask.all()


def test_what_cannot_be_built_is_refused(engine, bank):
    vocabulary = Vocabulary.of("red, sky")
    with pytest.raises(PromptError, match=r"need a picture of each class; none: \['sky'\]"):
        PromptOntology.build(
            engine, vocabulary, examples={"red": [paint(ground="red")]}, prompts="visual"
        )
    with pytest.raises(PromptError, match="'both'"):
        PromptOntology.build(engine, vocabulary, prompts="both")
    with pytest.raises(PromptError, match="does not fit 'other'"):
        PromptOntology.build(ColourEngine(key="other"), vocabulary, bank=bank)


def test_replacing_a_prompt(engine, bank):
    ontology = PromptOntology.build(engine, Vocabulary.of("red, sky"), bank=bank)
    green = picture_prompt("green")
    full = ontology.replace_visual(0, green)
    half = ontology.replace_visual(0, green, 0.5)
    none = ontology.replace_visual(0, green, 0)
    assert full.origins == ("refined", "bank retrieved")
    assert ontology.origins[0] == "bank exact"
    before, after = ontology.visual.embedding, half.visual.embedding
    np.testing.assert_allclose(full.visual.embedding[0, 0], green.class_wise[0], atol=1e-6)
    np.testing.assert_allclose(after[0], l2_normalize(before[0] + green.class_wise), atol=1e-6)
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_allclose(none.visual.embedding, before, atol=1e-6)
    np.testing.assert_allclose(none.visual.tokens[1], ontology.visual.tokens[1], atol=1e-6)


def test_a_class_without_a_prompt_starts_from_its_text(engine):
    ontology = PromptOntology.build(engine, Vocabulary.of("red, sky"))
    blue = picture_prompt("blue")
    replaced = ontology.replace_visual(1, blue, 0.3)
    mixed = l2_normalize(0.7 * ontology.text_embedding[1] + 0.3 * blue.class_wise)
    np.testing.assert_allclose(replaced.visual.embedding[1], mixed, atol=1e-6)
    np.testing.assert_allclose(replaced.visual.features[3][1, 0], blue.level_wise[3][0], atol=1e-6)
    np.testing.assert_allclose(replaced.visual.tokens[1], blue.token_wise[0], atol=1e-6)
    assert replaced.arrays.visual_mask.tolist() == [False, True]


def test_several_rows_replace_several_classes(engine, bank):
    ontology = PromptOntology.build(engine, Vocabulary.of("red, sky, blue"), bank=bank)
    rows = picture_prompt("green", "yellow")
    together = ontology.replace_rows([2, 0], rows, 0.5)
    one = ontology.replace_visual(2, take_rows(rows, [0]), 0.5)
    one = one.replace_visual(0, take_rows(rows, [1]), 0.5)
    np.testing.assert_allclose(together.visual.embedding, one.visual.embedding, atol=1e-6)
    np.testing.assert_allclose(together.visual.tokens, one.visual.tokens, atol=1e-6)


def test_prompts_that_do_not_fit_are_refused(engine, bank):
    ontology = PromptOntology.build(engine, Vocabulary.of("red"), bank=bank)
    other = VisualEmbedding(np.ones((1, 5)), {3: np.ones((1, 3))}, np.ones((1, 4, 5)))
    with pytest.raises(ShapeError, match="sizes"):
        ontology.replace_visual(0, other)
    with pytest.raises(PromptError, match="weight is 2"):
        ontology.replace_visual(0, picture_prompt("red"), 2)
    with pytest.raises(PromptError, match="no class 1; there are 1"):
        ontology.replace_visual(1, picture_prompt("red"))
    with pytest.raises(ShapeError, match="different models"):
        stack_rows([picture_prompt("red"), other])


def test_tokens_are_matched_not_mixed_by_position():
    tokens = np.eye(4, dtype=np.float32)
    shuffled = tokens[[2, 0, 3, 1]]
    np.testing.assert_array_equal(match_tokens(tokens, shuffled), tokens)


def test_dual_prompts_tell_what_words_alone_do_not(engine):
    picture = paint(("green", 0, 48, 0, 96), ("blue", 48, 96, 0, 96))
    features = engine.encode_image(picture)
    vocabulary = Vocabulary.of("zorblax, blue")
    examples = {"zorblax": [(paint(ground="green"), np.ones((96, 96)))]}
    dual = PromptOntology.build(engine, vocabulary, examples=examples)
    labels = engine.score(features, dual.arrays).argmax(axis=0)
    assert (labels[:6] == 0).all()
    assert (labels[6:] == 1).all()


def test_building_is_quick(engine, bank, cache):
    vocabulary = Vocabulary.of([f"thing {i}" for i in range(20)])
    PromptOntology.build(engine, vocabulary, bank=bank, cache=cache)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        _ = PromptOntology.build(engine, vocabulary, bank=bank, cache=cache).arrays
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05  # about 2 ms on an idle machine
