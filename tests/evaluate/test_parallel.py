"""Several processes count what one counts."""

import numpy as np
import pytest

from dpseg.errors import DataError
from dpseg.evaluate.parallel import Job, count

pytestmark = pytest.mark.slow

CLASSES = 5
PICTURES = 11


class Noise:
    """Pictures whose label can be worked out from their number."""

    def __len__(self):
        return PICTURES

    def __getitem__(self, number):
        rng = np.random.default_rng(number)
        label = np.repeat(np.repeat(rng.integers(-1, CLASSES, (6, 8)), 7, 0), 7, 1)
        return rng.integers(0, 255, (*label.shape, 3), np.uint8), label


class NoPictures(Noise):
    def __len__(self):
        return 0


def answers():
    """Two configurations that label pictures by their colours."""
    return lambda image: [image[..., channel] % CLASSES for channel in (0, 1)]


def broken():
    raise DataError("no such model")


def test_counts_do_not_depend_on_the_number_of_processes():
    job = Job(answers, Noise(), 2, CLASSES)
    one, three = count(job), count(job, processes=3)
    assert one.pictures == three.pictures == PICTURES
    for mine, theirs in zip(one.accumulators, three.accumulators, strict=True):
        for name in ("confusion", "sizes", "outlines"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
    labelled = sum(int((label >= 0).sum()) for _, label in (Noise()[n] for n in range(PICTURES)))
    assert one.accumulators[0].confusion.sum() == labelled
    assert [a.number for a in one.best] == [a.number for a in three.best]
    assert [a.number for a in one.worst] == [a.number for a in three.worst]


def test_errors_of_a_process_reach_the_caller():
    with pytest.raises(DataError, match="no such model"):
        count(Job(broken, Noise(), 1, CLASSES), processes=2)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(DataError, match="'empty' has no labelled pictures"):
        count(Job(answers, NoPictures(), 2, CLASSES), name="empty")
    with pytest.raises(DataError, match="processes is 0"):
        count(Job(answers, Noise(), 2, CLASSES), processes=0)
