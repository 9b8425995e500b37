"""File names: whatever they are, no run ends by them, and results go only where they shall."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from batch.loading import JOB, colours
from dpseg.batch import folder
from dpseg.batch.folder import ERRORS_FILE, find_photos, make_tasks, run_local
from dpseg.errors import ImageError

RED = (220, 30, 30)


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), RED).save(path, "PNG")
    return path


@pytest.mark.parametrize(
    "name",
    ["...jpg", "..jpg", ".jpg", ".hidden.jpg", "a..jpg", "a .jpg", "....png", "x" * 251 + ".jpg"],
)
def test_a_name_never_leads_out_of_its_place(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    twice = make_tasks([Path("a") / name, Path("b") / name], out)
    for task in twice:
        assert task.folder.parent == out
        assert task.folder.resolve().parent == out.resolve()
        assert not task.folder.name.startswith(".")
        task.folder.mkdir(parents=True)  # two folders, whose names are not too long


def test_names_that_some_file_systems_take_for_one_are_told_apart() -> None:
    names = ["caf\u00e9.jpg", "cafe\u0301.jpg", "CAF\u00c9.png", "stra\u00dfe.jpg", "STRASSE.jpg"]
    folders = [task.folder.name for task in make_tasks([Path(name) for name in names], Path("o"))]
    assert folders == ["caf\u00e9", "cafe\u0301-2", "CAF\u00c9-3", "stra\u00dfe", "STRASSE-2"]


def test_no_folder_takes_the_place_of_the_list_of_errors() -> None:
    (task,) = make_tasks([Path(f"{ERRORS_FILE}.jpg")], Path("o"))
    assert task.folder != Path("o") / ERRORS_FILE


def test_namesakes_cost_the_same_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def count(name: str) -> str:
        tried.append(name)
        return name

    monkeypatch.setattr(folder, "_spelling", count)
    tasks = make_tasks([Path(f"scene{number}/rgb.png") for number in range(4_000)], Path("out"))
    assert len({task.folder for task in tasks}) == 4_000
    assert len(tried) < 5 * 4_000


def test_names_that_are_no_text_are_segmented_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    for one in ("a.png", name, "z.png"):
        photo(tmp_path / "photos" / one)
    told: list[str] = []
    paths = find_photos([str(tmp_path / "photos")], tell=told.append)
    assert len(told) == 1
    assert "UTF-8" in told[0]
    tasks = make_tasks(paths, tmp_path / "out")
    assert [outcome.error for outcome in run_local(JOB, tasks, load=colours)] == [None] * 3
    text = (tmp_path / "out" / os.fsdecode(b"caf\xe9") / "result.json").read_text("utf-8")
    assert json.loads(text)["settings"]["photo"] == str(tmp_path / "photos" / name)
    again = run_local(JOB, tasks, load=colours)
    assert all(outcome.skipped for outcome in again)


def test_brackets_in_the_name_of_a_folder_that_is_there_are_brackets(tmp_path: Path) -> None:
    a = photo(tmp_path / "trip [2024]" / "day [1]" / "a.jpg")
    b = photo(tmp_path / "trip [2024]" / "day 2" / "b.jpg")
    photo(tmp_path / "trip 2" / "c.jpg")
    assert find_photos([f"{tmp_path}/trip [2024]/*/*.jpg"]) == [b, a]
    assert find_photos([f"{tmp_path}/trip [2024]/**/a.jpg"]) == [a]
    assert find_photos([f"{tmp_path}/trip [2024]/day [1]/[ab].jpg"]) == [a]
    assert find_photos([f"{tmp_path}/trip [0-9]/c.jpg"]) == [tmp_path / "trip 2" / "c.jpg"]


def test_an_empty_folder_beside_photos_is_told_and_alone_an_error(tmp_path: Path) -> None:
    a = photo(tmp_path / "a.jpg")
    (tmp_path / "e.jpg").mkdir()
    told: list[str] = []
    given = [str(a), str(tmp_path / "e.jpg")]
    assert find_photos(given, tell=told.append) == [a]
    assert told == [f"{tmp_path / 'e.jpg'} holds no photo."]
    with pytest.raises(ImageError, match="holds no photo"):
        find_photos(given[1:])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything may be read")
def test_a_folder_without_permission_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir(mode=0)
    with pytest.raises(ImageError, match="secret cannot be read"):
        find_photos([str(tmp_path / "secret")])
