"""Finding and loading weights."""

import numpy as np
import pytest

from dpseg.encoders.lite import LEVEL_CHANNELS
from dpseg.errors import CheckpointError
from dpseg.factory.lite import save_lite
from dpseg.factory.load import BANK_FILE, MODEL_FILE, load_engine
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.pooling import VisualEmbedding


@pytest.fixture
def folder(lite_model, tmp_path):
    save_lite(lite_model, tmp_path / MODEL_FILE)
    return tmp_path


def make_bank(encoder_key):
    generator = np.random.default_rng(0)

    def rows(*shape):
        return generator.normal(size=shape).astype(np.float32)

    visual = VisualEmbedding(
        class_wise=rows(2, 512),
        level_wise={j: rows(2, c) for j, c in LEVEL_CHANNELS.items()},
        token_wise=rows(2, 4, 512),
    )
    return PromptBank(encoder_key, ("cat", "dog"), rows(2, 512), visual)


def test_folder_gives_runtime_and_bank(folder, lite_model):
    engine, bank = load_engine(str(folder))
    assert engine.info.encoder_key == lite_model.encoder_key()
    assert bank is None
    make_bank(lite_model.encoder_key()).save(folder / BANK_FILE)
    _, bank = load_engine(folder)
    assert bank.names == ("cat", "dog")


def test_bank_of_another_encoder_is_refused(folder, lite_model):
    make_bank("0123456789abcdef").save(folder / BANK_FILE)
    with pytest.raises(CheckpointError, match="0123456789abcdef") as error:
        load_engine(folder)
    assert lite_model.encoder_key() in str(error.value)


def test_unknown_name_lists_what_there_is(tmp_path):
    with pytest.raises(CheckpointError, match=r"'dpseg-huge'.*dpseg-lite"):
        load_engine("dpseg-huge")
    with pytest.raises(CheckpointError, match=MODEL_FILE):
        load_engine(tmp_path)
