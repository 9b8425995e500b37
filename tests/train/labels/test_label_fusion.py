"""Fusing a model's answer with teachers' words."""

import numpy as np

from dpseg.train.labels.fusion import TeacherScores, fuse, names_in_common
from dpseg.train.labels.recipe import TeacherSettings
from dpseg.vocabulary import Vocabulary


def _maps(*values: float) -> np.ndarray:
    """Scores of some names at a single position, K 1 1."""
    return np.array(values, np.float32)[:, None, None]


def _label(own, *teacher_scores: TeacherScores, share: float = 0.5, least: float = 0.0) -> int:
    return int(fuse(own, teacher_scores, (1, 1), share=share, least=least)[0, 0])


def test_log_odds_add_up():
    own, said = (0.6, 0.5, 0.4), (0.3, 0.7)
    settings = TeacherSettings(file="t", weight=0.5, neutral=0.2)
    logit = lambda p: np.log(np.asarray(p) / (1 - np.asarray(p)))  # noqa: E731
    logits = logit(own)
    logits[[1, 2]] += 0.5 * (logit(said) - logit(0.2))
    share = np.exp(logits).max() / np.exp(logits).sum()
    one = TeacherScores(settings, [1, 2], _maps(*said))
    assert _label(_maps(*own), one, share=float(share) - 1e-3) == logits.argmax() == 2
    assert _label(_maps(*own), one, share=float(share) + 1e-3) == -1


def test_a_name_that_a_teacher_knows_needs_its_word_and_the_models():
    one = TeacherScores(TeacherSettings(file="t", least=0.3), [0], _maps(0.29))
    assert _label(_maps(0.99, 0.01), one) == -1
    one = TeacherScores(TeacherSettings(file="t", least=0.3), [0], _maps(0.31))
    assert _label(_maps(0.99, 0.01), one) == 0
    assert _label(_maps(0.2, 0.001), one, least=0.3) == -1
    other = TeacherScores(TeacherSettings(file="t", least=0.3), [1], _maps(0.01))
    assert _label(_maps(0.9, 0.01), other, least=0.99) == 0  # the winner is not among its names


def test_without_teachers_the_model_speaks_alone():
    assert _label(_maps(0.3, 0.9), share=0.9) == 1
    assert _label(_maps(0.8, 0.9), share=0.9) == -1


def test_names_in_common():
    vocabulary = Vocabulary.of(["tv|television", "sky", "dogs", "cat"])
    words = [["hound", "dog"], ["television"], ["cat"]]
    assert names_in_common(vocabulary, words, None) == ([0, 2, 3], [1, 0, 2])
    assert names_in_common(vocabulary, words, ["cat", "sky"]) == ([3], [2])
