"""A training run that is killed and begun again, for the tests of the stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dpseg.train.loop import LoopSettings, run_stage


def check_killed_run(make_stage: Callable[[], Any], loop: LoopSettings, folder: Path) -> None:
    """Check that a run killed in its fourth step ends with the weights of a whole run."""
    whole, cut, resumed = make_stage(), make_stage(), make_stage()
    run_stage(whole, loop, folder / "whole")
    draw, steps = cut.sampler.draw, []

    def dying(generator):
        steps.append(len(steps))
        if len(steps) == 4:
            raise KeyboardInterrupt
        return draw(generator)

    cut.sampler.draw = dying
    with pytest.raises(KeyboardInterrupt):
        run_stage(cut, loop, folder / "cut")
    run_stage(resumed, loop, folder / "cut")
    for key, value in whole.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[key], value), key
