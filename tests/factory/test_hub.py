"""A model goes to a hub and into folders, and comes back as it was."""

from pathlib import Path

import pytest

import dpseg.factory.load
from colour_engine import ColourEngine
from dpseg import CheckpointError, Segmenter
from dpseg.factory.hub import download, is_hub_id, save_model, upload
from dpseg.factory.load import DETECTOR_FILE, load_detector
from tiny_graphs import write_detector

FILES = {"dpseg-lite.safetensors": b"weights" * 1000, "dpseg-lite-bank.safetensors": b"bank"}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model's files; what they hold is not looked at."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    monkeypatch.setattr(dpseg.factory.load, "load_engine", lambda _, **__: (ColourEngine(), None))
    return folder


def test_a_saved_model_is_the_loaded_one(model: Path, tmp_path: Path) -> None:
    folder = Segmenter.from_pretrained(model).save_pretrained(tmp_path / "copy", notes="Trained.")
    assert {p.name: p.read_bytes() for p in folder.glob("*.safetensors")} == FILES
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: dpseg\n")
    assert "Trained." in card
    assert "| detector | none |" in card
    assert 'from_pretrained("copy")' in card
    Segmenter.from_pretrained(folder).save_pretrained(folder)  # onto itself


def test_a_detector_goes_with_its_model(model: Path, tmp_path: Path) -> None:
    assert load_detector(model) is None
    write_detector(model / DETECTOR_FILE)
    segmenter = Segmenter.from_pretrained(model)
    folder = segmenter.save_pretrained(tmp_path / "copy")
    assert "| detector | a test |" in (folder / "README.md").read_text()
    detector = load_detector(folder)
    assert detector is not None
    assert detector.names == ("red", "dog")


def test_the_hub_gives_back_what_was_pushed(model: Path, hub) -> None:
    address = Segmenter.from_pretrained(model).push_to_hub("someone/flowers")
    assert "/someone/flowers/commit/" in address
    assert set(hub.repositories["someone/flowers"]) == {*FILES, "README.md"}
    folder = download("someone/flowers")
    assert {p.name: p.read_bytes() for p in folder.glob("*.safetensors")} == FILES
    assert 'from_pretrained("someone/flowers")' in (folder / "README.md").read_text()
    again = Segmenter.from_pretrained("someone/flowers")
    assert again.save_pretrained(model.parent / "third").joinpath("README.md").exists()


def test_unknown_models_are_told(hub) -> None:
    with pytest.raises(CheckpointError, match="no-one/nothing"):
        Segmenter.from_pretrained("no-one/nothing")


def test_only_models_of_files_are_saved(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="loaded from files"):
        Segmenter(ColourEngine()).save_pretrained(tmp_path)


def test_hub_names_are_told_from_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("someone/model-1.0_b")
    (tmp_path / "runs/lite").mkdir(parents=True)
    for name in ("dpseg-lite", "runs/lite", "./runs/none", "/runs/none", "a/b/c", "a b/c", "a/"):
        assert not is_hub_id(name)


def test_a_card_is_written_for_any_model(tmp_path: Path, model: Path) -> None:
    files = sorted(model.iterdir())
    info = ColourEngine().info
    folder = save_model(files, tmp_path / "x", info=info, source="a/b", license_name="mit")
    card = (folder / "README.md").read_text()
    assert "license: mit" in card
    assert info.encoder_key in card
    assert callable(upload)
