"""Every row of "Others" in docs/errors.md, and whether the page knows every error."""

import re
import sys

import numpy as np
import pytest
import typer.main
from PIL import Image

import dpseg.errors
from colour_engine import ColourEngine
from dpseg.cli import app
from dpseg.engines.devices import split_device
from dpseg.errors import DPSegError
from dpseg.evaluate.confusion import confusion_matrix
from dpseg.prompts.prompt_set import build_prompts
from dpseg.serve import ServeSettings
from dpseg.vocabulary import Vocabulary
from errors_page.section import PAGE, Section
from page_tables import codes_in, table_of, tables_of

others = Section("Others")


@pytest.mark.parametrize("given", others.rows, ids=str)
def test_row(given, request):
    others.check(given, request)


def test_the_page_knows_every_error():
    on_page = {name for row in others.rows for name in codes_in(row)}
    on_page |= {name for table in tables_of(PAGE) for name in codes_in(table.section)}
    kinds = [kind for kind in vars(dpseg.errors).values() if isinstance(kind, type)]
    ours = {kind.__name__ for kind in kinds if issubclass(kind, DPSegError)}
    assert on_page == ours - {DPSegError.__name__}


@pytest.mark.parametrize(
    "table",
    [
        table_of(PAGE, "exit code of `dpseg segment`", "means"),
        table_of("guides/folders-and-clusters.md", "exit code", "means"),
    ],
    ids=["errors", "folders"],
)
def test_exit_codes(table, command, tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "sound.png")
    (tmp_path / "broken.png").write_bytes(b"broken")
    asked = {
        "all photos": ["sound.png", "-c", "red"],
        "none could be read|no photo could be read": ["broken.png", "-c", "red"],
        "some": ["sound.png", "broken.png", "-c", "red"],
    }
    for said, arguments in asked.items():
        code = command("segment", *arguments, "--no-overlay")
        assert re.search(said, dict(table.rows)[str(code)])
    assert len(table.rows) == len(asked)
    with pytest.raises(SystemExit) as ended:
        typer.main.get_command(app).main(["segment", "sound.png", "--no-such-option"])
    assert ended.value.code == 2  # as the first table says


@others.row("`DeviceError`")
def _():
    for name in ("gpu", "cuda:x"):
        with others.refused("give one of auto"):
            split_device(name)


@others.row("`ShapeError`")
def _(monkeypatch):
    with others.refused("differ in size"):
        confusion_matrix(np.zeros((4, 5), int), np.zeros((4, 6), int), 2)
    one = build_prompts(ColourEngine(), Vocabulary.of("red"))
    monkeypatch.setattr("colour_engine.DIMENSION", 20)
    with others.refused("different models"):
        one.concat(build_prompts(ColourEngine(), Vocabulary.of("red")))


others.proven("`WorkerError`", "batch/test_ray.py::test_an_unreachable_cluster_is_an_error")


@others.row("`MissingExtraError`")
def _(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with others.refused(r"pip install 'dpseg\[train\]'"):
        command("train", "recipe.yaml", "--data", ".", "--out", "run")
    with others.refused(r"pip install 'dpseg\[clip\]'"):
        command("import", "model.pth", "--out", "model")


others.proven(
    "`ServiceBusyError`",
    "serve/test_queue.py::test_calls_are_served_in_order_and_know_where_they_stand",
)


@others.row("`ServiceError`")
def _(command):
    for wrong, told in (
        ({"port": -1}, "port is -1"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"host": "0.0.0.0"}, "can be reached from other machines"),
        ({"host": "0.0.0.0", "token": "short"}, "at least 16"),
    ):
        with others.refused(told):
            ServeSettings(**wrong)
