"""The whole of a training run on twelve photos, with a tower of random weights."""

import copy
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch.nn import functional as F

from dpseg import Segmenter
from dpseg.data.mixture import SourceSettings
from dpseg.data.transforms import CropSettings
from dpseg.encoders.kernel_projection import KernelProjection
from dpseg.errors import CheckpointError, DataError
from dpseg.factory.config import LiteConfig
from dpseg.factory.lite import load_lite
from dpseg.factory.load import BANK_FILE, MODEL_FILE, load_engine
from dpseg.train.lite import build_bank as bank
from dpseg.train.lite import run as lite
from dpseg.train.lite.align import Alignment, embed_names
from dpseg.train.lite.calibrate import THRESHOLDS
from dpseg.train.lite.decoder_stage import DecoderSettings, DecoderTraining
from dpseg.train.lite.encoder_stage import TowerSettings, TowerStage
from dpseg.train.lite.run import train_lite
from dpseg.train.lite.wordnet import read_noun_synsets
from dpseg.train.loop import LoopSettings, run_stage
from dpseg.train.recipe import DecoderRecipe, Recipe, TowerRecipe
from labelled_folder import halves, write_folder
from tiny_wordnet import CAT, DOG, write_wordnet

pytestmark = pytest.mark.slow

FILES = ("aligned.safetensors", "tuned.safetensors", MODEL_FILE, BANK_FILE)
ANCHORS = ["dog", "cat", "grass", "animal"]
LOOP = LoopSettings(steps=3, warmup=1, checkpoint_every=2, log_every=1)
TOWER_LOSS = TowerSettings(softmax_weight=1.0, adapter_lr=1e-2)
CROP = CropSettings(size=64, scale=(1.0, 1.5))
RECIPE = Recipe(
    sources=(
        SourceSettings("pets", exclusive=True, holdout_every=4),
        SourceSettings("parks", exclusive=True),
        SourceSettings("web", labelled=False),
    ),
    tower=TowerRecipe(batch_size=2, crop=CROP, loop=LOOP, loss=TOWER_LOSS),
    decoder=DecoderRecipe(batch_size=2, crop=CROP, loop=LOOP, loss=DecoderSettings(classes=3)),
    model=LiteConfig(image_size=64, templates=("{}", "a {}"), widths=(16, 16, 16, 16)),
)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    pets = {f"p{i}": halves(1 + i % 2, 0, (64, 72)) for i in range(4)}
    write_folder(root / "pets", {0: "background", 1: "cat", 2: "dog"}, pets)
    write_folder(root / "parks", {0: "grass", 1: "cat"}, {"q": halves(0, 1), "r": halves(1, 0)})
    write_folder(root / "web", {0: "nothing"}, {"w": halves(2, 3)})
    write_wordnet(root / "wordnet")
    for folder, files in (
        ("imagenet_pictures", ("0.jpg", "1.jpg")),
        ("caltech101", ("cup_of_tea__0001.jpg", "cup_of_tea__0002.jpg", "snoopy__0001.jpg")),
    ):
        (root / folder / "images").mkdir(parents=True)
        for index, name in enumerate(files):
            picture = halves(index, index + 1, (48, 64))[0]
            Image.fromarray(picture).save(root / folder / "images" / name)
    lines = [f"0.jpg\t{DOG}\tdog\n", f"1.jpg\t{CAT}\tcat\n"]
    (root / "imagenet_pictures" / "classes.tsv").write_text("".join(lines))
    return root


def contents(path):
    """Read metadata and bytes of every tensor; safetensors writes metadata in any order."""
    with safe_open(path, framework="np") as file:
        tensors = {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
        return file.metadata(), tensors


def random_alignment(tower, text_tower, picture_folder, templates):
    """Align names to random places of the joint space."""
    prototypes = F.normalize(torch.randn(len(ANCHORS), 512), dim=-1)
    text_map = KernelProjection(centres=len(ANCHORS), text_dim=384, embedding_dim=512)
    text = embed_names(text_tower, ANCHORS, templates).mean(0)
    text_map.fit(F.normalize(text, dim=-1), prototypes)
    return Alignment(ANCHORS, prototypes, text_map)


@pytest.fixture(scope="module")
def train(data_root, text_tower):
    """Train into a folder; the second argument and on are given to `train_lite`."""
    text_tower.encode(["loaded before anything is seeded"])

    def train(folder, recipe=RECIPE, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lite, "align", random_alignment)
            patch.setattr(lite, "MiniLM", lambda: text_tower)
            patch.setattr(lite, "CALIBRATION_BATCHES", 2)
            patch.setattr(lite, "REGION_BATCHES", 4)
            synsets = read_noun_synsets(data_root / "wordnet")
            patch.setattr(bank, "read_noun_synsets", lambda: synsets)
            train_lite(recipe, data_root, folder, **options)
        return folder

    return train


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("run") / "lite")


