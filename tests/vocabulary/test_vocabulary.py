"""Vocabularies: what is accepted, what is refused, what is built in."""

import json
import warnings

import pytest

from dpseg.errors import VocabularyError
from dpseg.vocabulary import ClassEntry, NameWarning, Vocabulary, builtin_names, fold


def test_names_synonyms_and_commas():
    vocabulary = Vocabulary.of(" car | automobile|Car ,  red   panda,")
    assert vocabulary.names == ["car", "red panda"]
    assert vocabulary[0].synonyms == ("automobile",)
    assert vocabulary.find("AUTOMOBILE") == 0
    assert vocabulary.find("truck") is None


def test_entries_and_vocabularies_pass_through():
    entry = ClassEntry("husky", ("sled dog",), "a dog with blue eyes", "dog")
    vocabulary = Vocabulary.of([entry, "cat"])
    assert vocabulary[0] == entry
    assert Vocabulary.of(vocabulary) is vocabulary
    assert [entry.parent for entry in vocabulary] == ["dog", None]
    assert vocabulary == Vocabulary.of([entry, "cat"])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "no class names"),
        (" , ,", "no class names"),
        (["cat", ""], "class name is empty"),
        (["|cat"], "class name is empty"),
        (["_"], "class name is '_'"),
        (["cat", "dog", " CAT"], "'CAT' is given twice"),
        (["red_panda", "red panda"], "given twice"),
        (["traffic light", "traffic-light"], "given twice"),
        (["traffic light", "traffic\u2013light"], "given twice"),
        (["caf\u00e9", "cafe\u0301"], "given twice"),
        (["cat", "\uff23\uff41\uff54"], "given twice"),
        (["cat", "c\u200bat\ufeff"], "given twice"),
        (["bird's nest", "bird\u2019s nest"], "given twice"),
        (["\u2764", "\u2764\ufe0f"], "given twice"),
        (["cat|kitty", "kitty"], "'kitty' is in two classes, 'cat' and 'kitty'"),
        (["car|automobile", "truck|Automobile"], "in two classes, 'car' and 'truck'"),
        ([ClassEntry("a", ("x-ray",)), ClassEntry("b", ("x ray",))], "in two classes, 'a' and 'b'"),
        ("cat . dog .", "looks like several names; separate names by commas"),
        ("cat. dog.", "looks like several names"),
        ("cat; dog", "looks like several names"),
        (["-"], "class name is '-'"),
        (["\u200b"], "class name is empty"),
        (None, "classes are given as NoneType"),
        (7, "classes are given as int"),
        (b"cat", "classes are given as bytes"),
        ({"cat", "dog"}, "classes are given as set"),
        ({0: "cat"}, "classes are given as dict"),
        (["cat", None], "a class is given as None"),
        (["x" * 10_000], "10000 characters"),
        (["cat\x00dog"], "control characters"),
        (["cat\ndog"], "looks like several names"),
        (["cat\x1fdog"], "control characters"),
        (["\ud800"], "control characters"),
        ([3], "a class is given as 3"),
        ([ClassEntry("cat", (7,))], "synonym of 'cat' is 7"),
    ],
)
def test_refused(classes, message):
    with pytest.raises(VocabularyError, match=message):
        Vocabulary.of(classes)


@pytest.mark.filterwarnings("ignore::dpseg.vocabulary.NameWarning")
def test_names_are_cleaned_of_what_nobody_sees():
    assert Vocabulary.of(["cafe\u0301", "cat\u200b", "\ufeffdog", "red\u00a0 panda"]).names == [
        "caf\u00e9", "cat", "dog", "red panda",
    ]  # fmt: skip
    astronaut = "\U0001f469\u200d\U0001f680"  # one picture by a joiner, which stays
    assert Vocabulary.of([astronaut]).names == [astronaut]
    assert Vocabulary.of("\uff43\uff41\uff54\uff5ckitty\uff0cdog\u3001sky").names == [
        "\uff43\uff41\uff54", "dog", "sky",
    ]  # fmt: skip
    assert Vocabulary.of("St. Bernard, Mr. Bean").names == ["St. Bernard", "Mr. Bean"]
    assert Vocabulary.of(name for name in ("cat", "dog")).names == ["cat", "dog"]


