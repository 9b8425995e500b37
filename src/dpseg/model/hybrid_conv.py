"""Hybrid dilated convolution: a wide view for few parameters, without gridding."""

from __future__ import annotations

from torch import Tensor, nn

DILATIONS = (1, 2, 4)


class HybridDilatedConv(nn.Module):
    """Three 3x3 convolutions of growing dilation around a residual connection.

    Args:
        channels: C of input and output.

    Source: DPSeg decoder stage; hybrid dilated convolution of Wang et al. 2018.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in DILATIONS
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (k B) C H W to the same shape."""
        y: Tensor = self.norm(x)
        for convolution in self.convolutions:
            y = self.activation(convolution(y))
        return x + y
