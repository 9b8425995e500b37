"""Kept results: bounded in number, memory and age."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dpseg import Segmentation, Segmenter
from dpseg.inference.encoded_photo import EncodedPhoto
from dpseg.serve.corrections import Said, corrected
from dpseg.serve.results import Answer, ResultGoneError, ResultStore, memory_of
from dpseg.serve.settings import ServeSettings
from serving import PHOTO


@pytest.fixture
def asked(segmenter: Segmenter) -> Answer:
    query = segmenter.prepare("red")
    return Answer.of(query, query.encode(PHOTO))


@pytest.fixture
def result(asked: Answer) -> Callable[..., Answer]:
    """Make answers of plain arrays, of a photo with that side."""

    def make(side: int = 10) -> Answer:
        photo = np.zeros((side, side, 3), np.uint8)
        found = Segmentation(
            photo=photo,
            labels=np.zeros((side, side), np.int32),
            classes=("red",),
            scores=np.zeros((1, 2, 2), np.float32),
        )
        return Answer(found, asked.query, EncodedPhoto(photo, [], [], []))

    return make


def test_what_corrected_answers_share_counts_once(asked: Answer) -> None:
    store = ResultStore(ServeSettings())
    store.put(asked)
    alone = store.nbytes()
    again = corrected(asked, [Said(x=20, y=20, name="red")])
    store.put(again)
    assert again.encoded is asked.encoded
    assert alone < store.nbytes() < 2 * alone
    assert alone > sum(one.image_embedding.nbytes for one in asked.encoded.features)
    store.put(replace(again))
    assert store.nbytes() < 2 * alone


def test_results_are_found_again_and_ids_are_long(result: Callable[..., Answer]) -> None:
    store = ResultStore(ServeSettings())
    one, two = result(), result()
    first, second = store.put(one), store.put(two)
    assert store.get(first) is one
    assert store.get(second) is two
    assert len(first) >= 20
    with pytest.raises(ResultGoneError):
        store.get("x")


def test_the_least_used_go_first(result: Callable[..., Answer]) -> None:
    store = ResultStore(ServeSettings(kept_results=2))
    first, second = store.put(result()), store.put(result())
    store.get(first)
    third = store.put(result())
    assert store.get(first)
    assert store.get(third)
    with pytest.raises(ResultGoneError):
        store.get(second)


def test_memory_is_bounded_but_the_newest_stays(result: Callable[..., Answer]) -> None:
    each = sum(memory_of(result(100)).values())
    assert each == 100 * 100 * 3 + 100 * 100 * 4 + 16
    store = ResultStore(ServeSettings(kept_megabytes=2.5 * each / 1e6))
    keys = [store.put(result(100)) for _ in range(5)]
    assert len(store) == 2
    assert store.nbytes() == 2 * each
    huge = store.put(result(400))
    assert len(store) == 1
    assert store.get(huge)
    with pytest.raises(ResultGoneError):
        store.get(keys[-1])


def test_old_results_go(result: Callable[..., Answer]) -> None:
    now = 0.0
    store = ResultStore(ServeSettings(kept_seconds=10), clock=lambda: now)
    key = store.put(result())
    now = 9.0
    store.get(key)
    now = 11.0
    with pytest.raises(ResultGoneError):
        store.get(key)
    assert len(store) == 0
