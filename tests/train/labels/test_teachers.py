"""Teachers behind one interface, by tiny real graphs."""

from pathlib import Path

import numpy as np
import pytest

from colour_engine import paint
from dpseg.errors import CheckpointError, DataError
from dpseg.train.labels.recipe import BoxTeacherSettings, MapTeacherSettings
from dpseg.train.labels.teachers import open_teacher
from tiny_graphs import write_colour_maps, write_detector


def test_a_detector_scores_its_names_where_its_boxes_are(tmp_path: Path):
    write_detector(tmp_path / "d.onnx")
    teacher = open_teacher(BoxTeacherSettings(kind="boxes", file="d.onnx"), tmp_path)
    assert teacher.words == (("red",), ("dog",))
    scores = teacher(paint(("red", 0, 96, 0, 48)))
    assert scores.shape[0] == 2
    third = scores.shape[2] // 3
    assert np.ptp(scores[0, :, :third]) == 0
    assert scores[0, 0, 0] == pytest.approx(220 / 255, abs=0.05)
    assert not scores[0, :, 2 * third :].any()
    assert not scores[1].any()


@pytest.mark.parametrize("channels_last", [True, False])
def test_maps_become_shares(tmp_path: Path, channels_last: bool):
    write_colour_maps(tmp_path / "m.onnx", channels_last=channels_last)
    (tmp_path / "names.txt").write_text("red, scarlet\ngreen\nblue\n")
    settings = MapTeacherSettings(
        kind="maps", file="m.onnx", names="names.txt", skip=1, channels_last=channels_last
    )
    teacher = open_teacher(settings, tmp_path)
    assert teacher.words == (("red", "scarlet"), ("green",), ("blue",))
    scores = teacher(paint(("red", 0, 96, 0, 48), ("blue", 0, 96, 48, 96)))
    np.testing.assert_allclose(scores.sum(axis=0), 1, rtol=1e-5)
    assert (scores.argmax(axis=0)[:, :6] == 0).all()
    assert (scores.argmax(axis=0)[:, 10:] == 2).all()


def test_a_photo_keeps_its_aspect_before_the_padding(tmp_path: Path):
    write_colour_maps(tmp_path / "m.onnx", channels_last=False)
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    settings = MapTeacherSettings(
        kind="maps", file="m.onnx", names="names.txt", skip=1, keep_aspect=True
    )
    wide = paint(("red", 0, 96, 0, 48), ("blue", 0, 96, 48, 96))[:48]
    scores = open_teacher(settings, tmp_path)(wide)
    assert scores.shape[2] == 2 * scores.shape[1]
    assert (scores.argmax(axis=0)[:, :6] == 0).all()
    assert (scores.argmax(axis=0)[:, 10:] == 2).all()


def test_names_that_do_not_fit_the_maps(tmp_path: Path):
    write_colour_maps(tmp_path / "m.onnx", channels_last=False)
    (tmp_path / "names.txt").write_text("red\n")
    settings = MapTeacherSettings(kind="maps", file="m.onnx", names="names.txt")
    with pytest.raises(DataError, match="gives 4 maps behind the first 0"):
        open_teacher(settings, tmp_path)(paint())
    (tmp_path / "names.txt").unlink()
    with pytest.raises(DataError, match="cannot read the teacher's names"):
        open_teacher(settings, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_teacher(settings, tmp_path / "elsewhere")
