"""Every row of "Photos" in docs/errors.md, given for real."""

import io
import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from colour_engine import COLOURS
from dpseg.geo.raster import is_map
from dpseg.geo.rules import MapRules
from dpseg.geo.segment_map import segment_map
from dpseg.imaging.photo import FORMATS, MAX_FILE_PIXELS, MAX_PIXELS, load_photo
from dpseg.video.segment_video import segment_video
from errors_page.section import Section
from imaging.deep_files import encoded_deep_png, png_chunk
from video.clips import damage, encode

photos = Section("Photos: `ImageError`")
RED = COLOURS["red"]
RAMP = np.linspace(0, 1, 4 * 5 * 3).reshape(4, 5, 3)
EIGHT_BITS = np.round(RAMP * 255).astype(np.uint8)


@pytest.mark.parametrize("given", photos.rows)
def test_row(given, request):
    photos.check(given, request)


def tiff(values, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "rgb", **options})
    return file.getvalue()


def saved(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def picture_at(path: Path, colour=RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path, "PNG")
    return path


def assert_read(given, expected, *, within: int = 1) -> None:
    assert np.abs(load_photo(given).astype(int) - expected).max() <= within


@photos.row("a path that does not exist, a folder, a file of 0 bytes")
def _(tmp_path):
    (tmp_path / "empty.jpg").touch()
    for path, told in (("none.jpg", "does not exist"), (".", "folder"), ("empty.jpg", "0 bytes")):
        with photos.refused(told):
            load_photo(tmp_path / path)


@photos.row("a file of another kind, whatever its ending")
def _(tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    answer = photos.answer("a file of another kind, whatever its ending")
    listed = answer.removeprefix("error: allowed are ").replace("JPEG 2000", "JPEG2000")
    assert listed.upper().split(", ") == list(FORMATS)
    with photos.refused(", ".join(FORMATS)):
        load_photo(tmp_path / "text.jpg")


@photos.row("a truncated or damaged file")
def _():
    for form in ("PNG", "JPEG"):
        data = saved(Image.effect_noise((64, 64), 90), form)
        with photos.refused("is damaged"):
            load_photo(data[: len(data) // 2])


@photos.row("more than 89,478,485 pixels (108 million of a telephone, say)")
def _(command, monkeypatch, tmp_path, capsys):
    assert MAX_PIXELS == 89_478_485
    for module in ("imaging.photo", "geo.raster"):
        monkeypatch.setattr(f"dpseg.{module}.MAX_PIXELS", 1_000)
    assert command("segment", picture_at(tmp_path / "a.png"), "-c", "red") == 0
    assert "half its size" in capsys.readouterr().err
    record = json.loads(Path("out/a/result.json").read_text())
    assert record["settings"]["scale"] == 0.5
    assert Image.open("out/a/labels.png").size == (20, 15)
    (tmp_path / "a.tif").write_bytes(saved(Image.new("RGB", (40, 30)), "TIFF"))
    assert is_map(tmp_path / "a.tif")


@photos.row("more than 357,913,940 pixels")
def _():
    assert MAX_FILE_PIXELS == 357_913_940
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0))
    pixels = png_chunk(b"IDAT") + png_chunk(b"IEND")
    with photos.refused("20000 x 20000 pixels; at most 357,913,940"):
        load_photo(b"\x89PNG\r\n\x1a\n" + header + pixels)


@photos.row("an array that is not H W, H W 3 or H W 4, or not of numbers")
def _():
    for array in (np.zeros(3), np.zeros((4, 5, 2)), np.zeros((4, 5), bool), np.array([["a"]])):
        with photos.refused("a photo array"):
            load_photo(array)
    for shape in ((4, 5), (4, 5, 3), (4, 5, 4)):
        assert load_photo(np.zeros(shape, np.uint8)).shape == (4, 5, 3)


@photos.row(
    "whole numbers of more than 8 bits, in any mode: grey, RGB, with alpha, CMYK, in planes"
)
def _():
    for bits in (8, 10, 12, 14, 16):
        deep = np.round(RAMP * (2**bits - 1)).astype(np.uint16)
        assert_read(deep[..., 0], EIGHT_BITS[..., :1] if bits == 16 else load_photo(deep[..., 0]))
        assert_read(deep, EIGHT_BITS)
        assert_read(encoded_deep_png(deep), EIGHT_BITS)
        assert_read(tiff(np.moveaxis(deep, 2, 0), planarconfig="separate"), EIGHT_BITS)
        inks = np.concatenate([deep.max() - deep, np.zeros((4, 5, 1), np.uint16)], axis=2)
        assert_read(tiff(inks, photometric="separated"), EIGHT_BITS)
        for alpha_bits in (10, 16):  # what is half clear is half white
            alpha = np.full((4, 5, 1), (2**alpha_bits - 1) / 2).astype(np.uint16)
            alpha[0, 0] = 2**alpha_bits - 1
            half = (EIGHT_BITS.astype(int) + 255) // 2
            half[0, 0] = EIGHT_BITS[0, 0]
            assert_read(encoded_deep_png(np.concatenate([deep, alpha], axis=2)), half, within=2)


@photos.row("fractions from 0 to 1 (16, 32 or 64 bits, in a TIFF or array)")
def _():
    for kind in (np.float16, np.float32, np.float64):
        for values in (RAMP.astype(kind), tiff(RAMP.astype(kind))):
            assert_read(values, EIGHT_BITS)
    assert load_photo(np.array([[np.nan, 1.0]]))[0].tolist() == [[0] * 3, [255] * 3]


@photos.row("negative values, whole numbers above 65,535, fractions outside 0..1")
def _():
    for kind, values in (
        ("int16 values from -3 to", RAMP * 100 - 3),
        ("uint32 values from 0 to 65536", RAMP * 65_536),
        ("float32 values from 0 to 255", RAMP * 255),
    ):
        deep = values.astype(kind.split()[0])
        for given in (deep, tiff(deep)):
            with photos.refused(f"{kind}.*nothing tells which"):
                load_photo(given)


@photos.row("several deep bands that are not marked as red, green and blue")
def _(tmp_path):
    bands = np.zeros((3, 8, 9), np.uint16)
    given = tiff(bands, photometric="minisblack", planarconfig="separate")
    with photos.refused("red, green and blue"):
        load_photo(given)
    (tmp_path / "bands.tif").write_bytes(given)
    assert is_map(tmp_path / "bands.tif")


@photos.row("JPEG 2000 of more than 8 bits in colour")
def _(tmp_path):
    import rasterio

    size = {"count": 3, "height": 64, "width": 64, "dtype": "uint16", "driver": "JP2OpenJPEG"}
    place = rasterio.Affine(1, 0, 5, 0, -1, 9)  # so that rasterio is not told to warn
    with rasterio.open(tmp_path / "a.jp2", "w", transform=place, **size) as file:
        file.write(np.full((3, 64, 64), 900, np.uint16))
    with photos.refused("3 channels of 16 bits in JPEG 2000"):
        load_photo(tmp_path / "a.jp2")


@photos.row(
    "a compressed TIFF of fractions in colour, or a packed one of kinds that Pillow does not know "
    "(12 bits in colour)"
)
def _():
    with photos.refused("3 x float32"):
        load_photo(tiff(RAMP.astype(np.float32), compression="zlib"))
    of_16_bits = tiff(np.zeros((4, 6, 3), np.uint16))
    with photos.refused("packed pixels of 3 x"):
        load_photo(of_16_bits.replace(struct.pack("<3H", *[16] * 3), struct.pack("<3H", *[12] * 3)))


@photos.row("a photo with a side of 0 pixels")
def _():
    for nothing in (np.zeros((0, 4, 3), np.uint8), Image.new("RGB", (4, 0))):
        with photos.refused("is empty"):
            load_photo(nothing)


@photos.row("a glob that matches no file, or folders without a photo (command line)")
def _(command, tmp_path):
    (tmp_path / "a").mkdir()
    for given in (["*.jpg"], ["a"], ["a", tmp_path / "a"]):
        with photos.refused("holds no photo"):
            command("segment", *given, "-c", "red")


@photos.row("a folder without a photo beside others that have some (command line)")
def _(command, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    assert command("segment", "a", picture_at(tmp_path / "b.png"), "-c", "red") == 0
    assert "a holds no photo" in capsys.readouterr().err


@photos.row("a folder that cannot be read")
def _(command, tmp_path, monkeypatch):
    def forbid(folder: object) -> None:  # the administrator may read all
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dpseg.imaging.folder.os.scandir", forbid)
    with photos.refused("cannot be read: Permission denied"):
        command("segment", tmp_path, "-c", "red")


@photos.row(
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


@photos.row("a file name that is not UTF-8")
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
    with photos.refused("maps need a name in UTF-8; rename it"):
        segment_map(segmenter.prepare("red"), odd, tmp_path / "out", rules=MapRules())


@photos.row("names such as `...jpg`, `..jpg`, `errors.jsonl.jpg`, or of 255 bytes")
def _(command, tmp_path):
    names = ["...jpg", "..jpg", "errors.jsonl.jpg", "x" * 251 + ".jpg"]
    given = [picture_at(tmp_path / "in" / name) for name in names]
    assert command("segment", *given, "-c", "red", "--no-overlay") == 0
    assert len(list((tmp_path / "out").glob("*/result.json"))) == len(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "in", "out"]


@photos.row("`dpseg export --image int8` without a folder of photos")
def _(command):
    with photos.refused("needs a folder of pictures"):
        command("export", "--image", "int8", "--out", "int8")


@photos.row("grey, palette, CMYK, alpha, rotated by EXIF, several frames")
def _():
    plain = Image.fromarray(EIGHT_BITS)
    grey = plain.convert("L")
    assert_read(saved(grey), np.asarray(grey)[..., None])
    assert_read(saved(plain.quantize(colors=60)), EIGHT_BITS, within=6)
    assert_read(saved(plain.convert("CMYK"), "TIFF"), EIGHT_BITS)
    assert_read(saved(Image.new("RGBA", (5, 4), 0)), 255)
    turned = Image.Exif()
    turned[0x0112] = 6
    assert_read(saved(plain, exif=turned), np.rot90(EIGHT_BITS, -1))
    frames = [Image.new("RGB", (5, 4), "black")]
    assert_read(saved(plain, save_all=True, append_images=frames), EIGHT_BITS)


@photos.row("a damaged EXIF block")
def _(command, tmp_path, capfd):
    block = b"Exif\0\0II*\0\x08\0\0\0\x05\0"  # five tags are promised
    (tmp_path / "a.jpg").write_bytes(saved(Image.new("RGB", (40, 30), RED), "JPEG", exif=block))
    assert command("segment", "a.jpg", "-c", "red") == 0
    assert capfd.readouterr().err.strip() == ""
    assert Image.open("out/a/labels.png").size == (40, 30)


@photos.row(
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
        with photos.refused(told):
            segment_map(find, path, tmp_path / "out", rules=MapRules(polygons=form))


@photos.row("a damaged map, a map without a chosen band, a video of which no frame can be decoded")
def _(segmenter, tmp_path):
    from geo.maps import colour_map, write_map

    find = segmenter.prepare("red")
    path = write_map(tmp_path / "map.tif", colour_map(600, 600))
    with photos.refused("3 bands; band 4"):
        segment_map(find, path, tmp_path / "out", rules=MapRules(bands=(4,)))
    path.write_bytes(path.read_bytes()[:200_000])
    with photos.refused("cannot be read"):
        segment_map(find, path, tmp_path / "out", rules=MapRules())
    frames = [np.full((48, 64, 3), RED, np.uint8)] * 2
    clip = damage(encode(tmp_path / "clip.avi", frames, "mjpeg"), [0, 1])
    with photos.refused("no frame that can be decoded"):
        segment_video(segmenter, find, clip, tmp_path / "out")


@photos.row("a video with some damaged frames")
def _(command, tmp_path):
    frames = [np.full((48, 64, 3), (200 + k, 30, 30), np.uint8) for k in range(4)]
    clip = damage(encode(tmp_path / "clip.avi", frames, "mjpeg"), [2])
    assert command("segment", clip, "-c", "red", "--no-overlay") == 2
    record = json.loads(Path("out/clip/result.json").read_text())
    assert (record["bad_frames"], len(record["times"])) == (1, 3)


photos.proven(
    "a photo whose worker process died",
    "batch/test_batch_folder.py::test_a_file_that_kills_its_process_is_the_only_one_lost",
)


@photos.row("1 × 1 pixel, 4000 × 30 pixels")
def _(segmenter):
    for size_hw in ((1, 1), (30, 4000)):
        assert segmenter(np.full((*size_hw, 3), RED, np.uint8), "red").labels.shape == size_hw
