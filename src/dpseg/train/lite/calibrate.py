"""The score below which a pixel is left unlabelled, chosen on photos kept aside from training.

Sets with a background class tell where none of their names is: there a pixel should stay
unlabelled, everywhere else it should not. The threshold with the best mean IoU, background counted
as one more class, would suit the training names best; but names that were never trained score
lower and would vanish. So the lowest threshold that costs little is stored with the weights, as it
is for a list of a few names; `UnlabelledRules` raises it for the sets' long lists, here as in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dpseg.data.dataset import BACKGROUND, LabelledFolder, Sample
from dpseg.data.mixture import SourceSettings
from dpseg.data.plain_names import with_synonyms
from dpseg.evaluate.confusion import confusion_matrix
from dpseg.evaluate.metrics import miou
from dpseg.inference.distractors import DEFAULT_UNLABELLED, leave_unlabelled
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import Vocabulary

SLACK = 0.01  # mIoU that may be given up on the training names for the sake of all others
THRESHOLDS = tuple(float(t) for t in np.round(np.arange(0.02, 0.9, 0.02), 2))


def calibrate(segmenter: Segmenter, data_root: Path, sources: Sequence[SourceSettings]) -> float:
    """Choose the threshold on the kept-aside photos of every source that labels background.

    Args:
        segmenter: the finished model with its bank.
        data_root: folder that holds the sources.
        sources: the recipe's.

    Returns:
        The lowest threshold within `SLACK` of the best mean over the sets; `THRESHOLDS[0]` if there
        is no such set.
    """
    curves = []
    for source in sources:
        if not (source.labelled and source.exclusive and source.holdout_every):
            continue
        folder = LabelledFolder(data_root / source.name, "train")
        if not folder.has_background:
            continue
        samples = (folder[i] for i in range(0, len(folder), source.holdout_every))
        vocabulary = Vocabulary.of([with_synonyms(name) for name in folder.names])
        curves.append(threshold_curve(segmenter, samples, vocabulary))
    if not curves:
        return THRESHOLDS[0]
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
        given, rivals = np.split(evidence.scores, [evidence.given])
        winner = given.argmax(0).astype(np.int32)
        rival = rivals.max(0) if len(rivals) else np.full(winner.shape, -np.inf, np.float32)
        label = Image.fromarray(sample.label).resize(winner.shape[::-1], Image.Resampling.NEAREST)
        target = np.where(np.asarray(label) == BACKGROUND, count - 1, np.asarray(label))
        for index, threshold in enumerate(THRESHOLDS):
            labels = leave_unlabelled(
                winner,
                given.max(0),
                rival,
                threshold=DEFAULT_UNLABELLED.needed_score(threshold, len(vocabulary)),
                margin=DEFAULT_UNLABELLED.margin,
            )
            prediction = np.where(labels < 0, count - 1, labels)
            confusions[index] += confusion_matrix(prediction, target, count, ignore_index=-1)
    return np.array([miou(confusion) for confusion in confusions])