def test_leaves_a_model_that_segments(run, monkeypatch, tmp_path):
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path))
    photo = halves(1, 0, (64, 64))[0]
    found = Segmenter.from_pretrained(run)(photo, "cat, dog, cup of tea", unlabelled=False)
    assert found.labels.shape == (64, 64)
    assert np.isfinite(found.scores).all()
    config = load_lite(run / MODEL_FILE).config
    assert config.anchors == len(ANCHORS)
    assert config.score_threshold in THRESHOLDS


def test_leaves_a_bank_of_photographed_names_and_hypernyms(run):
    _, prompts = load_engine(run)
    words = {word for name in prompts.names for word in name.split("|")}
    assert {"dog", "cat", "grass", "animal", "entity", "cup of tea"} <= words
    assert "snoopy" not in words  # a brand


def test_stages_hand_on_what_they_learned(run):
    aligned, tuned, final = (
        load_lite(run / name).state_dict()
        for name in ("aligned.safetensors", "tuned.safetensors", MODEL_FILE)
    )
    changed = {key for key in tuned if not torch.equal(tuned[key], aligned[key])}
    assert {"tower.projection.weight", "tower.level_mean", "tower.level_scale"} <= changed
    assert {"network.log_scale", "network.bias"} & changed
    assert not any(key.startswith(("text_map.", "network.decoder.")) for key in changed)
    changed = {key for key in final if not torch.equal(final[key], tuned[key])}
    assert "network.decoder.predict.weight" in changed
    assert all(key.startswith("network.") for key in changed)


def test_guidance_is_standardised_over_the_training_crops(run):
    tower = load_lite(run / MODEL_FILE).tower
    photo = torch.from_numpy(halves(1, 0, (64, 64))[0]).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        for features in tower(photo).image_features.values():
            assert features.mean().abs() < 1
            assert 0.1 < features.std() < 3


def forbid(monkeypatch, *stages):
    def refuse(self, generator):
        raise AssertionError("trained again")

    for stage in stages:
        monkeypatch.setattr(stage, "loss", refuse)


def test_finished_run_begun_again_trains_nothing(run, train, monkeypatch):
    before = [contents(run / name) for name in FILES]
    forbid(monkeypatch, TowerStage, DecoderTraining)
    train(run)
    assert [contents(run / name) for name in FILES] == before


def kill_at(monkeypatch, stage, step):
    loss, calls = stage.loss, []

    def dying(self, generator, averaged):
        calls.append(len(calls))
        if len(calls) == step:
            raise KeyboardInterrupt
        return loss(self, generator, averaged)

    monkeypatch.setattr(stage, "loss", dying)


def test_run_killed_in_both_stages_ends_in_the_same_files(run, train, tmp_path):
    for stage in (TowerStage, DecoderTraining):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, stage, 3)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "cut")
    train(tmp_path / "cut")
    for name in FILES:
        assert contents(tmp_path / "cut" / name) == contents(run / name), name


def test_a_run_does_not_go_on_by_another_recipe(run, train):
    """What may change between starts is how often it logs; else the old result would be kept."""
    loop = RECIPE.tower.loop
    other = changed(RECIPE, tower={"loop": replace(loop, seed=loop.seed + 1)})
    with pytest.raises(CheckpointError, match="begun by another recipe"):
        train(run, other)
    before = contents(run / MODEL_FILE)
    train(run, changed(RECIPE, tower={"loop": replace(loop, log_every=7)}))
    assert contents(run / MODEL_FILE) == before


def changed(recipe, **stages):
    """Copy a recipe with some settings of its stages changed."""
    parts = {name: getattr(recipe, name).model_copy(update=how) for name, how in stages.items()}
    return recipe.model_copy(update=parts)


