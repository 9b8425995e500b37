"""Photos of a single thing get its name on its silhouette, and background around it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from colour_engine import paint
from dpseg.cli import app
from dpseg.data.dataset import LabelledFolder
from dpseg.errors import DataError
from dpseg.train.labels.recipe import SilhouetteRecipe, load_label_recipe
from dpseg.train.labels.silhouettes import is_clear, label_of, named_photos
from tiny_graphs import write_redness

RECIPE = """
kind: silhouettes
photos: things
file: redness.onnx
mean: 0
scale: 160
each: 1
more: {rose: 2}
renamed: {fire_engine: truck}
left_out: [cartoon]
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Photos of red things, a network that finds what is red, and a recipe."""
    write_redness(tmp_path / "redness.onnx")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    images = tmp_path / "things" / "images"
    images.mkdir(parents=True)
    half = paint(("white", 0, 96, 0, 96), ("red", 0, 96, 0, 48))
    all_red = paint(("red", 0, 96, 0, 96))
    for key, image in {
        "rose__0": half, "rose__1": all_red, "rose__2": half, "fire_engine__0": half,
        "fire_engine__1": half, "cartoon__0": half,
    }.items():  # fmt: skip
        Image.fromarray(image).save(images / f"{key}.jpg", quality=95)
    return tmp_path


def test_the_command_labels_what_is_clear(data: Path):
    given = ["--data", data, "--teachers", data, "--out", data / "out"]
    done = CliRunner().invoke(app, ["data", "label", *map(str, [data / "recipe.yaml", *given])])
    assert done.exit_code == 0, done.output
    folder = LabelledFolder(data / "out", "train")
    assert folder.names == ["rose", "truck"]
    assert folder.has_background
    assert folder.keys == ["fire_engine__0", "rose__0"]  # all of rose__1 is red
    label = folder[0].label
    assert (label[:, :44] == folder.names.index("truck")).all()
    assert (label[:, 52:] == -2).all()


def test_between_the_two_bars_nothing_is_said(data: Path):
    recipe = load_label_recipe(data / "recipe.yaml")
    assert isinstance(recipe, SilhouetteRecipe)
    silhouette = np.array([[0.9, 0.5, 0.01, 0.02]], np.float32)
    assert label_of(silhouette, 3, recipe).tolist() == [[3, -1, 0, 0]]
    assert not is_clear(silhouette, recipe)  # as much is unsure as is surely the thing
    assert is_clear(silhouette[:, [0, 0, 0, 1, 2]], recipe)


def test_a_folder_without_named_photos_is_told(data: Path):
    recipe = load_label_recipe(data / "recipe.yaml")
    assert isinstance(recipe, SilhouetteRecipe)
    with pytest.raises(DataError, match="NAME__NUMBER"):
        list(named_photos(recipe, data))
