"""Common names of what the model has not met: from the table that ships."""

import numpy as np
import pytest

from dpseg.inference.hypernyms import first_hypernym, hypernyms_of, stem, with_hypernyms
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.pooling import VisualEmbedding
from dpseg.vocabulary import ClassEntry, Vocabulary


@pytest.fixture
def bank():
    rows = np.eye(2, 4, dtype=np.float32)
    visual = VisualEmbedding(class_wise=rows, level_wise={}, token_wise=rows[:, None])
    return PromptBank(
        encoder_key="k", names=("person", "poodle"), text_embedding=rows, visual=visual
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("astronaut", "person"),
        ("Nurses", "person"),
        ("fire_engine", "truck"),
        ("pagoda", "temple"),  # the narrowest
        ("dahlia", "flower"),
        ("crane", None),  # a machine, then a bird
        ("person", None),
        ("wug", None),
    ],
)
def test_first_hypernym_is_of_the_most_frequent_sense(word, expected):
    assert first_hypernym(word) == expected


def test_things_of_rarer_senses_count_too():
    assert "bird" in hypernyms_of("crane")
    assert {"temple", "building"} <= set(hypernyms_of("pagodas"))
    assert not hypernyms_of("wug")


def test_insults_and_proper_names_are_no_kinds():
    assert not hypernyms_of("mont blanc")
    assert not hypernyms_of("gringo")


def test_plural_and_singular_have_one_stem():
    assert stem("Buses") == stem("bus") == "bus"
    assert stem("glass") == "glass"


def test_unknown_words_get_the_name_of_their_kind(bank):
    asked = Vocabulary([ClassEntry("astronaut", ("cosmonaut",)), ClassEntry("poodle")])
    widened = with_hypernyms(asked, bank)
    assert widened.names == asked.names
    assert widened[0].synonyms == ("cosmonaut", "person")
    assert widened[1] == asked[1]  # in the bank


def test_a_hypernym_that_is_asked_for_is_not_shared(bank):
    asked = Vocabulary([ClassEntry("astronaut"), ClassEntry("people", ("person",))])
    assert list(with_hypernyms(asked, bank)) == list(asked)


def test_two_words_share_their_hypernym(bank):
    widened = with_hypernyms(Vocabulary.of("astronaut, nurse"), bank)
    assert [entry.synonyms for entry in widened] == [("person",), ("person",)]
