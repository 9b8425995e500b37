"""A detector beside the model: what its boxes change, and where they are shown."""

from pathlib import Path

import numpy as np
import pytest

from colour_engine import ColourEngine, paint
from dpseg.engines.detector import Detector
from dpseg.inference.box_evidence import FOR_ALL, LEAST, NEUTRAL, BoxReader, Known
from dpseg.prompts.cache import PromptCache
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import Vocabulary
from tiny_graphs import write_detector

NAMES = ["red", "green", "blue"]
PHOTO = paint(("red", 0, 96, 0, 48), ("green", 0, 96, 48, 96))


@pytest.fixture
def segmenter(tmp_path: Path) -> Segmenter:
    """A model that knows colours, and a detector that finds red on the left."""
    detector = Detector(write_detector(tmp_path / "detector.onnx"))
    return Segmenter(ColourEngine(), cache=PromptCache(tmp_path / "cache"), detector=detector)


def _log_odds(scores):
    return np.log(scores) - np.log1p(-scores)


def test_the_log_odds_of_known_names_move_by_the_evidence(segmenter: Segmenter):
    plain, boxed = (
        segmenter(PHOTO, NAMES, unlabelled=False, class_prior=False, snap=False, detector=detector)
        for detector in (False, True)
    )
    moved = _log_odds(boxed.scores.astype(float)) - _log_odds(plain.scores.astype(float))
    columns = moved.shape[2]
    score = boxed.explain(0, 0).winner.box
    assert score == pytest.approx(220 / 255, abs=0.05)
    gain = FOR_ALL * (_log_odds(score) - _log_odds(NEUTRAL))
    np.testing.assert_allclose(moved[0, :, : columns // 3], gain, atol=5e-2)
    loss = _log_odds(LEAST) - _log_odds(NEUTRAL)
    np.testing.assert_allclose(moved[0, :, 2 * columns // 3 :], loss, atol=5e-2)
    np.testing.assert_allclose(moved[1:], 0, atol=1e-3)


def test_settings_say_whether_a_detector_spoke(segmenter: Segmenter):
    assert segmenter(PHOTO, NAMES).settings["detector"] == "tiny detector"
    assert segmenter(PHOTO, NAMES, detector=False).settings["detector"] is None
    assert Segmenter(ColourEngine())(PHOTO, NAMES).settings["detector"] is None


def test_explanations_tell_of_boxes(segmenter: Segmenter):
    result = segmenter(PHOTO, NAMES, unlabelled=False)
    red = result.explain(5, 5).winner
    assert red.name == "red"
    assert "box 0.8" in str(red)
    green = result.explain(90, 5)
    assert green.winner.box is None
    votes = [green.winner, green.runner_up]
    assert all(vote.box == 0 for vote in votes if vote is not None and vote.name == "red")
    assert segmenter(PHOTO, NAMES, detector=False).explain(5, 5).winner.box is None


def test_further_rounds_keep_the_evidence(segmenter: Segmenter):
    plain, boxed = (
        segmenter(PHOTO, NAMES, unlabelled=False, refine=1, detector=detector)
        for detector in (False, True)
    )
    assert boxed.settings["refine_rounds"] == plain.settings["refine_rounds"] == 1
    left = slice(0, boxed.scores.shape[2] // 2)
    assert (boxed.scores[0, :, left] > plain.scores[0, :, left]).all()


def test_a_kind_must_mean_much_the_same(tmp_path: Path):
    detector = Detector(write_detector(tmp_path / "d.onnx", names=("person", "dog")))
    axes = np.eye(2, dtype=np.float32)
    reader = BoxReader(detector, lambda names: axes[[names.index(n) and 1 for n in names]])
    vocabulary = Vocabulary.of(["astronaut", "tiger", "person", "sky"])
    vectors = np.array([[0.6, 0.8], [0, 1], [1, 0], [0, 1]], np.float32)
    assert reader.known(vocabulary, vectors) == [Known(0, loses=False), None, Known(0), None]
