"""Tuned prompts: their file, and how they take the place of others."""

from dataclasses import replace

import numpy as np
import pytest

from colour_engine import COLOURS, paint
from dpseg.errors import PromptError
from dpseg.prompts.ontology import PromptOntology
from dpseg.prompts.tuned import TunedPrompts
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import Vocabulary

WHOLE = np.ones((96, 96))
GREEN = list(COLOURS).index("green")


@pytest.fixture
def tuned(engine):
    """A zorblax that is green, by word and by picture; and a blue that stays blue."""
    vocabulary = Vocabulary.of("blue, green zorblax thing")
    examples = {"green zorblax thing": [(paint(ground="green"), WHOLE)]}
    ontology = PromptOntology.build(engine, vocabulary, examples=examples)
    rows = TunedPrompts.of_rows(ontology, [1, 0], "colour")
    return replace(rows, names=("zorblax|zorb", "blue"))


def test_a_file_gives_back_what_was_saved(tuned, tmp_path):
    tuned.save(tmp_path / "tuned.safetensors")
    again = TunedPrompts.load(tmp_path / "tuned.safetensors")
    assert again.names == tuned.names
    assert again.encoder_key == "colour"
    np.testing.assert_allclose(again.text_embedding, tuned.text_embedding, atol=1e-3)
    np.testing.assert_allclose(again.visual.tokens, tuned.visual.tokens, atol=1e-3)
    np.testing.assert_array_equal(again.text_token_mask, tuned.text_token_mask)
    assert again.visual.features.keys() == tuned.visual.features.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["tuned.safetensors"]


def test_rows_go_to_classes_of_the_same_words(engine, tuned):
    ontology = PromptOntology.build(engine, Vocabulary.of("red, creature|Zorb, sky"))
    changed = tuned.applied(ontology, "colour")
    assert changed.origins == (None, "tuned", None)
    np.testing.assert_array_equal(changed.text_embedding[1], tuned.text_embedding[0])
    np.testing.assert_array_equal(changed.visual.embedding[1], tuned.visual.embedding[0])
    np.testing.assert_array_equal(changed.text_embedding[[0, 2]], ontology.text_embedding[[0, 2]])
    # three words were tuned, the others have one each
    assert changed.text_token_mask.sum(axis=1).tolist() == [1, 3, 1]
    assert changed.text_tokens.shape[:2] == changed.text_token_mask.shape
    assert changed.arrays.visual_mask.tolist() == [False, True, False]
    assert ontology.origins == (None, None, None)


def test_without_a_common_class_nothing_changes(engine, tuned):
    ontology = PromptOntology.build(engine, Vocabulary.of("red, sky"))
    assert tuned.applied(ontology, "colour") is ontology


def test_prompts_of_another_model_are_refused(engine, tuned):
    ontology = PromptOntology.build(engine, Vocabulary.of("zorblax"))
    with pytest.raises(PromptError, match="tuned for encoder 'colour' and do not fit 'other'"):
        tuned.applied(ontology, "other")


def test_a_segmenter_finds_what_was_tuned(engine, cache, tuned, tmp_path):
    segmenter = Segmenter(engine, cache=cache)
    photo = paint(("green", 24, 72, 24, 72))
    tuned.save(tmp_path / "tuned.safetensors")
    for given in (tuned, tmp_path / "tuned.safetensors"):
        result = segmenter(photo, "zorblax, white", unlabelled=False, tuned=given)
        assert result.mask("zorblax")[32:64, 32:64].all()
    plain = segmenter(photo, "zorblax, white", unlabelled=False)
    assert not plain.mask("zorblax")[32:64, 32:64].any()


@pytest.mark.parametrize("content", [None, b"", b"no safetensors"])
def test_files_of_another_kind_are_refused(content, tmp_path):
    path = tmp_path / "tuned.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PromptError, match="cannot read tuned prompts"):
        TunedPrompts.load(path)


def test_a_bank_is_no_file_of_tuned_prompts(engine, tmp_path):
    from dpseg.prompts.bank import build_bank
    from dpseg.prompts.visual import ExemplarSource

    vocabulary = Vocabulary.of("red")
    source = ExemplarSource(engine, {"red": [(paint(ground="red"), WHOLE)]})
    build_bank(engine, vocabulary, source.prompts_for(vocabulary)).save(tmp_path / "bank")
    with pytest.raises(PromptError, match="holds no tuned prompts"):
        TunedPrompts.load(tmp_path / "bank")


def test_a_file_in_no_folder_cannot_be_written(tuned, tmp_path):
    with pytest.raises(PromptError, match="cannot write"):
        tuned.save(tmp_path / "none" / "tuned.safetensors")
