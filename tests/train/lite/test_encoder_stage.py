"""Stage one on a small mixture, with a tower of random weights."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dpseg.data.mixture import Mixture, SourceSettings
from dpseg.data.transforms import CropSettings
from dpseg.train.lite.encoder_stage import TowerSettings, TowerStage
from dpseg.train.lite.sampling import Batch, BatchSampler, NameVariants
from dpseg.train.loop import LoopSettings, run_stage
from killed_run import check_killed_run
from labelled_folder import halves, write_folder

pytestmark = pytest.mark.slow

LOOP = LoopSettings(steps=4, warmup=1, checkpoint_every=2, log_every=1)
NAMES = 3


@pytest.fixture
def mixture(tmp_path):
    samples = {f"s{i}": halves(1 + i, 0, (64, 64)) for i in range(NAMES)}
    write_folder(tmp_path / "set", {0: "background", 1: "a", 2: "b", 3: "c"}, samples)
    return Mixture(tmp_path, [SourceSettings("set")])


@pytest.fixture
def make_stage(lite_model, mixture, normal):
    variants = [F.normalize(normal(2, 4, 512), dim=-1) for _ in range(NAMES)]
    anchors = F.normalize(normal(20, 512), dim=-1)
    others = F.normalize(normal(5, 512), dim=-1)

    crop = CropSettings(size=64, scale=(1.0, 1.0))

    def make(batches=None, **settings):
        return TowerStage(
            tower=copy.deepcopy(lite_model.tower),
            teacher=lite_model.tower,
            sampler=batches or BatchSampler(mixture, crop=crop, batch_size=2, cells=(16,)),
            names=NameVariants(variants),
            others=others,
            anchors=anchors,
            settings=TowerSettings(**settings),
        )

    return make


class SameBatch:
    """Draws one batch for ever: the given cells of each name, of 16 in each of two crops."""

    def __init__(self, cells):
        generator = torch.Generator().manual_seed(0)
        positive = torch.zeros(2, 16, NAMES)
        for name, count in enumerate(cells):
            start = sum(cells[:name])
            positive[:, start : start + count, name] = 1
        negative = positive.any(-1, keepdim=True) * (1 - positive)
        images = torch.rand(2, 3, 64, 64, generator=generator)
        images[:, :, :32] *= 0.2
        self.batch = Batch(images, images, {16: (positive, negative)})

    def draw(self, generator):
        return self.batch

    def state_dict(self):
        return {}


def test_trains_the_deep_pointwise_convolutions_and_what_was_added(make_stage, tmp_path):
    stage = make_stage(trunk_lr=1e-2)
    before = copy.deepcopy(stage.module.tower.state_dict())
    run_stage(stage, LOOP, tmp_path / "run")
    modules = dict(stage.module.tower.named_modules())
    for key, old in before.items():
        new = stage.module.tower.state_dict()[key]
        owner = modules[key.rpartition(".")[0]]
        deep = key.startswith(("trunk.blocks.4", "trunk.blocks.5", "trunk.blocks.6", "head."))
        pointwise = isinstance(owner, torch.nn.Conv2d) and owner.kernel_size == (1, 1)
        trained = (deep and pointwise) or key.startswith(("projection.", "adapter."))
        assert torch.equal(new, old) != trained, key
    for key, teacher in stage.teacher.state_dict().items():
        assert torch.equal(teacher, before[key]), key


def loss_of(stage):
    """A step's loss, with the stage as its own average."""
    return stage.loss(np.random.default_rng(0), copy.deepcopy(stage.module))


@pytest.mark.parametrize("half_size", [False, True])
def test_starts_near_the_teacher_and_without_pictures(make_stage, half_size):
    stage = make_stage(teacher_at_half_size=half_size)
    _, figures = loss_of(stage)
    near = figures["distillation"]
    assert (near < 1e-2) != half_size  # at half size the teacher sees something else
    assert figures["dual"] == pytest.approx(figures["text"], rel=1e-5)  # no region is known yet
    stage.module.tower.projection.weight.data += 0.05
    _, figures = loss_of(stage)
    assert figures["distillation"] > near + 1e-3
    assert figures["dual"] != figures["text"]


def test_total_weighs_its_terms(make_stage):
    stage = make_stage(
        distill_weight=3.0, visual=0.25, self_training=0.5, pseudo_label_threshold=0.0
    )
    loss_of(stage)
    stage.module.tower.projection.weight.data += 0.05
    total, figures = loss_of(stage)
    assert figures["pseudo_label"] > 0
    expected = figures["text"] + 0.25 * figures["dual"] + 3.0 * figures["distillation"]
    expected += 0.5 * figures["pseudo_label"]
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_large_enough_regions_become_visual_prompts(make_stage):
    stage = make_stage(SameBatch([1, 5, 0]))
    loss_of(stage)
    assert stage.module.queue.filled.tolist() == [0, 2, 0]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        shallow, _ = stage.module.tower.shallow(stage.sampler.batch.images)
        embedding, _ = stage.module.tower.deep(shallow)
    places = F.normalize(embedding.float().flatten(2), dim=1)[:, :, 1:6].mean(2)  # B D
    expected = F.normalize(places, dim=-1)
    torch.testing.assert_close(stage.module.queue.class_wise[1, :2], expected)


def test_learns_a_batch_by_heart(make_stage, tmp_path):
    stage = make_stage(SameBatch([8, 4, 0]), distill_weight=0.0, adapter_lr=1e-2)
    _, before = loss_of(stage)
    run_stage(stage, LoopSettings(steps=15, warmup=1, average=0.0), tmp_path / "run")
    _, after = loss_of(stage)
    assert after["text"] < 0.8 * before["text"]


def test_the_average_teaches_only_where_labels_are_silent(make_stage):
    labelled = make_stage(SameBatch([8, 8, 0]), self_training=1.0, pseudo_label_threshold=0.0)
    assert loss_of(labelled)[1]["pseudo_label"] == 0
    silent = make_stage(SameBatch([8, 4, 0]), self_training=1.0, pseudo_label_threshold=0.0)
    assert loss_of(silent)[1]["pseudo_label"] > 0
    unsure = make_stage(SameBatch([8, 4, 0]), self_training=1.0, pseudo_label_threshold=1.0)
    assert loss_of(unsure)[1]["pseudo_label"] == 0


def test_competition_adds_to_the_loss(make_stage):
    plain, competing = (
        loss_of(make_stage(SameBatch([8, 4, 0]), softmax_weight=weight))[1]["text"]
        for weight in (0.0, 2.0)
    )
    assert competing > plain + 0.1


def test_killed_run_goes_on_to_the_same_weights(make_stage, tmp_path):
    check_killed_run(make_stage, LOOP, tmp_path)
