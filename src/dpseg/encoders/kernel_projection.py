"""The training-free map from the text tower's space into the joint space.

Kernel ridge regression: a few thousand names whose position in the joint space is known (from the
ImageNet classifier) are the centres; any other text lands between the centres that it resembles.
The map is fitted in closed form, so it favours no name, and stays open to every word.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KernelProjection(nn.Module):
    """Map text embeddings into the joint space.

    Args:
        centres: number of known names N.
        text_dim: size of the text tower's embedding.
        embedding_dim: D of the joint space.
        bandwidth: squared distance at which the kernel has fallen to 1/e.
    """

    centres: Tensor
    coefficients: Tensor

    def __init__(
        self, *, centres: int, text_dim: int, embedding_dim: int, bandwidth: float = 0.5
    ) -> None:
        super().__init__()
        self.bandwidth = bandwidth
        self.register_buffer("centres", torch.zeros(centres, text_dim))
        self.register_buffer("coefficients", torch.zeros(centres, embedding_dim))

    def kernel(self, text: Tensor) -> Tensor:
        """Compare unit text vectors with every centre, ... N."""
        squared_distance = (2 - 2 * text @ self.centres.T).clamp_min(0)
        return torch.exp(-squared_distance / self.bandwidth)

    @torch.no_grad()
    def fit(self, text: Tensor, targets: Tensor, *, ridge: float = 0.3) -> None:
        """Fit the map to names whose joint embedding is known.

        Args:
            text: unit text embeddings, N text_dim.
            targets: joint embeddings, N D.
            ridge: regularisation; larger trusts single names less.

        Source: kernel ridge regression in closed form (dpseg choice).
        """
        self.centres.copy_(text)
        gram = self.kernel(text)
        gram.diagonal().add_(ridge)
        self.coefficients.copy_(torch.linalg.solve(gram, targets))

    def forward(self, text: Tensor) -> Tensor:
        """Map unit text vectors (... text_dim) to unit joint vectors (... D)."""
        return F.normalize(self.kernel(text) @ self.coefficients, dim=-1)
