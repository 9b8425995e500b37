"""Training on CLIP towers, from a recipe to a folder that segments, with a tiny ConvNeXt."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sklearn.metrics import jaccard_score

import err_seg_reference
import sed_reference
from dpseg import Segmenter
from dpseg.data.dataset import LabelledFolder
from dpseg.errors import CheckpointError, DataError
from dpseg.factory.clip import ClipModel, load_clip, save_clip
from dpseg.factory.importers.fill import save_import
from dpseg.factory.importers.published import import_checkpoint
from dpseg.factory.load import CLIP_BANK_FILE, CLIP_FILE
from dpseg.train.checkpoint import CHECKPOINT
from dpseg.train.clip import run as clip
from dpseg.train.clip.run import train_clip
from dpseg.train.recipe import load_recipe
from labelled_folder import COLOURS, write_folder

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).parents[3] / "recipes"
NAMES = {3: "bus", 5: "lawn", 6: "pond", 9: "sand"}
SIDE = 64
BASE = {
    "model": "dpseg-tiny",
    "source": "blocks",
    "batch_size": 4,
    "crop": {"size": SIDE, "scale": [1.0, 1.0], "jitter": 0.1},
    "prompts": {"pictures": 2},
    "loss": {"lr": 4e-3, "clip_multiplier": 0.1},
    "loop": {"steps": 6, "warmup": 0, "average": 0.0, "checkpoint_every": 2, "log_every": 1},
}


def blocks(seed):
    """Draw four noisy blocks, and the label that says what is where; some pixels are ignored."""
    generator = np.random.default_rng(seed)
    kinds = generator.permutation(4).reshape(2, 2).repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)
    noise = generator.integers(-20, 20, size=(SIDE, SIDE, 3))
    photo = (np.array(COLOURS)[kinds] + noise).clip(0, 255).astype(np.uint8)
    label = np.array(list(NAMES), np.uint8)[kinds]
    label[SIDE // 2 - 1] = 255
    return photo, label


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_folder(root / "blocks", NAMES, {f"b{i}": blocks(i) for i in range(8)})
    return root


@pytest.fixture(scope="module")
def start(clip_config, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("start")
    save_clip(ClipModel(clip_config), folder / CLIP_FILE)
    return folder


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def written(folder, **changes):
    """Write a recipe: the base with some values changed, key by key."""
    nested = {k: BASE[k] | v if isinstance(v, dict) else v for k, v in changes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(BASE | nested))
    return path


@pytest.fixture
def train(data_root, start, tmp_path):
    """Train by a changed recipe into a folder, and read the log's losses."""

    def train(name, **changes):
        recipe = load_recipe(written(tmp_path / f"{name}-recipe", **changes))
        train_clip(recipe, data_root, tmp_path / name, start=start)
        return losses(tmp_path / name)

    return train


