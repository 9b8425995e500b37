"""Every row of "Data and results" in docs/errors.md, given for real; what trains, by its test."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from colour_engine import ColourEngine, paint
from dpseg.data.dataset import LabelledFolder
from dpseg.data.splits import read_split, unseen_classes
from dpseg.evaluate.ablate import ablations, choose
from dpseg.evaluate.configuration import STANDARD, chosen
from dpseg.geo.rules import MapRules
from dpseg.interop.coco import read_coco
from dpseg.interop.label_studio import read_interface
from dpseg.interop.saved import load_result
from dpseg.segmentation import Segmentation
from dpseg.train.check_data import check_photos, check_vocabulary
from dpseg.video.smooth import Smoother
from dpseg.vocabulary import Vocabulary
from errors_page.section import Section
from labelled_folder import halves, write_folder

data = Section("Data and results: `DataError`")
NAMES = {0: "cat", 3: "grass"}


@pytest.mark.parametrize("given", data.rows, ids=str)
def test_row(given, request):
    data.check(given, request)


@pytest.fixture
def labelled(tmp_path):
    """A labelled folder of two photos."""
    return write_folder(tmp_path / "set", NAMES, {"a": halves(0, 3), "b": halves(3, 0)})


@pytest.fixture
def results(segmenter, tmp_path):
    """A folder of results of three photos that are there."""
    for name in ("a", "b", "c"):
        photo = tmp_path / f"{name}.png"
        Image.fromarray(paint(("red", 0, 48, 0, 96))).save(photo)
        found = segmenter(photo, "red, blue")
        found.settings["photo"] = str(photo)
        found.save(tmp_path / "out" / name)
    return tmp_path / "out"


def rewrite(result, **changes):
    """Change what a result's record says."""
    path = result / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@data.row("a labelled set whose lists or files are missing or empty")
def _(labelled):
    with data.refused("val.txt"):
        LabelledFolder(labelled, "val")
    (labelled / "val.txt").touch()
    with data.refused("val.txt is empty"):
        LabelledFolder(labelled, "val")
    (labelled / "images/a.jpg").unlink()
    with data.refused("'a'"):
        LabelledFolder(labelled, "train")[0]


data.proven(
    "a benchmark set whose archives are incomplete or not where they should be "
    "(`dpseg data prepare`)",
    "data/test_prepare.py::test_incomplete_archives_are_refused_before_anything_is_written",
)

data.proven(
    "a label of another size than its photo, or with values that the set does not have",
    "data/test_prepare.py::test_a_label_of_another_size_is_refused",
    "data/test_prepare.py::test_labels_that_the_encoding_lacks_are_refused",
    "data/test_prepare.py::test_an_unfinished_run_goes_on_and_has_no_list",
)

data.proven(
    "a prepared label that was changed (`dpseg data verify`)",
    "data/test_prepare.py::test_a_label_that_was_changed_is_found_and_made_again",
)

data.proven(
    "a folder that holds another set", "data/test_prepare.py::test_two_sets_do_not_share_a_folder"
)


@data.row("an unknown row, ablation table or zero-shot split; a split without a class of the set")
def _():
    with data.refused("there are 'text', "):
        chosen(STANDARD, ["txt"])
    with data.refused("there are prompts, cost"):
        choose(ablations(ColourEngine().info), ["x"])
    with data.refused("built in are coco_stuff171-15, "):
        read_split("voc")
    with data.refused("none of the unseen names"):
        unseen_classes(["zebra"], Vocabulary.of("sky"))


@data.row(
    "unlabelled pixels to measure on a set that labels no background "
    "(`dpseg evaluate --unlabelled`, `dpseg calibrate`)"
)
def _(command, labelled):
    for asked in (["evaluate", "--unlabelled", "--split", "train"], ["calibrate"]):
        with data.refused("labels no background"):
            command(*asked, labelled)


data.proven(
    "a class to tune that no photo shows",
    "train/test_prompt_tuning.py::test_a_class_in_no_picture_cannot_be_tuned",
)


@data.row("a line of `classes.txt` that is not an index, a tab and a name")
def _(labelled):
    for line in ("cat", "1 cat", "x\tcat", "70000\tcat"):
        (labelled / "classes.txt").write_text(f"0\tgrass\n{line}\n")
        with data.refused("'" + line.replace("\t", r"\\t") + "' is not INDEX<TAB>NAME"):
            LabelledFolder(labelled, "train")


@data.row("a label image of another size than its photo, or with several channels")
def _(labelled):
    for shape in ((60, 79), (60, 80, 3)):
        Image.fromarray(np.zeros(shape, np.uint8)).save(labelled / "labels/a.png")
        with data.refused("one channel of"):
            LabelledFolder(labelled, "train")[0]


@data.row("a label with an index that `classes.txt` lacks")
def _(labelled):
    Image.fromarray(np.full((60, 80), 44, np.uint8)).save(labelled / "labels/a.png")
    with data.refused(r"a\.png holds indices \[44\]"):
        LabelledFolder(labelled, "train")[0]


@data.row("two classes of a set with the same plain name")
def _(labelled):
    (labelled / "classes.txt").write_text("0\tsofa\n3\tcouch\n")
    with data.refused("two classes are called 'couch'"):
        LabelledFolder(labelled, "train")


