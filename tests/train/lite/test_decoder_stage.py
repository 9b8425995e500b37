"""Stage two on a small mixture, with towers of random weights."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dpseg.data.mixture import Mixture, SourceSettings
from dpseg.data.transforms import CropSettings
from dpseg.train.lite.decoder_stage import DecoderSettings, DecoderTraining
from dpseg.train.lite.sampling import BatchSampler, NameVariants
from dpseg.train.loop import LoopSettings, run_stage
from killed_run import check_killed_run
from labelled_folder import halves, write_folder

pytestmark = pytest.mark.slow

LOOP = LoopSettings(steps=4, warmup=1, checkpoint_every=2, log_every=1)
NAMES = 5


@pytest.fixture
def mixture(tmp_path):
    samples = {f"s{i}": halves(1 + i, 1 + (i + 1) % 4, (64, 64)) for i in range(4)}
    classes = {0: "background"} | {i: f"name {i}" for i in range(1, NAMES + 1)}
    write_folder(tmp_path / "set", classes, samples)
    return Mixture(tmp_path, [SourceSettings("set")])


@pytest.fixture
def make_stage(lite_model, mixture, normal):
    variants = [F.normalize(normal(1, 4, 512), dim=-1) for _ in range(NAMES)]
    tokens = F.normalize(normal(NAMES, 2, 512), dim=-1)
    mask = torch.ones(NAMES, 2, dtype=torch.bool)

    def make(**settings):
        crop = CropSettings(size=64, scale=(1.0, 1.0), jitter=0.0)
        return DecoderTraining(
            model=copy.deepcopy(lite_model),
            sampler=BatchSampler(mixture, crop=crop, batch_size=1, cells=(4, 8, 16)),
            names=NameVariants(variants),
            text_tokens=(tokens, mask),
            settings=DecoderSettings(**({"classes": 3} | settings)),
        )

    return make


class Watched:
    """Records what a stage draws and asks of its network."""

    def __init__(self, stage):
        self.present, self.asked, self.options, self.prompts = [], [], [], []
        draw, decode = stage.sampler.draw, stage.module.network.decode

        def watched_draw(generator):
            batch = draw(generator)
            self.present.append(set(batch.targets[16][0].sum((0, 1)).nonzero().flatten().tolist()))
            return batch

        def watched_decode(embedding, features, prompts, options):
            likeness = prompts.text_embedding.mean(1) @ stage.names.mean.T
            self.asked.append(likeness.argmax(1).tolist())
            self.prompts.append(prompts)
            self.options.append(options)
            return decode(embedding, features, prompts, options)

        stage.sampler.draw, stage.module.network.decode = watched_draw, watched_decode


def run_losses(stage, steps):
    generator = np.random.default_rng(0)
    return [stage.loss(generator, stage.module)[1] for _ in range(steps)]


def test_asks_for_the_names_in_the_batch_and_some_others(make_stage):
    stage = make_stage()
    watched = Watched(stage)
    run_losses(stage, 8)
    assert len(watched.asked) == 8
    for present, asked in zip(watched.present, watched.asked, strict=True):
        assert len(set(asked)) == len(asked) == 3
        assert present <= set(asked)
    others = {
        name
        for p, a in zip(watched.present, watched.asked, strict=True)
        for name in a
        if name not in p
    }
    assert len(others) > 2


def test_a_name_that_no_photo_shows_has_no_picture(make_stage):
    stage = make_stage(classes=NAMES)
    watched = Watched(stage)
    run_losses(stage, 6)
    assert not watched.prompts[0].visual_mask.any()
    asked, mask = watched.asked[-1], watched.prompts[-1].visual_mask.tolist()
    assert [name for name, known in zip(asked, mask, strict=True) if not known] == [NAMES - 1]
    counts = stage.module.queue.filled
    assert counts[:4].min() > 0
    assert counts[4] == 0


def test_regions_smaller_than_asked_make_no_prompt(make_stage):
    stage = make_stage(min_cells=17.0)
    run_losses(stage, 2)
    assert not stage.module.queue.filled.any()


def test_parts_are_left_out_by_chance(make_stage):
    always = make_stage(strategy_shares=(0.5, 0.5, 0.0), drop=0.0)
    watched = Watched(always)
    run_losses(always, 8)
    assert {s.strategy for s in watched.options} == {"average", "text"}
    assert all(s.guidance_levels == (4, 3, 2) and s.token_wise for s in watched.options)
    assert all(s.top_k is None and s.decoder for s in watched.options)
    never = make_stage(strategy_shares=(0.0, 0.0, 1.0), drop=1.0)
    watched = Watched(never)
    run_losses(never, 2)
    assert {s.strategy for s in watched.options} == {"visual"}
    assert not any(s.guidance_levels or s.token_wise for s in watched.options)


def test_tokens_of_some_names_are_left_out(make_stage):
    stage = make_stage(classes=NAMES, token_drop=0.5)
    watched = Watched(stage)
    run_losses(stage, 12)
    words = torch.stack([prompts.text_token_mask.any(1) for prompts in watched.prompts])
    assert 0.25 < words.float().mean() < 0.75
    assert words.any(0).all()
    late = watched.prompts[-4:]
    parts = torch.stack([p.visual_tokens.abs().sum((1, 2)) > 0 for p in late])
    known = torch.stack([p.visual_mask for p in late])
    assert 0.1 < parts[known].float().mean() < 0.9


def test_some_steps_are_refinement_rounds(make_stage):
    stage = make_stage(refined=1.0, strategy_shares=(1.0, 0.0, 0.0), drop=0.0)
    watched = Watched(stage)
    run_losses(stage, 6)
    firsts, seconds = watched.prompts[::2], watched.prompts[1::2]
    assert len(firsts) == len(seconds) == 6
    assert watched.asked[::2] == watched.asked[1::2]
    moved = [
        not torch.equal(first.visual_tokens, second.visual_tokens)
        for first, second in zip(firsts, seconds, strict=True)
    ]
    assert any(moved)


def test_words_alone_are_not_refined(make_stage):
    stage = make_stage(refined=1.0, strategy_shares=(0.0, 1.0, 0.0))
    watched = Watched(stage)
    run_losses(stage, 3)
    assert len(watched.prompts) == 3


def test_trains_the_network_and_leaves_the_towers(make_stage, lite_model, tmp_path):
    stage = make_stage(strategy_shares=(1.0, 0.0, 0.0), drop=0.0, token_drop=0.0)
    before = copy.deepcopy(stage.module.network.state_dict())
    run_stage(stage, LOOP, tmp_path / "run")
    for key, value in stage.module.network.state_dict().items():
        assert not torch.equal(value, before[key]), key
    for key, value in stage.tower.state_dict().items():
        assert torch.equal(value, lite_model.tower.state_dict()[key]), key


def test_loss_falls(make_stage, tmp_path):
    settings = {"strategy_shares": (0.0, 1.0, 0.0), "drop": 0.0, "classes": NAMES, "lr": 1e-2}
    stage = make_stage(**settings)
    before = np.mean([figures["fine"] for figures in run_losses(stage, 4)])
    run_stage(stage, LoopSettings(steps=24, warmup=1, average=0.0), tmp_path / "run")
    after = np.mean([figures["fine"] for figures in run_losses(stage, 4)])
    assert after < 0.9 * before


def test_killed_run_goes_on_to_the_same_weights(make_stage, tmp_path):
    check_killed_run(make_stage, LOOP, tmp_path)
