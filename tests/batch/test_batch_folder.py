"""A folder on one machine: done once, done the same by many, done in spite of bad files."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from batch.loading import JOB, colours, files, killed_by_black
from colour_engine import COLOURS
from dpseg import PromptError
from dpseg.batch.folder import run_local
from dpseg.batch.job import Job
from dpseg.batch.work import Task
from dpseg.inference.options import SegmentOptions


@pytest.mark.slow
def test_many_processes_write_what_one_writes(tasks: list[Task], tmp_path: Path) -> None:
    one = list(run_local(JOB, tasks, load=colours))
    assert [outcome.path for outcome in one] == [task.path for task in tasks]
    assert [outcome.path.name for outcome in one if outcome.error] == ["zz.jpg"]
    written = files(tmp_path / "out")
    assert len(written) == 6 * 3
    shutil.rmtree(tmp_path / "out")
    many = list(run_local(JOB, tasks, workers=2, load=colours))
    assert sorted(outcome.path for outcome in many) == sorted(task.path for task in tasks)
    assert files(tmp_path / "out") == written


def test_a_run_goes_on_where_it_stopped(tasks: list[Task], tmp_path: Path) -> None:
    begun = run_local(JOB, tasks, load=colours)
    next(begun), next(begun)
    begun.close()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert len(before) == 6
    again = list(run_local(JOB, tasks, load=colours))
    assert [outcome.skipped for outcome in again] == [True] * 2 + [False] * 5
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    anew = run_local(JOB, tasks[:1], load=colours, again=True)
    assert not next(anew).skipped


def test_nothing_is_loaded_when_all_is_done(tasks: list[Task]) -> None:
    list(run_local(JOB, tasks[:2], load=colours))

    def refuse(model: str) -> None:
        raise AssertionError(model)

    assert all(one.skipped for one in run_local(JOB, tasks[:2], load=refuse))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", ["photo", "classes", "option", "example", "result", "labels", "overlay"]
)
def test_what_changed_is_done_anew(change: str, tasks: list[Task], tmp_path: Path) -> None:
    picture = tmp_path / "example.bmp"
    Image.new("RGB", (40, 30), COLOURS["red"]).save(picture)
    job = replace(JOB, examples={"red": [picture]})
    list(run_local(job, tasks[:1], load=colours))
    if change == "photo":
        Image.new("RGB", (40, 30), COLOURS["red"]).save(tasks[0].path)
    elif change == "classes":
        job = replace(job, classes=("red", "blue|azure"))
    elif change == "option":
        job = replace(job, options=SegmentOptions(refine=1))
    elif change == "example":
        Image.new("RGB", (40, 30), COLOURS["blue"]).save(picture)
    elif change == "result":
        text = (tasks[0].folder / "result.json").read_text()
        (tasks[0].folder / "result.json").write_text(text[: len(text) // 2])
    elif change == "labels":
        (tasks[0].folder / "labels.png").unlink()
    elif change == "overlay":
        job = replace(job, overlay=False)
    assert [one.skipped for one in run_local(job, tasks[:1], load=colours)] == [False]
    assert [one.skipped for one in run_local(job, tasks[:1], load=colours)] == [True]


@pytest.mark.slow
def test_a_file_that_kills_its_process_is_the_only_one_lost(
    tasks: list[Task], tmp_path: Path
) -> None:
    outcomes = list(run_local(JOB, tasks, workers=2, load=killed_by_black))
    assert len(outcomes) == len(tasks)
    told = {outcome.path.stem: outcome.error for outcome in outcomes if outcome.error}
    assert sorted(told) == ["black", "zz"]
    assert "died" in told["black"]
    assert len(list((tmp_path / "out").glob("*/result.json"))) == 5


def test_threads_are_shared_and_given_back(tasks: list[Task]) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    run = run_local(JOB, tasks[:1], workers=2, load=colours)
    assert next(run).error is None
    run.close()
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_what_concerns_all_files_is_told_as_such(tasks: list[Task], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    assert next(run_local(JOB, tasks, load=colours)).fatal
    assert next(run_local(Job(classes=()), tasks, load=colours)).fatal
    with pytest.raises(PromptError, match="nowhere"):
        next(run_local(Job(classes="red", examples={"red": ["nowhere.jpg"]}), tasks, load=colours))


def test_an_unexpected_error_is_the_file_s_alone(tasks: list[Task]) -> None:
    def fragile(model: str):
        segmenter = colours(model)
        encode = segmenter._predictor.engine.encode_image

        def fail_on_blue(image):
            if image[0, 0, 2] > 200 and image[0, 0, 0] < 100:
                raise KeyError("a bug")
            return encode(image)

        segmenter._predictor.engine.encode_image = fail_on_blue  # type: ignore[method-assign]
        return segmenter

    outcomes = {outcome.path.stem: outcome for outcome in run_local(JOB, tasks, load=fragile)}
    assert "unexpected KeyError" in str(outcomes["blue"].error)
    assert "fail_on_blue" in str(outcomes["blue"].trace)
    assert outcomes["red"].error is None


def test_results_tell_where_they_came_from(tasks: list[Task]) -> None:
    list(run_local(JOB, tasks[:1], load=colours))
    record = json.loads((tasks[0].folder / "result.json").read_text())
    assert record["settings"]["photo"] == str(tasks[0].path)
    assert len(record["settings"]["key"]) == 64
