"""`dpseg-lite` as one module, and its file."""

import copy

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dpseg.arrays import PromptSet
from dpseg.errors import CheckpointError
from dpseg.factory import checkpoint
from dpseg.factory.lite import load_lite, save_lite
from dpseg.model.dpseg import ForwardOptions


@pytest.fixture
def path(lite_model, tmp_path):
    save_lite(lite_model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_saved_model_comes_back_rounded_to_half_precision(lite_model, path):
    loaded = load_lite(path)
    assert loaded.config == lite_model.config
    assert not loaded.training
    state = loaded.state_dict()
    assert state.keys() == lite_model.state_dict().keys()
    for key, tensor in lite_model.state_dict().items():
        assert state[key].dtype == torch.float32
        assert torch.equal(state[key], tensor.half().float()), key
    assert list(path.parent.iterdir()) == [path]


def test_saving_again_changes_nothing(path, tmp_path):
    save_lite(load_lite(path), tmp_path / "again.safetensors")
    old, new = load_file(path), load_file(tmp_path / "again.safetensors")
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], new[key]) for key in old)


def test_encoder_key_survives_the_file(lite_model, path):
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["encoder_key"] == lite_model.encoder_key()
    assert load_lite(path).encoder_key() == lite_model.encoder_key()


def test_encoder_key_follows_what_prompts_depend_on(lite_model):
    key = lite_model.encoder_key()
    decoder = copy.deepcopy(lite_model)
    decoder.network.decoder.predict.bias += 1
    decoder.network.log_scale += 1
    assert decoder.encoder_key() == key
    for part in (
        "tower.trunk.conv_stem.weight",
        "tower.adapter.0.bias",
        "tower.level_mean",
        "tower.head_mean",
        "text_map.coefficients",
    ):
        other = copy.deepcopy(lite_model)
        other.state_dict()[part].add_(0.5)
        assert other.encoder_key() != key, part


@torch.inference_mode()
def test_network_scores_at_stride_four(lite_model, normal):
    pyramid = lite_model.tower(torch.rand(1, 3, 64, 96))
    channels = {j: f.shape[1] for j, f in pyramid.image_features.items()}
    prompts = PromptSet(
        text_embedding=normal(3, 4, 512),
        visual_embedding=normal(3, 4, 512),
        visual_features={j: normal(3, 4, c) for j, c in channels.items()},
        text_tokens=normal(3, 2, 512),
        text_token_mask=torch.ones(3, 2, dtype=torch.bool),
        visual_tokens=normal(3, 4, 512),
        visual_mask=torch.ones(3, dtype=torch.bool),
    )
    logits = lite_model.network(
        pyramid.image_embedding, pyramid.image_features, prompts, ForwardOptions()
    )
    assert logits.shape == (1, 3, 16, 24)


def without_a_tensor(path):
    tensors = load_file(path)
    del tensors["tower.projection.weight"]
    with safe_open(path, framework="pt") as file:
        save_file(tensors, path, metadata=file.metadata())


def with_unknown_settings(path):
    save_file(load_file(path), path, metadata={"config": '{"colour": "red"}'})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "no dpseg-lite model"),
        (lambda path: path.write_bytes(path.read_bytes()[:5]), "no dpseg-lite model"),
        (lambda path: path.write_bytes(b""), "no dpseg-lite model"),
        (lambda path: path.write_bytes(b"\xff" * 64), "no dpseg-lite model"),
        (lambda path: save_file(load_file(path), path), "config"),
        (with_unknown_settings, "colour"),
        (without_a_tensor, r"tower\.projection\.weight"),
        (lambda path: path.unlink(), "no weights at"),
        (lambda path: (path.unlink(), path.mkdir()), "no dpseg-lite model"),
    ],
    ids=["cut", "header", "empty", "noise", "settings", "unknown", "tensor", "gone", "folder"],
)
def test_damaged_file_is_refused(path, damage, message):
    damage(path)
    with pytest.raises(CheckpointError, match=message):
        load_lite(path)


def test_failed_write_leaves_the_old_file(lite_model, path, monkeypatch):
    before = path.read_bytes()

    def full_disk(state, temporary, metadata):
        temporary.write_bytes(b"half a model")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_lite(lite_model, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
