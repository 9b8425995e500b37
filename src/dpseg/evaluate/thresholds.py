"""The score below which a pixel is left unlabelled: measured on labelled photos, all at once.

Photos with background tell where none of their names is: there a pixel should stay unlabelled,
everywhere else it should not. The threshold with the best mean IoU, background counted as one more
class, would suit these names best; but names that a model knows less well score lower and would
vanish. So the lowest threshold that costs little is taken, as it is for a list of a few names;
`UnlabelledRules` raises it for long lists, here as in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.data.dataset import BACKGROUND, Sample
from dpseg.evaluate.confusion import confusion_matrix
from dpseg.evaluate.metrics import miou
from dpseg.inference.unlabelled import DEFAULT_UNLABELLED, leave_unlabelled
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import Vocabulary

SLACK = 0.01  # mIoU that may be given up on the measured names for the sake of all others
THRESHOLDS = tuple(float(t) for t in np.round(np.arange(0.02, 0.9, 0.02), 2))


def lowest_good(curves: Sequence[npt.NDArray[np.float64]]) -> float:
    """Choose a threshold.

    Args:
        curves: of each set, mIoU at each of `THRESHOLDS`.

    Returns:
        The lowest threshold within `SLACK` of the best mean over the sets.
    """
    mean = np.mean(curves, axis=0)
    return THRESHOLDS[int((mean >= mean.max() - SLACK).argmax())]


def threshold_curve(
    segmenter: Segmenter, samples: Iterable[Sample], vocabulary: Vocabulary
) -> npt.NDArray[np.float64]:
    """Measure every threshold on one set.

    Args:
        segmenter: the model; its own threshold plays no part.
        samples: photos with background labelled -2.
        vocabulary: the set's names.

    Returns:
        mIoU at each of `THRESHOLDS` of a few names, with background as one more class.
    """
    count = len(vocabulary) + 1
    confusions = np.zeros((len(THRESHOLDS), count, count), np.int64)
    for sample in samples:
        evidence = segmenter(sample.image, vocabulary).evidence
        assert evidence is not None
        given, distractors = np.split(evidence.scores, [evidence.given])
        winner = given.argmax(0).astype(np.int32)
        distractor = (
            distractors.max(0) if len(distractors) else np.full(winner.shape, -np.inf, np.float32)
        )
        label = Image.fromarray(sample.label).resize(winner.shape[::-1], Image.Resampling.NEAREST)
        target = np.where(np.asarray(label) == BACKGROUND, count - 1, np.asarray(label))
        for index, threshold in enumerate(THRESHOLDS):
            labels = leave_unlabelled(
                winner,
                given.max(0),
                distractor,
                threshold=DEFAULT_UNLABELLED.needed_score(threshold, len(vocabulary)),
                margin=DEFAULT_UNLABELLED.margin,
            )
            prediction = np.where(labels < 0, count - 1, labels)
            confusions[index] += confusion_matrix(prediction, target, count, ignore_index=-1)
    return np.array([miou(confusion) for confusion in confusions])
