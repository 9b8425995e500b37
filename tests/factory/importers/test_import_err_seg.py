"""Reading ERR-Seg's checkpoints."""

import pytest
import torch

from dpseg.errors import CheckpointError
from dpseg.factory.config import IMAGENET_PIXELS
from dpseg.factory.importers.fill import save_import
from dpseg.factory.importers.published import import_checkpoint
from dpseg.factory.load import load_engine
from err_seg_reference import CLIP, DECODER, tiny_checkpoint


@pytest.fixture(scope="module")
def state():
    return tiny_checkpoint()


def test_every_key_finds_its_place(state, err_seg_config):
    model, fates = import_checkpoint(state, config=err_seg_config)
    assert {source for fate in fates for source in fate.sources} == set(state)
    assert {fate.target for fate in fates} == set(model.state_dict())
    assert {fate.outcome for fate in fates} == {"copied", "split"}


def test_absent_downsampling_is_that_of_the_last_stage(state, err_seg_config):
    less = {key: value for key, value in state.items() if "modify_downsample" not in key}
    model, fates = import_checkpoint(less, config=err_seg_config)
    visual = model.encoder.clip.visual
    torch.testing.assert_close(
        visual.fine_downsample.state_dict(), visual.trunk.stages[3].downsample.state_dict()
    )
    assert {fate.target for fate in fates} == set(model.state_dict())


@pytest.mark.parametrize(
    "key",
    [
        CLIP + "ln_final.weight",
        CLIP + "visual.modify_downsample.2.bias",
        DECODER + "up_decoder2.up_conv.bias",
        DECODER + "aggregator_layers.1.spatial_fusion.sa.attention.norm_k.weight",
        DECODER + "aggregator_layers.1.class_fusion.sa.mlp.fc3.bias",
    ],
)
def test_incomplete_checkpoint_is_refused(state, key, err_seg_config):
    with pytest.raises(CheckpointError, match="lacks"):
        import_checkpoint({k: v for k, v in state.items() if k != key}, config=err_seg_config)


@pytest.mark.parametrize("key", [DECODER + "aggregator_layers.1.new", CLIP + "visual.new", "other"])
def test_extra_keys_are_refused_or_told(state, key, err_seg_config):
    wider = state | {key: torch.zeros(2)}
    with pytest.raises(CheckpointError, match=rf"{key}, which err-seg-tiny does not.*--ignore-ex"):
        import_checkpoint(wider, config=err_seg_config)
    _, fates = import_checkpoint(wider, config=err_seg_config, extra="leave out")
    assert [fate.sources for fate in fates if fate.outcome == "left out"] == [(key,)]


def test_other_shapes_are_refused(state, err_seg_config):
    wide = state | {DECODER + "head.weight": torch.zeros(1, 99, 1, 1)}
    with pytest.raises(CheckpointError, match=r"head\.weight.*99.*8"):
        import_checkpoint(wide, config=err_seg_config)


def test_towers_begin_a_dpseg(state, clip_config):
    model, fates = import_checkpoint(state, config=clip_config)
    assert model.config.network == "dpseg"
    assert model.config.pixel_statistics == IMAGENET_PIXELS
    assert model.encoder.pixel_mean.flatten().tolist() == pytest.approx(IMAGENET_PIXELS[0])
    own = model.state_dict()
    for key, value in state.items():
        if key.startswith(CLIP) and "modify_downsample" not in key:
            torch.testing.assert_close(own["encoder.clip." + key.removeprefix(CLIP)], value)
    assert {source for fate in fates for source in fate.sources} == set(state)
    assert sorted(fate.target for fate in fates if fate.target) == sorted(own)
    assert all(fate.note for fate in fates if fate.outcome in ("left out", "initialised"))
    assert model.network.decoder.untrained


def test_saved_import_runs(state, err_seg_config, tmp_path):
    model, fates = import_checkpoint(state, config=err_seg_config)
    save_import(model, fates, tmp_path)
    engine, bank = load_engine(tmp_path)
    assert bank is None
    assert (engine.info.name, engine.info.levels) == ("err-seg-tiny", (5, 4, 3, 2))
    assert engine.options.decoder
