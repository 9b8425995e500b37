"""Folders of labelled photos."""

import numpy as np
import pytest

from dpseg.data.dataset import LabelledFolder
from dpseg.errors import DataError
from labelled_folder import halves, write_folder

CLASSES = {0: "background", 3: "sofa", 7: "foreground object", 9: "tree-merged"}


def one_sample(tmp_path, label, classes=CLASSES, **settings):
    image = np.full((*label.shape, 3), 90, np.uint8)
    write_folder(tmp_path, classes, {"a": (image, label)})
    return LabelledFolder(tmp_path, "train", **settings)


def test_indices_on_disk_become_positions_in_the_names(tmp_path):
    folder = one_sample(tmp_path, np.array([[0, 3, 7, 9, 255]], np.uint8))
    assert folder.names == ["couch", "tree"]
    assert folder.has_background
    assert len(folder) == 1
    sample = folder[0]
    assert sample.key == "a"
    assert sample.label.tolist() == [[-2, 0, -1, 1, -1]]
    assert sample.image.shape == (1, 5, 3)
    assert abs(int(sample.image.mean()) - 90) <= 2


def test_ignored_names_keep_their_position_but_not_their_pixels(tmp_path):
    label = np.array([[0, 3, 9]], np.uint8)
    folder = one_sample(tmp_path, label, ignored_names=frozenset({"couch"}))
    assert folder.names == ["couch", "tree"]
    assert folder[0].label.tolist() == [[-2, -1, 1]]


def test_more_classes_than_a_byte_holds(tmp_path):
    label = np.array([[0, 300, 65535, 255]], np.uint16)
    classes = {0: "cat", 300: "dog", 255: "horse"}
    folder = one_sample(tmp_path, label, classes)
    assert folder.names == ["cat", "dog", "horse"]
    assert not folder.has_background
    assert folder[0].label.tolist() == [[0, 1, -1, 2]]


def test_splits_have_their_own_lists(tmp_path):
    write_folder(tmp_path, CLASSES, {"a": halves(3, 9)})
    write_folder(tmp_path, CLASSES, {"b": halves(9, 3), "c": halves(0, 3)}, split="val")
    assert LabelledFolder(tmp_path, "val").keys == ["b", "c"]
    assert LabelledFolder(tmp_path, "train").keys == ["a"]


def test_indices_that_the_classes_do_not_list_are_named(tmp_path):
    folder = one_sample(tmp_path, np.array([[0, 3, 44, 12]], np.uint8))
    with pytest.raises(DataError, match=r"a\.png holds indices \[12, 44\]"):
        folder[0]


@pytest.mark.parametrize("shape", [(2, 5), (4, 5, 3)])
def test_label_that_does_not_fit_its_photo_is_refused(tmp_path, shape):
    image = np.zeros((4, 5, 3), np.uint8)
    write_folder(tmp_path, CLASSES, {"a": (image, np.zeros(shape, np.uint8))})
    with pytest.raises(DataError, match="one channel of"):
        LabelledFolder(tmp_path, "train")[0]


@pytest.mark.parametrize("part", ["images/a.jpg", "labels/a.png"])
def test_missing_or_damaged_pictures_are_named(tmp_path, part):
    folder = one_sample(tmp_path, np.zeros((4, 5), np.uint8))
    (tmp_path / part).write_bytes((tmp_path / part).read_bytes()[:30])
    with pytest.raises(DataError, match="'a'"):
        folder[0]
    (tmp_path / part).unlink()
    with pytest.raises(DataError, match="'a'"):
        folder[0]


@pytest.mark.parametrize("name", ["classes.txt", "train.txt"])
def test_missing_and_empty_lists_are_named(tmp_path, name):
    one_sample(tmp_path, np.zeros((4, 5), np.uint8))
    (tmp_path / name).write_text("\n \n")
    with pytest.raises(DataError, match=f"{name} is empty"):
        LabelledFolder(tmp_path, "train")
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=name):
        LabelledFolder(tmp_path, "train")


@pytest.mark.parametrize("line", ["cat", "1 cat", "x\tcat", "-1\tcat", "70000\tcat"])
def test_malformed_class_lines_are_quoted(tmp_path, line):
    one_sample(tmp_path, np.zeros((4, 5), np.uint8))
    (tmp_path / "classes.txt").write_text(f"0\tdog\n{line}\n")
    with pytest.raises(DataError, match="INDEX<TAB>NAME"):
        LabelledFolder(tmp_path, "train")


def test_two_labels_of_one_plain_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="two classes are called 'couch'"):
        one_sample(tmp_path, np.zeros((4, 5), np.uint8), {0: "sofa", 1: "couch"})


def test_the_first_photos_that_show_classes_are_found(tmp_path):
    classes = {0: "background", 1: "sofa", 2: "tree", 3: "sky"}
    photos = {"a": halves(1, 2), "b": halves(3, 3), "c": halves(1, 0), "d": halves(2, 3)}
    speck = np.full((60, 80), 2, np.uint8)
    speck[:4, :5] = 3  # 0.4 % of the photo
    folder = LabelledFolder(
        write_folder(tmp_path, classes, {"_": (photos["a"][0], speck), **photos}), "train"
    )
    np.testing.assert_array_equal(folder.label(1), folder[1].label)
    assert folder.showing([0], 1) == [1]
    assert folder.showing([0], 5) == [1, 3]
    assert folder.showing([2, 0], 1) == [1, 2]
    assert folder.showing([0, 1, 2], 2) == [0, 1, 2, 3, 4]
    assert folder.showing([0, 1], 1, among=[4, 3]) == [4, 3]


def test_a_vocabulary_beside_the_labels_keeps_its_names(tmp_path):
    label = np.array([[0, 1]], np.uint8)
    folder = one_sample(tmp_path, label, {0: "sofa", 1: "tv monitor"})
    assert folder.names == ["couch", "tv monitor"]
    assert folder.vocabulary[0].words == ("couch", "sofa")
    (tmp_path / "vocabulary.json").write_text(
        '["sofa", {"name": "tv monitor", "synonyms": ["tv"]}]'
    )
    folder = LabelledFolder(tmp_path, "train")
    assert folder.names == folder.vocabulary.names == ["sofa", "tv monitor"]
    assert folder.vocabulary[1].words == ("tv monitor", "tv")
