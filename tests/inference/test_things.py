"""Touching things are parted, whole ones are not, and stuff stays in one piece."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from colour_engine import COLOURS
from common_words import CommonWords
from dpseg import PromptError, Segmenter
from dpseg.errors import MissingExtraError
from dpseg.inference import things
from dpseg.inference.things import is_stuff, part_things
from dpseg.prompts.cache import PromptCache
from dpseg.segmentation import Segmentation
from dpseg.vocabulary import ClassEntry, Vocabulary

SIZE_HW = (120, 200)


def discs(*centres: tuple[int, int], radius: int = 20) -> np.ndarray:
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    inside = [(y - row) ** 2 + (x - column) ** 2 <= radius**2 for row, column in centres]
    return np.where(np.any(inside, axis=0), 0, -1).astype(np.int32)


def found(labels: np.ndarray, name: str = "cup", scores: np.ndarray | None = None) -> Segmentation:
    return Segmentation(
        photo=np.zeros((*labels.shape, 3), np.uint8),
        labels=labels,
        classes=(name,),
        scores=np.full((1, 12, 20), 0.8, np.float32) if scores is None else scores,
    )


def parted(result: Segmentation, **stuff: list[str]) -> Segmentation:
    return part_things(result, Vocabulary.of(result.classes), **stuff)


def test_regions_apart_are_things_of_their_own() -> None:
    labels = discs((30, 30), (80, 150))
    result = parted(found(labels))
    assert result.instances is not None
    expected, count = ndimage.label(labels == 0)
    assert result.counts == {"cup": count} == {"cup": 2}
    for one in result.instances:
        number = expected[one.mask][0]
        np.testing.assert_array_equal(one.mask, expected == number)
        rows, columns = ndimage.find_objects(expected)[number - 1]
        assert one.box_xyxy == (columns.start, rows.start, columns.stop, rows.stop)
        assert one.pixels == (expected == number).sum()
        assert one.score == pytest.approx(0.8)


@pytest.mark.parametrize("side", [512, 60])
def test_touching_things_are_parted_at_their_neck(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(things, "WORK_SIDE", side)
    labels = discs((60, 60), (60, 98), (60, 136))
    result = parted(found(labels))
    assert result.instances is not None
    assert result.counts == {"cup": 3}
    union = np.sum([one.mask for one in result.instances], axis=0)
    np.testing.assert_array_equal(union, labels == 0)  # every pixel in one thing
    middles = sorted(ndimage.center_of_mass(one.mask)[1] for one in result.instances)
    np.testing.assert_allclose(middles, [60, 98, 136], atol=3)


def test_scores_part_what_the_outline_does_not() -> None:
    labels = np.full(SIZE_HW, -1, np.int32)
    labels[40:80, 20:180] = 0
    assert parted(found(labels)).counts == {"cup": 1}
    scores = np.full((1, 12, 20), 0.8, np.float32)
    scores[:, :, 9:11] = 0.2
    assert parted(found(labels, scores=scores)).counts == {"cup": 2}


def test_a_limb_and_a_speck_are_no_things() -> None:
    labels = discs((60, 60), radius=30)
    labels[56:64, 90:130] = 0  # an arm
    labels[5:7, 5:7] = 0  # a speck
    result = parted(found(labels))
    assert result.counts == {"cup": 1}


def test_stuff_is_never_parted() -> None:
    labels = discs((30, 30), (80, 150))
    for result in (parted(found(labels, "sea")), parted(found(labels), stuff=["Cup"])):
        assert result.instances is not None
        (only,) = result.instances
        assert not only.thing
        np.testing.assert_array_equal(only.mask, labels == 0)
        assert result.counts == {}
    assert parted(found(labels, "sea"), stuff=[]).counts == {"sea": 2}


@pytest.mark.parametrize("name", ["sky", "grass", "brick wall", "cherry tree", "highway", "water"])
def test_kinds_of_stuff_are_stuff(name: str) -> None:
    assert is_stuff(ClassEntry(name))


@pytest.mark.parametrize("name", ["person", "car", "astronaut", "coin", "cup", "flower"])
def test_things_are_no_stuff(name: str) -> None:
    assert not is_stuff(ClassEntry(name))


def test_a_segmenter_gives_things_when_asked(tmp_path: Path) -> None:
    segmenter = Segmenter(CommonWords(), cache=PromptCache(tmp_path))
    photo = np.full((96, 96, 3), COLOURS["black"], np.uint8)
    photo[16:40, 8:32] = photo[16:40, 64:88] = COLOURS["red"]
    assert segmenter(photo, ["red"]).instances is None
    assert segmenter(photo, ["red"], things=True).counts == {"red": 2}
    assert segmenter(photo, ["red"], things=True, stuff=["red"]).counts == {}
    with pytest.raises(PromptError, match="list of names"):
        segmenter(photo, ["red"], stuff="red")


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skimage.measure", None)
    with pytest.raises(MissingExtraError, match="instances"):
        parted(found(discs((30, 30))))