@data.row("training photos or labels that are missing, or of different sizes (`dpseg train`)")
def _(labelled):
    Image.new("L", (79, 60)).save(labelled / "labels/a.png")
    with data.refused(r"\(60, 79\), its photo \(60, 80\)"):
        check_photos(LabelledFolder(labelled, "train"))
    (labelled / "labels/a.png").unlink()
    with data.refused("a"):
        check_photos(LabelledFolder(labelled, "train"))


@data.row("a vocabulary with more, fewer or other names than the set's classes")
def _(labelled):
    for words in ("cat, grass, sky", "cat", "cat, sky"):
        with data.refused("vocabulary"):
            check_vocabulary(LabelledFolder(labelled, "train"), Vocabulary.of(words))


data.proven(
    "a `batch_size` that processes and parts do not divide; "
    "`torchrun` with a recipe of `dpseg-lite`",
    "train/clip/test_crop_stream.py::test_a_batch_that_cannot_be_cut_is_refused",
    "train/lite/test_train_lite.py::test_several_processes_are_refused",
)

data.proven(
    "a recipe that is missing, is no YAML, or has unknown or unfit values",
    "train/test_recipe.py::test_missing_recipe_is_named",
    "train/test_recipe.py::test_files_that_are_no_recipe_are_refused",
    "train/test_recipe.py::test_unknown_and_unfit_values_are_placed",
)

data.proven(
    "no WordNet files when training",
    "train/lite/test_wordnet.py::test_missing_database_names_its_package",
)


@data.row("a pixel outside the photo (`explain`), a class that was not asked for (`mask`)")
def _(segmenter):
    found = segmenter(paint(), "red")
    with data.refused("outside"):
        found.explain(96, 0)
    with data.refused("'wolf'"):
        found.mask("wolf")


def made_by_hand():
    return Segmentation(
        photo=np.zeros((4, 5, 3), np.uint8),
        labels=np.zeros((4, 5), np.int32),
        classes=("cat",),
        scores=np.zeros((1, 4, 5), np.float32),
    )


@data.row("`explain` on a result that no `Segmenter` made")
def _():
    with data.refused("no evidence"):
        made_by_hand().explain(0, 0)


@data.row("an output folder that cannot be written")
def _(tmp_path):
    (tmp_path / "file").touch()
    with data.refused("cannot be written"):
        made_by_hand().save(tmp_path / "file")


@data.row("a folder without results, or with damaged ones (`dpseg convert`, `load_result`)")
def _(command, results, tmp_path):
    with data.refused("holds no results"):
        command("convert", results / "a", "x.json", "--to", "coco")
    rewrite(results / "a", classes=[])
    with data.refused("a: .* do not belong together"):
        load_result(results / "a")
    (results / "a/result.json").write_text("{")
    with data.refused(r"a/result\.json cannot be read"):
        command("convert", results, "x.json", "--to", "coco")


@data.row("results of photos that are gone (`dpseg convert`)")
def _(command, results, tmp_path, capsys):
    (tmp_path / "a.png").unlink()
    assert command("convert", results, "x.json", "--to", "coco") == 0
    told = capsys.readouterr()
    assert told.out.startswith("2 photos")
    assert f"1 results were left out: their photos, such as {tmp_path / 'a.png'}" in told.err
    for name in ("b", "c"):
        (tmp_path / f"{name}.png").unlink()
    with data.refused("all photos are gone"):
        command("convert", results, "x.json", "--to", "coco")


@data.row(
    "two results of one photo; a YOLO folder with files of another export; "
    "results with different classes for YOLO"
)
def _(command, results, tmp_path):
    (tmp_path / "yolo/labels").mkdir(parents=True)
    (tmp_path / "yolo/labels/old.txt").touch()
    with data.refused("old.txt"):
        command("convert", results, "yolo", "--to", "yolo")
    shutil.copytree(results / "a", results / "d")
    with data.refused("a and d are both of"):
        command("convert", results, "x.json", "--to", "coco")
    shutil.rmtree(results / "d")
    classes = json.loads((results / "b/result.json").read_text())["classes"]
    rewrite(results / "b", classes=classes[::-1])
    with data.refused("b was made with other classes"):
        command("convert", results, "other", "--to", "yolo")


@data.row(
    "a COCO file that is none; a labelling interface without `BrushLabels` or `PolygonLabels`"
)
def _(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    with data.refused("cannot be read as COCO"):
        list(read_coco(tmp_path / "x.json"))
    with data.refused("no image with BrushLabels or PolygonLabels"):
        read_interface("<View><Image name='i' value='$i'/></View>")


@data.row("bands, values, windows of a map, or smoothing of a video, outside their ranges")
def _(command, segmenter):
    for wrong in ({"bands": (0,)}, {"bands": (1, 2)}, {"value_range": (3, 3)}, {"window": 8}):
        with data.refused(f"{next(iter(wrong)).split('_')[0]}.* (are|is|of) "):
            MapRules(**wrong)
    for option in ("--bands", "--value-range"):
        with data.refused(f"{option} is 'x'; it must be"):
            command("segment", "photo.jpg", "-c", "red", option, "x")
    with data.refused(r"smoothing is 1; .* in \[0, 1\)"):
        Smoother(segmenter, past=1)