def test_run_can_start_from_another(run, train, tmp_path, monkeypatch):
    monkeypatch.setattr(lite, "align", None)
    folder = train(tmp_path / "second", start=run)
    name = "aligned.safetensors"
    assert contents(folder / name) == contents(run / name)
    first, second = (load_lite(f / MODEL_FILE).state_dict() for f in (run, folder))
    drift = (first["tower.projection.weight"] - second["tower.projection.weight"]).abs().mean()
    aligned = load_lite(run / name).state_dict()["tower.projection.weight"]
    fresh = (first["tower.projection.weight"] - aligned).abs().mean()
    assert 0 < drift < 3 * fresh


def test_runs_can_be_averaged(run, tmp_path):
    first, other = load_lite(run / MODEL_FILE), load_lite(run / MODEL_FILE)
    before = {key: tensor.clone() for key, tensor in first.state_dict().items()}
    with torch.no_grad():
        for tensor in other.parameters():
            tensor += 1
    mean = lite.mean_model([first, other])
    for key, tensor in mean.state_dict().items():
        moved = 0.5 if key in dict(other.named_parameters()) else 0.0
        torch.testing.assert_close(tensor, before[key] + moved)


def test_decoder_can_learn_from_photos_that_its_tower_has_not_seen(
    run, train, tmp_path, monkeypatch
):
    taught = []
    loss = DecoderTraining.loss

    def watched(self, generator, averaged):
        taught.append((self.tower, {sample.key for _, sample in self.sampler.mixture.samples}))
        return loss(self, generator, averaged)

    trained = {}

    def watched_stage(stage, loop, folder):
        run_stage(stage, loop, folder)
        trained[folder.name] = copy.deepcopy(stage.module.state_dict())

    monkeypatch.setattr(DecoderTraining, "loss", watched)
    monkeypatch.setattr(lite, "run_stage", watched_stage)
    loop = replace(RECIPE.decoder.loop, steps=8)
    decoder = RECIPE.decoder.model_copy(
        update={"cross_fit_steps": 2, "loop": loop, "wise_ft_alpha": 0.25}
    )
    folder = train(tmp_path / "halves", RECIPE.model_copy(update={"decoder": decoder}))
    halves = [load_lite(folder / f"half{which}.safetensors") for which in (0, 1)]
    tuned, final = (load_lite(folder / name) for name in ("tuned.safetensors", MODEL_FILE))
    assert len({id(tower) for tower, _ in taught}) == 2
    for tower, photos in taught:
        [seen] = [i for i, half in enumerate(halves) if same(half.tower, tower)]
        everything = {"p1", "p2", "p3", "q", "r", "w"}
        assert photos == {key for key in everything if crc32(key.encode()) % 2 != seen}
    assert same(final.tower, tuned.tower)
    for key, tensor in final.network.state_dict().items():
        mixed = 0.75 * tuned.network.state_dict()[key] + 0.25 * trained["decoder"][f"network.{key}"]
        torch.testing.assert_close(tensor, mixed, rtol=2e-3, atol=1e-4)  # kept in half precision
    assert not final.network.decoder.untrained
    assert load_engine(folder)[1].names


def same(one, other):
    """Tell whether two modules have equal tensors."""
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items())


def test_wrong_data_are_said_before_anything_is_computed(train, tmp_path, monkeypatch):
    monkeypatch.setattr(lite, "_aligned", None)
    recipe = RECIPE.model_copy(update={"sources": (SourceSettings("nowhere"),)})
    with pytest.raises(DataError, match="nowhere"):
        train(tmp_path / "wrong", recipe)


def test_several_processes_are_refused(data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DataError, match="train in one process"):
        train_lite(RECIPE, data_root, tmp_path / "two")


def test_unseen_names_come_from_their_file(data_root, train, run, tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    asked = []

    def watched(root, sources, *, unseen, **_):
        asked.append(unseen)
        raise StopError

    monkeypatch.setattr(lite, "Mixture", watched)
    (data_root / "unseen.txt").write_text("sofa\n\ntree-merged\n")
    recipe = RECIPE.model_copy(update={"unseen": "unseen.txt"})
    with pytest.raises(StopError):
        train(tmp_path / "zero", recipe)
    assert asked == [frozenset({"couch", "tree"})]
    with pytest.raises(DataError, match=r"absent\.txt"):
        train(tmp_path / "zero", RECIPE.model_copy(update={"unseen": "absent.txt"}))
