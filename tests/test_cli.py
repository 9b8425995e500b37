"""The command: files in every form, files out, and one line when something is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colour_engine import COLOURS
from common_words import CommonWords
from dpseg import DPSegError, Segmenter, __version__
from dpseg.batch.folder import find_photos, make_tasks
from dpseg.cli import main
from dpseg.errors import ImageError
from dpseg.prompts.cache import PromptCache
from video.clips import damage, encode


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three photos; the model sees colours only."""
    segmenter = Segmenter(CommonWords(), cache=PromptCache(tmp_path / "cache"))
    monkeypatch.setattr(Segmenter, "from_pretrained", lambda _, **__: segmenter)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "blue", "yellow"):
        Image.new("RGB", (40, 30), COLOURS[name]).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("not a photo")
    return folder


def run(*arguments: object) -> int:
    """Run the command in this process; its exit code."""
    sys.argv = ["dpseg", *map(str, arguments)]
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_photo_is_segmented_into_its_folder(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("segment", photos / "red.png", "-c", "red, blue") == 0
    written = sorted(path.name for path in Path("out/red").iterdir())
    assert written == ["labels.png", "overlay.png", "result.json"]
    assert capsys.readouterr().out.strip().endswith("out/red: red 100%")


def test_folders_and_globs_are_segmented_and_told_as_json(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("segment", photos, f"{photos}/*.png", "-c", "red,blue", "--json", "--out", "o") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(record["photo"]).stem for record in records] == ["blue", "red", "yellow"]
    assert [Path(record["folder"]).parent.name for record in records] == ["o"] * 3
    areas = [[entry["area"] for entry in record["classes"]] for record in records]
    assert areas == [[0, 1], [1, 0], [0, 0]]


def test_what_is_not_wanted_is_left_out(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("segment", photos / "blue.png", "-c", "red", "--no-unlabelled", "--json")
    assert run(*asked, "--not", "blue,green", "--not", "black") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["unlabelled_area"] == 1
    assert record["settings"]["not_classes"] == ["blue", "green", "black"]
    assert run(*asked) == 0  # another question, so not the answer that is there
    assert json.loads(capsys.readouterr().out)["unlabelled_area"] == 0
    for wrong in ("", "red"):
        assert run(*asked, "--not", wrong) == 1
        assert "not wanted" in capsys.readouterr().err.strip().removeprefix("dpseg: ")


@pytest.mark.parametrize(("flags", "snap"), [((), True), (("--no-snap",), False)])
def test_outlines_snap_unless_told(
    photos: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], snap: bool
) -> None:
    assert run("segment", photos / "red.png", "-c", "red", "--json", *flags) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["snap"] is snap


def test_names_of_another_language_are_answered_as_they_are(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("segment", photos / "red.png", "-c", "disque rouge", "--json")
    assert run(*asked, "--language", "de") == 0  # which does not have these words
    assert json.loads(capsys.readouterr().out)["settings"]["english"] == {}
    assert run(*asked) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["classes"][0]["name"] == "disque rouge"
    assert record["settings"]["english"] == {"disque rouge": "red circle"}
    assert run(*asked, "--language", "xx") == 1
    assert "language is 'xx'" in capsys.readouterr().err


def test_names_of_a_low_presence_are_left_out(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("segment", photos / "blue.png", "-c", "red, blue", "--json", "--min-presence")
    assert run(*asked, 1) == 0
    assert json.loads(capsys.readouterr().out)["unlabelled_area"] == 1
    assert run(*asked, 2) == 1
    assert "min_presence is 2.0; it lies in [0, 1]." in capsys.readouterr().err


def test_the_model_names_things_in_photos_alone(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("clip.mp4", "notes.txt"):
        (photos / name).write_bytes(b"nothing")
    assert run("segment", photos / "blue.png", photos / "clip.mp4", "-c", "auto", "--json") == 2
    said = capsys.readouterr()
    assert [entry["name"] for entry in json.loads(said.out)["classes"]] == ["sky"]
    assert "names are found in photos only, not videos and maps." in said.err
    assert run("segment", photos / "yellow.png", "-c", "auto") == 1
    assert "yellow.png: no common thing is surely in this photo" in capsys.readouterr().err


def test_corrections_are_used_for_a_folder(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter = Segmenter.from_pretrained("dpseg-lite")
    photo = np.asarray(Image.open(photos / "yellow.png"))
    segmenter(photo, "red").correct(5, 5, "yellow").save("said.safetensors")
    asked = ("segment", photos, "-c", "red", "--json", "--corrections")
    assert run(*asked, "said.safetensors") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[one["name"] for one in record["classes"]] for record in records] == [
        ["red", "yellow"]
    ] * 3
    assert [record["classes"][1]["area"] for record in records] == [0, 0, 1]
    assert run(*asked, "none.safetensors") == 1
    assert "cannot read corrections none.safetensors" in capsys.readouterr().err
    Path("bad.safetensors").write_bytes(b"nothing")
    assert run(*asked, "bad.safetensors") == 1
    assert "file of corrections" in capsys.readouterr().err


def test_things_are_counted(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = np.full((96, 96, 3), COLOURS["black"], np.uint8)
    picture[16:40, 8:32] = picture[16:40, 64:88] = COLOURS["red"]
    Image.fromarray(picture).save(photos / "two.png")
    assert run("segment", photos / "two.png", "-c", "red", "--instances") == 0
    assert capsys.readouterr().out.strip().endswith("red 12% in 2, unlabelled 88%")
    record = json.loads(Path("out/two/result.json").read_text())
    assert [entry["name"] for entry in record["instances"]] == ["red", "red"]
    assert record["classes"][0]["count"] == 2
    assert run("segment", photos / "two.png", "-c", "red", "--instances", "--stuff", "red,x") == 0
    assert json.loads(Path("out/two/result.json").read_text())["classes"][0]["count"] is None
    assert (
        run(
            "segment",
            encode(photos / "clip.mkv", [picture] * 2, "ffv1"),
            "-c",
            "red",
            "--instances",
        )
        == 1
    )
    assert "photos only" in capsys.readouterr().err


def test_examples_come_as_files_and_as_folders(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = photos / "yellow.png"
    assert run("segment", picture, "-c", "red", "--example", f"blorp={picture}") == 0
    assert "blorp 100%" in capsys.readouterr().out
    (photos / "shown" / "blorp").mkdir(parents=True)
    picture.rename(photos / "shown" / "blorp" / "one.png")
    again = photos / "shown" / "blorp" / "one.png"
    assert run("segment", again, "--examples-folder", photos / "shown", "--refine", 1) == 0
    assert "blorp 100%" in capsys.readouterr().out


def test_hints_on_names_are_told_once_on_a_line(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("segment", photos, "-c", "\u05d3, red", "--no-overlay") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "English" in line]
    assert len(lines) == 1
    assert lines[0].startswith("dpseg: \u05d3: ")
    assert run("segment", photos, "-c", "cat . dog .") == 1
    assert "separate names by commas" in capsys.readouterr().err


def test_a_video_with_damaged_frames_is_done_in_part(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [np.full((48, 64, 3), (200 + k, 30, 30), np.uint8) for k in range(4)]
    clip = damage(encode(photos / "clip.avi", frames, "mjpeg"), [2])
    assert run("segment", clip, photos / "red.png", "-c", "red", "--no-overlay") == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert "clip.avi: 1 damaged frames were left out" in told.err
    assert "damaged" in json.loads(Path("out/errors.jsonl").read_text())["error"]
    assert run("segment", clip, "-c", "red", "--no-overlay") == 2  # also of results that are there


def test_vocabularies_come_from_files(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("names.txt").write_text("red\ngreen\n")
    assert run("segment", photos / "blue.png", "--vocabulary", "names.txt", "-c", "blue") == 0
    assert "blue 100%" in capsys.readouterr().out
    assert run("segment", photos / "blue.png", "--vocabulary", "voc20", "--no-unlabelled") == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.jpg", "-c", "red"], "nowhere.jpg does not exist"),
        (["photos/red.png"], "name at least one"),
        (["photos/red.png", "-c", "red", "--example", "cat"], "NAME=FILE"),
        (["photos/red.png", "-c", "red", "--example", "cat=nowhere.jpg"], "nowhere.jpg"),
        (["photos/red.png", "--vocabulary", "nonsense"], "nonsense"),
        (["photos/*.tiff", "-c", "red"], "holds no photo"),
        (["photos/red.png", "-c", "red", "--out", "photos/red.png"], "cannot be written"),
    ],
)
def test_errors_are_one_line(
    photos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert run("segment", *arguments) == 1
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.strip().splitlines()
    assert line.startswith("dpseg: ")
    assert says in line


def test_one_bad_file_does_not_stop_the_others(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    assert run("segment", photos, "-c", "red,blue") == 2
    told = capsys.readouterr()
    assert "broken.jpg" in told.err
    assert len(told.out.splitlines()) == 3


def test_what_a_console_cannot_print_is_escaped(tmp_path: Path) -> None:
    photo = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (40, 30)).save(photo)
    command = [sys.executable, "-m", "dpseg", "segment", photo, "-c", "\u732b"]
    command += ["--no-unlabelled", "--no-overlay", "--out", tmp_path / "out"]
    console = {**os.environ, "PYTHONIOENCODING": "cp1252", "DPSEG_CACHE": str(tmp_path / "cache")}
    line = subprocess.run(command, env=console, capture_output=True, check=True).stdout
    assert b"\\u732b" in line
    record = subprocess.run(
        [*command, "--json"], env=console, capture_output=True, check=True
    ).stdout
    told = json.loads(record)
    assert told["photo"] == str(photo)
    assert [entry["name"] for entry in told["classes"]] == ["\u732b"]


def test_unknown_options_are_refused(photos: Path) -> None:
    assert run("segment", photos, "-c", "red", "--refine", -1) == 2
    assert run("segment", photos, "-c", "red", "--prompts", "none") == 2


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == f"dpseg {__version__}"


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    assert capsys.readouterr().out.startswith("dpseg-lite  ")
    assert run("models", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "dpseg-lite"


def test_namesakes_get_folders_of_their_own() -> None:
    paths = [Path("a/x.jpg"), Path("b/x.jpg"), Path("b/X.png"), Path("x-2.jpg")]
    tasks = make_tasks(paths, Path("o"))
    assert len({str(task.folder).lower() for task in tasks}) == 4


def test_a_file_with_glob_characters_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1].png"
    path.touch()
    assert find_photos([str(path)]) == [path]
    with pytest.raises(ImageError):
        find_photos([str(tmp_path / "b[1].png")])
    assert issubclass(ImageError, DPSegError)
