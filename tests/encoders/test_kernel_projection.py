"""The text map against scikit-learn's kernel ridge regression."""

import numpy as np
import torch
from sklearn.kernel_ridge import KernelRidge
from torch.nn import functional as F

from dpseg.encoders.kernel_projection import KernelProjection


def test_equals_kernel_ridge_regression(normal):
    text, targets = F.normalize(normal(40, 6), dim=-1), normal(40, 5)
    queries = F.normalize(normal(2, 3, 6), dim=-1)
    text_map = KernelProjection(centres=40, text_dim=6, embedding_dim=5, bandwidth=0.7)
    text_map.fit(text, targets, ridge=0.2)
    reference = KernelRidge(alpha=0.2, kernel="rbf", gamma=1 / 0.7).fit(text, targets)
    raw = reference.predict(queries.reshape(6, 6)).reshape(2, 3, 5)
    expected = raw / np.linalg.norm(raw, axis=-1, keepdims=True)
    np.testing.assert_allclose(text_map(queries), expected, atol=1e-4)


def test_without_regularisation_known_names_land_on_their_targets(normal):
    text, targets = F.normalize(normal(20, 16), dim=-1), F.normalize(normal(20, 5), dim=-1)
    text_map = KernelProjection(centres=20, text_dim=16, embedding_dim=5)
    text_map.fit(text, targets, ridge=1e-5)
    torch.testing.assert_close(text_map(text), targets, atol=1e-3, rtol=0)


def test_fit_survives_saving(normal):
    text_map = KernelProjection(centres=8, text_dim=6, embedding_dim=5)
    text_map.fit(F.normalize(normal(8, 6), dim=-1), normal(8, 5))
    other = KernelProjection(centres=8, text_dim=6, embedding_dim=5)
    other.load_state_dict(text_map.state_dict())
    query = F.normalize(normal(3, 6), dim=-1)
    torch.testing.assert_close(other(query), text_map(query))
