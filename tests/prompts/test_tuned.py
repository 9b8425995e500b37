"""Tuned prompts: their file, and how they take the place of others."""

from dataclasses import replace

import numpy as np
import pytest

from colour_engine import COLOURS, paint
from dpseg.errors import PromptError
from dpseg.prompts.prompt_set import build_prompts
from dpseg.prompts.tuned import TunedPrompts
from dpseg.prompts.visual import ExemplarSource
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import Vocabulary

WHOLE = np.ones((96, 96))
GREEN = list(COLOURS).index("green")


@pytest.fixture
def tuned(engine):
    """A zorblax that is green, by word and by picture; and a blue that stays blue."""
    vocabulary = Vocabulary.of("blue, green zorblax thing")
    shown = ExemplarSource(engine, {"green zorblax thing": [(paint(ground="green"), WHOLE)]})
    prompts = build_prompts(engine, vocabulary, pictures=shown.prompts_for(vocabulary))
    rows = TunedPrompts.of_classes(prompts, vocabulary, [1, 0], "colour")
    return replace(rows, names=("zorblax|zorb", "blue"))


def test_a_file_gives_back_what_was_saved(tuned, tmp_path):
    tuned.save(tmp_path / "tuned.safetensors")
    again = TunedPrompts.load(tmp_path / "tuned.safetensors")
    assert again.names == tuned.names
    assert again.encoder_key == "colour"
    saved, read = tuned.prompts.to_tensors(), again.prompts.to_tensors()
    assert read.keys() == saved.keys()
    assert read.pop("visual_mask").all()
    for name, table in read.items():
        np.testing.assert_allclose(table, saved[name], atol=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["tuned.safetensors"]


def test_rows_go_to_classes_of_the_same_words(engine, tuned):
    vocabulary = Vocabulary.of("red, creature|Zorb, sky")
    prompts = build_prompts(engine, vocabulary)
    changed = tuned.applied(prompts, vocabulary, "colour")
    one, rest = changed.select([1]).to_tensors(), changed.select([0, 2]).to_tensors()
    for name in ("text_embedding", "visual_embedding", "visual_tokens", "visual_features.3"):
        np.testing.assert_array_equal(one[name], tuned.prompts.select([0]).to_tensors()[name])
        np.testing.assert_array_equal(rest[name], prompts.select([0, 2]).to_tensors()[name])
    # three words were tuned, the others have one each
    assert changed.text_token_mask.sum(axis=1).tolist() == [1, 3, 1]
    assert changed.text_tokens.shape[:2] == changed.text_token_mask.shape
    assert changed.visual_mask.tolist() == [False, True, False]
    assert not prompts.visual_mask.any()


def test_without_a_common_class_nothing_changes(engine, tuned):
    vocabulary = Vocabulary.of("red, sky")
    prompts = build_prompts(engine, vocabulary)
    assert tuned.applied(prompts, vocabulary, "colour") is prompts


def test_prompts_of_another_model_are_refused(engine, tuned):
    vocabulary = Vocabulary.of("zorblax")
    prompts = build_prompts(engine, vocabulary)
    with pytest.raises(PromptError, match="tuned for encoder 'colour' and do not fit 'other'"):
        tuned.applied(prompts, vocabulary, "other")


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
    with pytest.raises(PromptError, match="cannot read file of tuned prompts"):
        TunedPrompts.load(path)


def test_a_bank_is_no_file_of_tuned_prompts(engine, tmp_path):
    from dpseg.prompts.bank import build_bank
    from dpseg.prompts.visual import ExemplarSource

    vocabulary = Vocabulary.of("red")
    source = ExemplarSource(engine, {"red": [(paint(ground="red"), WHOLE)]})
    build_bank(engine, vocabulary, source.prompts_for(vocabulary)).save(tmp_path / "bank")
    with pytest.raises(PromptError, match="is no file of tuned prompts"):
        TunedPrompts.load(tmp_path / "bank")


def test_a_file_in_no_folder_cannot_be_written(tuned, tmp_path):
    with pytest.raises(PromptError, match="cannot write"):
        tuned.save(tmp_path / "none" / "tuned.safetensors")
