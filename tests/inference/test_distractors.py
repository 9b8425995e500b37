"""What was not named stays unlabelled, and what was named is not taken away by its own kind."""

import numpy as np
import pytest

from dpseg.inference.distractors import (
    distractor_names,
    near_pairs,
    pick_distractors,
    unrelated_distractors,
)
from dpseg.inference.unlabelled import UnlabelledRules
from dpseg.vocabulary import ClassEntry, Vocabulary

AXES = np.eye(6, dtype=np.float32)


def test_distractors_are_a_hundred_common_words() -> None:
    names = distractor_names()
    assert 100 <= len(names) <= 180
    assert len(set(names)) == len(names)
    Vocabulary.of(names)  # all usable as class names


@pytest.mark.parametrize(
    ("given", "gone", "stays"),
    [
        ("dog", {"dog"}, {"cat", "grass"}),
        ("Dogs", {"dog"}, {"cat"}),
        ("animal", {"dog", "cat", "bird"}, {"grass", "person"}),
        ("wild animals", {"elephant"}, {"tree"}),
        ("apple tree", {"tree"}, {"grass"}),
        ("woman", {"person"}, {"wall"}),
        ("bear", {"bear", "teddy bear"}, {"dog"}),
        ("parked_cars", {"car"}, {"truck"}),
        ("buses", {"bus"}, {"car"}),
        ("glasses", {"drinking glass"}, {"grass"}),
        ("old houses", {"house", "building"}, {"sky"}),
        ("astronaut", {"person"}, {"wall"}),
        ("young nurses", {"person"}, {"bed"}),
        ("poodle", {"dog"}, {"cat", "person"}),
        ("dahlia", {"flower"}, {"grass"}),
        ("steel crane", {"bird"}, {"building"}),  # either sense
    ],
)
def test_relatives_of_a_given_name_do_not_compete(
    given: str, gone: set[str], stays: set[str]
) -> None:
    names = set(unrelated_distractors(Vocabulary.of([given])))
    assert not names & gone
    assert stays <= names


def test_synonyms_and_parents_count_too() -> None:
    names = unrelated_distractors(
        [ClassEntry("rex", synonyms=("dog",)), ClassEntry("oak", parent="tree")]
    )
    assert not {"dog", "tree"} & set(names)


def test_only_distractors_that_win_somewhere_join() -> None:
    image = np.zeros((6, 10, 10), np.float32)
    image[0, :, :5] = 1  # the given class
    image[2, :6, 5:] = 2  # distractor 0
    image[3, 6:, 5:] = 2  # distractor 1
    picked = pick_distractors(image, AXES[:2], AXES[2:], 0.75)
    assert picked == [0, 1]
    assert pick_distractors(image, AXES[:2], AXES[2:], 0.75, UnlabelledRules(limit=1)) == [0]
    assert pick_distractors(image, AXES[:2], AXES[2:], 0.75, UnlabelledRules(least_share=0.25)) == [
        0
    ]


def test_distractors_near_a_given_name_are_left_out() -> None:
    image = np.zeros((6, 4, 4), np.float32)
    image[2] = 1
    near = np.array([[0.9, 0, np.sqrt(1 - 0.81), 0, 0, 0]], np.float32)
    assert pick_distractors(image, AXES[:2], near, 0.75) == []
    assert pick_distractors(image, AXES[:2], AXES[2:3], 0.75) == [0]


def test_near_is_where_so_few_pairs_lie():
    """In a space where all names lie close together, the bar is higher."""
    vectors = np.random.default_rng(0).normal(size=(200, 8))
    for shift in (0, 3):
        unit = vectors + shift
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        found = near_pairs(unit.astype(np.float32))
        pairs = [a @ b for i, a in enumerate(unit) for b in unit[:i]]
        assert sum(one > found for one in pairs) / len(pairs) == pytest.approx(4e-4, abs=6e-5)
        assert (found > 0.98) == (shift == 3)
