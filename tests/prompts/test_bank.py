"""The bank of visual prompts."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from colour_engine import COLOURS, paint
from dpseg.errors import PromptError
from dpseg.prompts.bank import NEIGHBOURS, PromptBank, build_bank
from dpseg.prompts.pooling import VisualEmbedding, l2_normalize
from dpseg.prompts.visual import ExemplarSource
from dpseg.vocabulary import ClassEntry, Vocabulary


@pytest.fixture
def bank() -> PromptBank:
    rng = np.random.default_rng(0)
    return PromptBank(
        encoder_key="enc",
        names=tuple(f"name {i}" for i in range(30)),
        text_embedding=l2_normalize(rng.normal(size=(30, 16))),
        visual=VisualEmbedding(
            class_wise=l2_normalize(rng.normal(size=(30, 16))),
            level_wise={
                3: l2_normalize(rng.normal(size=(30, 5))),
                2: l2_normalize(rng.normal(size=(30, 4))),
            },
            token_wise=l2_normalize(rng.normal(size=(30, 4, 16))),
        ),
        temperature=0.02,
    )


def test_a_name_in_the_bank_gets_its_row_whatever_its_text_says(bank):
    words = [ClassEntry("Name_7"), ClassEntry("name 0")]
    found = bank.retrieve_rows(bank.text_embedding[[5, 6]], [bank.find(word) for word in words])
    np.testing.assert_allclose(found.class_wise, bank.visual.class_wise[[7, 0]], atol=1e-6)
    np.testing.assert_allclose(found.level_wise[3], bank.visual.level_wise[3][[7, 0]], atol=1e-6)
    np.testing.assert_allclose(found.token_wise, bank.visual.token_wise[[7, 0]], atol=1e-6)


@pytest.mark.parametrize("temperature", [0.02, 0.5])
def test_another_word_gets_the_softmax_mixture_of_its_neighbours(bank, temperature):
    bank = replace(bank, temperature=temperature)
    word = l2_normalize(np.random.default_rng(1).normal(size=(1, 16)))
    found = bank.retrieve_rows(word, [None])
    cosine = (word @ bank.text_embedding.T)[0]
    nearest = np.argsort(-cosine)[:NEIGHBOURS]
    weights = np.exp(cosine[nearest] / temperature)
    expected = l2_normalize(weights @ bank.visual.class_wise[nearest])
    np.testing.assert_allclose(found.class_wise[0], expected, atol=1e-5)
    level = l2_normalize(weights @ bank.visual.level_wise[3][nearest])
    np.testing.assert_allclose(found.level_wise[3][0], level, atol=1e-5)
    alone = bank.visual.class_wise[nearest[0]]  # a mixture, not the nearest row alone
    assert temperature < 0.1 or float(alone @ found.class_wise[0]) < 0.9
    np.testing.assert_allclose(np.linalg.norm(found.token_wise, axis=-1), 1, atol=1e-5)


def test_a_word_very_like_a_name_gets_nearly_its_row(bank):
    found = bank.retrieve_rows(bank.text_embedding[[9]], [None])
    assert float(found.class_wise[0] @ bank.visual.class_wise[9]) > 0.99
    likeness = np.einsum("pd,pd->p", found.token_wise[0], bank.visual.token_wise[9])
    assert likeness.min() > 0.99


def test_synonyms_find_rows(bank):
    assert bank.find(ClassEntry("nothing", ("NAME 3",))) == 3
    assert bank.find(ClassEntry("nothing")) is None


def test_saved_and_loaded(bank, tmp_path):
    bank.save(tmp_path / "bank.safetensors")
    loaded = PromptBank.load(tmp_path / "bank.safetensors", encoder_key="enc")
    assert loaded.names == bank.names
    assert loaded.temperature == bank.temperature
    np.testing.assert_allclose(loaded.visual.level_wise[2], bank.visual.level_wise[2], atol=1e-3)
    np.testing.assert_allclose(loaded.text_embedding, bank.text_embedding, atol=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["bank.safetensors"]


def test_a_bank_of_another_encoder_is_refused(bank, tmp_path):
    bank.save(tmp_path / "bank.safetensors")
    with pytest.raises(PromptError, match="'enc' and does not fit 'other'"):
        PromptBank.load(tmp_path / "bank.safetensors", encoder_key="other")


def test_bad_files_are_refused(bank, tmp_path):
    path = tmp_path / "bank.safetensors"
    with pytest.raises(PromptError, match="cannot read"):
        PromptBank.load(path)
    bank.save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PromptError, match="cannot read"):
        PromptBank.load(path)
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(PromptError, match="no prompt bank"):
        PromptBank.load(path)
    save_file({"a": np.zeros(3, np.float32)}, path, {"layout": "dpseg-bank-1"})
    with pytest.raises(PromptError, match="cannot read"):
        PromptBank.load(path)


def test_arrays_that_do_not_fit_are_refused(bank):
    with pytest.raises(PromptError, match=r"text_embedding has shape \(30, 16\)"):
        PromptBank("e", bank.names[:-1], bank.text_embedding, bank.visual)
    with pytest.raises(PromptError, match="temperature"):
        PromptBank("e", bank.names, bank.text_embedding, bank.visual, temperature=0)
    with pytest.raises(PromptError, match=r"\(0, 16\)"):
        PromptBank("e", (), bank.text_embedding[:0], bank.visual)


def test_a_small_bank_answers_too(bank):
    rows = VisualEmbedding(
        bank.visual.class_wise[:2],
        {j: rows[:2] for j, rows in bank.visual.level_wise.items()},
        bank.visual.token_wise[:2],
    )
    small = PromptBank("e", bank.names[:2], bank.text_embedding[:2], rows)
    assert small.retrieve_rows(bank.text_embedding[5:6], [None]).class_wise.shape == (1, 16)


def test_a_bank_is_built_of_pictures(engine):
    entries = [ClassEntry("red", ("crimson",)), ClassEntry("sky"), ClassEntry("blue", ("red",))]
    vocabulary = Vocabulary(entries)
    pictures = {
        "blue": [paint(ground="blue")] * 2,
        "red": [(paint(ground="red"), np.ones((8, 8)))],
    }
    visuals = ExemplarSource(engine, pictures).prompts_for(vocabulary)
    bank = build_bank(engine, vocabulary, visuals, temperature=0.1)
    assert bank.names == ("red|crimson", "blue|red")
    assert bank.find(ClassEntry("crimson")) == 0
    assert bank.find(ClassEntry("red")) == 0  # a name outranks a synonym
    assert bank.visual.class_wise[0].argmax() == list(COLOURS).index("red")
    assert bank.text_embedding.shape == (2, 12)
    assert bank.temperature == 0.1
    with pytest.raises(PromptError, match="at least one name"):
        build_bank(engine, vocabulary, {})
