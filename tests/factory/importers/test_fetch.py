"""A preset by name takes its checkpoint from the hub, once."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from huggingface_hub import constants

import cat_seg_reference
import sed_reference
from dpseg import Segmenter
from dpseg.errors import CheckpointError
from dpseg.factory.config import PRESETS, REPOSITORIES
from dpseg.factory.importers.fetch import SOURCE_FILE
from dpseg.factory.load import load_engine
from err_seg_reference import tiny_checkpoint

REPOSITORY, NAME = REPOSITORIES["err-seg"].name, "err-seg-tiny"


def written(content) -> bytes:
    file = BytesIO()
    torch.save(content, file)
    return file.getvalue()


CHECKPOINT = written({"model": tiny_checkpoint(), "iteration": 79999})


@pytest.fixture
def cache(tmp_path, monkeypatch, err_seg_config):
    monkeypatch.setitem(PRESETS, NAME, err_seg_config)
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/models" / NAME


def test_the_likeliest_file_is_imported_once(hub, cache, capsys):
    """Of files of its size, the one that holds it; pictures and small files are never fetched."""
    hub.repositories[REPOSITORY] = {
        "README.md": b"# ERR-Seg",
        "teaser.png": bytes(len(CHECKPOINT)),
        "other.pth": written({"model": sed_reference.tiny_checkpoint()}) + bytes(9),
        "ckpts/err_seg_b.pth": CHECKPOINT,
        "small.pth": written({"model": {}}),
    }
    engine, bank = load_engine(NAME)
    assert bank is None
    assert engine.info.name == NAME
    told = " ".join(capsys.readouterr().err.split())
    assert f"imported ckpts/err_seg_b.pth of {REPOSITORY}" in told
    assert "small.pth" not in told
    source = json.loads((cache / SOURCE_FILE).read_text())
    assert source["file"] == "ckpts/err_seg_b.pth"
    assert source["revision"] == hub.commit(REPOSITORY)
    assert len(source["sha256"]) == 64
    hub.repositories.clear()  # from now on the folder is enough
    again, _ = load_engine(NAME)
    assert again.info.encoder_key == engine.info.encoder_key
    assert load_engine(str(cache))[0].info == engine.info


def test_a_file_once_imported_must_stay_the_same(hub, cache):
    hub.repositories[REPOSITORY] = {"b.pth": CHECKPOINT}
    load_engine(NAME)
    (cache / "model.safetensors").unlink()
    load_engine(NAME)  # the same file: fetched again without a word
    (cache / "model.safetensors").unlink()
    pin = json.loads((cache / SOURCE_FILE).read_text())
    (cache / SOURCE_FILE).write_text(json.dumps({**pin, "sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match=r"b\.pth .* no longer the file .*source\.json"):
        load_engine(NAME)
    (cache / SOURCE_FILE).write_text("{")
    with pytest.raises(CheckpointError, match=r"source\.json is damaged"):
        load_engine(NAME)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"has the size .*it has none\).*dpseg import FILE"),
        ({"README.md": b"moved", "b.pth": b"12"}, r"about .* MB .*b\.pth \(0 MB\)"),
        ({"b.pth": bytes(len(CHECKPOINT))}, r"no file of .*b\.pth: .*cannot be read"),
        (
            {"b.pth": written({"model": sed_reference.tiny_checkpoint()}) + CHECKPOINT[:99]},
            "cannot become a network 'err-seg'|cannot be read",
        ),
    ],
    ids=["empty", "small", "damaged", "SED"],
)
def test_a_repository_without_the_checkpoint_is_told(hub, cache, files, message):
    hub.repositories[REPOSITORY] = files
    with pytest.raises(CheckpointError, match=message):
        load_engine(NAME)
    assert not cache.exists()


def test_cat_seg_comes_from_a_space(hub, cache, monkeypatch, cat_seg_config):
    monkeypatch.setitem(PRESETS, "cat-seg-tiny", cat_seg_config)
    space = f"spaces/{REPOSITORIES['cat-seg'].name}"
    file = written({"model": cat_seg_reference.tiny_checkpoint()})
    hub.repositories[space] = {"app.py": b"", "model_base.pth": file}
    engine, _ = load_engine("cat-seg-tiny")
    assert engine.info.name == "cat-seg-tiny"
    source = json.loads((cache.parent / "cat-seg-tiny" / SOURCE_FILE).read_text())
    assert (source["file"], source["revision"]) == ("model_base.pth", hub.commit(space))


def test_a_vanished_or_gated_repository_is_told(hub, cache):
    with pytest.raises(CheckpointError, match=f"{NAME} cannot be fetched.*dpseg import FILE"):
        load_engine(NAME)
    hub.repositories[REPOSITORY] = {"b.pth": CHECKPOINT}
    hub.gated.add(REPOSITORY)
    with pytest.raises(CheckpointError, match=r"b\.pth of .* cannot be fetched.*dpseg import"):
        load_engine(NAME)


def test_no_network_is_told(hub, cache, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=f"{NAME} cannot be fetched") as told:
        load_engine(NAME)
    assert "\n" not in str(told.value)


def test_a_file_after_a_colon_is_used_instead(cache, tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(CHECKPOINT)
    segmenter = Segmenter.from_pretrained(f"{NAME}:{path}")
    photo = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    result = segmenter(photo, ["cat", "grass"], unlabelled=False)
    assert set(np.unique(result.labels)) <= {0, 1}
    assert not cache.exists()
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        Segmenter.from_pretrained(f"{NAME}:{tmp_path / 'absent.pth'}")
