"""A user says what a place is, or is not; this photo follows at once, and others follow too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from colour_engine import COLOURS, ColourEngine, paint
from common_words import CommonWords
from dpseg import Corrections, DataError, PromptError, Segmenter, VocabularyError
from dpseg.imaging.tiling import TilingRules
from dpseg.prompts.cache import PromptCache

#: A red block, a blue one, and on white ground a yellow one that nobody has a word for.
PHOTO = paint(("red", 0, 48, 0, 48), ("blue", 48, 96, 0, 48), ("yellow", 24, 72, 64, 96))
OTHER = paint(("yellow", 0, 48, 0, 96), ("red", 48, 96, 0, 96))


@pytest.fixture
def engine() -> ColourEngine:
    return CommonWords()


@pytest.fixture
def segmenter(engine: ColourEngine, tmp_path: Path) -> Segmenter:
    return Segmenter(engine, cache=PromptCache(tmp_path / "cache"))


def test_what_is_said_is_so_at_once(segmenter: Segmenter, engine: ColourEngine) -> None:
    photo = segmenter.encode(PHOTO)
    before = segmenter(photo, "red, blue")
    assert before.labels[48, 80] == -1
    seen = engine.calls["image"]
    said = before.correct(80, 48, "blorp")
    after = segmenter(photo, "red, blue", corrections=said)
    assert engine.calls["image"] == seen  # the photo is not looked at again
    assert after.classes == ("red", "blue", "blorp")
    yellow = (COLOURS["yellow"] == PHOTO).all(axis=-1)
    found = after.labels == 2
    assert (found & yellow).sum() / (found | yellow).sum() > 0.8  # the block, to its edges
    assert after.labels[20, 20] == 0
    assert after.settings["corrections"] == 1
    np.testing.assert_array_equal(
        segmenter(PHOTO, "red, blue", corrections=said).labels, after.labels
    )


def test_what_is_not_so_is_taken_away(segmenter: Segmenter) -> None:
    before = segmenter(PHOTO, "red, blue", unlabelled=False)
    wrong = before.classes[before.labels[48, 80]]
    said = before.correct(80, 48, wrong, wanted=False)
    after = segmenter(PHOTO, "red, blue", corrections=said, unlabelled=False)
    assert after.classes[after.labels[48, 80]] != wrong
    assert after.labels[20, 20] == 0


def test_corrections_follow_each_other_and_are_undone(segmenter: Segmenter) -> None:
    first = segmenter(PHOTO, "red, blue")
    second = segmenter(PHOTO, "red, blue", corrections=first.correct(80, 48, "blorp"))
    said = second.correct(20, 20, "blue")
    third = segmenter(PHOTO, "red, blue", corrections=said)
    assert (third.labels[20, 20], third.labels[48, 80]) == (1, 2)
    back = segmenter(PHOTO, "red, blue", corrections=said.undone())
    np.testing.assert_array_equal(back.labels, second.labels)
    nothing = said.undone().undone()
    assert len(nothing) == 0
    np.testing.assert_array_equal(
        segmenter(PHOTO, "red, blue", corrections=nothing).labels, first.labels
    )
    with pytest.raises(PromptError, match="no correction to undo"):
        nothing.undone()


def test_saved_corrections_help_in_other_photos(segmenter: Segmenter, tmp_path: Path) -> None:
    before = segmenter(PHOTO, "red, blue")
    file = tmp_path / "said.safetensors"
    before.correct(80, 48, "blorp").save(file)
    asked = {"unlabelled": False, "class_prior": False}  # the scores as they are
    plain = segmenter(OTHER, "red, blorp", **asked)
    for given in (file, str(file), Corrections.load(file)):
        found = segmenter(OTHER, "red", corrections=given, **asked)
        assert found.classes == ("red", "blorp")
        likelier = found.scores[1] / plain.scores[1]
        assert likelier[:5].min() > 10  # yellow, as there
        np.testing.assert_allclose(likelier[7:], 1, rtol=0.01)  # red, as before
    assert segmenter(OTHER, corrections=file).classes == ("blorp",)  # names need no repeating
    assert Corrections.load(file).items[0].photo is None
    assert file.stat().st_size < 2000  # no photo in it


def test_own_synonyms_and_unwanted_names_are_known(segmenter: Segmenter) -> None:
    result = segmenter(PHOTO, "red|crimson, blue", not_classes="green")
    found = segmenter(PHOTO, "red|crimson, blue", corrections=result.correct(80, 48, "crimson"))
    assert (found.classes, found.labels[48, 80]) == (("red", "blue"), 0)
    with pytest.raises(VocabularyError, match="'green' is both wanted and not wanted"):
        segmenter(PHOTO, "red", not_classes="green", corrections=result.correct(80, 48, "green"))


def test_names_of_the_model_can_be_corrected(segmenter: Segmenter) -> None:
    found = segmenter(PHOTO, "auto")
    after = segmenter(PHOTO, "auto", corrections=found.correct(80, 48, "blorp"))
    assert after.classes[0] == "blorp"
    assert set(after.classes) == {"blorp", *found.classes}
    assert after.labels[48, 80] == 0


def test_corrections_reach_tiles_and_refinement(engine: ColourEngine, tmp_path: Path) -> None:
    tiles = TilingRules(tile_above=1.0)
    segmenter = Segmenter(engine, cache=PromptCache(tmp_path), tiling=tiles)
    large = PHOTO.repeat(3, axis=0).repeat(3, axis=1)
    before = segmenter(large, "red, blue")
    assert before.settings["views"] > 1
    said = before.correct(240, 144, "blorp")
    assert len(said.items[0].vectors) == 2
    after = segmenter(large, "red, blue", corrections=said, refine=1, unlabelled=False)
    assert after.labels[144, 240] == 2
    assert after.labels[60, 60] == 0


def test_a_region_ends_where_the_photo_changes(segmenter: Segmenter) -> None:
    result = segmenter(PHOTO, "black")  # all of it is unlabelled
    region = result.correct(20, 20, "red").items[0].region
    assert region is not None
    block = np.s_[:48, :48]
    assert region[block].mean() > 0.9
    assert region.sum() / region[block].sum() < 1.25


@pytest.mark.parametrize(
    ("x", "y", "name", "wanted", "says"),
    [
        (96, 0, "red", True, "lies outside the photo of 96 x 96"),
        (-1, 0, "red", False, "lies outside"),
        (0, 0, "green", False, "no class is named 'green'; there are: red, blue."),
    ],
)
def test_bad_corrections_are_told(
    segmenter: Segmenter, x: int, y: int, name: str, wanted: bool, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        segmenter(PHOTO, "red, blue").correct(x, y, name, wanted=wanted)


def test_bad_names_and_files_are_told(segmenter: Segmenter, tmp_path: Path) -> None:
    result = segmenter(PHOTO, "red, blue")
    with pytest.raises(VocabularyError, match="at most 200"):
        result.correct(0, 0, "x" * 300)
    with pytest.raises(VocabularyError):
        result.correct(0, 0, " ")
    with pytest.raises(DataError, match="no evidence"):
        replace(result, evidence=None).correct(0, 0, "red")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(PromptError, match="file of corrections"):
        Corrections.load(tmp_path / "bad.safetensors")
    with pytest.raises(PromptError, match="no corrections to save"):
        Corrections("colour").save(tmp_path / "empty.safetensors")
    other = Segmenter(CommonWords(key="other"), cache=PromptCache(tmp_path / "other"))
    with pytest.raises(PromptError, match="made with encoder 'colour'"):
        other(PHOTO, "red", corrections=result.correct(0, 0, "red"))
