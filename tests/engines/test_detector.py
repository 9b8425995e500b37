"""The detector on onnxruntime, by a tiny graph, and the one that ships."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from colour_engine import paint
from dpseg.engines.detector import INSIDE, OUTSIDE, Boxes, Detector
from dpseg.errors import CheckpointError
from tiny_graphs import write_colour_maps, write_detector


def test_boxes_of_a_tiny_graph(tmp_path: Path):
    detector = Detector(write_detector(tmp_path / "d.onnx"))
    assert detector.names == ("red", "dog")
    assert detector.origin == "a test"
    assert detector.title == "tiny detector"
    boxes = detector(paint(("red", 0, 96, 0, 48)))
    assert boxes.names.tolist() == [0]
    assert boxes.scores[0] == pytest.approx(220 / 255, abs=0.02)
    np.testing.assert_array_equal(boxes.corners, [[0, 0, 0.5, 1]])


def test_a_detector_can_be_pickled(tmp_path: Path):
    detector = Detector(write_detector(tmp_path / "d.onnx"))
    assert detector.names  # its session is open now
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again(paint()).scores, detector(paint()).scores)


def test_a_box_covers_its_inside_and_rises_around_its_edges():
    boxes = Boxes(
        np.array([0]), np.array([0.9], np.float32), np.array([[0.25, 0.0, 0.75, 0.5]], np.float32)
    )
    x, y = np.linspace(0, 1, 101, dtype=np.float32), np.linspace(0, 1, 81, dtype=np.float32)
    got = boxes.coverage(0, x, y)
    assert got.shape == (81, 101)
    across = got[0]  # the top lies on the picture's edge, so nothing falls off there
    within = 0.25 * (1 - INSIDE)
    assert (across[np.abs(x - 0.5) <= within - 1e-3] == 1).all()
    beyond = 0.25 * (1 + OUTSIDE)
    assert not across[np.abs(x - 0.5) >= beyond + 1e-3].any()
    assert across[25] == pytest.approx(OUTSIDE / (INSIDE + OUTSIDE), abs=1e-4)
    np.testing.assert_allclose(across, across[::-1], atol=1e-5)
    np.testing.assert_allclose(got, got[:, 50:51] * across, atol=1e-6)


def test_a_graph_that_is_no_detector(tmp_path: Path):
    path = write_colour_maps(tmp_path / "maps.onnx", channels_last=False)
    with pytest.raises(CheckpointError, match="no detector"):
        _ = Detector(path).names
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        _ = Detector(tmp_path / "missing.onnx").names