def log_of(run):
    with (run / "training/log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def losses(run):
    return [float(line["loss"]) for line in log_of(run)]


@pytest.fixture(scope="module")
def trained(data_root, start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    recipe = written(folder / "recipe", loop={"steps": 120})
    train_clip(load_recipe(recipe), data_root, folder / "run", start=start)
    return folder / "run"


def test_learns_eight_pictures_by_heart(trained, data_root):
    segmenter = Segmenter.from_pretrained(trained)
    data = LabelledFolder(data_root / "blocks", "train")
    found, truth = [], []
    for index in range(len(data)):
        sample = data[index]
        labels = segmenter(sample.image, data.vocabulary, unlabelled=False).labels
        known = sample.label >= 0
        found.append(labels[known])
        truth.append(sample.label[known])
    score = jaccard_score(np.concatenate(truth), np.concatenate(found), average="macro")
    assert score >= 0.9


def test_image_tower_and_decoder_learn_while_the_others_are_frozen(trained, start):
    before = load_clip(start / CLIP_FILE).state_dict()
    model = load_clip(trained / CLIP_FILE)
    assert model.config.own_prompt_tower
    for key, value in model.state_dict().items():
        if key.startswith("encoder.prompt_tower."):
            old = before[key.replace("prompt_tower", "clip.visual")]
            assert torch.equal(value, old), key
        elif key.startswith("encoder.clip.") and ".visual." not in key:
            assert torch.equal(value, before[key]), key
    for key in ("encoder.clip.visual.head.proj.weight", "network.decoder.predict.weight"):
        assert not torch.equal(model.state_dict()[key], before[key]), key
    assert (trained / CLIP_BANK_FILE).exists()


def test_finished_run_begun_again_trains_nothing(trained, data_root, monkeypatch):
    monkeypatch.setattr(clip, "run_stage", None)
    train_clip(load_recipe(written(trained)), data_root, trained)


def test_a_run_of_another_recipe_is_refused(train, tmp_path):
    train("run", loop={"steps": 2})
    (tmp_path / "run" / CLIP_FILE).unlink()  # as if it had not been finished
    with pytest.raises(CheckpointError, match="begun by another recipe"):
        train("run", loop={"steps": 2}, loss={"lr": 1e-3})
    train("run", loop={"steps": 2, "log_every": 2}, workers=1)
    assert (tmp_path / "run" / CLIP_FILE).exists()


def command(recipe, data_root, start, out):
    options = ["--data", data_root, "--out", out, "--start", start]
    return [str(part) for part in ("dpseg", "train", recipe, *options)]


def test_run_killed_anywhere_goes_on_to_the_same_losses(train, data_root, start, tmp_path):
    expected = train("whole", loop={"steps": 12})
    recipe = written(tmp_path, loop={"steps": 12})
    process = subprocess.Popen(
        [sys.executable, "-m", *command(recipe, data_root, start, tmp_path / "cut")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "cut/training" / CHECKPOINT).exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / CLIP_FILE).exists()
    train_clip(load_recipe(recipe), data_root, tmp_path / "cut", start=start)
    np.testing.assert_allclose(losses(tmp_path / "cut"), expected, atol=1e-5, rtol=0)
    whole, cut = (load_file(tmp_path / run / CLIP_FILE) for run in ("whole", "cut"))
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=0)


def test_two_processes_lose_what_one_with_the_doubled_batch_loses(
    train, data_root, start, tmp_path
):
    expected = train("one")
    recipe = written(tmp_path)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    ended = subprocess.run(
        [sys.executable, *torchrun, *command(recipe, data_root, start, tmp_path / "two")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    np.testing.assert_allclose(losses(tmp_path / "two"), expected, atol=1e-4, rtol=0)
    one, two = (load_file(tmp_path / run / CLIP_FILE) for run in ("one", "two"))
    for name, weights in one.items():  # Adam makes whole steps of rounding where gradients vanish
        assert (two[name] - weights).abs().mean() < 5e-4, name


def test_accumulated_parts_lose_what_the_whole_batch_loses(train):
    parts = train("parts", loop={"accumulate": 2})
    np.testing.assert_allclose(parts, train("one"), atol=1e-4, rtol=0)


def test_a_step_asks_for_no_more_classes_than_said(train, tmp_path, monkeypatch):
    asked = []
    original = clip.ClipTraining._choose

    def watched(self, counts, generator):
        classes = original(self, counts, generator)
        asked.append((counts, classes.tolist()))
        return classes

    monkeypatch.setattr(clip.ClipTraining, "_choose", watched)
    found = train("few", loss={"classes": 3})
    assert np.isfinite(found).all()
    assert {line["classes"] for line in log_of(tmp_path / "few")} == {"3"}
    assert all(len(set(classes)) == 3 for _, classes in asked)


def test_unseen_names_are_ignored_and_never_asked_for(train, tmp_path):
    split = tmp_path / "unseen.txt"
    split.write_text("pond\n")
    train("zero", unseen=str(split))
    assert {line["classes"] for line in log_of(tmp_path / "zero")} == {"3"}


def test_ignored_pixels_as_negatives_are_another_loss(train):
    assert train("one")[0] != train("other", loss={"ignored_as_negative": True})[0]


@pytest.mark.parametrize("origin", [sed_reference, err_seg_reference], ids=["sed", "err_seg"])
def test_a_published_checkpoint_is_a_start(origin, data_root, clip_config, tmp_path):
    """The shipped recipe for it, with what a tiny model needs changed."""
    model, fates = import_checkpoint(origin.tiny_checkpoint(), config=clip_config)
    save_import(model, fates, tmp_path / "start")
    changes = {
        "base": str(
            RECIPES / f"coco_stuff_from_{origin.__name__.removesuffix('_reference')}_b.yaml"
        ),
        **{key: BASE[key] for key in ("model", "source", "crop")},
        "workers": 0,
        "precision": "32-true",
        "loss": {"lr": 4e-3},
        "loop": {"steps": 10, "warmup": 1, "log_every": 1},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(changes))
    recipe = load_recipe(tmp_path / "recipe.yaml")
    train_clip(recipe, data_root, tmp_path / "run", start=tmp_path / "start")
    found = Segmenter.from_pretrained(tmp_path / "run")(blocks(0)[0], "bus, lawn", unlabelled=False)
    assert set(np.unique(found.labels)) <= {0, 1}
    lost = losses(tmp_path / "run")
    assert max(lost[-2:]) < min(lost[:2])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"source": "nowhere"}, DataError, "cannot read .*nowhere"),
        ({"split": "empty"}, DataError, r"empty\.txt is empty"),
        ({"vocabulary": "voc20"}, DataError, "has 20 names, .* 4 classes"),
        ({"batch_size": 3, "loop": {"accumulate": 2}}, DataError, "multiple of accumulate"),
        ({"model": "dpseg-convnext-b"}, CheckpointError, "holds dpseg-tiny; the recipe trains"),
        ({"split": "damaged"}, DataError, r"indices \[77\]; classes.txt does not"),
        ({"split": "missing"}, DataError, "no-such-photo"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_computed(
    train, data_root, tmp_path, monkeypatch, changes, error, message
):
    photo, label = blocks(3)
    label[:2] = 77
    write_folder(data_root / "blocks", NAMES, {"damaged": (photo, label)}, split="damaged")
    (data_root / "blocks/empty.txt").write_text("\n")
    (data_root / "blocks/missing.txt").write_text("b0\nno-such-photo\n")
    monkeypatch.setattr(clip, "make_prompts", None)
    with pytest.raises(error, match=message):
        train("bad", **changes)
    assert not (tmp_path / "bad/training").exists()


def test_a_start_that_is_no_such_model_is_refused(data_root, tmp_path):
    recipe = load_recipe(written(tmp_path))
    with pytest.raises(CheckpointError, match="no weights at"):
        train_clip(recipe, data_root, tmp_path / "run", start=tmp_path)
