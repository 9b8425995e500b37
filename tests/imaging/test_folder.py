"""What a folder holds: photos, and a word on all else."""

import os
from pathlib import Path

import pytest
from PIL import Image

from dpseg.errors import ImageError
from dpseg.imaging.folder import PhotoFolder
from dpseg.imaging.photo import FORMATS, SUFFIXES


def test_photos_are_found_by_any_usual_ending(tmp_path: Path) -> None:
    names = ["a.JPG", "b.jfif", "c.jpe", "d.Tiff", "e.JPEG", "f.avif"]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in PhotoFolder.read(tmp_path).photos] == names
    assert PhotoFolder.read(tmp_path).tell_left_out() == ""


def test_every_ending_belongs_to_an_allowed_format() -> None:
    formats = Image.registered_extensions()
    assert {formats[suffix] for suffix in SUFFIXES} == set(FORMATS)
    usual = {suffix for suffix, name in formats.items() if name in FORMATS}
    assert usual - SUFFIXES <= {".avifs", ".j2c", ".jpc", ".pfm"}  # films, bare streams, floats


def test_all_else_is_told_with_its_reason(tmp_path: Path) -> None:
    for name in ("._a.jpg", "notes.txt", "x.HEIC", "a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "e.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = PhotoFolder.read(tmp_path)
    assert [path.name for path in found.photos] == ["a.jpg", "gone.jpg"]
    assert found.left_out == {
        "hidden": ["._a.jpg"],
        "a folder": ["e.jpg"],
        "not named like a photo": ["notes.txt", "x.HEIC"],
        "neither file nor folder": ["pipe.jpg"],
    }


def test_many_are_told_in_one_short_line(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.txt").touch()
    told = PhotoFolder.read(tmp_path).tell_left_out()
    assert told == "not named like a photo: 00.txt, 01.txt, 02.txt, 03.txt, 04.txt and 35 more"


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="gone cannot be read"):
        PhotoFolder.read(tmp_path / "gone")
