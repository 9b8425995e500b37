"""The threshold that is stored with the weights, chosen on photos kept aside from training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpseg.data.dataset import LabelledFolder
from dpseg.data.mixture import SourceSettings
from dpseg.data.plain_names import with_synonyms
from dpseg.evaluate.thresholds import THRESHOLDS, lowest_good, threshold_curve
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import Vocabulary


def calibrate(segmenter: Segmenter, data_root: Path, sources: Sequence[SourceSettings]) -> float:
    """Choose the threshold on the kept-aside photos of every source that labels background.

    Args:
        segmenter: the finished model with its bank.
        data_root: folder that holds the sources.
        sources: the recipe's.

    Returns:
        The lowest threshold that is nearly the best on the mean over the sets; `THRESHOLDS[0]` if
        there is no such set.
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
    return lowest_good(curves)
