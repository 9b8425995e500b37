"""What needs torch says so in one line where the light package is installed alone."""

import sys

import pytest

from dpseg.cli import main

COMMANDS = {
    "train recipe.yaml --data DATA --out OUT": "train",
    "tune DATA/voc --out mine.safetensors": "torch",
    "export --out OUT": "onnx",
    "import sed.pth --out OUT": "clip",
    "segment photo.jpg -c cat --model dpseg-convnext-b": "clip",
}


@pytest.mark.parametrize(("command", "extra"), COMMANDS.items())
def test_missing_torch_names_the_extra(command, extra, monkeypatch, capsys, tmp_path):
    (tmp_path / "photo.jpg").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "argv", ["dpseg", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err.strip()
    assert ended.value.code == 1
    assert f"pip install 'dpseg[{extra}]'" in told
    assert len(told.splitlines()) == 1
