"""`PromptSet`: what it selects, joins, replaces, and gives back."""

import numpy as np
import pytest
import torch

from dpseg.arrays import PromptSet
from dpseg.errors import ShapeError


def prompts(classes: int, tokens: int, seed: int = 0, dimension: int = 6) -> PromptSet:
    rng = np.random.default_rng(seed)
    return PromptSet(
        text_embedding=rng.normal(size=(classes, 2, dimension)).astype(np.float32),
        text_tokens=rng.normal(size=(classes, tokens, dimension)).astype(np.float32),
        text_token_mask=rng.random((classes, tokens)) < 0.7,
        visual_embedding=rng.normal(size=(classes, 2, dimension)).astype(np.float32),
        visual_features={j: rng.normal(size=(classes, 2, j)).astype(np.float32) for j in (3, 2)},
        visual_tokens=rng.normal(size=(classes, 4, dimension)).astype(np.float32),
        visual_mask=rng.random(classes) < 0.5,
    )


def assert_equal(first: PromptSet, second: PromptSet) -> None:
    mine, theirs = first.to_tensors(), second.to_tensors()
    assert mine.keys() == theirs.keys()
    for name, table in mine.items():
        np.testing.assert_array_equal(table, theirs[name])


def test_arrays_have_names_and_come_back_by_them():
    given = prompts(3, 2)
    named = given.to_tensors()
    assert list(named)[3:6] == ["visual_embedding", "visual_features.3", "visual_features.2"]
    assert_equal(PromptSet.from_tensors(named), given)
    del named["visual_tokens"]
    with pytest.raises(KeyError, match="visual_tokens"):
        PromptSet.from_tensors(named)


def test_numpy_and_torch_hold_the_same():
    given = prompts(3, 2)
    there = given.map(torch.from_numpy)
    assert isinstance(there.visual_features[3], torch.Tensor)
    assert_equal(there.select(torch.tensor([2, 0])).map(torch.Tensor.numpy), given.select([2, 0]))


def test_select_keeps_rows_in_the_order_given():
    given = prompts(4, 3)
    some = given.select([3, 1])
    assert len(some) == 2
    for name, table in some.to_tensors().items():
        np.testing.assert_array_equal(table, given.to_tensors()[name][[3, 1]])


def test_concat_pads_tokens_to_the_longer():
    first, second = prompts(2, 1), prompts(3, 4, seed=1)
    both = first.concat(second)
    assert len(both) == 5
    assert both.text_tokens.shape == (5, 4, 6)
    np.testing.assert_array_equal(both.text_tokens[:2, :1], first.text_tokens)
    assert not both.text_token_mask[:2, 1:].any()
    np.testing.assert_array_equal(both.visual_features[2][2:], second.visual_features[2])


def test_replace_changes_the_rows_of_some_classes_only():
    given, other = prompts(4, 2), prompts(2, 3, seed=1)
    changed = given.replace([2, 0], other)
    np.testing.assert_array_equal(changed.visual_tokens[[2, 0]], other.visual_tokens)
    np.testing.assert_array_equal(changed.visual_tokens[[1, 3]], given.visual_tokens[[1, 3]])
    assert not changed.text_token_mask[[1, 3], 2].any()
    assert_equal(given, prompts(4, 2))  # what it was made of stays as it was


def test_prompts_of_different_models_do_not_mix():
    other = prompts(2, 2, dimension=5)
    with pytest.raises(ShapeError, match="different models"):
        prompts(2, 2).concat(other)
    with pytest.raises(ShapeError, match="different models"):
        prompts(2, 2).replace([0, 1], other)
