"""The training loop with a stage of a few numbers."""

import csv

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dpseg.errors import CheckpointError
from dpseg.train import loop
from dpseg.train.loop import LoopSettings, run_stage

SETTINGS = LoopSettings(
    steps=30, warmup=5, weight_decay=0.1, average=0.8, checkpoint_every=10, log_every=5
)


class KilledError(Exception):
    """Stands for the end of the process."""


class LineStage:
    """Fits a line through points; every source of chance takes part."""

    def __init__(self, die_at=None):
        torch.manual_seed(7)
        self.module = nn.Linear(3, 1)
        self.module.register_buffer("seen", torch.zeros(()))
        self.losses = []
        self.die_at = die_at
        self.position = 0

    def parameter_groups(self):
        return [
            {"params": [self.module.weight], "lr": 0.1},
            {"params": [self.module.bias], "lr": 0.01},
        ]

    def loss(self, generator, averaged):
        self.averaged = averaged
        if len(self.losses) == self.die_at:
            raise KilledError
        self.position += 1
        self.module.seen += 1
        points = torch.from_numpy(generator.normal(size=(8, 3))).float()
        target = points.sum(1) + 0.01 * self.position + 0.1 * torch.randn(8)
        loss = F.mse_loss(self.module(points)[:, 0], target)
        self.losses.append(loss.item())
        return loss, {"position": float(self.position)}

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


class OtherStage(LineStage):
    """The same under another name."""


def read_log(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_equals_a_plain_loop_with_torchs_schedule_and_average(tmp_path):
    stage = LineStage()
    run_stage(stage, SETTINGS, tmp_path)

    plain = LineStage()
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(plain.parameter_groups(), weight_decay=0.1)
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / 5, 1.0, total_iters=4)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 25)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, fall], milestones=[5])
    average = plain.module.weight.detach().clone()
    for step in range(1, 31):
        loss, _ = plain.loss(generator, plain.module)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.module.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        decay = min(0.8, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * plain.module.weight.detach()
    np.testing.assert_allclose(stage.losses, plain.losses, rtol=1e-4)
    torch.testing.assert_close(stage.module.weight.detach(), average)
    assert np.mean(stage.losses[-5:]) < np.mean(stage.losses[:5])


def test_log_has_a_line_every_few_steps(tmp_path):
    stage = LineStage()
    run_stage(stage, SETTINGS, tmp_path)
    lines = read_log(tmp_path)
    assert [int(line["step"]) for line in lines] == [5, 10, 15, 20, 25, 30]
    assert [float(line["position"]) for line in lines] == [5, 10, 15, 20, 25, 30]
    assert float(lines[-1]["loss"]) == pytest.approx(stage.losses[-1], rel=1e-3)


@pytest.mark.parametrize("die_at", [10, 13, 29])
def test_killed_run_goes_on_to_the_same_losses_and_weights(tmp_path, die_at):
    whole = LineStage()
    run_stage(whole, SETTINGS, tmp_path / "whole")
    cut = LineStage(die_at)
    with pytest.raises(KilledError):
        run_stage(cut, SETTINGS, tmp_path / "cut")
    resumed = LineStage()
    run_stage(resumed, SETTINGS, tmp_path / "cut")
    start = die_at // 10 * 10
    assert resumed.losses == whole.losses[start:]
    for key, value in whole.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[key], value), key
    log, expected = read_log(tmp_path / "cut"), read_log(tmp_path / "whole")
    assert [(line["step"], line["loss"]) for line in log] == [
        (line["step"], line["loss"]) for line in expected
    ]


def test_run_killed_before_its_first_checkpoint_starts_over(tmp_path):
    with pytest.raises(KilledError):
        run_stage(LineStage(7), SETTINGS, tmp_path)
    resumed = LineStage()
    run_stage(resumed, SETTINGS, tmp_path)
    assert len(resumed.losses) == 30
    assert [int(line["step"]) for line in read_log(tmp_path)] == [5, 10, 15, 20, 25, 30]


def test_finished_run_begun_again_trains_nothing(tmp_path):
    first, second = LineStage(), LineStage()
    run_stage(first, SETTINGS, tmp_path)
    run_stage(second, SETTINGS, tmp_path)
    assert second.losses == []
    torch.testing.assert_close(second.module.weight, first.module.weight, atol=0, rtol=0)
    assert len(read_log(tmp_path)) == 6


def test_checkpoint_of_another_stage_is_refused(tmp_path):
    run_stage(LineStage(), SETTINGS, tmp_path)
    with pytest.raises(CheckpointError, match="belongs to LineStage, not OtherStage"):
        run_stage(OtherStage(), SETTINGS, tmp_path)


def test_checkpoint_of_other_sizes_is_refused(tmp_path):
    run_stage(LineStage(), SETTINGS, tmp_path)
    larger = LineStage()
    larger.module = nn.Linear(4, 1)
    with pytest.raises(CheckpointError, match="does not fit"):
        run_stage(larger, SETTINGS, tmp_path)


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_damaged_checkpoint_is_refused(tmp_path, damage):
    (tmp_path / "checkpoint.pt").write_bytes(damage)
    with pytest.raises(CheckpointError, match="does not fit"):
        run_stage(LineStage(), SETTINGS, tmp_path)


def test_failed_write_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    save, written = torch.save, []

    def full_disk(state, path):
        written.append(state["step"])
        if len(written) == 2:
            path.write_bytes(b"half a checkpoint")
            raise OSError("no space left on device")
        save(state, path)

    monkeypatch.setattr(loop.torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        run_stage(LineStage(), SETTINGS, tmp_path)
    assert written == [10, 20]
    assert torch.load(tmp_path / "checkpoint.pt")["step"] == 10
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "log.csv"}
    whole, resumed = LineStage(), LineStage()
    run_stage(resumed, SETTINGS, tmp_path)
    run_stage(whole, SETTINGS, tmp_path / "whole")
    assert resumed.losses == whole.losses[10:]
