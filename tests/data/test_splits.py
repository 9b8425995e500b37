"""The zero-shot splits that come with the package."""

from itertools import pairwise

import pytest

from dpseg.data.splits import read_split, split_names, unseen_classes
from dpseg.errors import DataError
from dpseg.vocabulary import Vocabulary


@pytest.mark.parametrize("name", split_names())
def test_a_split_names_as_many_classes_of_its_vocabulary_as_it_says(name):
    vocabulary, count = name.rsplit("-", 1)
    unseen = unseen_classes(read_split(name), Vocabulary.load(vocabulary))
    assert len(unseen) == int(count)


def test_context_splits_contain_each_other():
    sizes = [set(read_split(f"pc59-{count}")) for count in (2, 4, 6, 8, 10)]
    assert all(small < large for small, large in pairwise(sizes))


def test_a_file_is_a_split(tmp_path):
    (tmp_path / "mine.txt").write_text("sofa\n\nzebra\n")
    assert read_split(tmp_path / "mine.txt") == ["sofa", "zebra"]
    assert unseen_classes(["sofa", "zebra"], Vocabulary.of("sky, couch|sofa")) == (1,)


def test_useless_splits_are_refused(tmp_path):
    with pytest.raises(DataError, match="built in are coco_stuff171-15"):
        read_split("coco-15")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        read_split(tmp_path / "empty.txt")
    with pytest.raises(DataError, match="none of the unseen names"):
        unseen_classes(["zebra"], Vocabulary.of("sky"))
