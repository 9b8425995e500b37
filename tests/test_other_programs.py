"""In other programs: a segmenter goes to other processes, and results compare."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from colour_engine import COLOURS
from common_words import CommonWords
from dpseg import Segmenter
from dpseg.interop.saved import load_result
from dpseg.prompts.cache import PromptCache


@pytest.fixture
def photo() -> np.ndarray:
    photo = np.empty((48, 64, 3), np.uint8)
    photo[:, :32], photo[:, 32:] = COLOURS["red"], COLOURS["blue"]
    return photo


def test_a_segmenter_of_any_engine_is_pickled(photo: np.ndarray, tmp_path: Path) -> None:
    segmenter = Segmenter(CommonWords(), cache=PromptCache(tmp_path))
    again = pickle.loads(pickle.dumps(segmenter))
    assert again(photo, ["red", "blue"]) == segmenter(photo, ["red", "blue"])


@pytest.mark.slow
def test_the_shipped_model_is_pickled_as_its_name(
    photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path))
    segmenter = Segmenter.from_pretrained("dpseg-lite")
    sent = pickle.dumps(segmenter)
    assert len(sent) < 1000
    here = segmenter(photo, ["red wall", "sky"])
    assert pickle.loads(sent)(photo, ["red wall", "sky"]) == here
    query = segmenter.prepare(["red wall", "sky"])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        (there,) = pool.map(query, [photo])
    assert there == here


def test_results_compare_by_all_that_they_say(photo: np.ndarray, tmp_path: Path) -> None:
    segmenter = Segmenter(CommonWords(), cache=PromptCache(tmp_path / "cache"))
    one, same = (segmenter(photo, ["red", "blue"]) for _ in range(2))
    assert one == same
    assert not one != same  # noqa: SIM202
    assert one in [same]
    assert one != segmenter(photo, ["red"])
    assert one != segmenter(photo[:, ::-1], ["red", "blue"])
    assert one != replace(one, labels=one.labels[:, :32])
    assert one != replace(one, settings={})
    assert one != "a result"
    assert pickle.loads(pickle.dumps(one)) == one
    read, again = (load_result(one.save(tmp_path / "r")) for _ in range(2))
    assert read == again
    assert read != load_result(segmenter(photo, ["red"]).save(tmp_path / "s"))


def test_a_result_tells_at_which_scale_its_photo_was_read(
    photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter(CommonWords(), cache=PromptCache(tmp_path))
    assert segmenter(photo, ["red"]).settings["scale"] == 1
    monkeypatch.setattr("dpseg.imaging.photo.MAX_PIXELS", 1000)
    result = segmenter(photo, ["red", "blue"])
    assert result.settings["scale"] == 0.5
    assert result.labels.shape == result.photo.shape[:2] == (24, 32)