@pytest.mark.parametrize("name", ["ძაღლი", "כלב", "\U0001f408"])
def test_names_that_text_towers_for_english_cannot_know_are_warned_of(name):
    with pytest.warns(NameWarning, match=f"{name}: the text towers of most models read English"):
        Vocabulary.of([name, "dog"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Vocabulary.of([f"{name}|cat", "\u732b", "caf\u00e9", "\uff44\uff4f\uff47", "7 up", "No. 5"])


@pytest.mark.filterwarnings("ignore::dpseg.vocabulary.NameWarning")
def test_path_characters_and_other_scripts_are_names_like_any():
    assert Vocabulary.of(["../etc/passwd", "猫", "T-shirt"]).names == [
        "../etc/passwd",
        "猫",
        "T-shirt",
    ]


def test_roll_up_follows_chains():
    names, index = Vocabulary.of(
        [
            ClassEntry("husky", parent="dog"),
            ClassEntry("dog", parent="animal"),
            "car",
            ClassEntry("cat", parent="Animal"),
        ]
    ).roll_up()
    assert names == ["animal", "car"]
    assert index.tolist() == [0, 0, 1, 0]


def test_circle_of_parents_is_refused():
    vocabulary = Vocabulary.of([ClassEntry("a", parent="b"), ClassEntry("b", parent="a")])
    with pytest.raises(VocabularyError, match="a → b → a"):
        vocabulary.roll_up()


def test_files(tmp_path):
    (tmp_path / "v.txt").write_text("car|automobile\n\nsky\n")
    assert Vocabulary.load(tmp_path / "v.txt") == Vocabulary.of(["car|automobile", "sky"])
    items = ["sky", {"name": "husky", "synonyms": ["sled dog"], "parent": "dog"}]
    (tmp_path / "v.json").write_text(json.dumps(items))
    assert Vocabulary.load(tmp_path / "v.json")[1] == ClassEntry(
        "husky", ("sled dog",), None, "dog"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"name": "x"}', "holds a dict"),
        ('[{"nam": "x"}]', "unknown keys"),
        ('[{"synonyms": []}]', "no 'name'"),
        ('[{"name": "x", "synonyms": "y"}]', "not a list"),
        ('[{"name": 3}]', "class name is 3"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(VocabularyError, match=message):
        Vocabulary.load(tmp_path / "v.json")


def test_missing_vocabularies_are_refused(tmp_path):
    with pytest.raises(VocabularyError, match="built in are ade150"):
        Vocabulary.load("voc2000")
    with pytest.raises(VocabularyError, match="cannot read"):
        Vocabulary.load(tmp_path / "none.txt")


SIZES = {
    "ade150": 150,
    "ade847": 847,
    "cityscapes19": 19,
    "coco_stuff171": 171,
    "pc459": 459,
    "pc59": 59,
    "voc20": 20,
    "voc20b": 59,
}


def test_built_in_vocabularies_are_complete_plain_words():
    assert builtin_names() == tuple(SIZES)
    for name, size in SIZES.items():
        vocabulary = Vocabulary.load(name)
        assert len(vocabulary) == size
        for entry in vocabulary:
            assert all(word == " ".join(word.split()) for word in entry.words)
            assert not entry.name.endswith(("-other", "-stuff", "-merged"))


def test_voc_with_background_rolls_up_to_21_classes():
    names, index = Vocabulary.load("voc20b").roll_up()
    assert names[:20] == Vocabulary.load("voc20").names
    assert names[20:] == ["background"]
    assert (index[20:] == 20).all()


@pytest.mark.parametrize(
    "word",
    [" Red_ Panda", "red-panda", "RED\u2011PANDA", "\uff32ed\u3000panda", "red pa\u200dn\u00adda"],
)
def test_fold(word):
    assert fold(word) == fold(fold(word)) == "red panda"
