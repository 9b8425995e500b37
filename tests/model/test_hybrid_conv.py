"""Hybrid dilated convolution."""

import torch
from torch import nn

from dpseg.model.hybrid_conv import HybridDilatedConv


def test_sees_a_square_of_fifteen_without_holes(normal):
    block = HybridDilatedConv(channels=2)
    block.norm = nn.Identity()  # it looks at the whole map
    for parameter in block.parameters():
        nn.init.constant_(parameter, 0.1)
    x = torch.ones(1, 2, 21, 21, requires_grad=True)
    block(x)[0, :, 10, 10].sum().backward()
    expected = torch.zeros(21, 21, dtype=torch.bool)
    expected[3:18, 3:18] = True
    torch.testing.assert_close(x.grad[0, 0] != 0, expected)


def test_silent_convolutions_let_the_input_through(normal):
    block, x = HybridDilatedConv(channels=3), normal(4, 3, 5, 6)
    assert not torch.equal(block(x), x)
    nn.init.zeros_(block.convolutions[2].weight)
    nn.init.zeros_(block.convolutions[2].bias)
    torch.testing.assert_close(block(x), x)
