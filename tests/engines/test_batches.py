"""Several images in one pass."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpseg import Segmenter
from dpseg.arrays import to_tensors
from dpseg.engines.batches import encode_all, takes_batches
from dpseg.engines.torch_engine import TorchEngine
from dpseg.errors import ShapeError
from dpseg.factory.lite import lite_engine
from dpseg.imaging.tiling import TilingRules

SIDE = 64


class Batching(TorchEngine):
    """An engine on the processor that behaves as on a GPU, and notes what it sees at once."""

    batch_pixels = 4 * SIDE * SIDE

    def encode_images(self, images):
        self.__dict__.setdefault("passes", []).append([image.shape[:2] for image in images])
        return super().encode_images(images)


@pytest.fixture(scope="module")
def engines(lite_model, text_tower):
    """The plain engine, and the same as on a GPU; both in single precision."""
    plain = lite_engine(copy.deepcopy(lite_model), text_tower=text_tower)
    batching = copy.copy(plain)
    batching.__class__ = Batching
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        yield plain, batching


@pytest.fixture
def batching(engines):
    engines[1].passes = []
    return engines[1]


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_images_come_out_as_one_by_one(engines, batching):
    """Images of one size share passes, within the bound; a larger one has a pass of its own."""
    plain, _ = engines
    images = [image(SIDE, SIDE, seed) for seed in range(5)]
    images[2:2] = [image(SIDE, 2 * SIDE), image(3 * SIDE, 2 * SIDE)]
    found = encode_all(batching, images)
    assert [len(sizes) for sizes in batching.passes] == [4, 1, 1, 1]
    assert all(len(set(sizes)) == 1 for sizes in batching.passes)
    for one, features in zip(images, found, strict=True):
        expected = to_tensors(plain.encode_image(one))
        for name, values in to_tensors(features).items():
            np.testing.assert_allclose(values, expected[name], atol=1e-4, rtol=1e-4)


def test_a_processor_takes_images_one_by_one(engines):
    plain, batching = engines
    assert (takes_batches(plain), takes_batches(batching)) == (False, True)
    with pytest.raises(ShapeError, match="multiples of 16"):
        batching.encode_images([image(SIDE, 20)])


def test_tiles_and_photos_share_passes(engines, batching, cache):
    """Of two photos alike, the wholes are seen together, then the tiles."""
    plain, _ = engines
    photos = [image(96, 200, seed) for seed in range(2)]
    rules = TilingRules(tile_above=0.1)
    answers = []
    for engine in (plain, batching):
        small = copy.copy(engine)
        small._info = replace(engine.info, image_size=SIDE)
        segmenter = Segmenter(small, cache=cache, tiling=rules)
        answers.append(segmenter(photos, ["cat", "grass"], unlabelled=False))
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)
    seen = sum(len(sizes) for sizes in batching.passes)
    assert seen == sum(result.settings["views"] for result in answers[0])
    assert len(batching.passes) < seen
