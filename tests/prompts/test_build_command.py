"""`dpseg prompts build`, with the model that knows colours."""

import sys

import pytest
from PIL import Image

import dpseg.factory.load
from colour_engine import COLOURS, ColourEngine, paint
from dpseg.cli import main
from dpseg.prompts.bank import PromptBank


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        dpseg.factory.load, "load_engine", lambda model, **_: (ColourEngine(), None)
    )
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["dpseg", "prompts", "build", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr()

    return command


def save(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(paint(ground=colour)).save(path)


def test_a_folder_becomes_a_bank(run, tmp_path):
    save(tmp_path / "mine/zorblax/1.png", "green")
    save(tmp_path / "mine/quux/1.png", "red")
    code, printed = run("--source", "folder", "--pictures", "mine", "--out", "bank.safetensors")
    assert code == 0
    assert "prompts of 2 of 2 names" in printed.out
    bank = PromptBank.load(tmp_path / "bank.safetensors", encoder_key="colour")
    assert set(bank.names) == {"zorblax", "quux"}
    winners = bank.visual.class_wise.argmax(axis=1)
    assert [list(COLOURS)[winner] for winner in winners] == [
        {"zorblax": "green", "quux": "red"}[name] for name in bank.names
    ]


def test_drawn_pictures_become_a_bank(run, tmp_path, tiny_diffusion):
    arguments = (
        "--source", "diffusion", "--diffusion-model", str(tiny_diffusion), "-c", "red, blue|navy",
        "--pictures", "drawn", "--template", "one {}", "--template", "a {}", "--seeds", "3",
        "--steps", "2", "--size", "32", "--batch", "4", "--out", "bank.safetensors",
    )  # fmt: skip
    code, printed = run(*arguments)
    assert code == 0, printed.err
    assert "prompts of 2 of 2 names" in printed.out
    bank = PromptBank.load(tmp_path / "bank.safetensors", encoder_key="colour")
    assert bank.names == ("red", "blue|navy")
    pictures = {path: path.stat().st_mtime_ns for path in (tmp_path / "drawn").glob("*.png")}
    assert len(pictures) == 2 * 2 * 3
    code, _ = run(*arguments)
    assert code == 0
    assert {path: path.stat().st_mtime_ns for path in pictures} == pictures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "folder", "--pictures", "none"], "is not a folder of example pictures"),
        ([], "no class names were given"),
    ],
)
def test_bad_requests_end_in_one_line(run, arguments, message):
    code, printed = run(*arguments, "--out", "bank.safetensors")
    assert code == 1
    assert message in printed.err
    assert printed.err.strip().count("\n") == 0
