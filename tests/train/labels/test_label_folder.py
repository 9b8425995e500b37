"""From photos to a labelled folder, by a model that knows colours and a tiny teacher."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colour_engine import ColourEngine, paint
from dpseg.data.dataset import LabelledFolder
from dpseg.errors import DataError
from dpseg.prompts.cache import PromptCache
from dpseg.segmenter import Segmenter
from dpseg.train.labels.label_folder import Labeller, measure, write_labels
from dpseg.train.labels.recipe import LabelRecipe, load_label_recipe
from labelled_folder import write_folder
from tiny_graphs import write_colour_maps

RECIPE = """
photos: photos
names_of: [known]
share: 0.6
own: 0.0
teachers:
  - {kind: maps, file: maps.onnx, names: names.txt, skip: 1, least: 0.5}
measure:
  - {name: known, every: 2}
"""


@pytest.fixture
def labelling(tmp_path: Path) -> tuple[Labeller, LabelRecipe]:
    """Photos to label, a labelled folder, a teacher and a recipe."""
    write_colour_maps(tmp_path / "maps.onnx", channels_last=False)
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    image = paint(("red", 0, 96, 0, 48), ("green", 0, 96, 48, 96))
    truth = np.full((96, 96), 1, np.uint8)
    truth[:, 48:] = 2
    truth[:12, 48:] = 0  # green is on the background here: these labels will be wrong
    truth[-12:] = 255
    samples = dict.fromkeys(("a", "b", "c"), (image, truth))
    write_folder(tmp_path / "known", {0: "background", 1: "red", 2: "green", 3: "blue"}, samples)
    (tmp_path / "photos" / "images").mkdir(parents=True)
    for key in ("x", "y"):
        Image.fromarray(image).save(tmp_path / "photos" / "images" / f"{key}.jpg", quality=95)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = load_label_recipe(tmp_path / "recipe.yaml")
    segmenter = Segmenter(ColourEngine(), cache=PromptCache(tmp_path / "cache"))
    return Labeller(recipe, segmenter, data=tmp_path, teachers=tmp_path), recipe


def test_precision_of_each_name(labelling, tmp_path: Path):
    labeller, recipe = labelling
    found = dict(measure(labeller, recipe, data=tmp_path))["known"]
    assert list(found) == ["red", "green"]
    assert found["red"].precision == 1
    assert found["red"].there == 2 * 84 * 48  # photos a and c
    assert found["red"].found > 0.9
    assert found["green"].precision == pytest.approx(72 / 84, abs=0.02)


def test_a_folder_is_labelled_and_goes_on(labelling, tmp_path: Path):
    labeller, _ = labelling
    out = tmp_path / "out"
    photos, share = write_labels(labeller, tmp_path / "photos", out)
    assert photos == 2
    assert share > 0.9
    folder = LabelledFolder(out, "train")
    assert folder.names == ["red", "green", "blue"]
    assert (folder[0].label[:, :40] == 0).mean() > 0.95
    assert (folder[0].label[:, 56:] == 1).mean() > 0.95
    before = (out / "labels" / "x.png").stat().st_mtime_ns
    (out / "labels" / "y.png").unlink()
    assert write_labels(labeller, tmp_path / "photos", out) == (photos, share)
    assert (out / "labels" / "x.png").stat().st_mtime_ns == before


def test_background_is_where_a_teacher_finds_nothing(labelling, tmp_path: Path):
    recipe = labelling[1].model_copy(update={"absent": 0.5})
    write_colour_maps(tmp_path / "maps.onnx", channels_last=False)
    segmenter = Segmenter(ColourEngine(), cache=PromptCache(tmp_path / "cache"))
    some = recipe.teachers[0].model_copy(update={"only": ("red",)})
    recipe = recipe.model_copy(update={"teachers": (some,)})
    labeller = Labeller(recipe, segmenter, data=tmp_path, teachers=tmp_path)
    out = tmp_path / "out"
    write_labels(labeller, tmp_path / "photos", out)
    folder = LabelledFolder(out, "train")
    assert folder.names == ["red"]
    assert folder.has_background
    assert (folder[0].label[:, :40] == 0).mean() > 0.95
    assert (folder[0].label[:, 56:] == -2).mean() > 0.95  # green, but not red
    assert dict(measure(labeller, recipe, data=tmp_path))["known"].keys() == {"red"}


def test_only_the_listed_photos_are_labelled(labelling, tmp_path: Path):
    (tmp_path / "photos" / "train.txt").write_text("y\n")
    assert write_labels(labelling[0], tmp_path / "photos", tmp_path / "out")[0] == 1


def test_bad_folders_say_so(labelling, tmp_path: Path):
    labeller, _ = labelling
    with pytest.raises(DataError, match="no photos"):
        write_labels(labeller, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "classes.txt").write_text("0\tother\n")
    with pytest.raises(DataError, match="labels of other names"):
        write_labels(labeller, tmp_path / "photos", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photos: [", "cannot read recipe"),
        ("photos: a\nnames_of: []", "names_of"),
        ("photos: a\nnames_of: [b]\nteachers: [{kind: oracle, file: x}]", "teachers"),
        ("photos: a\nnames_of: [b]\nshare: 2", "share"),
    ],
)
def test_bad_recipes_say_so(tmp_path: Path, text: str, message: str):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        load_label_recipe(tmp_path / "r.yaml")
