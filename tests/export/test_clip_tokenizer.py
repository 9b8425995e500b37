"""CLIP's tokenizer without open_clip, against open_clip's."""

import open_clip
import pytest

from dpseg.encoders.tokens import CLIP_TOKENS, SentenceTokenizer
from dpseg.export.clip_tokenizer import clip_tokenizer
from dpseg.vocabulary import Vocabulary, builtin_names

SIMPLE = open_clip.SimpleTokenizer()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "tokenizer.json"
    clip_tokenizer(SIMPLE).save(str(path))
    return SentenceTokenizer(path, max_tokens=CLIP_TOKENS)


def check(tokenizer, sentences):
    split = tokenizer(sentences)
    for sentence, ids, attention in zip(sentences, split.ids, split.attention, strict=True):
        expected = [int(one) for one in SIMPLE([sentence])[0] if one]
        assert ids[attention == 1].tolist() == expected, sentence


def test_names_of_all_lists_have_open_clips_ids(tokenizer):
    for name in builtin_names():
        words = [word for entry in Vocabulary.load(name) for word in entry.words]
        check(tokenizer, [f"A photo of a {word} in the scene" for word in words])


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "  Two   spaces\tand a tab ",
        "it's a dog's bed, isn't it? they'll we've I'm he'd",
        "Straße, café, naïve, Ångström",
        "35mm f/1.8 lens -- 2024!!!",
        "日本の猫 🐈 кошка",
        "cat " * 200,
        "don't—stop…",
    ],
)
def test_odd_sentences_have_open_clips_ids(tokenizer, sentence):
    check(tokenizer, [sentence])


def test_words_are_what_is_between_start_and_end(tokenizer):
    split = tokenizer(["cat", "a large dog"])
    assert split.words.sum(1).tolist() == [1, 3]
    assert not split.words[:, 0].any()
