"""Every row of "Names" in docs/errors.md, given for real."""

import json

import numpy as np
import pytest
from PIL import Image

from dpseg.vocabulary import ClassEntry, NameWarning, Vocabulary, builtin_names
from errors_page.section import Section

names = Section("Names: `VocabularyError`")


@pytest.mark.parametrize("given", names.rows, ids=str)
def test_row(given, request):
    names.check(given, request)


def refuse(classes, told: str) -> None:
    with names.refused(told):
        Vocabulary.of(classes)


def refuse_file(path, content: str, told: str) -> None:
    path.write_text(content)
    with names.refused(told):
        Vocabulary.load(path)


@names.row("no name, an empty name")
def _():
    for classes in ([], "", " , "):
        refuse(classes, "name at least one thing")
    for classes in (["cat", ""], ["|cat"], ["\u200b"]):
        refuse(classes, "name is empty")


@names.row(
    "a name twice, a word in two classes; case, spaces, underscores, hyphens, composed accents, "
    "full-width letters and characters without width do not tell words apart"
)
def _():
    for one, other in (
        ("cat", "cat"),
        ("cat", "CAT"),
        ("red panda", "red  panda"),
        ("red panda", "red_panda"),
        ("red panda", "red-panda"),
        ("caf\u00e9", "cafe\u0301"),
        ("cat", "\uff43\uff41\uff54"),
        ("cat", "c\u200bat"),
    ):
        refuse([one, other], "is given twice")
        refuse([f"thing|{one}", f"object|{other}"], "two classes, 'thing' and 'object'")


@names.row("`None`, a set, a mapping, bytes as classes")
def _(segmenter):
    for classes in (None, {"cat"}, {"cat": 0}, b"cat"):
        with names.refused(f"classes are given as {type(classes).__name__}"):
            segmenter.prepare(classes)


@names.row("a list as other tools write it: `cat . dog .`, `cat; dog`, lines")
def _():
    for classes in ("cat . dog .", "cat; dog", "cat\ndog"):
        refuse(classes, "separate names by commas")


@names.row("names of [twelve languages](guides/words-and-examples.md#other-languages)")
def _(segmenter):
    names_of_languages = ["rot", "Himmel", "\u732b"]
    result = segmenter(np.zeros((40, 30, 3), np.uint8), names_of_languages)
    assert list(result.classes) == names_of_languages
    assert result.settings["english"] == {"Himmel": "sky", "\u732b": "cat"}


@names.row("two names that mean the same, such as `Hund, dog`")
def _(segmenter):
    with names.refused(r"give them as one class, 'Hund\|dog'"):
        segmenter.prepare("Hund, dog")


@names.row("other names that are not in Latin letters")
def _():
    with pytest.warns(NameWarning, match="read English"):
        Vocabulary.of(["\u10eb\u10d0\u10e6\u10da\u10d8"])


@names.row(
    "a name, synonym, description or parent above 200 characters, or with control characters"
)
def _():
    Vocabulary.of(["x" * 200])
    for word in ("x" * 201, "a\x1fb"):
        told = "201 characters .* at most 200" if len(word) > 200 else "control characters"
        for entry in (
            word,
            f"cat|{word}",
            ClassEntry("cat", description=word),
            ClassEntry("cat", parent=word),
        ):
            refuse([entry], told)


@names.row("something that is neither a string nor a `ClassEntry`")
def _():
    for classes in ([3], [None], 7):
        refuse(classes, "given as")


@names.row("parents in a circle")
def _():
    circle = Vocabulary.of([ClassEntry("a", parent="b"), ClassEntry("b", parent="a")])
    with names.refused("circle: a → b → a"):
        circle.roll_up()


@names.row("an unknown built-in list; a file that is neither `.json` nor `.txt`")
def _(tmp_path):
    (tmp_path / "names.csv").write_text("cat\n")
    for given in ("voc2000", tmp_path / "names.csv"):
        with names.refused(", ".join(builtin_names())):
            Vocabulary.load(given)


@names.row("a class file that is missing")
def _(tmp_path):
    for name in ("none.txt", "none.json"):
        with names.refused(f"{name}: No such file"):
            Vocabulary.load(tmp_path / name)


@names.row("a `.json` file that is no list, or has unknown keys")
def _(tmp_path):
    path = tmp_path / "names.json"
    refuse_file(path, "{", "is not JSON")
    refuse_file(path, json.dumps({"name": "cat"}), "a list is needed")
    keys = r"keys are \['description', 'name', 'parent', 'synonyms'\]"
    refuse_file(path, json.dumps([{"nam": "cat"}]), keys)


@names.row(
    "a line of a `.txt` file that is not one name "
    "([which forms are read](guides/words-and-examples.md#vocabularies)), "
    "or not in the file's encoding"
)
def _(tmp_path):
    path = tmp_path / "names.txt"
    refuse_file(path, "cat\ndog, wolf\n", "line 2: 'dog, wolf' is not one name")
    path.write_bytes(b"cat\ncaf\xe9\n")
    with names.refused("line 2 is not UTF-8"):
        Vocabulary.load(path)


@names.row(
    "a word that is both wanted and [not wanted](guides/words-and-examples.md#not-this), "
    "an empty `--not`, an empty list of `not_classes`"
)
def _(command, segmenter):
    with names.refused("'Cat' is both wanted and not wanted"):
        segmenter.prepare("cat", not_classes=["Cat"])
    with names.refused("not wanted is empty"):
        command("segment", "photo.jpg", "-c", "cat", "--not", "")
    with names.refused("no class names"):
        segmenter.prepare("cat", not_classes=[])


@names.row("a synonym twice in one class, or equal to the name")
def _():
    (entry,) = Vocabulary.of("cat|kitty|Kitty|CAT")
    assert entry.words == ("cat", "kitty")


@names.row("characters such as `/`, `{}` or `..` in a name")
def _(command, tmp_path):
    Image.new("RGB", (40, 30), (220, 30, 30)).save(tmp_path / "a.png")
    odd = ["../../x", "{}", "a/b", "%s {0}"]
    assert command("segment", "a.png", "-c", ",".join(odd)) == 0
    record = json.loads((tmp_path / "out/a/result.json").read_text())
    assert [entry["name"] for entry in record["classes"]] == odd
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "cache", "out"]
