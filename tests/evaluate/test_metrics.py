"""Figures from counts, against torchmetrics and by hand."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from dpseg.evaluate.confusion import confusion_matrix
from dpseg.evaluate.metrics import class_iou, miou, score


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 6, (60, 50))
    prediction = np.where(
        rng.uniform(size=target.shape) < 0.6, target, rng.integers(0, 6, (60, 50))
    )
    target[:5] = 255
    return prediction, target


def test_iou_is_torchmetrics(maps):
    tensors = [torch.from_numpy(m)[None] for m in maps]
    confusion = confusion_matrix(*maps, 6)
    per_class = MulticlassJaccardIndex(6, average=None, ignore_index=255)(*tensors)
    mean = MulticlassJaccardIndex(6, ignore_index=255)(*tensors)
    weighted = MulticlassJaccardIndex(6, average="weighted", ignore_index=255)(*tensors)
    np.testing.assert_allclose(class_iou(confusion), per_class.numpy(), atol=1e-6)
    assert miou(confusion) == pytest.approx(mean.item(), abs=1e-6)
    assert score(confusion).frequency_weighted_iou == pytest.approx(weighted.item(), abs=1e-6)


def test_accuracy_is_torchmetrics(maps):
    tensors = [torch.from_numpy(m)[None] for m in maps]
    scores = score(confusion_matrix(*maps, 6))
    micro = MulticlassAccuracy(6, average="micro", ignore_index=255)(*tensors)
    macro = MulticlassAccuracy(6, average="macro", ignore_index=255)(*tensors)
    assert scores.pixel_accuracy == pytest.approx(micro.item(), abs=1e-6)
    assert scores.mean_accuracy == pytest.approx(macro.item(), abs=1e-6)


def test_absent_classes_do_not_enter_the_mean():
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert np.isnan(class_iou(confusion)[2])
    assert miou(confusion) == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_seen_unseen_and_harmonic_mean():
    confusion = np.array([[8, 2, 0], [0, 10, 0], [0, 5, 5]])
    scores = score(confusion, unseen=[2])
    assert scores.seen_miou == pytest.approx((8 / 10 + 10 / 17) / 2)
    assert scores.unseen_miou == pytest.approx(0.5)
    mean = 2 / (1 / scores.seen_miou + 1 / scores.unseen_miou)
    assert scores.harmonic_miou == pytest.approx(mean)


def test_nothing_seen_gives_nan():
    scores = score(np.zeros((2, 2), np.int64))
    assert np.isnan([scores.miou, scores.pixel_accuracy, *scores.class_iou]).all()
