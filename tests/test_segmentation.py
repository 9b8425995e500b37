"""A result counts, converts and saves itself as other programs read it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from dpseg.errors import DataError
from dpseg.segmentation import Segmentation


def result(labels: np.ndarray, classes: tuple[str, ...] = ("cat", "dog", "sky")) -> Segmentation:
    return Segmentation(
        photo=np.full((*labels.shape, 3), 90, np.uint8),
        labels=labels.astype(np.int32),
        classes=classes,
        scores=np.full((len(classes), 4, 5), 0.7, np.float32),
        settings={"model": "none"},
    )


@pytest.fixture
def found() -> Segmentation:
    labels = np.full((40, 60), -1)
    labels[5:25, 10:30] = 0
    labels[10:15, 15:20] = -1  # a hole
    labels[30:35, 40:60] = 0  # a second region
    labels[30:40, :20] = 2
    return result(labels)


def test_areas_count_pixels(found: Segmentation) -> None:
    assert found.pixels == {"cat": 400 - 25 + 100, "dog": 0, "sky": 200}
    assert found.areas["sky"] == 200 / 2400
    assert found.unlabelled_area == pytest.approx(1 - 675 / 2400)


def test_run_lengths_decode_by_pycocotools(found: Segmentation) -> None:
    runs = found.to_rle()
    assert list(runs) == ["cat", "sky"]
    for name, rle in runs.items():
        np.testing.assert_array_equal(coco.decode(rle).astype(bool), found.mask(name))


def test_polygons_fill_to_the_mask(found: Segmentation) -> None:
    polygons = found.to_polygons()
    assert [len(regions) for regions in polygons.values()] == [2, 1]
    assert sorted(len(region) for region in polygons["cat"]) == [1, 2]
    for name, regions in polygons.items():
        canvas = Image.new("1", (60 * 8, 40 * 8))
        draw = ImageDraw.Draw(canvas)
        for outline, *holes in regions:
            draw.polygon([tuple(corner) for corner in 8 * outline], fill=1)
            for hole in holes:
                draw.polygon([tuple(corner) for corner in 8 * hole], fill=0)
        middle = np.asarray(canvas)[4::8, 4::8]
        np.testing.assert_array_equal(middle, found.mask(name))


def test_supervision_reads_the_detections(found: Segmentation) -> None:
    detections = found.to_supervision()
    assert detections.data["class_name"].tolist() == ["cat", "sky"]
    np.testing.assert_array_equal(detections.area, [475, 200])
    assert detections.confidence == pytest.approx([0.7, 0.7], abs=1e-3)
    assert detections.xyxy[1].tolist() == [0, 30, 19, 39]
    nothing = result(np.full((3, 3), -1)).to_supervision()
    assert len(nothing) == 0


def test_saved_files_read_back(found: Segmentation, tmp_path: Path) -> None:
    folder = found.save(tmp_path / "deep" / "out")
    assert sorted(os.listdir(folder)) == ["labels.png", "overlay.png", "result.json"]
    labels = Image.open(folder / "labels.png")
    assert labels.mode == "L"
    np.testing.assert_array_equal(np.asarray(labels), np.where(found.labels < 0, 255, found.labels))
    record = json.loads((folder / "result.json").read_text())
    assert (record["width"], record["height"]) == (60, 40)
    cat, dog, _ = record["classes"]
    assert (cat["name"], cat["pixels"], cat["box_xyxy"]) == ("cat", 475, [10, 5, 60, 35])
    assert cat["confidence"] == pytest.approx(0.7, abs=1e-3)
    assert dog["rle"] is None
    assert coco.area(cat["rle"]) == 475


def test_many_classes_are_saved_without_loss(tmp_path: Path) -> None:
    labels = np.arange(-1, 399).reshape(20, 20)
    folder = result(labels, tuple(f"class {k}" for k in range(399))).save(tmp_path)
    saved = np.asarray(Image.open(folder / "labels.png"))
    assert saved.dtype == np.uint16
    np.testing.assert_array_equal(saved, np.where(labels < 0, 65535, labels))


def test_a_failed_save_leaves_the_old_files(
    found: Segmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(DataError, match="No space left"):
        found.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_found_is_a_result_too(tmp_path: Path) -> None:
    empty = result(np.full((1, 1), -1))
    assert empty.to_rle() == empty.to_polygons() == {}
    assert empty.unlabelled_area == 1
    empty.save(tmp_path)


def test_wrong_questions_are_answered(found: Segmentation, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'wolf'"):
        found.mask("wolf")
    with pytest.raises(DataError, match="outside"):
        found.explain(60, 0)
    with pytest.raises(DataError, match="no evidence"):
        found.explain(0, 0)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        found.save(tmp_path / "file")
