"""The choice of the unlabelled threshold, with scores that the test makes up."""

from types import SimpleNamespace

import numpy as np
import pytest

from dpseg.data.mixture import SourceSettings
from dpseg.inference.unlabelled import DEFAULT_UNLABELLED
from dpseg.train.lite.calibrate import THRESHOLDS, calibrate
from labelled_folder import COLOURS, halves, write_folder

PETS = SourceSettings("pets", exclusive=True, holdout_every=2)


class ScoresByColour:
    """Says "cat" where a photo is green; how sure, depends on what is there."""

    def __init__(self, *, on_cats, on_background):
        self.on_cats, self.on_background = on_cats, on_background
        self.photos = 0

    def __call__(self, image, vocabulary):
        assert vocabulary.names == ["cat", "dog"]
        self.photos += 1
        green = np.abs(image[::4, ::4].astype(int) - COLOURS[1]).sum(2) < 90
        cat = np.where(green, self.on_cats, self.on_background).astype(np.float32)
        scores = np.stack([cat, np.zeros_like(cat), np.zeros_like(cat)])
        return SimpleNamespace(evidence=SimpleNamespace(scores=scores, given=2))


@pytest.fixture
def root(tmp_path):
    samples = {f"p{i}": halves(1, 0, (64, 64)) for i in range(4)}
    write_folder(tmp_path / "pets", {0: "background", 1: "cat", 2: "dog"}, samples)
    write_folder(tmp_path / "parks", {0: "grass", 1: "cat"}, samples)
    return tmp_path


@pytest.mark.parametrize(("on_cats", "on_background"), [(0.7, 0.45), (0.3, 0.11), (0.85, 0.8)])
def test_threshold_parts_objects_from_background(root, on_cats, on_background):
    segmenter = ScoresByColour(on_cats=on_cats, on_background=on_background)
    threshold = calibrate(segmenter, root, [PETS])
    assert on_background < DEFAULT_UNLABELLED.needed_score(threshold, 2) <= on_cats
    assert segmenter.photos == 2  # the kept-aside ones


@pytest.mark.parametrize(
    "source",
    [
        SourceSettings("parks", exclusive=True, holdout_every=2),  # has no background
        SourceSettings("pets", exclusive=True),  # keeps no photo aside
        SourceSettings("pets", holdout_every=2),  # its background may be anything
        SourceSettings("web", labelled=False),
    ],
)
def test_sets_that_cannot_tell_are_not_asked(root, source):
    segmenter = ScoresByColour(on_cats=0.7, on_background=0.45)
    assert calibrate(segmenter, root, [source]) == THRESHOLDS[0]
    assert segmenter.photos == 0
