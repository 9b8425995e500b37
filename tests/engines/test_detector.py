"""The detector on onnxruntime, by a tiny graph, and the one that ships."""

from pathlib import Path

import numpy as np
import pytest

from colour_engine import paint
from dpseg.engines.detector import Boxes, Detector
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


def test_positions_whose_centres_a_box_covers():
    corners = np.array([[0, 0, 1, 1], [0.25, 0.5, 0.75, 1], [0.3, 0.3, 0.31, 0.31]], np.float32)
    boxes = Boxes(np.zeros(3, np.int64), np.array([0.5, 0.9, 0.1], np.float32), corners)
    got = list(boxes.covered((4, 6)))
    assert [index for index, _, _ in got] == [2, 0, 1]  # the surest last
    centres_y, centres_x = (np.arange(4) + 0.5) / 4, (np.arange(6) + 0.5) / 6
    for index, down, across in got:
        left, top, right, bottom = corners[index]
        inside = ((centres_y >= top) & (centres_y <= bottom))[:, None] & (
            (centres_x >= left) & (centres_x <= right)
        )
        painted = np.zeros((4, 6), bool)
        painted[down, across] = True
        np.testing.assert_array_equal(painted, inside)


def test_boxes_that_reach_beyond_a_picture():
    corners = np.array([[-2, -2, -1, -1], [0.5, 0.5, 3, 3]], np.float32)
    boxes = Boxes(np.zeros(2, np.int64), np.array([0.1, 0.2], np.float32), corners)
    covered = [np.zeros((4, 4))[down, across].size for _, down, across in boxes.covered((4, 4))]
    assert covered == [0, 4]


def test_a_graph_that_is_no_detector(tmp_path: Path):
    path = write_colour_maps(tmp_path / "maps.onnx", channels_last=False)
    with pytest.raises(CheckpointError, match="no detector"):
        _ = Detector(path).names
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        _ = Detector(tmp_path / "missing.onnx").names
