"""What goes out to other tools comes back the same, and other tools read it as it was meant."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path, PureWindowsPath

import cv2
import numpy as np
import pytest
import skimage.io
import supervision
import yaml
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from colour_engine import ColourEngine, paint
from dpseg import DataError, Segmenter
from dpseg.imaging.label_image import read_label_picture, to_indices, to_labels, to_picture
from dpseg.imaging.masks import trace_outlines
from dpseg.imaging.photo import load_photo
from dpseg.interop.coco import read_coco, write_coco
from dpseg.interop.rings import fill, keyhole
from dpseg.interop.saved import SavedResult, load_result, results_in
from dpseg.interop.yolo import write_yolo, yolo_lines
from dpseg.prompts.cache import PromptCache
from dpseg.segmentation import Instance, Segmentation
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
    for with_palette in (True, False):
        to_picture(labels, classes, with_palette=with_palette).save(path)
        assert np.asarray(Image.open(path)).dtype == (np.uint8 if classes <= 255 else np.uint16)
        np.testing.assert_array_equal(read_label_picture(path), labels)
    for read in (partial(cv2.imread, flags=cv2.IMREAD_UNCHANGED), skimage.io.imread):
        np.testing.assert_array_equal(read(str(path)), np.asarray(Image.open(path)))
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


def test_every_photo_has_a_name_of_its_own_in_coco(saved: Path, tmp_path: Path) -> None:
    for camera in ("left", "right"):
        photo = tmp_path / "photos" / camera / "0001.png"
        photo.parent.mkdir()
        shutil.copy(tmp_path / "photos/photo0.png", photo)
        result = shutil.copytree(saved / "photo0", saved / camera)
        point_to(result, photo)
    write_coco(results_in(saved), tmp_path / "coco.json")
    data = COCO(str(tmp_path / "coco.json"))
    data.info()  # raises where there is none
    names = [image["file_name"] for image in data.dataset["images"]]
    assert sorted(names) == [
        "left/0001.png", "photo0.png", "photo1.png", "photo2.png", "right/0001.png",
    ]  # fmt: skip
    assert all((Path(data.dataset["info"]["root"]) / name).is_file() for name in names)


@pytest.mark.parametrize(
    "photos",
    [
        (PureWindowsPath("C:/a/1.jpg"), PureWindowsPath("D:/1.jpg")),
        (Path("/a/1.jpg"), Path("1.jpg")),
    ],
    ids=["two drives", "absolute and relative"],
)
def test_photos_without_a_common_folder_are_named_by_their_whole_paths(
    photos: tuple[Path, Path], saved: Path, tmp_path: Path
) -> None:
    result = load_result(saved / "photo0")
    write_coco([replace(result, photo=photo) for photo in photos], tmp_path / "coco.json")
    data = json.loads((tmp_path / "coco.json").read_text())
    assert data["info"]["root"] is None
    assert [image["file_name"] for image in data["images"]] == [p.as_posix() for p in photos]


def test_coco_of_a_photo_read_at_half_its_size_is_that_of_its_label_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpseg.imaging.photo.MAX_PIXELS", 5_000)
    photo = tmp_path / "photo.png"
    Image.fromarray(paint(("red", 0, 48, 0, 48))).save(photo)
    found = Segmenter(ColourEngine(), cache=PromptCache(tmp_path / "cache"))(photo, ["red"])
    assert found.settings["scale"] == 0.5
    found.save(tmp_path / "out" / "photo")
    write_coco(results_in(tmp_path / "out"), tmp_path / "coco.json", masks="polygons")
    data = COCO(str(tmp_path / "coco.json"))
    (image,) = data.dataset["images"]
    assert (image["height"], image["width"]) == found.labels.shape == (48, 48)
    for annotation in data.dataset["annotations"]:
        np.testing.assert_array_equal(data.annToMask(annotation), found.labels == 0)


def test_supervision_reads_our_run_lengths(saved: Path, tmp_path: Path) -> None:
    write_coco(results_in(saved), tmp_path / "coco.json")
    data = supervision.DetectionDataset.from_coco(
        str(tmp_path / "photos"), str(tmp_path / "coco.json"), force_masks=True
    )
    assert data.classes == list(CLASSES)
    for path, _, detections in data:
        truth = ragged_labels(int(Path(path).stem[-1]))
        for k, mask in zip(detections.class_id, detections.mask, strict=True):
            np.testing.assert_array_equal(mask, truth == k)


def point_to(result: Path, photo: Path) -> None:
    """Let a saved result tell of another photo."""
    record = json.loads((result / "result.json").read_text())
    record["settings"]["photo"] = str(photo)
    (result / "result.json").write_text(json.dumps(record))


def test_supervision_reads_our_yolo_to_the_pixel(saved: Path, tmp_path: Path) -> None:
    assert write_yolo(results_in(saved), tmp_path / "yolo") == 3
    data = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "yolo/images"),
        str(tmp_path / "yolo/labels"),
        str(tmp_path / "yolo/data.yaml"),
        force_masks=True,
    )
    assert data.classes == list(CLASSES)
    assert len(data) == 3
    for path, picture, detections in data:
        truth = ragged_labels(int(Path(path).stem[-1]))
        assert picture.shape[:2] == truth.shape
        labels = np.full(truth.shape, -1)
        for k, mask in zip(detections.class_id, detections.mask, strict=True):
            labels[mask] = k
        np.testing.assert_array_equal(labels, truth)


@pytest.mark.parametrize("to_whole_pixels", [np.round, np.trunc])
def test_yolo_rings_are_filled_to_the_same_pixels_by_opencv(to_whole_pixels) -> None:
    """As Ultralytics (cuts off) and supervision (rounds) do."""
    random = np.random.default_rng(0)
    for _ in range(100):
        size_hw = random.integers(1, 40, 2)
        labels = np.where(random.random(size_hw) < random.random(), 0, -1)
        if random.random() < 0.5:
            labels = np.kron(labels, np.ones((3, 3), int))
        lines = yolo_lines(SavedResult("x", None, ("thing",), (1.0,), labels.astype(np.int32)))
        filled = np.zeros(labels.shape, np.uint8)
        for line in lines.splitlines():
            corners = np.array(line.split()[1:], np.float32).reshape(-1, 2)
            assert len(corners) >= 3
            whole = to_whole_pixels(corners * labels.shape[::-1]).astype(np.int32)
            cv2.fillPoly(filled, [whole], 1)
        np.testing.assert_array_equal(filled == 1, labels == 0)


def test_data_yaml_says_where_photos_are_from_any_folder_and_in_any_script(
    saved: Path, tmp_path: Path
) -> None:
    names = ("猫", "\U0001f600 cat", 'say "hi"\\', "yes")
    results = [replace(result, classes=names) for result in results_in(saved)]
    write_yolo(results, tmp_path / "yolo")
    record = yaml.safe_load((tmp_path / "yolo/data.yaml").read_bytes().decode("ascii"))
    assert record["names"] == dict(enumerate(names))
    assert "path" not in record  # readers then start at the file's own folder
    assert (tmp_path / "yolo" / record["train"]).is_dir()


def test_yolo_has_photos_that_every_reader_sees_as_they_were_segmented(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (37, 52, 3), np.uint8)
    clear = np.dstack([colours, colours[..., 0]])
    turned = Image.Exif()
    turned[274] = 6
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(colours).save(folder / "plain.jfif", "JPEG")
    Image.fromarray(colours).save(folder / "plain.PNG")
    Image.fromarray(colours).save(folder / "turned.jpg", exif=turned)
    Image.fromarray(clear).save(folder / "clear.png")
    Image.fromarray(colours[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    for ending in ("gif", "avif", "webp", "bmp"):
        Image.fromarray(colours).save(folder / f"other.{ending}")
    for photo in sorted(folder.iterdir()):
        pixels = load_photo(photo)
        labels = np.zeros(pixels.shape[:2], np.int32)
        result = SavedResult(photo.name, photo, ("cat",), (1.0,), labels)
        target = tmp_path / photo.name
        write_yolo([result], target)
        (copy,) = (target / "images").iterdir()
        assert copy.suffix == (".jpg" if photo.suffix == ".jfif" else ".png"), photo
        assert (photo.stem != "plain") or copy.read_bytes() == photo.read_bytes()
        seen = cv2.cvtColor(cv2.imread(str(copy)), cv2.COLOR_BGR2RGB)
        assert np.abs(seen.astype(int) - pixels).max() <= 3  # decoders of JPEG differ a little


def test_what_is_gone_is_left_out(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "photos/photo1.png").unlink()
    gone = []
    write_yolo(results_in(saved, gone=gone.append), tmp_path / "yolo")
    assert [result.name for result in gone] == ["photo1"]
    assert {path.stem for path in (tmp_path / "yolo").glob("*/*")} == {"photo0", "photo2"}
    shutil.copytree(saved / "photo0", saved / "copy")
    with pytest.raises(DataError, match=r"copy and photo0 are both of .*photo0\.png"):
        list(results_in(saved))
    shutil.rmtree(saved / "copy")
    (tmp_path / "photos/photo2.png").unlink()
    with pytest.raises(DataError, match=r"files of another export, such as images.photo2\.png"):
        write_yolo(results_in(saved), tmp_path / "yolo")
    (tmp_path / "photos/photo0.png").unlink()
    with pytest.raises(DataError, match="all photos are gone"):
        list(results_in(saved))


def test_rings_with_holes_fill_to_the_mask() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        mask = random.random((random.integers(1, 30), random.integers(1, 30))) < random.random()
        rings = [keyhole(region) for region in trace_outlines(mask)]
        np.testing.assert_array_equal(fill(rings, mask.shape), mask)


def test_a_thousand_holes_are_joined_in_no_time() -> None:
    mask = np.ones((640, 660), bool)
    mask[4::20, 4::20] = False
    (region,) = trace_outlines(mask)
    assert len(region) > 1000
    np.testing.assert_array_equal(fill([keyhole(region)], mask.shape), mask)


def test_supervision_detections_hold_the_masks(saved: Path) -> None:
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
    Image.new("P", (3, 3)).save(saved / "photo0/labels.png")
    with pytest.raises(DataError, match="do not belong together"):
        load_result(saved / "photo0")
    (saved / "photo1/result.json").write_text("{")
    with pytest.raises(DataError, match=r"result\.json"):
        load_result(saved / "photo1")


def test_things_go_out_one_by_one(tmp_path: Path) -> None:
    labels = np.full((60, 80), -1, np.int32)
    labels[5:25, 5:25] = labels[5:25, 25:45] = 0  # two things that touch
    labels[40:50, 10:60] = 1
    masks = [np.zeros(labels.shape, bool) for _ in range(2)]
    masks[0][5:25, 5:25] = masks[1][5:25, 25:45] = True
    things = [
        Instance.of(mask, index=0, name="cup", score=score, thing=True)
        for mask, score in zip(masks, (0.9, 0.6), strict=True)
    ]
    sea = Instance.of(labels == 1, index=1, name="sea", score=0.5, thing=False)
    found = Segmentation(
        photo=np.zeros((*labels.shape, 3), np.uint8),
        labels=labels,
        classes=("cup", "sea"),
        scores=np.full((2, 6, 8), 0.7, np.float32),
        instances=(*things, sea),
    )
    every_mask = [*masks, labels == 1]
    detections = found.to_supervision()
    np.testing.assert_array_equal(detections.mask, every_mask)
    np.testing.assert_allclose(detections.confidence, [0.9, 0.6, 0.5])
    assert detections.data["class_name"].tolist() == ["cup", "cup", "sea"]

    result = load_result(found.save(tmp_path / "out" / "photo"))
    assert write_coco([result], tmp_path / "coco.json") == 1
    ours = COCO(tmp_path / "coco.json")
    annotations = ours.loadAnns(ours.getAnnIds())
    assert [one["category_id"] for one in annotations] == [1, 1, 2]
    assert [one["score"] for one in annotations] == [0.9, 0.6, 0.5]
    for annotation, mask in zip(annotations, every_mask, strict=True):
        np.testing.assert_array_equal(ours.annToMask(annotation), mask)
    rows = yolo_lines(result).splitlines()
    assert [row.split()[0] for row in rows] == ["0", "0", "1"]
