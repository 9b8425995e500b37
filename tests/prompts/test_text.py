"""Text prompts of a vocabulary."""

import numpy as np
import pytest

from colour_engine import ColourEngine
from dpseg.errors import PromptError
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.templates import SHORT_TEMPLATES, check_templates, fill
from dpseg.prompts.text import MAX_TOKENS, encode_classes
from dpseg.vocabulary import ClassEntry, Vocabulary


def test_shapes_and_unit_lengths(engine):
    vocabulary = Vocabulary.of(["red", "light blue", "a|b|c d"])
    text_embedding, tokens, mask = encode_classes(engine, vocabulary, None)
    assert text_embedding.shape == (3, 2, 12)
    assert tokens.shape == (3, 4, 12)
    assert mask.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    np.testing.assert_allclose(np.linalg.norm(text_embedding, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(tokens[mask], axis=-1), 1, atol=1e-6)


def test_synonyms_share_in_the_mean(engine):
    both, _, _ = encode_classes(engine, Vocabulary.of(["red|blue"]))
    each, _, _ = encode_classes(engine, Vocabulary.of(["red", "blue"]))
    mean = each.mean(axis=0)
    np.testing.assert_allclose(both[0], mean / np.linalg.norm(mean, axis=-1, keepdims=True))


def test_a_description_takes_part(engine):
    entry = ClassEntry("gizmo", description="a red thing")
    plain, _, _ = encode_classes(engine, Vocabulary.of(["gizmo"]))
    described, tokens, _ = encode_classes(engine, Vocabulary.of([entry]))
    assert plain[0, 0, 0] == 0
    assert described[0, 0, 0] > 0.5
    assert tokens.shape[1] == 1  # the name's own


def test_words_stand_alone_as_tokens(engine):
    encode_classes(engine, Vocabulary.of(["red"]))
    assert engine.sentences == ["red", "a photo of red."]


def test_sentences_are_encoded_once(engine):
    encode_classes(
        engine, Vocabulary([ClassEntry(name, ("crimson",)) for name in ("red", "blood")])
    )
    assert len(engine.sentences) == len(set(engine.sentences))


def test_tokens_are_bounded_and_start_with_the_name(engine):
    vocabulary = Vocabulary.of(["red|" + "|".join(f"word{i} more" for i in range(20))])
    _, tokens, mask = encode_classes(engine, vocabulary)
    assert tokens.shape[1] == mask.sum() == MAX_TOKENS
    assert tokens[0, 0, 0] == 1


def test_the_cache_saves_the_encoder(engine, cache):
    vocabulary = Vocabulary.of(["red|crimson", ClassEntry("x", description="blue thing")])
    first = encode_classes(engine, vocabulary, cache)
    calls = engine.calls["text"]
    again = encode_classes(engine, vocabulary, PromptCache(cache.folder))
    assert engine.calls["text"] == calls
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)


def test_other_encoders_and_templates_do_not_share_entries(engine, cache):
    encode_classes(engine, Vocabulary.of(["red"]), cache)
    for other in (ColourEngine(key="other"), ColourEngine(templates=["{}"])):
        encode_classes(other, Vocabulary.of(["red"]), cache)
        assert other.calls["text"] == 1


def test_only_what_is_missing_is_encoded(engine, cache):
    encode_classes(engine, Vocabulary.of(["red"]), cache)
    engine.sentences.clear()
    encode_classes(engine, Vocabulary.of(["red", "blue"]), cache)
    assert engine.sentences == ["blue", "a photo of blue."]


def test_many_sentences_go_in_batches(engine):
    encode_classes(engine, Vocabulary.of([f"thing{i}" for i in range(300)]))
    assert engine.calls["text"] == 3


def test_braces_and_underscores_in_names():
    assert fill("a {} here.", "red_panda {0}") == "a red panda {0} here."


@pytest.mark.parametrize("templates", [(), ("no gap",), ("{} {}",)])
def test_bad_templates_are_refused(templates):
    with pytest.raises(PromptError):
        check_templates(templates)


def test_short_templates_are_usable():
    assert check_templates(SHORT_TEMPLATES) == SHORT_TEMPLATES
