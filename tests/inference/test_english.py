"""The words that the model reads, in place of the user's."""

import pytest

from dpseg.errors import VocabularyError
from dpseg.inference.english import in_english
from dpseg.vocabulary import ClassEntry, Vocabulary


def test_names_and_synonyms_come_to_english_in_their_order():
    asked = Vocabulary.of(["sky", "Hund", ClassEntry("Auto", ("Lastwagen",), "rot", "Fahrzeug")])
    english = in_english(asked)
    assert english.names == ["sky", "dog", "car"]
    assert english[2] == ClassEntry("car", ("truck",), "rot", "Fahrzeug")
    assert asked.names == ["sky", "Hund", "Auto"]


def test_a_synonym_that_says_the_same_is_left_out():
    assert in_english(Vocabulary.of("猫|cat, 狗")) == Vocabulary.of("cat, dog")


def test_english_names_stay_the_same_object():
    asked = Vocabulary.of("cat, gift|present")
    assert in_english(asked) is asked
    assert in_english(Vocabulary.of("chat"), "fr").names == ["cat"]


@pytest.mark.parametrize("names", ["Hund, dog", "dog, Hund", "coche, carro"])
def test_two_classes_that_mean_the_same_are_refused(names):
    one, other = names.split(", ")
    with pytest.raises(VocabularyError, match=f"'{one}' and '{other}' both mean '(dog|car)'; give"):
        in_english(Vocabulary.of(names))
