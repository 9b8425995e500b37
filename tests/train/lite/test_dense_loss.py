"""The dense losses against loops over places and names."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from dpseg.train.lite.dense_loss import (
    balanced_sigmoid_loss,
    cell_targets,
    distillation_loss,
    masked_softmax_loss,
    pseudo_label_loss,
)


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.fixture
def scored(normal):
    """Logits with soft targets: name 4 is nowhere, name 5 is ruled out nowhere."""
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(6), size=(2, 9)).astype(np.float32)
    positive, negative = shares.copy(), 1 - shares
    positive[..., 4] = 0
    negative[..., 5] = 0
    positive[0, 3] = negative[0, 3] = 0  # an ignored place
    return normal(2, 9, 6), torch.from_numpy(positive), torch.from_numpy(negative)


def test_cells_hold_the_share_of_each_name_and_of_what_rules_it_out():
    generator = np.random.default_rng(0)
    labels = generator.integers(-2, 3, size=(6, 8)).astype(np.int32)
    excludes = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 0]], bool)  # background last
    positive, negative = cell_targets(labels, np.eye(3, dtype=bool), excludes, 2)
    assert positive.shape == negative.shape == (12, 3)
    for row in range(3):
        for column in range(4):
            cell = labels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel().tolist()
            for name in range(3):
                yes = sum(label == name for label in cell) / 4
                no = sum(label != -1 and excludes[max(label, -1), name] for label in cell) / 4
                assert positive[4 * row + column, name] == yes
                assert negative[4 * row + column, name] == no


def test_a_label_rules_in_wider_names_too():
    labels = np.array([[0, 0], [1, -1]], np.int32)
    includes = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)  # 0 is a kind of 1
    positive, negative = cell_targets(labels, includes, np.zeros((4, 3), bool), 2)
    assert positive.tolist() == [[0.5, 0.75, 0]]
    assert not negative.any()


def test_ignored_pixels_say_nothing():
    labels, excludes = np.full((4, 4), -1, np.int32), np.ones((3, 2), bool)
    positive, negative = cell_targets(labels, np.eye(2, dtype=bool), excludes, 4)
    assert not positive.any()
    assert not negative.any()


@pytest.mark.parametrize("focus", [1.0, 2.0])
def test_sigmoid_loss_weighs_every_present_name_the_same(scored, focus):
    logits, positive, negative = scored
    x, p, n = (t.reshape(18, 6).double().numpy() for t in scored)
    present = [name for name in range(6) if p[:, name].sum() > 0]
    total = 0.0
    for name in range(6):
        amount = p[:, name].sum()
        hit = sum(p[i, name] * softplus(-x[i, name]) for i in range(18)) / (amount + 1)
        sure = 1 / (1 + np.exp(-x[:, name]))
        miss = sum(n[i, name] * sure[i] ** focus * softplus(x[i, name]) for i in range(18))
        total += hit + miss / (amount + 0.02 * n[:, name].sum() + 1)
    assert len(present) == 5
    found = balanced_sigmoid_loss(logits, positive, negative, focus=focus)
    assert found.item() == pytest.approx(total / len(present), rel=1e-5)


def test_focus_chooses_negatives_without_being_trained(scored):
    logits, _, negative = scored
    logits = logits.clone().requires_grad_()
    balanced_sigmoid_loss(logits, torch.zeros_like(negative), negative).backward()
    sure = torch.sigmoid(logits.detach())
    scale = negative.sum((0, 1)) * 0.02 + 1
    torch.testing.assert_close(logits.grad, negative * sure * sure / scale)


def test_softmax_loss_lets_the_names_compete_that_labels_speak_of(scored):
    logits, positive, negative = scored
    x, p, n = (t.reshape(18, 6).double().numpy() for t in scored)
    total = np.zeros(6)
    for i in range(18):
        allowed = np.flatnonzero(p[i] + n[i] > 0)
        if allowed.size:
            total[allowed] -= p[i, allowed] * log_softmax(x[i, allowed])
    amount = p.sum(0)
    expected = (total / (amount + 1))[amount > 0].mean()
    found = masked_softmax_loss(logits, positive, negative)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_softmax_loss_ignores_names_neither_ruled_in_nor_out(scored):
    logits, positive, negative = scored
    silent = negative.clone()
    silent[..., 4] = 0
    before = masked_softmax_loss(logits, positive, silent)
    logits = logits.clone()
    logits[..., 4] += 7
    torch.testing.assert_close(masked_softmax_loss(logits, positive, silent), before)
    assert masked_softmax_loss(logits, positive, negative) > before


def test_batch_without_any_present_name_has_finite_losses(scored):
    logits, positive, negative = scored
    logits = logits.clone().requires_grad_()
    nothing = torch.zeros_like(positive)
    assert masked_softmax_loss(logits, nothing, negative).item() == 0
    assert balanced_sigmoid_loss(logits, nothing, nothing).item() == 0
    loss = balanced_sigmoid_loss(logits, nothing, negative)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_kept_scores_cost_their_divergence(normal):
    student, teacher = normal(7, 30), normal(7, 30)
    expected = entropy(softmax(teacher * 3, axis=1), softmax(student * 3, axis=1), axis=1).mean()
    found = distillation_loss(student, teacher, scale=3.0)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert distillation_loss(teacher, teacher, scale=3.0).item() == pytest.approx(0, abs=1e-6)


def test_opinion_counts_where_labels_are_silent_and_the_teacher_is_sure(normal):
    student, teacher = normal(2, 9, 5), 3 * normal(2, 9, 5)  # three names and two others
    generator = np.random.default_rng(1)
    positive = torch.from_numpy((generator.random((2, 9, 3)) < 0.2).astype(np.float32))
    negative = torch.from_numpy((generator.random((2, 9, 3)) < 0.4).astype(np.float32))
    loss = pseudo_label_loss(student, teacher, positive=positive, negative=negative, threshold=0.6)
    total, counted = 0.0, 0
    for image in range(2):
        for place in range(9):
            allowed = np.append(negative[image, place].numpy() == 0, [True, True])
            share = softmax(teacher[image, place].numpy()[allowed])
            if positive[image, place].any() or share.max() <= 0.6:
                continue
            own = log_softmax(student[image, place].numpy()[allowed])
            total, counted = total - own[share.argmax()], counted + 1
    assert 0 < counted < 18
    assert loss.item() == pytest.approx(total / 18, rel=1e-5)


def test_no_opinion_is_no_loss(normal):
    scores, labelled = normal(4, 3), torch.ones(4, 2)
    loss = pseudo_label_loss(scores, scores, positive=labelled, negative=labelled, threshold=0.1)
    assert loss.item() == 0
