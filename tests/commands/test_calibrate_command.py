"""The command that measures the score that a pixel needs."""

import json
import sys

import pytest

from dpseg import Segmenter
from dpseg.cli import main
from dpseg.errors import CheckpointError
from dpseg.evaluate.thresholds import THRESHOLDS
from dpseg.factory.calibration import calibration_path, read_threshold, write_threshold
from dpseg.factory.clip import ClipModel, clip_engine, save_clip
from dpseg.factory.load import WEIGHTS, load_engine, model_files
from labelled_folder import halves, write_folder


@pytest.fixture
def model(clip_config, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_clip(ClipModel(clip_config), folder / "model.safetensors")
    return folder


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dpseg", "calibrate", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_a_models_folder_keeps_its_threshold(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    samples = {f"p{index}": halves(1, 0, (64, 64)) for index in range(3)}
    write_folder(tmp_path / "pets", {0: "background", 1: "cat", 2: "dog"}, samples)
    assert run(monkeypatch, tmp_path / "pets", "--model", model, "--limit", 2) == 0
    told = capsys.readouterr().out
    stored = json.loads((model / "calibration.json").read_text())
    assert stored["score_threshold"] in THRESHOLDS
    assert stored["measured_on"].startswith("2 photos of")
    assert f"{stored['score_threshold']:g} (" in told
    segmenter = Segmenter.from_pretrained(model)
    assert segmenter.info.score_threshold == stored["score_threshold"]
    copy = Segmenter.from_pretrained(segmenter.save_pretrained(tmp_path / "copy"))
    assert copy.info == segmenter.info


def test_a_folder_without_background_is_refused(model, tmp_path, monkeypatch, capsys):
    write_folder(tmp_path / "parks", {0: "grass", 1: "cat"}, {"p0": halves(1, 0, (64, 64))})
    assert run(monkeypatch, tmp_path / "parks", "--model", model) == 1
    assert "labels no background" in capsys.readouterr().err
    assert not (model / "calibration.json").exists()


def test_a_calibration_of_other_weights_is_refused(model):
    path = calibration_path(model)
    write_threshold(path, "other", 0.3, "nothing")
    with pytest.raises(CheckpointError, match="made with other weights"):
        load_engine(model)
    for damaged in ("{", "[]", '{"encoder_key": "x"}'):
        path.write_text(damaged)
        with pytest.raises(CheckpointError, match="is damaged"):
            load_engine(model)


def test_a_named_models_threshold_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    plain, _ = load_engine("dpseg-lite")
    path = calibration_path("dpseg-lite")
    assert path == tmp_path / "cache/models/dpseg-lite/calibration.json"
    assert read_threshold(path, plain.info.encoder_key) is None
    write_threshold(path, plain.info.encoder_key, 0.7, "a test")
    changed, _ = load_engine("dpseg-lite")
    assert plain.info.score_threshold != changed.info.score_threshold == 0.7
    assert model_files("dpseg-lite")[-1] == path
    assert not (WEIGHTS / "calibration.json").exists()
    inside = calibration_path("convnext_base:../weights.pt").parent.parent
    assert inside == tmp_path / "cache/models"


def test_an_engine_is_calibrated_without_changing_the_first(clip_config):
    engine = clip_engine(ClipModel(clip_config))
    changed = engine.calibrated(0.4)
    assert (engine.info.score_threshold, changed.info.score_threshold) == (0.0, 0.4)
    assert changed.model is engine.model
