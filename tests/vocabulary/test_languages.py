"""Words of other languages: which are known, which stay, and what the table holds."""

import gzip

import pytest

from dpseg.vocabulary import Vocabulary, builtin_names
from dpseg.vocabulary.languages import (
    LANGUAGES_FILE,
    is_known,
    languages,
    meanings,
    spelling,
)

DOG_AND_CHAIR = {
    "ar": "كلب, كرسي", "bn": "কুকুর, চেয়ার", "de": "Hund, Stuhl", "es": "perro, silla",
    "fr": "chien, chaise", "hi": "कुत्ता, कुर्सी", "id": "anjing, kursi", "ja": "犬, 椅子",
    "pt": "cachorro, cadeira", "ru": "собака, стул", "ur": "کتا, کرسی", "zh": "狗, 椅子",
}  # fmt: skip


@pytest.mark.parametrize("language", DOG_AND_CHAIR)
def test_everyday_words_are_known_with_and_without_the_language(language):
    words = DOG_AND_CHAIR[language].split(", ")
    assert meanings(words) == meanings(words, language) == ["dog", "chair"]


def test_all_languages_are_tested():
    assert set(languages()) == set(DOG_AND_CHAIR)


@pytest.mark.parametrize("name", builtin_names())
def test_names_of_the_shipped_lists_stay_alone_and_together(name):
    words = [word for entry in Vocabulary.load(name) for word in entry.words]
    assert meanings(words) == [None] * len(words)
    assert [meanings([word]) for word in words] == [[None]] * len(words)


@pytest.mark.parametrize("word", ["pan", "gift", "chat", "mesa", "boot", "chats", "Boots", "tiers"])
def test_a_word_that_is_english_too_stays(word):
    assert meanings([word]) == [None]
    assert meanings([word, "dog"]) == [None, None]


def test_a_list_of_another_language_takes_its_ambiguous_words_along():
    assert meanings(["chat", "chien", "voiture"]) == ["cat", "dog", "car"]
    assert meanings(["mesa", "silla"]) == ["table", "chair"]
    assert meanings(["boot", "Hund", "sky", "person"]) == [None, "dog", None, None]


def test_a_language_that_is_given_reads_every_word():
    assert meanings(["chat"], "fr") == ["cat"]
    assert meanings(["Boot", "sky"], "de") == ["boat", None]
    assert meanings(["Hund"], "en") == [None]


def test_languages_may_be_mixed():
    assert meanings(["sky", "Hund", "猫", "кошка"]) == [None, "dog", "cat", "cat"]


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("avión", "avion"),
        ("самолёт", "самолет"),
        ("सोफ़ा", "सोफा"),
        ("साँप", "सांप"),
        ("أريكة", "اريكه"),
        ("ソファー", "ソファ"),
        ("ゴミ箱", "ｺﾞﾐ箱"),
        ("گاڑی", "گاڑي"),
        ("lámpara", "LA\u0301MPARA"),
    ],
)
def test_marks_that_are_left_out_do_not_matter(written, typed):
    assert spelling(written) == spelling(typed)
    assert meanings([written]) == meanings([typed]) != [None]


def test_plurals_of_four_languages_are_known():
    assert meanings(["Häuser", "Bäume", "Hunde"]) == ["house", "tree", "dog"]
    assert meanings(["coches", "árboles"]) == ["car", "tree"]
    assert meanings(["voitures", "garrafas"]) == ["car", "bottle"]


def test_words_of_no_known_language_stay():
    assert meanings(["blorp", "ძაღლი"]) == [None, None]
    assert not is_known("ძაღლი")
    assert is_known("собака")


def test_the_table_is_small_and_spelt_as_it_is_read():
    assert LANGUAGES_FILE.stat().st_size < 1_000_000
    header, *lines = gzip.decompress(LANGUAGES_FILE.read_bytes()).decode().splitlines()
    assert header.split("\t") == ["en", *languages()]
    for line in lines:
        english, *cells = line.split("\t")
        assert english == english.strip()
        assert english
        for word in "|".join(cells).split("|"):
            assert word == spelling(word)
