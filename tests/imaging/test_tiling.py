"""Views cover a photo, and their scores come together as one."""

import tracemalloc

import numpy as np
import pytest
from skimage.transform import resize

from dpseg.imaging.tiling import (
    TilingRules,
    View,
    cut_views,
    merge_labels,
    merge_scores,
    plan_views,
    view_weights,
)

SIZES = [
    (480, 640),
    (1, 1),
    (30, 4000),
    (4000, 30),
    (672, 672),
    (673, 100),
    (3000, 4000),
    (7, 9999),
]


@pytest.mark.parametrize("photo_hw", SIZES)
def test_views_lie_inside_and_have_model_sizes(photo_hw: tuple[int, int]) -> None:
    views = plan_views(photo_hw, image_size=384, stride=32)
    assert views[0].bottom == photo_hw[0]
    assert views[0].right == photo_hw[1]
    for view in views:
        assert 0 <= view.top < view.bottom <= photo_hw[0]
        assert 0 <= view.left < view.right <= photo_hw[1]
        assert max(view.size_hw) == 384
        assert min(view.size_hw) >= 32
        assert view.size_hw[0] % 32 == view.size_hw[1] % 32 == 0


def test_aspect_is_kept_as_far_as_the_stride_allows() -> None:
    assert plan_views((480, 640), image_size=384, stride=32)[0].size_hw == (288, 384)
    assert plan_views((1, 1), image_size=384, stride=32)[0].size_hw == (384, 384)


def test_only_large_photos_are_tiled_within_the_budget() -> None:
    assert len(plan_views((600, 672), image_size=384, stride=32)) == 1
    views = plan_views((3000, 4000), image_size=384, stride=32)
    assert len(views) > 4
    assert sum(v.size_hw[0] * v.size_hw[1] for v in views[1:]) <= 12 * 384**2
    sharp = plan_views((800, 800), image_size=384, stride=32, rules=TilingRules(budget=1e9))
    assert {v.size_hw for v in sharp[1:]} == {(384, 384)}
    assert {(v.bottom - v.top, v.right - v.left) for v in sharp[1:]} == {(384, 384)}


@pytest.mark.parametrize("photo_hw", SIZES)
def test_weights_sum_to_one_at_every_pixel(photo_hw: tuple[int, int]) -> None:
    views = plan_views(photo_hw, image_size=384, stride=32)
    rows = (photo_hw[0] // 3, photo_hw[0] // 3 + 1)
    total = np.zeros(photo_hw[1])
    for view, weight in zip(views, view_weights(views, photo_hw, rows), strict=True):
        if len(weight):
            total[view.left : view.right] += weight[0]
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_weights_fall_off_smoothly() -> None:
    views = plan_views((100, 2000), image_size=384, stride=32)
    weights = view_weights(views, (100, 2000), (0, 1))
    inner = weights[2][0]
    assert np.abs(np.diff(inner)).max() < 0.02
    assert inner[0] < 0.01


def test_views_are_cut_where_they_say() -> None:
    photo = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64, 1) // 16
    photo = np.repeat(photo, 3, axis=2).astype(np.uint8)
    view = View(16, 32, 48, 64, (32, 32))
    (cut,) = cut_views(photo, [view])
    np.testing.assert_array_equal(cut, photo[16:48, 32:64])


@pytest.mark.parametrize("photo_hw", [(97, 130), (30, 500)])
def test_one_view_is_argmax_of_bilinear_scores(photo_hw: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).random((7, 12, 16)).astype(np.float32)
    views = plan_views(photo_hw, image_size=384, stride=32)[:1]
    labels = merge_labels([scores], views, photo_hw, kept=7)
    large = np.stack(
        [resize(s, photo_hw, order=1, mode="edge", anti_aliasing=False) for s in scores]
    )
    top_two = np.sort(large, axis=0)[-2:]
    sure = top_two[1] - top_two[0] > 1e-4
    np.testing.assert_array_equal(labels[sure], large.argmax(axis=0)[sure])


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [np.random.default_rng(i).random((4, 9, 24)).astype(np.float32) for i in range(9)]
    views = plan_views((300, 1200), image_size=384, stride=32)
    scores = scores[: len(views)]
    assert len(views) > 2
    whole = merge_labels(scores, views, (300, 1200), kept=4)
    monkeypatch.setattr("dpseg.imaging.tiling.STRIP_PIXELS", 5 * 1200)
    np.testing.assert_array_equal(merge_labels(scores, views, (300, 1200), kept=4), whole)


def test_distractors_do_not_win_but_are_told() -> None:
    scores = np.zeros((3, 4, 4), np.float32)
    scores[0] = 0.5
    scores[2, :, 2:] = 0.9  # the distractor
    views = [View(0, 0, 8, 8, (32, 32))]
    labels = merge_labels([scores], views, (8, 8), kept=2)
    assert (labels == 0).all()
    labels = merge_labels(
        [scores],
        views,
        (8, 8),
        kept=2,
        decide=lambda winner, best, distractor: np.where(distractor > best, -1, winner),
    )
    assert (labels[:, :3] == 0).all()
    assert (labels[:, 5:] == -1).all()


def test_agreeing_views_merge_to_the_same_scores() -> None:
    photo_hw = (400, 1600)
    views = plan_views(photo_hw, image_size=384, stride=32)
    ramp = np.linspace(0, 1, 96, dtype=np.float32)
    scores = []
    for view in views:
        inside = np.interp(np.linspace(view.left, view.right, 96), np.linspace(0, 1600, 96), ramp)
        scores.append(np.tile(inside.astype(np.float32), (2, 24, 1)))
    merged = merge_scores(scores, views, photo_hw)
    assert merged.shape == (2, 24, 96)
    np.testing.assert_allclose(merged[0, 12], ramp, atol=0.02)


def test_memory_does_not_grow_with_the_vocabulary() -> None:
    scores = np.random.default_rng(0).random((64, 24, 32)).astype(np.float32)
    views = [View(0, 0, 1200, 1600, (384, 512))]
    tracemalloc.start()
    labels = merge_labels([scores], views, (1200, 1600), kept=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < labels.nbytes + 8 * scores.nbytes + (8 << 20)  # all scores: 490 MB
