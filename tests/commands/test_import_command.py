"""The command that imports SED's checkpoints."""

import json
import sys

import pytest
import torch

from dpseg.cli import main
from dpseg.factory.config import PRESETS
from dpseg.factory.load import load_engine
from sed_reference import tiny_checkpoint


@pytest.fixture
def checkpoint(tmp_path, monkeypatch, clip_config, sed_config):
    """A tiny checkpoint, beside presets of its size."""
    for config in (clip_config, sed_config):
        monkeypatch.setitem(PRESETS, config.name, config)
    path = tmp_path / "model_final.pth"
    torch.save({"model": tiny_checkpoint()}, path)
    return path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dpseg", "import-sed", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


@pytest.mark.parametrize("network", ["sed", "dpseg"])
def test_checkpoint_becomes_a_models_folder(checkpoint, network, monkeypatch, capsys):
    out = checkpoint.parent / network
    assert run(monkeypatch, checkpoint, "--out", out, "--network", network) == 0
    assert f"{network}-tiny: " in capsys.readouterr().out
    engine, _ = load_engine(out)
    assert engine.info.name == f"{network}-tiny"
    assert len(json.loads((out / "import.json").read_text())) > 100


def test_what_is_no_checkpoint_ends_in_one_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"no checkpoint")
    assert run(monkeypatch, path, "--out", tmp_path / "out") == 1
    assert capsys.readouterr().err.strip().startswith(f"dpseg: {path} cannot be read")
    assert not (tmp_path / "out").exists()
