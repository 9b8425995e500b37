"""Words that are kinds of common names, from a WordNet of eight nouns, and the table that ships."""

import pytest

from dpseg.train.lite.hypernyms import hyponyms_of, write_hypernyms
from dpseg.train.lite.wordnet import WORDNET_FOLDER, read_noun_senses, read_noun_synsets
from dpseg.vocabulary import HYPERNYMS_FILE
from tiny_wordnet import write_wordnet


def test_a_kind_is_below_the_first_sense_of_the_name(tmp_path):
    folder = write_wordnet(tmp_path)
    names, database = (
        ["animal", "dog", "crane", "spoon"],
        (
            read_noun_synsets(folder),
            read_noun_senses(folder),
        ),
    )
    hyponyms = hyponyms_of(names, *database, rank=0)
    assert hyponyms["animal"] == ["cat", "dog", "domestic dog", "living creature", "puss"]
    assert hyponyms["dog"] == []  # "domestic dog" ends in it; Rex is a certain dog
    assert hyponyms["crane"] == []
    assert "spoon" not in hyponyms
    assert hyponyms_of(names, *database, rank=1)["animal"] == [
        "crane"
    ]  # a bird in its second sense


def test_only_names_with_hyponyms_have_a_line(tmp_path):
    path = tmp_path / "hypernyms.tsv"
    write_hypernyms(path, write_wordnet(tmp_path / "wordnet"))
    assert path.read_text() == "cat\tpuss\t\n"  # of all rivals, this WordNet has dog and cat


@pytest.mark.skipif(not WORDNET_FOLDER.exists(), reason="needs WordNet")
def test_the_table_that_ships_can_be_made_again(tmp_path):
    write_hypernyms(tmp_path / "hypernyms.tsv")
    assert (tmp_path / "hypernyms.tsv").read_text() == HYPERNYMS_FILE.read_text()
