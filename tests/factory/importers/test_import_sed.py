"""Reading SED's checkpoints."""

import json

import pytest
import torch

from dpseg.arrays import PromptSet
from dpseg.errors import CheckpointError
from dpseg.factory.importers.fill import save_import, summary
from dpseg.factory.importers.published import import_checkpoint
from dpseg.factory.load import load_engine
from dpseg.model.dpseg import ForwardOptions
from sed_reference import CLIP, DECODER, TEMPLATES, tiny_checkpoint


@pytest.fixture(scope="module")
def state():
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def warm(state, clip_config):
    return import_checkpoint(state, config=clip_config)


def sources_of(fates):
    return [source for fate in fates for source in fate.sources]


def test_baseline_takes_every_key(state, sed_config):
    model, fates = import_checkpoint(state, config=sed_config)
    assert set(sources_of(fates)) == set(state)
    assert {fate.target for fate in fates} == set(model.state_dict())
    assert {fate.outcome for fate in fates} == {"copied", "joined", "split"}
    assert "6 joined" in summary(fates)


def test_keys_that_sed_does_not_have_are_told(state, sed_config):
    others = ["sem_seg_head.predictor.other", DECODER + "new.weight"]
    wider = state | dict.fromkeys(others, torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"predictor\.other, which sed-tiny does not"):
        import_checkpoint(wider, config=sed_config)
    _, fates = import_checkpoint(wider, config=sed_config, extra="leave out")
    left = [fate for fate in fates if fate.outcome == "left out"]
    assert sorted(sources_of(left)) == others


def test_warm_start_accounts_for_every_key_of_both(state, warm):
    model, fates = warm
    assert set(sources_of(fates)) == set(state)
    targets = [fate.target for fate in fates if fate.target]
    assert sorted(targets) == sorted(model.state_dict())
    assert all(fate.note for fate in fates if fate.outcome in ("left out", "initialised"))


def test_warm_start_copies_what_is_shared(state, warm):
    own = warm[0].state_dict()
    for key, value in state.items():
        if key.startswith(CLIP):
            torch.testing.assert_close(own["encoder.clip." + key.removeprefix(CLIP)], value)
    embed = own["network.decoder.embed.weight"]
    torch.testing.assert_close(embed[:, :TEMPLATES], state[DECODER + "conv1.weight"])
    assert not embed[:, TEMPLATES:].any()
    stage = "network.decoder.stages.1."
    torch.testing.assert_close(
        own[stage + "class_attention.query_key_value.bias"],
        torch.cat([state[f"{DECODER}decoder2.attention.attention.{p}.bias"] for p in "qkv"]),
    )
    torch.testing.assert_close(own[stage + "enlarge.weight"], state[DECODER + "decoder2.up.weight"])
    torch.testing.assert_close(
        own[stage + "fusion.refine.weight"],
        state[DECODER + "decoder2.conv.double_conv.3.weight"],
    )
    torch.testing.assert_close(
        own["network.decoder.predict.weight"], state[DECODER + "head.weight"]
    )


def test_warm_start_does_not_mistake_one_norm_for_another(state, warm):
    """The two spatial parts both have a `norm` of the same size; they are different layers."""
    own = warm[0].state_dict()["network.decoder.stages.0.spatial.norm.weight"]
    torch.testing.assert_close(own, torch.ones_like(own))


def test_warm_start_is_near_sed(state, warm, sed_config, normal):
    """Where DPSeg's own parts are silent, its logits are the baseline's up to the bare cosines."""
    baseline, _ = import_checkpoint(state, config=sed_config)
    dpseg = warm[0]
    text = normal(4, TEMPLATES, 16)
    embedding = normal(1, 16, 2, 2)
    features = {j: normal(1, c, 4 << i, 4 << i) for i, (j, c) in enumerate(levels(dpseg))}
    prompts = PromptSet(
        text_embedding=text,
        visual_embedding=torch.zeros_like(text),
        visual_features={j: torch.zeros(4, TEMPLATES, c) for j, c in levels(dpseg)},
        text_tokens=torch.zeros(4, 1, 16),
        text_token_mask=torch.zeros(4, 1, dtype=torch.bool),
        visual_tokens=torch.zeros(4, 1, 16),
        visual_mask=torch.zeros(4, dtype=torch.bool),
    )
    _, ours = dpseg.network.decode(embedding, features, prompts, ForwardOptions(top_k=None))
    cosines, theirs = baseline.network.decode(
        embedding, features, prompts, ForwardOptions(top_k=None)
    )
    torch.testing.assert_close(
        ours.auxiliary[0], theirs.auxiliary[0] + cosines, atol=1e-4, rtol=1e-4
    )


def levels(model):
    return [(j, model.encoder.level_channels[j]) for j in (4, 3, 2)]


@pytest.mark.parametrize("network", ["sed", "dpseg"])
@pytest.mark.parametrize(
    "key",
    [
        DECODER + "conv1.weight",
        DECODER + "decoder2.attention.attention.k.bias",
        DECODER + "decoder3.up.bias",
        CLIP + "ln_final.weight",
        CLIP + "transformer.resblocks.0.mlp.c_fc.weight",
    ],
)
def test_incomplete_checkpoint_is_refused(state, network, key, sed_config, clip_config):
    config = {"sed": sed_config, "dpseg": clip_config}[network]
    with pytest.raises(CheckpointError, match="lacks"):
        import_checkpoint({k: v for k, v in state.items() if k != key}, config=config)


def test_other_shapes_are_refused(state, sed_config):
    wide = state | {DECODER + "head0.weight": torch.zeros(1, 99, 3, 3)}
    with pytest.raises(CheckpointError, match=r"head0\.weight.*99.*16"):
        import_checkpoint(wide, config=sed_config)


def test_saved_import_runs(warm, tmp_path):
    model, fates = warm
    save_import(model, fates, tmp_path / "start")
    engine, bank = load_engine(tmp_path / "start")
    assert bank is None
    assert engine.info.name == "dpseg-tiny"
    torch.testing.assert_close(engine.model.state_dict(), model.state_dict())
    report = json.loads((tmp_path / "start/import.json").read_text())
    assert len(report) == len(fates)
    assert {"sources", "target", "outcome", "note"} == set(report[0])
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot make the folder"):
        save_import(model, fates, tmp_path / "file")
