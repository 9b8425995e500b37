"""Every command that runs a model takes the device, and says in one line that it is not there."""

import sys

import pytest
import torch

from dpseg import DeviceError, Segmenter
from dpseg.cli import main
from dpseg.serve import ServeSettings, serve
from labelled_folder import halves, write_folder

COMMANDS = [
    "segment p0.jpg -c cat",
    "evaluate pets",
    "ablate pets",
    "tune pets --out mine.safetensors",
    "calibrate pets",
    "prompts build --source folder --pictures pictures -c cat --out bank.safetensors",
    "label-studio",
    "serve --port 0",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_that_is_not_there_ends_in_one_line(command, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    samples = {"p0": halves(1, 0, (64, 64))}
    names = {0: "background", 1: "cat"}
    write_folder(tmp_path / "pets", names, samples)
    write_folder(tmp_path / "pets", names, samples, split="val")
    (tmp_path / "pictures/cat").mkdir(parents=True)
    photo = next((tmp_path / "pets/images").iterdir())
    for place in ("p0.jpg", "pictures/cat/p0.jpg"):
        (tmp_path / place).write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpseg", *command.split(), "--device", "cuda:7"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err.strip()
    assert ended.value.code == 1
    assert "device 'cuda:7' is not there" in told
    assert "Traceback" not in told


def test_segmenter_and_service_take_it_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="'cuda' is not there"):
        Segmenter.from_pretrained("dpseg-lite", device="cuda")
    with pytest.raises(DeviceError, match="'cuda' is not there"):
        serve("dpseg-lite", ServeSettings(port=0, device="cuda"))
    assert Segmenter.from_pretrained("dpseg-lite", device="cpu").info.name == "dpseg-lite"
