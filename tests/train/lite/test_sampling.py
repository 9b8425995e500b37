"""Batches and varied names."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dpseg.data.dataset import Sample
from dpseg.data.mixture import Mixture, SourceSettings
from dpseg.data.transforms import CropSettings
from dpseg.train.lite.dense_loss import cell_targets
from dpseg.train.lite.sampling import BatchSampler, NameVariants
from labelled_folder import halves, write_folder


@pytest.fixture
def mixture(tmp_path):
    samples = {f"s{i}": halves(1 + i % 3, 0, (32, 32)) for i in range(5)}
    write_folder(tmp_path / "set", {0: "background", 1: "a", 2: "b", 3: "c"}, samples)
    return Mixture(tmp_path, [SourceSettings("set", repeat=2)])


def make_sampler(mixture, batch_size=4):
    crop = CropSettings(size=32, scale=(1.0, 1.0), jitter=0.0)
    return BatchSampler(mixture, crop=crop, batch_size=batch_size, cells=(4, 16))


def test_targets_belong_to_the_crops(mixture):
    batch = make_sampler(mixture).draw(np.random.default_rng(0))
    assert batch.images.shape == (4, 3, 32, 32)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= batch.images.min() < batch.images.max() <= 1
    red = (batch.images[:, 0] > 0.7) & (batch.images[:, 1] < 0.4)  # what halves() paints index 0
    for image in range(4):
        name = batch.targets[16][0][image].sum(0).argmax()
        label = np.where(red[image].numpy(), -2, int(name)).astype(np.int32)
        for cell in (4, 16):
            positive, negative = cell_targets(label, mixture.includes, mixture.excludes[0], cell)
            found = [weights[image] for weights in batch.targets[cell]]
            assert (found[0] - positive).abs().mean() < 0.02  # the border is blurred
            assert (found[1] - negative).abs().mean() < 0.02


def test_pasted_things_are_labelled_and_nowhere_else(tmp_path):
    photos = {f"s{i}": halves(1, 2, (32, 32)) for i in range(3)}
    write_folder(tmp_path / "set", {1: "a", 2: "b"}, photos)
    write_folder(tmp_path / "things", {0: "background", 1: "thing"}, {"t": halves(1, 0, (32, 32))})
    sources = [SourceSettings("set"), SourceSettings("things", exclusive=True, pasted=True)]
    mixture = Mixture(tmp_path, sources)
    crop = CropSettings(size=32, scale=(1.0, 1.0), jitter=0.0)
    always = BatchSampler(mixture, crop=crop, batch_size=8, cells=(4,), paste=1.0)
    positive, negative = always.draw(np.random.default_rng(0)).targets[4]
    thing = mixture.names.index("thing")
    covered = positive[..., thing]
    assert (covered.sum(1) > 1).all()
    torch.testing.assert_close(negative[..., thing], 1 - covered)
    assert (positive.sum(-1) <= 1 + 1e-6).all()  # what a thing covers is no longer there
    never = BatchSampler(mixture, crop=crop, batch_size=8, cells=(4,))
    shown = never.draw(np.random.default_rng(0)).targets[4][0][..., thing].sum(1)
    assert (shown == 0).any()


def test_epochs_follow_each_other_and_show_every_photo(mixture, monkeypatch):
    drawn = []

    class Watched(list):
        def __getitem__(self, index):
            source, sample = super().__getitem__(index)
            drawn.append(sample.key)
            return source, Sample(sample.key, sample.image, sample.label)

    monkeypatch.setattr(mixture, "samples", Watched(mixture.samples))
    sampler, generator = make_sampler(mixture), np.random.default_rng(0)
    for _ in range(5):
        sampler.draw(generator)
    epoch = {f"s{i}": 2 for i in range(5)}
    assert Counter(drawn[:10]) == epoch
    assert Counter(drawn[10:]) == epoch
    assert drawn[:10] != drawn[10:]


def test_sampler_goes_on_where_another_was(mixture):
    first, generator = make_sampler(mixture, 3), np.random.default_rng(0)
    for _ in range(2):
        first.draw(generator)
    second, copied = make_sampler(mixture, 3), np.random.default_rng(5)
    second.load_state_dict(first.state_dict())
    copied.bit_generator.state = generator.bit_generator.state
    for _ in range(4):  # past the end of the epoch
        a, b = first.draw(generator), second.draw(copied)
        torch.testing.assert_close(a.images, b.images, atol=0, rtol=0)
        torch.testing.assert_close(a.targets, b.targets, atol=0, rtol=0)


def test_name_with_one_word_is_that_word_every_time(normal):
    single, several = F.normalize(normal(1, 2, 5), dim=-1), F.normalize(normal(3, 2, 5), dim=-1)
    names, generator = NameVariants([single, several]), np.random.default_rng(0)
    draws = [names.draw(generator) for _ in range(3)]
    for drawn in draws:
        torch.testing.assert_close(drawn[0], single[0])
        torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(2, 2))
    assert not torch.allclose(draws[0][1], draws[1][1])


def test_drawn_names_mix_their_words_with_positive_weights(normal):
    variants = F.normalize(normal(2, 3, 5), dim=-1)
    drawn = NameVariants([variants]).draw(np.random.default_rng(0))[0]  # M D
    for template in range(3):
        solution = torch.linalg.lstsq(variants[:, template].T, drawn[template, :, None])
        weights = solution.solution[:, 0]
        assert (weights > 0).all()
        torch.testing.assert_close(weights @ variants[:, template], drawn[template])


def test_mean_name_averages_words_and_templates(normal):
    variants = normal(2, 3, 5)
    mean = NameVariants([variants]).mean[0]
    expected = variants.reshape(6, 5).mean(0)
    torch.testing.assert_close(mean, expected / expected.norm())
