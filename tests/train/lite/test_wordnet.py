"""Names for ImageNet's classes, from a WordNet of eight nouns."""

import pytest

from dpseg.errors import DataError
from dpseg.train.lite.wordnet import (
    ancestors,
    names_of_classes,
    read_noun_senses,
    read_noun_synsets,
)
from tiny_wordnet import CAT, CRANE_BIRD, CRANE_MACHINE, DOG, write_wordnet


@pytest.fixture
def synsets(tmp_path):
    return read_noun_synsets(write_wordnet(tmp_path))


def test_reads_words_and_hypernyms(synsets):
    assert sorted(synsets) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert synsets[2].words == ("animal", "living creature")
    assert synsets[2].hypernyms == (1,)
    assert synsets[3].hypernyms == (2, 5)
    assert len(synsets[4].words) == 11  # counted in hexadecimal
    assert synsets[4].words[-1] == "kitty"
    assert synsets[8].hypernyms == (3,)
    assert [offset for offset, synset in synsets.items() if synset.instance] == [8]


def test_missing_database_names_its_package(tmp_path):
    with pytest.raises(DataError, match="wordnet-base"):
        read_noun_synsets(tmp_path)


def test_reads_senses_the_most_frequent_first(tmp_path):
    senses = read_noun_senses(write_wordnet(tmp_path))
    assert senses["crane"] == (6, 7)
    assert senses["living creature"] == (2,)
    assert len(senses) == 8


def test_ancestors_are_direct_and_indirect(synsets):
    assert ancestors(synsets, 8) == {1, 2, 3, 5}
    assert ancestors(synsets, 1) == set()


def test_names_cover_synonyms_and_hypernyms(synsets):
    names = names_of_classes([DOG, CAT, CRANE_MACHINE, CRANE_BIRD], synsets)
    assert names["dog"] == names["domestic dog"] == [0]
    assert names["animal"] == names["living creature"] == [0, 1, 3]
    assert names["entity"] == [0, 1, 2, 3]
    assert names["crane"] == [2, 3]  # ambiguous
    assert names["cat"] == [1]  # its own word, although a pet may be called so
    assert names["pet"] == [0]
    assert "Rex" not in names


def test_wide_hypernyms_are_left_out(synsets):
    names = names_of_classes([DOG, CAT, CRANE_MACHINE], synsets, max_descendants=2)
    assert "entity" not in names
    assert names["animal"] == [0, 1]
