"""Recipes."""

from pathlib import Path

import pytest

from dpseg.errors import DataError
from dpseg.factory.config import PRESETS
from dpseg.train.recipe import ClipRecipe, Recipe, load_recipe
from dpseg.vocabulary import builtin_names
from page_tables import names_in, tables_of

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = """
sources: [{name: pets, repeat: 2}]
tower: {batch_size: 8, crop: {size: 64}, loop: {steps: 10, seed: 3}, loss: {distill_weight: 1.5}}
decoder: {batch_size: 4, crop: {size: 32}, loop: {steps: 20}, loss: {}}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="recipe.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize("path", sorted(RECIPES.glob("lite*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_load(path):
    recipe = load_recipe(path)
    trained = [stage.loop.steps for stage in (recipe.tower, recipe.decoder) if stage.loop.steps]
    assert trained or recipe.mean_with
    assert min(trained, default=101) > 100
    assert recipe.sources


@pytest.mark.parametrize("size", ["b", "l"])
def test_recipes_of_clip_models_have_the_papers_settings(size):
    recipe = load_recipe(RECIPES / f"coco_stuff_convnext_{size}.yaml")
    assert recipe.model == f"dpseg-convnext-{size}"
    assert recipe.model in PRESETS
    assert recipe.source in builtin_names()
    assert (recipe.batch_size, recipe.crop.size) == (4, 768)
    assert (recipe.loop.steps, recipe.loop.weight_decay, recipe.loop.average) == (80_000, 1e-4, 0)
    assert (recipe.loss.lr, recipe.loss.clip_multiplier, recipe.loss.classes) == (2e-4, 0.01, None)
    assert not recipe.loss.ignored_as_negative
    for start, steps in (("sed", 8000), ("err_seg", 20_000)):
        short = load_recipe(RECIPES / f"coco_stuff_from_{start}_{size}.yaml")
        assert short.loop.steps == steps
        assert short.model_copy(update={"loop": recipe.loop}) == recipe


def test_zero_shot_recipe_is_the_lite_one_but_for_names_and_length():
    lite, zero_shot = (load_recipe(RECIPES / f"{n}.yaml") for n in ("lite", "lite_zero_shot"))
    assert lite.unseen is None
    assert zero_shot.unseen
    assert zero_shot.sources == lite.sources
    assert zero_shot.model == lite.model
    for stage, same in ((zero_shot.tower, lite.tower), (zero_shot.decoder, lite.decoder)):
        assert stage.model_copy(update={"loop": same.loop}) == same


def test_values_and_defaults(write):
    recipe = load_recipe(write(SMALL))
    assert recipe.sources[0].name == "pets"
    assert (recipe.sources[0].repeat, recipe.sources[0].holdout_every) == (2, 0)
    assert (recipe.tower.loop.steps, recipe.tower.loop.seed) == (10, 3)
    assert recipe.decoder.loop.seed == 0
    assert recipe.tower.loss.distill_weight == 1.5
    assert recipe.tower.crop.scale == (0.9, 2.0)


def test_recipes_of_earlier_releases_are_read(write):
    old = SMALL.replace("distill_weight", "compete: 0.5, confidence: 0.4, keep")
    old = old.replace("size: 64", "size: 64, hide: 0.2")
    old += "rare_repeats: 3\nkinds: {poodle: [dog]}\n"
    write(old, "old.yaml")
    decoder = "decoder: {half_tower_steps: 7, share: 0.5}\n"
    recipe = load_recipe(write(f"base: old.yaml\n{decoder}tower: {{loss: {{keep: 2.5}}}}\n"))
    assert (recipe.repeat_factor_max, recipe.hypernyms) == (3, {"poodle": ("dog",)})
    loss = recipe.tower.loss
    assert (loss.softmax_weight, loss.pseudo_label_threshold) == (0.5, 0.4)
    assert (loss.distill_weight, recipe.tower.crop.cutout) == (2.5, 0.2)
    assert (recipe.decoder.cross_fit_steps, recipe.decoder.wise_ft_alpha) == (7, 0.5)
    with pytest.raises(DataError, match="kinds"):
        load_recipe(write(old + "hypernyms: {}\n"))


def test_changes_are_laid_over_the_base_key_by_key(write):
    write(SMALL, "base.yaml")
    changes = "base: base.yaml\nsources: [{name: parks}]\ntower: {loop: {steps: 7}}\n"
    recipe = load_recipe(write(changes, "middle.yaml"))
    assert [source.name for source in recipe.sources] == ["parks"]
    assert (recipe.tower.loop.steps, recipe.tower.loop.seed) == (7, 3)
    assert recipe.tower.batch_size == 8
    top = load_recipe(write("base: middle.yaml\ndecoder: {loss: {lr: 0.5}}\n"))
    assert (top.tower.loop.steps, top.decoder.loss.lr, top.decoder.loop.steps) == (7, 0.5, 20)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("distill_weight: 1.5", "kept: 1.5", r"tower\.loss"),
        ("repeat: 2", "repeat: often", r"sources\.0\.repeat"),
        ("batch_size: 4, ", "", r"decoder\.batch_size"),
        ("size: 64", "size: 70", r"tower\.crop.*multiple of 16"),
        ("sources:", "colour: red\nsources:", "colour"),
    ],
)
def test_unknown_and_unfit_values_are_placed(write, old, new, place):
    with pytest.raises(DataError, match=place):
        load_recipe(write(SMALL.replace(old, new)))


CLIP = "{model: x, source: y, batch_size: 4, crop: {size: 64}, loop: {steps: 10}}"


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("size: 64", "size: 48", "crop.*multiple of 32"),
        ("batch_size: 4", "batch_size: 0", "batch_size"),
        ("steps: 10", "steps: 10, accumulate: 0", r"loop\.accumulate"),
        ("source: y, ", "", "source"),
        ("source: y", "source: y, sources: z", "sources"),
        ("source: y", "source: y, loss: {classes: 0}", r"loss\.classes"),
        ("source: y", "source: y, precision: 8", "precision"),
    ],
)
def test_a_model_by_name_makes_another_kind_of_recipe(write, old, new, place):
    assert load_recipe(write(CLIP)).loop.steps == 10
    with pytest.raises(DataError, match=place):
        load_recipe(write(CLIP.replace(old, new)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "cannot read recipe"),
        ("- a\n- b\n", "holds no mapping"),
        ("", "holds no mapping"),
        ("base: nowhere.yaml\n", "nowhere"),
    ],
)
def test_files_that_are_no_recipe_are_refused(write, text, message):
    with pytest.raises(DataError, match=message):
        load_recipe(write(text))


def test_missing_recipe_is_named(tmp_path):
    with pytest.raises(DataError, match="absent"):
        load_recipe(tmp_path / "absent.yaml")


def test_a_recipe_cannot_be_its_own_base(tmp_path):
    (tmp_path / "a.yaml").write_text("base: b.yaml")
    (tmp_path / "b.yaml").write_text("base: a.yaml")
    with pytest.raises(DataError, match="is its own base"):
        load_recipe(tmp_path / "a.yaml")


def test_recipes_have_the_keys_of_their_tables() -> None:
    tables = [
        one for one in tables_of("guides/train-and-evaluate.md") if one.head == ("key", "holds")
    ]
    for table, kind in zip(tables, (Recipe, ClipRecipe), strict=True):
        assert sorted(names_in(table.column(0))) == sorted(kind.model_fields)
