"""Measuring on labelled folders, and the commands around it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from torchmetrics.classification import MulticlassJaccardIndex

import dpseg.factory.load
from colour_engine import ColourEngine, paint
from dpseg.cli import main
from dpseg.data.dataset import LabelledFolder
from dpseg.errors import DataError
from dpseg.evaluate.configuration import EVERY_PIXEL, STANDARD, Configuration, chosen
from dpseg.evaluate.folder import Task, evaluate_folder
from dpseg.factory.config import LiteConfig
from dpseg.factory.lite import LiteModel, save_lite
from dpseg.prompts.regions import fit_picture
from dpseg.prompts.text import encode_classes
from labelled_folder import write_folder

CLASSES = {0: "background", 1: "red", 2: "blue", 3: "zorblax"}  # a zorblax is green
TEXT = Configuration("text", EVERY_PIXEL.replace(prompts="text"))
SHOWN = Configuration("shown", examples=True)


def photo(shift):
    image = paint(("red", 0, 40, 0, 96), ("blue", 40, 80, 0, 96), ("green", 48, 72, 8 + shift, 48))
    label = np.zeros((96, 96), np.uint8)
    label[:40], label[40:80] = 1, 2
    label[48:72, 8 + shift : 48] = 3
    label[:, -2:] = 255
    return image, label


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        dpseg.factory.load, "load_engine", lambda model, **_: (ColourEngine(), None)
    )
    root = tmp_path / "colours"
    write_folder(root, CLASSES, {f"t{n}": photo(n) for n in range(6)}, "train")
    return write_folder(root, CLASSES, {f"v{n}": photo(2 * n) for n in range(5)}, "val")


def test_a_detector_has_no_part_where_there_is_none_and_in_zero_shot_figures(folder, tmp_path):
    def rows(model: str, **asked: object) -> list[str]:
        return [one.name for one in Task(root=folder, model=model, **asked).rows]

    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "dpseg-lite.safetensors").touch()
    assert [name for name in rows("dpseg-lite") if "boxes" in name] == [
        "text, boxes",
        "dual, boxes",
    ]
    assert not any("boxes" in name for name in rows(str(bare)))
    assert not any("boxes" in name for name in rows("dpseg-lite", unseen=("red",)))
    assert rows("dpseg-lite", unlabelled=True) == ["unlabelled on, no boxes", "unlabelled on"]
    assert rows(str(bare), unlabelled=True) == ["unlabelled on, no boxes"]


def test_figures_are_those_of_torchmetrics_on_the_models_label_maps(folder):
    plain = replace(TEXT, options=TEXT.options.replace(class_prior=False, snap=False))
    evaluation = evaluate_folder(Task(root=folder, configurations=[plain]))
    engine, data = ColourEngine(), LabelledFolder(folder, "val")
    embedding = encode_classes(engine, data.vocabulary)[0].mean(axis=1)
    metric = MulticlassJaccardIndex(3, ignore_index=-1)
    for sample in (data[n] for n in range(len(data))):
        features = engine.encode_image(fit_picture(sample.image, engine.info)).image_embedding
        positions = features / np.linalg.norm(features, axis=0)
        cost = np.einsum("kd,dhw->khw", embedding, positions).astype(np.float32)
        scores = torch.sigmoid(20 * (torch.from_numpy(cost) - 0.6))[None]
        large = interpolate(scores, sample.label.shape, mode="bilinear")[0]
        said = large.argmax(dim=0).numpy()
        target = np.maximum(sample.label, -1)  # background is not scored
        metric.update(torch.from_numpy(said)[None], torch.from_numpy(target)[None])
    assert evaluation.figures()["text"]["miou"] == pytest.approx(metric.compute().item(), abs=1e-6)
    assert evaluation.names == ("red", "blue", "zorblax")
    assert evaluation.pictures == 5


def test_examples_come_from_photos_that_may_be_trained_on(folder):
    task = Task(
        root=folder, configurations=[TEXT, SHOWN], examples=2, unseen=("zorblax", "unicorn")
    )
    figures = evaluate_folder(task).figures()
    assert figures["text"]["unseen_miou"] == 0
    assert figures["shown"]["unseen_miou"] > 0.7


def test_photos_kept_aside_and_limits(folder):
    aside = Task(root=folder, configurations=[TEXT], holdout=True, holdout_every=3)
    assert evaluate_folder(aside).pictures == 2  # of six
    assert evaluate_folder(Task(root=folder, configurations=[TEXT], limit=3)).pictures == 3
    with pytest.raises(DataError, match="kept aside"):
        evaluate_folder(Task(root=folder, configurations=[TEXT], holdout=True))


def test_unlabelled_pixels_are_one_more_class(folder):
    evaluation = evaluate_folder(Task(root=folder, unlabelled=True))
    assert evaluation.names[-1] == "unlabelled"
    confusion = evaluation.accumulators["unlabelled on"].confusion
    assert confusion.shape == (4, 4)
    assert confusion[3].sum() == 5 * 16 * 94
    (folder / "classes.txt").write_text("0\twhite\n1\tred\n2\tblue\n3\tzorblax\n")
    with pytest.raises(DataError, match="labels no background"):
        evaluate_folder(Task(root=folder, unlabelled=True))


def test_words_of_one_group_count_as_one_class(folder):
    others = [{"name": name, "parent": "background"} for name in ("white", "green")]
    (folder / "vocabulary.json").write_text(json.dumps(["red", "blue", "zorblax", *others]))
    evaluation = evaluate_folder(Task(root=folder, configurations=[TEXT]))
    assert evaluation.names == ("red", "blue", "zorblax", "background")
    confusion = evaluation.accumulators["text"].confusion
    assert confusion.sum() == 5 * 96 * 94
    assert confusion[3, 3] > 0.8 * confusion[3].sum()  # white
    assert confusion[2, 3] > 0.8 * confusion[2].sum()  # green
    (folder / "vocabulary.json").write_text(json.dumps(["red", "blue"]))
    with pytest.raises(DataError, match="does not name the classes"):
        evaluate_folder(Task(root=folder, configurations=[TEXT]))


def run(arguments, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["dpseg", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


def test_the_command_prints_tables_and_writes_a_report(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "report"
    arguments = ["evaluate", folder, "--row", "text", "--examples", "1", "--out", out]
    code, printed, _ = run([*arguments, "--row", "dual, examples"], monkeypatch, capsys)
    assert code == 0
    assert printed.startswith("### colours: 5 pictures, 3 classes")
    assert (out / "results.md").read_text() in printed
    [plain] = json.loads((out / "results.json").read_text())
    assert list(plain["configurations"]) == ["text", "dual, examples"]
    page = (out / "results.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * (4 + 4)
    code, printed, _ = run([*arguments, "--json"], monkeypatch, capsys)
    assert json.loads(printed)[0]["set"] == "colours"


def test_the_command_prints_ablations(folder, monkeypatch, capsys):
    arguments = ["ablate", folder, "--limit", 2, "--table", "rounds", "--table", "templates"]
    code, printed, _ = run(arguments, monkeypatch, capsys)
    assert code == 0
    titles = [line for line in printed.splitlines() if line.startswith("###")]
    assert titles == ["### Number of templates", "### Refinement rounds"]
    whole = [line for line in printed.splitlines() if line.startswith(("| none ", "| 2 "))]
    assert whole[0].split("|")[2:] == whole[1].split("|")[2:]  # the same row in two tables


def test_rows_have_their_earlier_names_too():
    [row] = chosen(STANDARD, ["dual, no scene"])
    assert not row.options.class_prior


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere"], "cannot read nowhere"),
        (["evaluate", "colours", "--row", "txt"], "no row 'txt'; there are 'text'"),
        (["evaluate", "colours", "--split", "test"], "test.txt"),
        (["evaluate", "colours", "--unseen", "voc-5"], "no split 'voc-5'"),
        (["evaluate", "colours", "--unseen", "voc20-5"], "none of the unseen names"),
        (["ablate", "colours", "--table", "round"], "no ablation 'round'; there are prompts"),
    ],
)
def test_bad_requests_end_in_one_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder.parent)
    code, _, complaint = run(arguments, monkeypatch, capsys)
    assert code == 1
    assert message in complaint
    assert complaint.strip().count("\n") == 0


@pytest.mark.slow
def test_two_processes_with_the_real_network_count_what_one_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    model = LiteModel(LiteConfig(image_size=64, anchors=4))
    torch.nn.init.normal_(model.text_map.centres)
    torch.nn.init.normal_(model.text_map.coefficients)
    (tmp_path / "model").mkdir()
    save_lite(model, tmp_path / "model/dpseg-lite.safetensors")
    root = write_folder(tmp_path / "set", CLASSES, {f"v{n}": photo(n) for n in range(6)}, "val")
    task = Task(root=root, model=str(tmp_path / "model"), configurations=[TEXT])
    one, two = evaluate_folder(task), evaluate_folder(task, processes=2)
    for name in ("confusion", "sizes", "outlines"):
        mine, theirs = (getattr(e.accumulators["text"], name) for e in (one, two))
        np.testing.assert_array_equal(mine, theirs)
    assert [a.number for a in one.best] == [a.number for a in two.best]
    for mine, theirs in zip(one.best, two.best, strict=True):
        np.testing.assert_array_equal(mine.prediction, theirs.prediction)
