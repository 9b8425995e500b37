"""Names that the model finds itself, by a model that reads sky as blue and snow as white."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from colour_engine import ColourEngine, paint
from common_words import CommonWords
from dpseg.errors import ImageError, PromptError, VocabularyError
from dpseg.inference.auto_names import AUTO, with_common_names
from dpseg.inference.distractors import distractor_names
from dpseg.prompts.cache import PromptCache
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import Vocabulary

PHOTO = paint(("red", 0, 48, 0, 48), ("blue", 48, 96, 0, 96))


@pytest.fixture
def segmenter(tmp_path: Path) -> Segmenter:
    return Segmenter(CommonWords(), cache=PromptCache(tmp_path))


def test_the_model_names_what_it_knows(segmenter: Segmenter) -> None:
    found = segmenter(PHOTO, AUTO)
    assert set(found.classes) == {"sky", "snow"}
    assert found.labels[70, 20] == found.classes.index("sky")
    assert found.labels[20, 70] == found.classes.index("snow")
    assert found.labels[20, 20] == -1  # red has no common name
    assert found.settings["names"] == AUTO
    assert min(found.presence.values()) >= 0.2
    asked = segmenter(PHOTO, list(found.classes))  # the same as if the user had named it
    np.testing.assert_array_equal(found.labels, asked.labels)


def test_own_names_examples_and_unwanted_ones_join(segmenter: Segmenter) -> None:
    shown = {"blorp": [paint(("red", 0, 96, 0, 96))]}
    found = segmenter(PHOTO, "auto, green", examples=shown, not_classes="snow")
    assert found.classes == ("green", "blorp", "sky")
    assert found.labels[20, 20] == 1
    assert found.labels[20, 70] == -1
    assert found.settings["not_classes"] == ["snow"]


def test_each_photo_has_its_own_names(segmenter: Segmenter) -> None:
    query = segmenter.prepare(AUTO)
    assert query(paint(ground="blue")).classes == ("sky",)
    assert query(paint(ground="white")).classes == ("snow",)


def test_a_photo_without_a_common_thing_says_so(segmenter: Segmenter) -> None:
    photo = paint(ground="yellow")
    with pytest.raises(ImageError, match="no common thing is surely in this photo"):
        segmenter(photo, AUTO)
    assert segmenter(photo, "auto, yellow").classes == ("yellow",)
    with pytest.raises(ImageError, match="no common thing"):
        segmenter(paint(ground="blue"), AUTO, min_presence=1)


def test_own_names_may_be_of_another_language(segmenter: Segmenter) -> None:
    found = segmenter(PHOTO, "auto, Himmel", language="de")
    assert set(found.classes) == {"Himmel", "snow"}
    assert found.labels[70, 20] == 0


def test_a_model_without_presence_refuses(tmp_path: Path) -> None:
    engine: ColourEngine = CommonWords()
    engine.info = replace(engine.info, photo_bias=False)
    with pytest.raises(PromptError, match="does not tell presence"):
        Segmenter(engine, cache=PromptCache(tmp_path))(PHOTO, AUTO)


def test_auto_beside_other_words_is_a_name(segmenter: Segmenter) -> None:
    assert segmenter(PHOTO, "auto|car, sky").classes == ("auto", "sky")
    with pytest.raises(VocabularyError, match="both wanted and not wanted"):
        segmenter(PHOTO, "auto, sky", not_classes="sky")


def test_common_names_are_the_builtin_ones_and_the_detectors() -> None:
    known = ["person", "couch", "frisbee", "???"]
    names, own = with_common_names(
        Vocabulary.of("automobile, auto"), Vocabulary.of("sea"), known, "en"
    )
    assert (own, names.names[0]) == (1, "automobile")
    common = {*distractor_names(), "frisbee"}  # sofa is a couch
    assert set(names.names[1:]) == common - {"sea", "car"}
