"""Single things of a labelled folder, by its own numbers and by connected regions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dpseg.factory.load
from colour_engine import COLOURS, ColourEngine
from dpseg import DataError, Segmenter
from dpseg.cli import main
from dpseg.evaluate.instance_folder import evaluate_instances, true_segments
from dpseg.evaluate.instances import VOID
from labelled_folder import write_folder

CLASSES = {0: "background", 1: "red", 2: "blue sky"}


def balls() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw two red balls that touch under a blue sky: photo, label and numbers."""
    row, column = np.mgrid[:96, :96]
    numbers = np.zeros((96, 96), np.uint8)
    for number, middle in ((1, 28), (2, 68)):
        numbers[(row - 70) ** 2 + (column - middle) ** 2 <= 21**2] = number
    label = np.where(numbers > 0, 1, 0).astype(np.uint8)
    label[:32] = 2
    colours = np.array([COLOURS["black"], COLOURS["red"], COLOURS["blue"]], np.uint8)
    return colours[label], label, numbers


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    photo, label, numbers = balls()
    root = write_folder(tmp_path / "balls", CLASSES, {"one": (photo, label)}, "val")
    (root / "instances").mkdir()
    Image.fromarray(numbers).save(root / "instances" / "one.png")
    return root


@pytest.fixture
def segmenter(folder: Path, engine: ColourEngine) -> Segmenter:
    return Segmenter(engine)


def test_parted_things_match_the_numbers_and_plain_regions_do_not(
    segmenter: Segmenter, folder: Path
) -> None:
    found = evaluate_instances(segmenter, folder)
    assert found.things.tolist() == [True, False]
    plain, parted = (one.figures(found.things) for one in found.counts.values())
    assert (plain["counting_error"], parted["counting_error"]) == (1, 0)
    assert plain["pq_things"] == 0
    assert parted["pq_things"] > 0.8
    assert plain["pq_stuff"] == parted["pq_stuff"] > 0.9
    assert "its own instances" in found.markdown()
    assert "| plain regions |" in found.markdown()


def test_without_numbers_regions_are_the_truth(segmenter: Segmenter, folder: Path) -> None:
    (folder / "instances" / "one.png").unlink()
    (folder / "instances").rmdir()
    found = evaluate_instances(segmenter, folder)
    errors = [one.figures(found.things)["counting_error"] for one in found.counts.values()]
    assert errors == [0, 1]
    assert "connected regions of the labels" in found.markdown()


def test_things_without_a_number_and_specks_are_void() -> None:
    label = np.full((60, 60), -2, np.int32)
    label[10:30, 10:30], label[40, 40], label[50:], label[:5] = 0, 0, 1, -1
    things = np.array([True, False])
    by_regions = true_segments(label, things)
    assert by_regions.classes.tolist() == [0, 1]
    assert by_regions.numbers[40, 40] == by_regions.numbers[0, 0] == VOID
    assert by_regions.numbers[35, 35] == 0
    numbers = np.zeros((60, 60), np.int32)
    numbers[10:30, 10:20] = 7
    numbered = true_segments(label, things, numbers)
    assert (numbered.numbers == 1).sum() == 200
    assert numbered.numbers[15, 25] == VOID


def test_numbers_that_cannot_be_used_are_refused(segmenter: Segmenter, folder: Path) -> None:
    Image.new("L", (5, 5)).save(folder / "instances" / "one.png")
    with pytest.raises(DataError, match=r"one.png has shape \(5, 5\)"):
        evaluate_instances(segmenter, folder)
    (folder / "instances" / "one.png").unlink()
    with pytest.raises(DataError, match="cannot read instances of 'one'"):
        evaluate_instances(segmenter, folder)


def test_the_command_prints_and_writes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        dpseg.factory.load, "load_engine", lambda model, **_: (ColourEngine(), None)
    )
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(
        "sys.argv", ["dpseg", "evaluate", "balls", "--instances", "--out", "report"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "| touching things parted |" in capsys.readouterr().out
    (figures,) = json.loads(Path("report/instances.json").read_text())
    assert figures["rows"]["plain regions"]["counting_error"] == 1
    assert figures["truth"] == "instances"
