"""Reading CAT-Seg's checkpoints."""

import numpy as np
import open_clip
import pytest
import torch

from cat_seg_reference import CLIP, DECODER, SIDE, tiny_checkpoint
from dpseg import Segmenter
from dpseg.errors import CheckpointError
from dpseg.factory.importers.fill import save_import
from dpseg.factory.importers.published import import_checkpoint
from dpseg.factory.load import load_engine


@pytest.fixture(scope="module")
def state():
    return tiny_checkpoint()


def test_every_key_finds_its_place(state, cat_seg_config):
    model, fates = import_checkpoint(state, config=cat_seg_config)
    assert {source for fate in fates for source in fate.sources} == set(state)
    assert {fate.target for fate in fates if fate.target} == set(model.state_dict())
    assert {fate.outcome for fate in fates} == {"copied", "joined", "split", "left out"}
    left_out = [fate.sources[0] for fate in fates if fate.target is None]
    assert left_out == [f"{DECODER}layers.{i}.swin_block.block_2.attn_mask" for i in range(2)]


def test_towers_are_a_clip_of_open_clip(state, cat_seg_config):
    """Joined attention weights load strictly, and the text tower says the same."""
    model, _ = import_checkpoint(state, config=cat_seg_config)
    joined = {}
    for key, value in state.items():
        if key.startswith(CLIP) and not key.endswith(("k_proj_weight", "v_proj_weight")):
            if key.endswith("q_proj_weight"):
                parts = [state[key.replace("q_proj", f"{part}_proj")] for part in "qkv"]
                key, value = key.replace("q_proj_weight", "in_proj_weight"), torch.cat(parts)
            joined[key.removeprefix(CLIP)] = value
    clip = open_clip.CLIP(**cat_seg_config.architecture).eval()
    clip.load_state_dict(joined)
    sentences = ["A photo of a cat in the scene", "sky"]
    expected = clip.encode_text(open_clip.SimpleTokenizer()(sentences), normalize=True)
    found = model.encoder.encode_text(sentences).class_wise
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "key",
    [
        CLIP + "ln_final.weight",
        CLIP + "visual.transformer.resblocks.1.attn.k_proj_weight",
        DECODER + "decoder2.up.bias",
        DECODER + "layers.1.attention.padding_tokens",
        "upsample2.weight",
    ],
)
def test_incomplete_checkpoint_is_refused(state, key, cat_seg_config):
    with pytest.raises(CheckpointError, match="lacks"):
        import_checkpoint({k: v for k, v in state.items() if k != key}, config=cat_seg_config)


@pytest.mark.parametrize("key", [DECODER + "layers.1.new", CLIP + "visual.new", "other"])
def test_extra_keys_are_refused_or_told(state, key, cat_seg_config):
    wider = state | {key: torch.zeros(2)}
    with pytest.raises(CheckpointError, match=rf"{key}, which cat-seg-tiny does not"):
        import_checkpoint(wider, config=cat_seg_config)
    _, fates = import_checkpoint(wider, config=cat_seg_config, extra="leave out")
    assert (key,) in [fate.sources for fate in fates if fate.outcome == "left out"]


def test_it_begins_no_dpseg(state):
    with pytest.raises(CheckpointError, match=r"CAT-Seg's checkpoint cannot become.*'dpseg'"):
        import_checkpoint(state, network="dpseg")


def test_saved_import_runs_on_photos_of_any_size(state, cat_seg_config, tmp_path):
    save_import(*import_checkpoint(state, config=cat_seg_config), tmp_path)
    engine, bank = load_engine(tmp_path)
    assert bank is None
    assert (engine.info.name, engine.info.stride) == ("cat-seg-tiny", SIDE)
    assert engine.options.decoder
    segmenter = Segmenter(engine)
    for size, views in (((48, 64), 1), ((200, 120), 7)):
        photo = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
        result = segmenter(photo, ["cat", "grass"], unlabelled=False)
        assert result.labels.shape == size
        assert set(np.unique(result.labels)) <= {0, 1}
        assert result.settings["views"] == views
