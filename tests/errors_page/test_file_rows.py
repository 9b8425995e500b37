"""Every row of "Folders, maps and videos" in docs/errors.md, given for real."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colour_engine import COLOURS
from dpseg.geo.rules import MapRules
from dpseg.geo.segment_map import segment_map
from dpseg.video.segment_video import segment_video
from errors_page.section import Section
from video.clips import damage, encode

files = Section("Folders, maps and videos: `ImageError`")
RED = COLOURS["red"]


@pytest.mark.parametrize("given", files.rows, ids=str)
def test_row(given, request):
    files.check(given, request)


def picture_at(path: Path, colour=RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path, "PNG")
    return path


@files.row("a glob that matches no file, or folders without a photo (command line)")
def _(command, tmp_path):
    (tmp_path / "a").mkdir()
    for given in (["*.jpg"], ["a"], ["a", tmp_path / "a"]):
        with files.refused("holds no photo"):
            command("segment", *given, "-c", "red")


@files.row("a folder without a photo beside others that have some (command line)")
def _(command, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    assert command("segment", "a", picture_at(tmp_path / "b.png"), "-c", "red") == 0
    assert "a holds no photo" in capsys.readouterr().err


@files.row("a folder that cannot be read")
def _(command, tmp_path, monkeypatch):
    def forbid(folder: object) -> None:  # the administrator may read all
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dpseg.imaging.folder.os.scandir", forbid)
    with files.refused("cannot be read: Permission denied"):
        command("segment", tmp_path, "-c", "red")


@files.row(
    "hidden files (`._photo.jpg`), folders named `x.jpg`, pipes and other endings in a folder"
)
def _(command, tmp_path, capsys):
    folder = picture_at(tmp_path / "photos/a.png").parent
    (folder / "._a.png").write_bytes(b"a note")
    (folder / "x.jpg").mkdir()
    (folder / "notes.txt").touch()
    os.mkfifo(folder / "pipe.jpg")
    assert command("segment", "photos", "-c", "red") == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    for left_out in ("hidden: ._a.png", "a folder: x.jpg", "photo: notes.txt", "file nor folder"):
        assert left_out in told.err


@files.row("a file name that is not UTF-8")
def _(command, segmenter, tmp_path, capsys):
    from geo.maps import colour_map, write_map

    for stream in (sys.stdout, sys.stderr):  # as `main` does
        stream.reconfigure(errors="backslashreplace")
    photo = picture_at(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert command("segment", photo, "-c", "red", "--json") == 0
    assert r"caf\udce9.png" in capsys.readouterr().out
    assert r"caf\udce9.png" in (tmp_path / os.fsdecode(b"out/caf\xe9/result.json")).read_text()
    whole = write_map(tmp_path / "whole.tif", colour_map(64, 64))
    odd = whole.rename(tmp_path / os.fsdecode(b"caf\xe9.tif"))
    assert command("segment", odd, "-c", "red") == 1
    assert "rename it" in capsys.readouterr().err
    with files.refused("maps need a name in UTF-8; rename it"):
        segment_map(segmenter.prepare("red"), odd, tmp_path / "out", rules=MapRules())


@files.row("names such as `...jpg`, `..jpg`, `errors.jsonl.jpg`, or of 255 bytes")
def _(command, tmp_path):
    names = ["...jpg", "..jpg", "errors.jsonl.jpg", "x" * 251 + ".jpg"]
    given = [picture_at(tmp_path / "in" / name) for name in names]
    assert command("segment", *given, "-c", "red", "--no-overlay") == 0
    assert len(list((tmp_path / "out").glob("*/result.json"))) == len(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "in", "out"]


@files.row("`dpseg export --image int8` without a folder of photos")
def _(command):
    with files.refused("needs a folder of pictures"):
        command("export", "--image", "int8", "--out", "int8")


@files.row(
    "polygons of a map that is placed by a camera model alone, or GeoJSON of one without a "
    "coordinate system"
)
def _(segmenter, tmp_path):
    from rasterio.rpc import RPC

    from geo.maps import colour_map, write_map

    one, no = [1.0, *[0.0] * 19], [0.0] * 2
    camera = RPC(0, 1, 50, 1, one, one, 100, 1, 10, 1, one, one, 1, 1, *no)
    find, bands = segmenter.prepare("red"), colour_map(64, 64)
    by_camera = write_map(tmp_path / "a.tif", bands, crs=None, transform=None, rpcs=camera)
    for path, form, told in (
        (by_camera, "gpkg", "camera model.*warp it"),
        (write_map(tmp_path / "b.tif", bands, crs=None), "geojson", "GeoJSON is in WGS 84"),
    ):
        with files.refused(told):
            segment_map(find, path, tmp_path / "out", rules=MapRules(polygons=form))


@files.row("a damaged map, a map without a chosen band, a video of which no frame can be decoded")
def _(segmenter, tmp_path):
    from geo.maps import colour_map, write_map

    find = segmenter.prepare("red")
    path = write_map(tmp_path / "map.tif", colour_map(600, 600))
    with files.refused("3 bands; band 4"):
        segment_map(find, path, tmp_path / "out", rules=MapRules(bands=(4,)))
    path.write_bytes(path.read_bytes()[:200_000])
    with files.refused(r"map\.tif cannot be read: (?!.*previous exception)"):
        segment_map(find, path, tmp_path / "out", rules=MapRules())
    frames = [np.full((48, 64, 3), RED, np.uint8)] * 2
    clip = damage(encode(tmp_path / "clip.avi", frames, "mjpeg"), [0, 1])
    with files.refused("no frame that can be decoded"):
        segment_video(segmenter, find, clip, tmp_path / "out")


@files.row("a video with some damaged frames")
def _(command, tmp_path):
    frames = [np.full((48, 64, 3), (200 + k, 30, 30), np.uint8) for k in range(4)]
    clip = damage(encode(tmp_path / "clip.avi", frames, "mjpeg"), [2])
    assert command("segment", clip, "-c", "red", "--no-overlay") == 2
    record = json.loads(Path("out/clip/result.json").read_text())
    assert (record["bad_frames"], len(record["times"])) == (1, 3)


files.proven(
    "a photo whose worker process died",
    "batch/test_batch_folder.py::test_a_file_that_kills_its_process_is_the_only_one_lost",
)
