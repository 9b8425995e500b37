"""Vocabularies: what is accepted, what is refused, what is built in."""

import json

import pytest

from dpseg.errors import VocabularyError
from dpseg.vocabulary import ClassEntry, Vocabulary, builtin_names, fold


def test_names_synonyms_and_commas():
    vocabulary = Vocabulary.of(" car | automobile|Car ,  red   panda,")
    assert vocabulary.names == ["car", "red panda"]
    assert vocabulary[0].synonyms == ("automobile",)
    assert vocabulary.find("AUTOMOBILE") == 0
    assert vocabulary.find("truck") is None


def test_a_name_outranks_a_synonym():
    assert Vocabulary.of(["bus|coach", "coach"]).find("coach") == 1


def test_entries_and_vocabularies_pass_through():
    entry = ClassEntry("husky", ("sled dog",), "a dog with blue eyes", "dog")
    vocabulary = Vocabulary.of([entry, "cat"])
    assert vocabulary[0] == entry
    assert Vocabulary.of(vocabulary) is vocabulary
    assert vocabulary.parents_of == ["dog", None]
    assert vocabulary == Vocabulary.of([entry, "cat"])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "no class names"),
        (" , ,", "no class names"),
        (["cat", ""], "class name is empty"),
        (["|cat"], "class name is empty"),
        (["cat", "dog", " CAT"], "'CAT' is given twice"),
        (["red_panda", "red panda"], "given twice"),
        (["x" * 10_000], "10000 characters"),
        (["cat\x00dog"], "control characters"),
        (["cat\ndog"], "control characters"),
        (["\ud800"], "control characters"),
        ([3], "a class is given as 3"),
        ([ClassEntry("cat", (7,))], "synonym of 'cat' is 7"),
    ],
)
def test_refused(classes, message):
    with pytest.raises(VocabularyError, match=message):
        Vocabulary.of(classes)


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


def test_fold():
    assert fold(" Red_ Panda") == "red panda"
