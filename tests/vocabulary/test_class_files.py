"""Class lists as other tools write them: read right, or refused with the number of the line."""

import pytest

from dpseg.errors import VocabularyError
from dpseg.vocabulary import Vocabulary

FORMS = {
    "plain": "cat\nwall\n",
    "Windows": "cat\r\nwall\r\n",
    "comments": "# my classes\n\ncat\nwall  # behind it\n   # the end\n",
    "colon": "0: cat\n1: wall\n",
    "colon without a space": "0:cat\n1:wall",
    "tab": "0\tcat\n1\twall\n",
    "comma and number": "0,cat\n1,wall\n",
    "dot, from 1": "1. cat\n2. wall\n",
    "bracket, with gaps": "1) cat\n5) wall\n",
    "bar": "0 | cat\n1 | wall\n",
    "space": "0 cat\n1 wall\n",
    "space, from 1": "1   cat\n2   wall",
    "one line": "cat, wall\n",
    "commas at the ends": "cat,\nwall,\n",
    "invisible": "\u200bcat\nwall\u200b\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_other_tools_are_read(tmp_path, form):
    path = tmp_path / "classes.txt"
    path.write_text(FORMS[form], newline="")
    assert Vocabulary.load(path).names == ["cat", "wall"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("name", ["v.txt", "V.TXT", "v.json"])
def test_encodings_are_told_by_their_mark(tmp_path, encoding, name):
    text = '["caf\u00e9", "wall"]' if name == "v.json" else "caf\u00e9\nwall\n"
    mark = "\ufeff" if encoding.endswith(("-le", "-be")) else ""
    (tmp_path / name).write_bytes((mark + text).encode(encoding))
    assert Vocabulary.load(tmp_path / name).names == ["caf\u00e9", "wall"]


def test_names_that_begin_like_numbers_stay(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("2 doors\n7up\ncrane (machine)\nC# book\nNo. 5\n")
    assert Vocabulary.load(path).names == ["2 doors", "7up", "crane (machine)", "C# book", "No. 5"]
    path.write_text("4 poster bed\n")
    assert Vocabulary.load(path).names == ["4 poster bed"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("cat\n\ndog, wolf\n", 3),  # synonyms, or two classes?
        ("cat\tchat\nwall\tmur\n", 1),
        ("0: cat\nwall\n", 2),
        ("# two\ncat\n1: wall\n", 2),
        ("1: cat\n0: wall\n", 2),
        ("0: cat\n0: wall\n", 2),
        ("0:\n1: wall\n", 1),
        ("cat: 0\nwall: 1\n", 1),
        ("wall;brick wall\nsky\n", 1),
        ("['cat', 'wall']\n", 1),
        ("cat\n- wall\n", 2),
        ("// two\ncat\nwall\n", 1),
        ("n02121620 cat\nn04546855 wall\n", 1),
        ("names:\n  0: cat\n", 1),
        ('item {\n  name: "cat"\n}\n', 1),
        ("id,name\n0,cat\n", 1),
        ("name,red,green,blue\ncat,1,2,3\n", 1),
        ("cat\nwall\x00\n", 2),
        ("cat\n|wall\n", 2),
        ("cat\n" + "x" * 300 + "\n", 2),
        ("cat . wall .\n", 1),
        ("cat\nwall\n".encode("utf-16-le").decode("latin-1"), 1),
    ],
)
def test_what_could_mean_two_things_is_refused_with_its_line(tmp_path, text, line):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(VocabularyError, match=rf"classes\.txt, line {line}: "):
        Vocabulary.load(path)


def test_other_encodings_are_refused_with_their_line(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"cat\ncaf\xe9\n")
    with pytest.raises(VocabularyError, match=r"line 2 is not UTF-8 text; save it as UTF-8"):
        Vocabulary.load(path)


@pytest.mark.parametrize("text", ["cat\nCAT\n", "cat|kitty\nkitty\n"])
def test_one_word_in_two_lines_is_refused(tmp_path, text):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(VocabularyError, match=r"given twice|in two classes"):
        Vocabulary.load(path)
