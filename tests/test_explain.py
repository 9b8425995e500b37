"""Explanations give back the cosines that were put in."""

import numpy as np
import pytest

from dpseg.engines.protocol import PromptSet
from dpseg.explain import Evidence, explain_pixel
from dpseg.imaging.tiling import plan_views

AXES = np.eye(4, dtype=np.float32)


def evidence(photo_hw: tuple[int, int]) -> Evidence:
    """Three names along three axes; the photo's left half is the first, its right the second."""
    prompts = PromptSet(
        text_embedding=np.repeat(AXES[:3, None], 2, axis=1),
        visual_embedding=np.repeat(AXES[[1, 1, 2], None], 2, axis=1),
        visual_features={},
        text_tokens=np.stack([AXES[[0, 3]], AXES[[1, 3]], AXES[[2, 3]]]),
        text_token_mask=np.array([[True, True], [True, False], [False, False]]),
        visual_tokens=AXES[:3, None],
        visual_mask=np.array([True, False, True]),
    )
    scores = np.zeros((3, 6, 8), np.float32)
    scores[0, :, :4], scores[1, :, 4:], scores[2] = 0.9, 0.8, 0.3
    views = plan_views(photo_hw, image_size=64, stride=32)
    embeddings = []
    for view in views:
        columns = (np.arange(8) + 0.5) / 8 * (view.right - view.left) + view.left
        side = (columns >= photo_hw[1] / 2).astype(int)
        embeddings.append(np.repeat(5 * AXES[side].T[:, None], 6, axis=1))
    return Evidence(
        names=("cat", "dog", "wall"),
        given=2,
        scores=scores,
        views=tuple(views),
        image_embeddings=tuple(embeddings),
        prompts=prompts,
    )


@pytest.mark.parametrize("photo_hw", [(48, 64), (60, 400)])
def test_each_prompt_speaks_with_its_cosine(photo_hw: tuple[int, int]) -> None:
    told = explain_pixel(evidence(photo_hw), 3, 5, photo_hw=photo_hw, label="cat")
    assert told.label == "cat"
    cat = told.winner
    assert (cat.name, cat.score) == ("cat", pytest.approx(0.9))
    assert (cat.text_prompt, cat.visual_prompt) == (pytest.approx(1), pytest.approx(0))
    assert (cat.text_token, cat.visual_token) == (pytest.approx(1), pytest.approx(1))
    assert told.runner_up is not None
    assert told.runner_up.name == "dog"
    assert told.runner_up.visual_prompt is None
    assert told.distractor is not None
    assert told.distractor.name == "wall"
    assert told.distractor.text_token is None
    assert "runner-up" in str(told)


def test_unlabelled_pixels_name_the_best_class_and_the_distractor() -> None:
    told = explain_pixel(evidence((48, 64)), 63, 47, photo_hw=(48, 64), label=None)
    assert told.label is None
    assert told.winner.name == "dog"
    assert str(told).startswith("unlabelled")


def test_a_distractor_has_its_earlier_name_too() -> None:
    told = explain_pixel(evidence((48, 64)), 63, 47, photo_hw=(48, 64), label=None)
    with pytest.warns(DeprecationWarning, match="now distractor"):
        assert told.rival == told.distractor
