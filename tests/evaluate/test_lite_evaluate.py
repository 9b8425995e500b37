"""Prompts and the evaluation protocol with the real network, its weights random."""

import numpy as np
import pytest
import torch
from skimage import data

from dpseg.evaluate.ablate import ablations, configurations_of
from dpseg.evaluate.configuration import EVERY_PIXEL, STANDARD, WITH_EXAMPLES, Configuration
from dpseg.evaluate.predictions import Predictions
from dpseg.evaluate.results import count_pictures
from dpseg.factory.config import LiteConfig
from dpseg.factory.lite import LiteModel, lite_engine
from dpseg.prompts.bank import build_bank
from dpseg.prompts.pooling import l2_normalize
from dpseg.prompts.prompt_set import build_prompts, in_mode
from dpseg.prompts.visual import CropSource, ExemplarSource
from dpseg.vocabulary import Vocabulary

pytestmark = pytest.mark.slow

VOCABULARY = Vocabulary.of("cat, wall|stone wall, cup")


@pytest.fixture(scope="module")
def lite():
    torch.manual_seed(0)
    model = LiteModel(LiteConfig(image_size=96, anchors=4))
    torch.nn.init.normal_(model.text_map.centres)
    torch.nn.init.normal_(model.text_map.coefficients)
    model.text_map.centres.copy_(torch.nn.functional.normalize(model.text_map.centres, dim=-1))
    return lite_engine(model)


@pytest.fixture(scope="module")
def samples():
    label = np.zeros((100, 150), np.int64)
    label[:, 60:] = 1
    label[40:70, 20:50] = 2
    label[:3] = -2
    return [(picture[:100, :150], label) for picture in (data.chelsea(), data.coffee())]


@pytest.fixture(scope="module")
def bank(lite, samples):
    pictures = {"cat": [data.chelsea()[::3, ::3]], "cup": [(samples[1][0], samples[1][1] == 2)]}
    visuals = ExemplarSource(lite, pictures).prompts_for(VOCABULARY)
    return build_bank(lite, VOCABULARY, visuals)


def test_every_standard_configuration_runs(lite, samples, bank):
    configurations = [
        *STANDARD,
        *WITH_EXAMPLES,
        Configuration("crop", EVERY_PIXEL.replace(refine=1, refine_mode="crop")),
        Configuration("no bank", bank=False),
        Configuration("two templates", EVERY_PIXEL.replace(templates=2)),
        *configurations_of(ablations(lite.info).values()),
    ]
    predict = Predictions(
        lite,
        VOCABULARY,
        configurations,
        bank=bank,
        examples=CropSource.from_samples(lite, samples, VOCABULARY.names, per_class=1),
    )
    counted = count_pictures(predict, [(0, samples[0])], len(configurations), 3)
    accumulators = {c.name: t for c, t in zip(configurations, counted.accumulators, strict=True)}
    for accumulator in accumulators.values():
        assert accumulator.confusion.sum() == 97 * 150
    text, no_bank = (accumulators[name].confusion for name in ("text", "no bank"))
    np.testing.assert_array_equal(text, no_bank)  # without pictures only words speak


@pytest.mark.parametrize("prompts", ["dual", "text", "visual"])
def test_scores_are_finite_whatever_speaks(lite, samples, bank, prompts):
    asked = in_mode(build_prompts(lite, VOCABULARY, bank=bank), prompts)
    logits = lite.score(lite.encode_image(samples[0][0][:96, :144]), asked)
    assert logits.shape == (3, 24, 36)
    assert np.isfinite(logits).all()


def test_prompts_are_unit_vectors(lite, bank):
    arrays = build_prompts(lite, VOCABULARY, bank=bank)
    tokens = arrays.text_tokens[arrays.text_token_mask]
    for vectors in (
        arrays.text_embedding,
        arrays.visual_embedding,
        arrays.visual_tokens,
        tokens,
        *arrays.visual_features.values(),
    ):
        np.testing.assert_allclose(vectors, l2_normalize(vectors), atol=1e-3)
    assert arrays.text_token_mask.sum(axis=1).tolist() == [1, 3, 1]
