"""Prompt tuning through the real network, its weights random."""

import sys

import numpy as np
import pytest
import torch

import dpseg.factory.load
from colour_engine import ColourEngine
from dpseg.cli import main
from dpseg.data.dataset import LabelledFolder
from dpseg.errors import DataError
from dpseg.factory.config import LiteConfig
from dpseg.factory.lite import LiteModel, lite_engine
from dpseg.prompts.prompt_set import build_prompts
from dpseg.prompts.regions import fit_picture
from dpseg.prompts.tuned import TunedPrompts
from dpseg.prompts.visual import ExemplarSource
from dpseg.train.prompt_tuning import COMPARED, TuneSettings, tune_on_folder, tune_prompts
from dpseg.vocabulary import Vocabulary
from labelled_folder import halves, write_folder

pytestmark = pytest.mark.slow

CLASSES = {0: "background", 1: "zorblax", 2: "quux", 3: "sky"}
VOCABULARY = Vocabulary.of("zorblax, quux, sky")
SETTINGS = TuneSettings(steps=25, rate=0.02, hold=0.1)


@pytest.fixture(scope="module")
def lite(text_tower):
    torch.manual_seed(0)
    model = LiteModel(LiteConfig(image_size=96, anchors=4))
    torch.nn.init.normal_(model.text_map.centres)
    torch.nn.init.normal_(model.text_map.coefficients)
    return lite_engine(model, text_tower=text_tower)


@pytest.fixture
def samples():
    """Two photos: zorblax on the left, quux on the right."""
    photo, label = halves(1, 2, (96, 96))
    label = label.astype(np.int64) - 1
    return [(photo, label), (photo[:, ::-1].copy(), label[:, ::-1].copy())]


def accuracy(engine, prompts, samples):
    """Share of positions that get their class."""
    shares = []
    for photo, label in samples:
        logits = engine.score(engine.encode_image(fit_picture(photo, engine.info)), prompts)
        step = label.shape[0] // logits.shape[1]
        small = label[step // 2 :: step, step // 2 :: step]
        shares.append((logits.argmax(axis=0) == small).mean())
    return float(np.mean(shares))


def test_tuning_finds_what_plain_prompts_do_not(lite, samples):
    prompts = build_prompts(lite, VOCABULARY)
    before = {name: p.clone() for name, p in lite.model.named_parameters()}
    tuned = tune_prompts(lite, prompts, VOCABULARY, samples, [0, 1], SETTINGS)
    done = tuned.applied(prompts, VOCABULARY, lite.info.encoder_key)
    assert accuracy(lite, prompts, samples) < 0.7
    assert accuracy(lite, done, samples) > 0.8
    assert tuned.names == ("zorblax", "quux")
    for name, parameter in lite.model.named_parameters():
        torch.testing.assert_close(parameter, before[name])


def test_all_sides_of_the_tuned_prompts_move_and_no_others(lite, samples):
    examples = {"zorblax": [samples[0]], "quux": [samples[1]]}
    shown = {k: [(photo, label == i)] for i, (k, [(photo, label)]) in enumerate(examples.items())}
    pictures = ExemplarSource(lite, shown).prompts_for(VOCABULARY)
    prompts = build_prompts(lite, VOCABULARY, pictures=pictures)
    settings = TuneSettings(steps=3)
    done = tune_prompts(lite, prompts, VOCABULARY, samples, [1], settings).applied(
        prompts, VOCABULARY, lite.info.encoder_key
    )
    before, after = prompts.to_tensors(), done.to_tensors()
    for name in COMPARED:
        moved = (after[name] != before[name]).any(axis=(1, 2))
        assert moved.tolist() == [False, True, False], name
    np.testing.assert_allclose(np.linalg.norm(done.text_embedding, axis=-1), 1, atol=1e-5)


def test_the_same_seed_gives_the_same_prompts(lite, samples):
    prompts = build_prompts(lite, VOCABULARY)
    first, second = (
        tune_prompts(lite, prompts, VOCABULARY, samples, [0], TuneSettings(steps=3))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.prompts.text_embedding, second.prompts.text_embedding)


@pytest.fixture
def folder(tmp_path):
    photos = {
        "a": halves(1, 2, (96, 96)),
        "b": halves(3, 3, (96, 96)),
        "c": halves(1, 0, (96, 96)),
        "d": halves(2, 3, (96, 96)),
    }
    return write_folder(tmp_path / "set", CLASSES, photos)


def test_a_folder_tunes_its_classes(lite, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    data = LabelledFolder(folder, "train")
    settings = TuneSettings(steps=2)
    assert tune_on_folder(lite, None, data, shots=1, settings=settings).names == (
        "zorblax", "quux", "sky",
    )  # fmt: skip
    only = tune_on_folder(lite, None, data, names=["sky"], shots=1, settings=settings)
    assert only.names == ("sky",)
    with pytest.raises(DataError, match="'car' is no class"):
        tune_on_folder(lite, None, data, names=["car"], settings=settings)
    with pytest.raises(DataError, match="dpseg models on torch, not colour"):
        tune_on_folder(ColourEngine(), None, data)


def test_a_class_in_no_picture_cannot_be_tuned(lite, samples):
    prompts = build_prompts(lite, VOCABULARY)
    with pytest.raises(DataError, match="no picture shows sky"):
        tune_prompts(lite, prompts, VOCABULARY, samples, [0, 2], SETTINGS)
    with pytest.raises(DataError, match="any class to tune"):
        tune_prompts(lite, prompts, VOCABULARY, samples, [], SETTINGS)


def test_the_command_writes_a_file(lite, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dpseg.factory.load, "load_engine", lambda model, **_: (lite, None))
    out = tmp_path / "sky.safetensors"
    arguments = ["tune", folder, "--name", "sky", "--steps", 2, "--shots", 1, "--out", out]
    monkeypatch.setattr(sys, "argv", ["dpseg", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert TunedPrompts.load(out).names == ("sky",)
    assert "prompts of 1 classes for dpseg-lite" in capsys.readouterr().out
