"""Scores that follow the photo's edges."""

import numpy as np

from dpseg.inference.outlines import snap_scores


def half_and_half():
    """A photo with an edge in the middle; the scores of two classes are unsure right of it."""
    image = np.zeros((192, 192, 3), np.uint8)
    image[:, 96:] = 200
    scores = np.full((3, 48, 48), 0.1, np.float32)
    scores[0, :, :24], scores[1, :, 25:] = 0.9, 0.9
    scores[:2, :, 24] = [[0.55], [0.5]]
    return scores, image


def test_outlines_move_to_the_edge():
    scores, image = half_and_half()
    (found,) = snap_scores([scores], [image])
    assert (found.argmax(axis=0)[:, :24] == 0).all()
    assert (found.argmax(axis=0)[:, 24:] == 1).all()
    assert (scores.argmax(axis=0)[:, 24] == 0).all()


def test_classes_that_win_nowhere_keep_their_scores_and_go_on_so():
    scores, image = half_and_half()
    scores[2] = scores[:2].max(axis=0) - 0.01
    (found,) = snap_scores([scores], [image])
    np.testing.assert_array_equal(found[2, :, 34:], scores[2, :, 34:])
    assert set(np.unique(found.argmax(axis=0))) == {0, 1}
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()


def test_every_view_has_its_own_image():
    scores, image = half_and_half()
    plain = np.full_like(image, 90)
    both = snap_scores([scores, scores[:, :24]], [image, plain[:96]])
    np.testing.assert_array_equal(both[0], snap_scores([scores], [image])[0])
    assert both[1].shape == (3, 24, 48)


def test_even_photos_keep_even_scores():
    scores = np.full((2, 8, 8), 0.3, np.float32)
    (found,) = snap_scores([scores], [np.full((32, 32, 3), 90, np.uint8)])
    np.testing.assert_allclose(found[0], scores[0], atol=1e-6)
