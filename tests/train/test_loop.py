"""The training loop with a stage of a few numbers."""

import csv
import json
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional as F

from dpseg.errors import CheckpointError
from dpseg.train.checkpoint import CHECKPOINT
from dpseg.train.loop import LoopSettings, run_stage

SETTINGS = LoopSettings(
    steps=30, warmup=5, weight_decay=0.1, average=0.8, checkpoint_every=10, log_every=5
)


class KilledError(Exception):
    """Stands for the end of the process."""


class LineStage:
    """Fits a line through points; every source of random numbers takes part."""

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


def test_checkpoint_of_other_settings_is_refused(tmp_path):
    run_stage(LineStage(), SETTINGS, tmp_path)
    with pytest.raises(CheckpointError, match=r"other settings \(steps 30 to 40\)"):
        run_stage(LineStage(), replace(SETTINGS, steps=40), tmp_path)
    oftener = replace(SETTINGS, checkpoint_every=1, log_every=1)
    run_stage(LineStage(), oftener, tmp_path)  # how often is free


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"\x10\0\0\0\0\0\0\0{cut"])
def test_damaged_checkpoint_is_refused(tmp_path, damage):
    (tmp_path / CHECKPOINT).write_bytes(damage)
    with pytest.raises(CheckpointError, match="no training checkpoint"):
        run_stage(LineStage(), SETTINGS, tmp_path)


def test_checkpoint_holds_tensors_and_json_alone(tmp_path):
    run_stage(LineStage(), SETTINGS, tmp_path)
    with safe_open(tmp_path / CHECKPOINT, framework="np") as file:
        plain = json.loads(file.metadata()["state"])
        assert file.get_tensor("module.seen") == 30
        assert file.get_tensor("moments.0.step") == 30
    assert plain["step"] == 30
    assert plain["source"] == {"position": 30}


def limit_file_size(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    stage = LineStage()
    compute = stage.loss

    def filling(generator, averaged):
        if len(stage.losses) == 15:
            limit_file_size(6000)  # less than a checkpoint, more than a log
        return compute(generator, averaged)

    stage.loss = filling
    try:
        with pytest.raises(CheckpointError, match=r"cannot write .* at step 20"):
            run_stage(stage, SETTINGS, tmp_path)
    finally:
        limit_file_size(resource.RLIM_INFINITY)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {CHECKPOINT, "log.csv", "tensorboard"}
    whole, resumed = LineStage(), LineStage()
    run_stage(resumed, SETTINGS, tmp_path)
    run_stage(whole, SETTINGS, tmp_path / "whole")
    assert resumed.losses == whole.losses[10:]


def test_what_a_killed_write_left_behind_is_removed(tmp_path):
    (tmp_path / ".checkpoint.abc.safetensors").write_bytes(b"half a checkpoint")
    run_stage(LineStage(), SETTINGS, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, "log.csv", "tensorboard"}


def test_weights_that_are_no_numbers_are_not_kept(tmp_path):
    stage = LineStage()
    compute = stage.loss

    def breaking(generator, averaged):
        loss, figures = compute(generator, averaged)
        return loss * (float("nan") if len(stage.losses) > 15 else 1), figures

    stage.loss = breaking
    with pytest.raises(CheckpointError, match="gradient of step 20 is not finite"):
        run_stage(stage, SETTINGS, tmp_path)
    resumed = LineStage()
    run_stage(resumed, SETTINGS, tmp_path)
    assert len(resumed.losses) == 20


class HalvesStage(LineStage):
    """Takes the same eight points a step, all at once or in two halves."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts
        self.waiting = []

    def loss(self, generator, averaged):
        if not self.waiting:
            points = torch.from_numpy(generator.normal(size=(8, 3))).float()
            self.waiting = list(points.chunk(self.parts))
        points = self.waiting.pop()
        loss = F.mse_loss(self.module(points)[:, 0], points.sum(1))
        return loss, {}


def test_accumulated_halves_are_a_whole_step(tmp_path):
    whole, halves = HalvesStage(1), HalvesStage(2)
    run_stage(whole, SETTINGS, tmp_path / "whole")
    run_stage(halves, replace(SETTINGS, accumulate=2), tmp_path / "halves")
    torch.testing.assert_close(halves.module.weight, whole.module.weight, atol=1e-6, rtol=1e-6)
    losses = [[float(line["loss"]) for line in read_log(tmp_path / n)] for n in ("whole", "halves")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_without_an_average_the_last_weights_stay(tmp_path):
    stage = LineStage()
    run_stage(stage, replace(SETTINGS, average=0.0), tmp_path)
    assert stage.averaged is stage.module
    with safe_open(tmp_path / CHECKPOINT, framework="pt") as file:
        torch.testing.assert_close(file.get_tensor("module.weight"), stage.module.weight.detach())


def test_tensorboard_reads_the_same_losses_after_a_kill(tmp_path):
    with pytest.raises(KilledError):
        run_stage(LineStage(17), SETTINGS, tmp_path)
    run_stage(LineStage(), SETTINGS, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    logged = [(int(line["step"]), float(line["loss"])) for line in read_log(tmp_path)]
    np.testing.assert_allclose(found, logged, rtol=1e-5)
