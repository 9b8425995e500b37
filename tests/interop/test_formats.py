"""What goes out to other tools comes back the same, and other tools read it as it was meant."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from dpseg import DataError
from dpseg.imaging.label_image import read_label_picture, to_indices, to_labels, to_picture
from dpseg.interop.coco import read_coco, write_coco
from dpseg.interop.rings import fill, keyhole
from dpseg.interop.saved import load_result, results_in
from dpseg.interop.yolo import read_yolo, write_yolo
from dpseg.segmentation import Segmentation, trace_outlines
from interop.conftest import CLASSES, ragged_labels


def test_saved_results_read_back(saved: Path) -> None:
    results = list(results_in(saved))
    assert [result.name for result in results] == ["photo0", "photo1", "photo2"]
    for seed, result in enumerate(results):
        np.testing.assert_array_equal(result.labels, ragged_labels(seed))
        assert result.classes == CLASSES
        assert result.confidences[3] is None
        assert result.photo is not None
        assert result.photo.name == f"photo{seed}.png"


@pytest.mark.parametrize("classes", [1, 255, 256, 847])
def test_label_pictures_keep_every_number(classes: int, tmp_path: Path) -> None:
    labels = np.arange(-1, classes, dtype=np.int32)[None].repeat(2, axis=0)
    path = tmp_path / "labels.png"
    to_picture(labels, classes).save(path)
    assert np.asarray(Image.open(path)).dtype == (np.uint8 if classes <= 255 else np.uint16)
    np.testing.assert_array_equal(read_label_picture(path), labels)
    np.testing.assert_array_equal(to_labels(to_indices(labels, classes)), labels)


def test_other_pictures_are_no_label_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "colours.png")
    (tmp_path / "text.png").write_text("not a picture")
    for name in ("colours.png", "text.png", "none.png"):
        with pytest.raises(DataError):
            read_label_picture(tmp_path / name)


@pytest.mark.parametrize("masks", ["rle", "polygons"])
def test_coco_comes_back_the_same(saved: Path, tmp_path: Path, masks: str) -> None:
    assert write_coco(results_in(saved), tmp_path / "coco.json", masks=masks) == 3  # type: ignore[arg-type]
    back = list(read_coco(tmp_path / "coco.json"))
    assert [name for name, _, _ in back] == [f"photo{seed}.png" for seed in range(3)]
    for seed, (_, labels, names) in enumerate(back):
        assert names == CLASSES
        np.testing.assert_array_equal(labels, ragged_labels(seed))


@pytest.mark.parametrize("masks", ["rle", "polygons"])
def test_pycocotools_reads_our_coco(saved: Path, tmp_path: Path, masks: str) -> None:
    write_coco(results_in(saved), tmp_path / "coco.json", masks=masks)  # type: ignore[arg-type]
    data = COCO(str(tmp_path / "coco.json"))
    assert [entry["name"] for entry in data.loadCats(data.getCatIds())] == list(CLASSES)
    for annotation in data.loadAnns(data.getAnnIds()):
        truth = ragged_labels(annotation["image_id"] - 1) == annotation["category_id"] - 1
        np.testing.assert_array_equal(data.annToMask(annotation).astype(bool), truth)
        assert annotation["area"] == truth.sum()
        encoded = coco_mask.encode(np.asfortranarray(truth.astype(np.uint8)))
        assert annotation["bbox"] == coco_mask.toBbox(encoded).tolist()


def test_runs_without_compression_are_read_too(tmp_path: Path) -> None:
    record = {
        "images": [{"id": 5, "file_name": "a.jpg", "height": 2, "width": 3}],
        "categories": [{"id": 9, "name": "cat"}],
        "annotations": [
            {"image_id": 5, "category_id": 9, "segmentation": {"size": [2, 3], "counts": [1, 2, 3]}}
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(record))
    ((_, labels, _),) = read_coco(tmp_path / "coco.json")
    assert labels.tolist() == [[-1, 0, -1], [0, -1, -1]]


def test_yolo_comes_back_the_same(saved: Path, tmp_path: Path) -> None:
    assert write_yolo(results_in(saved), tmp_path / "yolo") == 3
    for seed in range(3):
        text = (tmp_path / "yolo/labels" / f"photo{seed}.txt").read_text()
        np.testing.assert_array_equal(read_yolo(text, (37, 52)), ragged_labels(seed))
        assert (tmp_path / "yolo/images" / f"photo{seed}.png").is_file()
    yaml = pytest.importorskip("yaml")
    record = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    assert record["names"] == dict(enumerate(CLASSES))


def test_yolo_lines_are_drawn_by_pillow_as_they_were(saved: Path, tmp_path: Path) -> None:
    write_yolo(results_in(saved), tmp_path / "yolo")
    canvas = Image.new("I", (52 * 8, 37 * 8), -1)
    for line in (tmp_path / "yolo/labels/photo0.txt").read_text().splitlines():
        index, *values = line.split()
        corners = np.array(values, float).reshape(-1, 2) * (52 * 8, 37 * 8)
        region = Image.new("1", canvas.size)
        ImageDraw.Draw(region).polygon([tuple(corner) for corner in corners], fill=1)
        canvas.paste(int(index), (0, 0), region)
    middle = np.asarray(canvas)[4::8, 4::8]
    assert (middle == ragged_labels(0)).mean() > 0.97  # Pillow also draws the cuts to holes


def test_rings_with_holes_fill_to_the_mask() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        mask = random.random((random.integers(1, 30), random.integers(1, 30))) < random.random()
        rings = [keyhole(region) for region in trace_outlines(mask)]
        np.testing.assert_array_equal(fill(rings, mask.shape), mask)


def test_supervision_detections_hold_the_masks(saved: Path) -> None:
    pytest.importorskip("supervision")
    result = load_result(saved / "photo1")
    height, width = result.labels.shape
    detections = Segmentation(
        photo=np.zeros((height, width, 3), np.uint8),
        labels=result.labels,
        classes=result.classes,
        scores=np.ones((len(CLASSES), 4, 5), np.float32),
    ).to_supervision()
    back = np.full((height, width), -1)
    for k, mask in zip(detections.class_id, detections.mask, strict=True):
        back[mask] = k
    np.testing.assert_array_equal(back, result.labels)


def test_damage_is_told(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no results"):
        list(results_in(tmp_path / "photos"))
    with pytest.raises(DataError, match="COCO"):
        list(read_coco(tmp_path / "none.json"))
    with pytest.raises(DataError, match="line 1"):
        read_yolo("0 0.5 0.5\n", (4, 4))
    Image.new("P", (3, 3)).save(saved / "photo0/labels.png")
    with pytest.raises(DataError, match="do not belong together"):
        load_result(saved / "photo0")
    (saved / "photo1/result.json").write_text("{")
    with pytest.raises(DataError, match=r"result\.json"):
        load_result(saved / "photo1")
