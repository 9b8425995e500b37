"""Photo and words in, labels out; by a model whose answers can be foreseen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from colour_engine import COLOURS, ColourEngine, paint
from common_words import CommonWords
from dpseg.arrays import concat_records
from dpseg.errors import ImageError, PromptError, VocabularyError
from dpseg.imaging.tiling import TilingRules
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.pooling import pool_regions
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import ClassEntry


def halves(left: str, right: str, photo_hw: tuple[int, int] = (64, 64)) -> np.ndarray:
    photo = np.empty((*photo_hw, 3), np.uint8)
    photo[:, : photo_hw[1] // 2] = COLOURS[left]
    photo[:, photo_hw[1] // 2 :] = COLOURS[right]
    return photo


@pytest.fixture
def engine() -> ColourEngine:
    return CommonWords()


@pytest.fixture
def segmenter(engine: ColourEngine, tmp_path: Path) -> Segmenter:
    return Segmenter(engine, cache=PromptCache(tmp_path))


def inner(labels: np.ndarray) -> tuple[set[int], set[int]]:
    """Labels of the left and of the right, without the seam."""
    width = labels.shape[1]
    return (
        set(np.unique(labels[:, : int(width * 0.4)])),
        set(np.unique(labels[:, int(width * 0.6) :])),
    )


def test_words_find_their_pixels(segmenter: Segmenter) -> None:
    found = segmenter(halves("red", "blue"), ["blue", "green", "red"])
    assert inner(found.labels) == ({2}, {0})
    assert found.classes == ("blue", "green", "red")
    assert found.areas["red"] == pytest.approx(0.5, abs=0.1)
    assert found.scores.shape == (3, 12, 12)
    assert 0 <= found.scores.min() <= found.scores.max() <= 1


def test_names_have_a_probability_to_be_there(segmenter: Segmenter) -> None:
    found = segmenter(halves("red", "blue"), ["blue", "green", "red"])
    assert list(found.presence) == ["blue", "green", "red"]
    assert min(found.presence["red"], found.presence["blue"]) > found.presence["green"]
    assert [entry["presence"] for entry in found.summary()["classes"]] == [
        round(value, 4) for value in found.presence.values()
    ]


def test_names_below_a_presence_get_no_pixel(segmenter: Segmenter) -> None:
    photo, names = halves("red", "blue"), ["blue", "green", "red"]
    presence = segmenter(photo, names).presence
    bar = max(presence["green"], min(presence["blue"], presence["red"]))
    for unlabelled in (True, False):
        found = segmenter(photo, names, min_presence=bar + 1e-4, unlabelled=unlabelled)
        left = {name for name in names if presence[name] > bar + 1e-4}
        assert {name for name, share in found.areas.items() if share} <= left
        assert found.presence == pytest.approx(presence)
        assert found.unlabelled_area == pytest.approx(0 if left and not unlabelled else 1, abs=0.6)
    nothing = segmenter(photo, names, min_presence=1, unlabelled=False)
    assert nothing.unlabelled_area == 1
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(PromptError, match=r"lies in \[0, 1\]"):
            segmenter(photo, names, min_presence=wrong)


def test_models_without_presence_refuse_a_bar(engine: ColourEngine, tmp_path: Path) -> None:
    engine.info = replace(engine.info, photo_bias=False)
    segmenter = Segmenter(engine, cache=PromptCache(tmp_path))
    with pytest.raises(PromptError, match="does not tell presence"):
        segmenter(halves("red", "blue"), "red", min_presence=0.5)


def test_a_string_and_synonyms_do(segmenter: Segmenter) -> None:
    assert segmenter(halves("red", "blue"), "blue, red").classes == ("blue", "red")
    found = segmenter(halves("red", "blue"), ["thing|red", ClassEntry("blue")], unlabelled=False)
    assert inner(found.labels) == ({0}, {1})


def test_one_word_does_not_flood_the_photo(segmenter: Segmenter) -> None:
    found = segmenter(halves("red", "green"), ["red"])
    assert inner(found.labels) == ({0}, {-1})
    assert found.unlabelled_area == pytest.approx(0.5, abs=0.1)
    assert "grass" in found.settings["distractors"]


def test_unlabelled_can_be_turned_off(segmenter: Segmenter) -> None:
    found = segmenter(halves("red", "green"), ["red"], unlabelled=False)
    assert (found.labels == 0).all()
    assert found.settings["distractors"] == []


def test_a_thing_without_a_name_is_found_by_its_picture(segmenter: Segmenter) -> None:
    picture = np.full((32, 32, 3), COLOURS["yellow"], np.uint8)
    photo = halves("red", "yellow")
    assert inner(segmenter(photo, ["red", "blorp"]).labels)[1] == {-1}
    found = segmenter(photo, ["red"], examples={"blorp": [picture]})
    assert found.classes == ("red", "blorp")
    assert inner(found.labels) == ({0}, {1})
    for none in ((), [], ""):
        assert segmenter(photo, none, examples={"blorp": [picture]}).classes == ("blorp",)
    names = (name for name in ("red", "blue"))
    assert segmenter(photo, names, examples={"blorp": [picture]}).classes == (
        "red", "blue", "blorp",
    )  # fmt: skip


def test_one_word_in_two_spellings_is_one_class(segmenter: Segmenter) -> None:
    photo, picture = halves("red", "yellow"), paint(ground="yellow")
    found = segmenter(photo, ["red", "caf\u00e9"], examples={"cafe\u0301": [picture]})
    assert found.classes == ("red", "caf\u00e9")
    assert inner(found.labels) == ({0}, {1})
    assert inner(segmenter(photo, "\uff52\uff45\uff44").labels)[0] == {0}  # red, of full width


def test_a_bank_shows_what_a_word_looks_like(engine: ColourEngine, tmp_path: Path) -> None:
    pictures = {"blorp": "yellow", "sea": "black"}
    rows = [
        pool_regions(engine.encode_image(halves(colour, colour)), np.ones((1, 8, 8), np.float32))
        for colour in pictures.values()
    ]
    bank = PromptBank(
        encoder_key=engine.info.encoder_key,
        names=tuple(pictures),
        text_embedding=engine.encode_text(list(pictures)).class_wise,
        visual=concat_records(rows),
        temperature=0.05,
    )
    segmenter = Segmenter(engine, bank, cache=PromptCache(tmp_path))
    photo = halves("yellow", "red")
    found = segmenter(photo, ["blorp"], prompts="visual")
    assert inner(found.labels) == ({0}, {-1})
    assert inner(segmenter(photo, ["blorp", "red"]).labels)[0] == {0}
    assert segmenter(photo, ["blorp"], prompts="text").areas["blorp"] == 0


@pytest.mark.parametrize("mode", ["pool", "crop"])
def test_refinement_stops_when_nothing_changes(
    segmenter: Segmenter, engine: ColourEngine, mode: str
) -> None:
    photo = halves("red", "blue")
    plain = segmenter(photo, ["red", "blue"])
    before = engine.calls["score"]
    refined = segmenter(photo, ["red", "blue"], refine=5, refine_mode=mode)  # type: ignore[arg-type]
    np.testing.assert_array_equal(refined.labels, plain.labels)
    assert refined.settings["refine_rounds"] == 1
    assert engine.calls["score"] - before == 2


def test_refinement_of_nothing_costs_no_pass(segmenter: Segmenter, engine: ColourEngine) -> None:
    found = segmenter(halves("red", "red"), ["blorp"], refine=3)
    assert (found.labels == -1).all()
    assert found.settings["refine_rounds"] <= 1


@pytest.mark.parametrize("photo_hw", [(1, 1), (30, 4000), (4000, 30), (1, 300)])
def test_any_size_goes_through(segmenter: Segmenter, photo_hw: tuple[int, int]) -> None:
    photo = halves("red", "blue", photo_hw)
    found = segmenter(photo, ["red", "blue"], refine=1)
    assert found.labels.shape == photo_hw
    if photo_hw[1] > photo_hw[0]:  # else the view is one place wide
        assert inner(found.labels) == ({0}, {1})


def test_tiles_find_what_the_global_view_misses(engine: ColourEngine, tmp_path: Path) -> None:
    photo = np.full((256, 256, 3), COLOURS["white"], np.uint8)
    photo[100:118, 200:218] = COLOURS["red"]  # smaller than a place of the global view
    cache = PromptCache(tmp_path)
    whole = Segmenter(engine, cache=cache, tiling=TilingRules(tile_above=10))
    tiled = Segmenter(engine, cache=cache, tiling=TilingRules(budget=100, global_share=0.2))
    assert whole(photo, ["red", "white"]).settings["views"] == 1
    found = tiled(photo, ["red", "white"])
    assert found.settings["views"] > 10
    assert found.pixels["red"] > whole(photo, ["red", "white"]).pixels["red"]
    assert found.labels[109, 209] == 0


@pytest.mark.parametrize("unlabelled", [True, False])
def test_what_is_not_wanted_competes_and_is_never_shown(
    segmenter: Segmenter, unlabelled: bool
) -> None:
    photo = halves("red", "blue")
    found = segmenter(photo, ["red"], not_classes="blue, green", unlabelled=unlabelled)
    assert found.classes == ("red",)
    assert found.scores.shape[0] == 1
    assert inner(found.labels) == ({0}, {-1})
    assert found.settings["not_classes"] == ["blue", "green"]
    negative = found.explain(60, 30).negative
    assert negative is not None
    assert negative.name == "blue"
    assert "not wanted blue" in str(found.explain(60, 30))
    assert segmenter(photo, ["red"]).explain(60, 30).negative is None


def test_names_of_another_language_are_found_and_kept(segmenter: Segmenter) -> None:
    photo = halves("red", "green")
    found = segmenter(photo, ["roter Punkt"], not_classes="grüner Punkt", unlabelled=False)
    assert found.classes == ("roter Punkt",)
    assert inner(found.labels) == ({0}, {-1})
    assert found.settings["english"] == {
        "roter Punkt": "red circle",
        "grüner Punkt": "green circle",
    }
    plain = segmenter(photo, ["red circle"], not_classes="green circle", unlabelled=False)
    np.testing.assert_array_equal(found.scores, plain.scores)
    assert found.explain(60, 30).negative.name == "grüner Punkt"  # type: ignore[union-attr]
    unread = segmenter(photo, ["roter Punkt"], language="en", unlabelled=False)
    assert unread.settings["english"] == {}
    with pytest.raises(PromptError, match="language is 'xx'; give one of auto, en, ar, bn"):
        segmenter(photo, ["red"], language="xx")


def test_what_is_not_wanted_needs_no_margin(segmenter: Segmenter) -> None:
    scores = np.array([0.7, 0.75, 0.0], np.float32)[:, None, None]  # wanted, not wanted, built in
    assert segmenter.label(scores, (1, 1), given=1, negatives=1) == -1
    assert segmenter.label(scores, (1, 1), given=1, negatives=1, unlabelled=False) == -1
    assert segmenter.label(scores, (1, 1), given=1) == 0  # by too little for a distractor
    better = np.array([0.75, 0.7, 0.0], np.float32)[:, None, None]
    assert segmenter.label(better, (1, 1), given=1, negatives=1) == 0


def test_pictures_show_what_is_not_wanted(segmenter: Segmenter) -> None:
    photo, picture = halves("red", "yellow"), np.full((32, 32, 3), COLOURS["yellow"], np.uint8)
    asked = {"classes": ["red"], "not_classes": ["blorp"], "unlabelled": False}
    assert inner(segmenter(photo, **asked).labels)[1] == {0}
    found = segmenter(photo, **asked, examples={"blorp": [picture]})
    assert found.classes == ("red",)
    assert inner(found.labels) == ({0}, {-1})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["Red"], "'Red' is both wanted and not wanted"),
        (["cup|rose"], "'rose' is both"),
        ([], "no class names"),
        (["blue", " "], "empty"),
        (["blue", "blue"], "two classes|twice"),
    ],
)
def test_negatives_that_make_no_sense_are_refused(
    segmenter: Segmenter, wrong: list[str], says: str
) -> None:
    with pytest.raises(VocabularyError, match=says):
        segmenter(halves("red", "blue"), ["red|rose"], not_classes=wrong)


def test_a_list_of_photos_gives_a_list(segmenter: Segmenter) -> None:
    photos = [halves("red", "blue"), halves("blue", "red")]
    first, second = segmenter(photos, ["red", "blue"])
    np.testing.assert_array_equal(first.labels, segmenter(photos[0], ["red", "blue"]).labels)
    assert inner(second.labels) == ({1}, {0})


def test_results_explain_themselves(segmenter: Segmenter) -> None:
    found = segmenter(halves("red", "green"), ["red", "blue"])
    told = found.explain(5, 5)
    assert told.label == "red"
    assert told.winner.text_prompt == pytest.approx(1, abs=0.03)
    assert told.winner.visual_prompt is None
    told = found.explain(60, 5)
    assert told.label is None
    assert told.distractor is not None
    assert told.distractor.name == "grass"
    shown = segmenter(halves("red", "green"), ["red"], examples={"red": [halves("red", "red")]})
    assert shown.explain(5, 5).winner.visual_prompt == pytest.approx(1, abs=0.03)


def test_wrong_arguments_are_refused(segmenter: Segmenter) -> None:
    photo = halves("red", "blue")
    with pytest.raises(PromptError, match="-1"):
        segmenter(photo, ["red"], refine=-1)
    with pytest.raises(VocabularyError):
        segmenter(photo, [])
    with pytest.raises(VocabularyError, match="twice"):
        segmenter(photo, ["red", "red"])
    for examples in (None, {"blorp": [photo]}):
        with pytest.raises(VocabularyError, match="NoneType"):
            segmenter(photo, None, examples=examples)
    with pytest.raises(ImageError, match="does not exist"):
        segmenter("nowhere.jpg", ["red"])
    with pytest.raises(PromptError, match="'blorp'"):
        segmenter(photo, ["red"], examples={"blorp": []})
