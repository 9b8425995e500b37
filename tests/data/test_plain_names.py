"""Class names as a person would say them."""

import pytest

from dpseg.data.plain_names import is_background, is_ignored, plain_name, with_synonyms
from dpseg.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("sky-other-merged", "sky"),
        ("door-stuff", "door"),
        ("tree-merged", "tree"),
        ("diningtable", "dining table"),
        ("wall-brick", "brick wall"),
        ("wall-other-merged", "wall"),
        ("tvmonitor", "tv"),
        (" bed ", "bed"),
        ("traffic light", "traffic light"),
    ],
)
def test_label_codes_become_words(label, name):
    assert plain_name(label) == name
    assert plain_name(name) == name


def test_two_sets_names_for_one_thing_meet():
    assert plain_name("sofa") == plain_name("couch")
    assert plain_name("motorbike") == plain_name("motorcycle")


def test_synonyms_are_in_the_form_that_vocabularies_read():
    entries = Vocabulary.of([with_synonyms(name) for name in ("tv", "zebra", "person")])
    assert entries.names == ["tv", "zebra", "person"]
    assert entries[0].synonyms == ("television", "monitor")
    assert entries[1].synonyms == ()


def test_labels_that_name_nothing():
    assert [is_background(n) for n in ("background", "null ", "backpack")] == [True, True, False]
    assert [is_ignored(n) for n in ("foreground object", "object")] == [True, False]
