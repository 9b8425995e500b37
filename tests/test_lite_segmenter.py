"""The whole path with the real network, its weights random: loading, words, pictures, tiles."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from dpseg import CheckpointError, Segmenter
from dpseg.factory.config import LiteConfig
from dpseg.factory.lite import LiteModel, save_lite


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lite")
    model = LiteModel(LiteConfig(image_size=128, anchors=4))
    save_lite(model, folder / "dpseg-lite.safetensors")
    return folder


@pytest.fixture
def segmenter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    monkeypatch.setenv("DPSEG_CACHE", str(folder / "cache"))  # distractors are encoded once
    return Segmenter.from_pretrained(folder)


def test_words_pictures_tiles_and_refinement_go_through(segmenter: Segmenter) -> None:
    photo = skimage.data.chelsea()
    found = segmenter(
        photo,
        "cat, dog|hound",
        examples={"fur": [(photo, photo[..., 0] > 150), photo[:90, :120]]},
        refine=2,
        unlabelled=False,
    )
    assert found.settings["views"] > 1
    assert found.labels.shape == photo.shape[:2]
    assert set(np.unique(found.labels)) <= {0, 1, 2}
    assert np.isfinite(found.scores).all()
    assert -1.01 <= found.explain(10, 20).winner.text_prompt <= 1.01


def test_one_pixel_and_a_ribbon_go_through(segmenter: Segmenter) -> None:
    for photo_hw in ((1, 1), (30, 900)):
        assert segmenter(np.zeros((*photo_hw, 3), np.uint8), ["cat"]).labels.shape == photo_hw


def test_the_same_photo_gives_the_same_labels(segmenter: Segmenter) -> None:
    photo = skimage.data.coffee()[::2, ::2]
    first, second = segmenter([photo, photo], ["cup", "table"], refine=1, unlabelled=False)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        Segmenter.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "dpseg-lite.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="no dpseg-lite model"):
        Segmenter.from_pretrained(tmp_path)
