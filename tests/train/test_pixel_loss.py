"""The paper's loss against torch's own binary cross-entropy."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dpseg.train.pixel_loss import pixel_loss

LABELS = torch.from_numpy(np.random.default_rng(0).integers(-2, 3, size=(2, 12, 8)))


@pytest.fixture
def logits(normal):
    return normal(2, 3, 3, 2).requires_grad_()


def expected(logits, labels, counted):
    enlarged = F.interpolate(logits, labels.shape[-2:], mode="bilinear")
    target = torch.stack([labels == k for k in range(3)], dim=1).float()
    each = F.binary_cross_entropy_with_logits(enlarged, target, reduction="none")
    return each.movedim(1, -1)[counted].mean()


def test_is_the_mean_over_classes_and_labelled_pixels(logits):
    loss = pixel_loss(logits, LABELS)
    torch.testing.assert_close(loss, expected(logits, LABELS, LABELS != -1))


def test_named_option_counts_ignored_pixels_as_negatives(logits):
    loss = pixel_loss(logits, LABELS, ignored_as_negative=True)
    torch.testing.assert_close(loss, expected(logits, LABELS, torch.ones_like(LABELS) > 0))


def test_ignored_pixels_have_no_gradient(logits):
    labels = LABELS.clone()
    labels[1] = -1
    pixel_loss(logits, labels).backward()
    assert not logits.grad[1].any()
    assert logits.grad[0].all()


def test_a_batch_without_labels_costs_nothing(logits):
    loss = pixel_loss(logits, torch.full_like(LABELS, -1))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_parts_share_the_pixels_of_the_whole(logits):
    counted = (LABELS != -1).sum()
    parts = [pixel_loss(logits[i : i + 1], LABELS[i : i + 1], counted=counted) for i in range(2)]
    torch.testing.assert_close(sum(parts), pixel_loss(logits, LABELS))
