"""A look at the data before anything is computed."""

import numpy as np
import pytest
from PIL import Image

from dpseg.data.dataset import LabelledFolder
from dpseg.errors import DataError
from dpseg.train.check_data import check_photos, check_vocabulary, fingerprint
from dpseg.vocabulary import Vocabulary
from labelled_folder import halves, write_folder


@pytest.fixture
def root(tmp_path):
    samples = {f"s{i}": halves(0, 1, (20, 30)) for i in range(20)}
    return write_folder(tmp_path, {0: "cat", 1: "grass"}, samples)


def test_a_whole_set_passes(root):
    check_photos(LabelledFolder(root, "train"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("images/s7.jpg", None, "s7"),
        ("labels/s7.png", None, "s7"),
        ("labels/s7.png", np.full((20, 30), 9, np.uint8), r"indices \[9\]; classes.txt does not"),
        ("labels/s7.png", np.zeros((20, 31), np.uint8), r"\(20, 31\), its photo \(20, 30\)"),
    ],
)
def test_one_bad_file_among_many_is_named(root, file, content, message):
    (root / file).unlink()
    if content is not None:
        Image.fromarray(content).save(root / file)
    folder = LabelledFolder(root, "train")
    with pytest.raises(DataError, match=message):
        check_photos(folder)
    check_photos(folder, [i for i in range(20) if i != 7])


def test_an_empty_split_is_refused(root):
    (root / "val.txt").write_text("\n")
    with pytest.raises(DataError, match=r"val\.txt is empty"):
        LabelledFolder(root, "val")


def test_words_must_be_the_classes(root):
    folder = LabelledFolder(root, "train")
    check_vocabulary(folder, Vocabulary.of("cat|kitten, lawn|grass"))
    with pytest.raises(DataError, match=r"vocabulary has 3 names, .* 2 classes"):
        check_vocabulary(folder, Vocabulary.of("cat, grass, sky"))
    with pytest.raises(DataError, match=r"class 0 of .* is 'cat', of the vocabulary 'grass'"):
        check_vocabulary(folder, Vocabulary.of("grass, cat"))


def test_fingerprint_follows_list_and_classes(root):
    before = fingerprint(LabelledFolder(root, "train"))
    assert fingerprint(LabelledFolder(root, "train")) == before
    (root / "train.txt").write_text("s1\ns2\n")
    shorter = fingerprint(LabelledFolder(root, "train"))
    (root / "classes.txt").write_text("0\tcat\n1\tlawn\n")
    assert len({before, shorter, fingerprint(LabelledFolder(root, "train"))}) == 3
