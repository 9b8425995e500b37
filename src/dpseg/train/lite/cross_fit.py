"""One decoder on two towers in turn, each with photos that its tower has not seen.

A tower knows its own training photos better than any other; a decoder trained on such features
trusts them too much. With two towers, each trained on one half of the photos, the decoder learns
from all photos what a tower makes of new ones, and then serves the tower that has seen them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from dpseg.train.lite.decoder_stage import DecoderTraining


class CrossFitting:
    """Train the decoder that several trainings share, a step on one of them at random.

    Args:
        parts: trainings whose models have the same network.

    Source: dpseg choice; cross-fitting (docs/log/experiments.md, 18 and 26).
    """

    def __init__(self, parts: Sequence[DecoderTraining]) -> None:
        self._parts = list(parts)
        self.module = nn.Module()
        self.module.network = parts[0].module.network
        self.module.queues = nn.ModuleList(part.module.queue for part in parts)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """List the trained parameters, each group with its peak `lr`."""
        return self._parts[0].parameter_groups()

    def loss(
        self, generator: np.random.Generator, averaged: nn.Module
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Draw a part, and of it a batch; compute its loss and the figures to log."""
        return self._parts[generator.integers(len(self._parts))].loss(generator, averaged)

    def state_dict(self) -> dict[str, Any]:
        """Tell where each part's sampler is; the rest is in `module`."""
        return {str(index): part.state_dict() for index, part in enumerate(self._parts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the samplers to where `state_dict` was taken."""
        for index, part in enumerate(self._parts):
            part.load_state_dict(state[str(index)])
