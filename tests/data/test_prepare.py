"""Preparing the benchmark sets, from small trees in the layouts of the official archives."""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths
from scipy.io import savemat

from dpseg.data.archives import SPECS, spec_of
from dpseg.data.dataset import BACKGROUND, UNLABELLED, LabelledFolder
from dpseg.data.plain_names import is_background
from dpseg.data.prepare import prepare, verify
from dpseg.errors import DataError
from dpseg.vocabulary import Vocabulary

SIZE_HW = (12, 20)
rng = np.random.default_rng(0)


def photo(path: Path, size_hw=SIZE_HW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 255, (*size_hw, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def columns(*values: int, size_hw=SIZE_HW) -> np.ndarray:
    """A label map with one vertical band a value."""
    return np.repeat(np.asarray(values), -(-size_hw[1] // len(values)))[None, : size_hw[1]].repeat(
        size_hw[0], axis=0
    )


def label(path: Path, values: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        picture.putpalette(list(range(256)) * 3)
    picture.save(path)


def words(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def coco(tmp_path):
    root = tmp_path / "coco"
    for split, values in {"train2017": (0, 11 + 1, 181, 255), "val2017": (89, 91, 64, 24)}.items():
        photo(root / "images" / split / "000000000009.jpg")
        label(root / "annotations" / split / "000000000009.png", columns(*values))
    (root / "images/val2017/000000000009.jpg").rename(root / "images/val2017/000000000139.jpg")
    (root / "annotations/val2017/000000000009.png").rename(
        root / "annotations/val2017/000000000139.png"
    )
    return root


@pytest.fixture
def ade150(tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    for split, key in {"training": "ADE_train_00000001", "validation": "ADE_val_00000001"}.items():
        photo(root / "images" / split / f"{key}.jpg")
        label(root / "annotations" / split / f"{key}.png", columns(0, 1, 8, 150))
    return root


@pytest.fixture
def ade847(tmp_path):
    root = tmp_path / "full"
    for split, key in {"training": "ADE_train_00000002", "validation": "ADE_val_00000002"}.items():
        folder = root / "ADE20K_2021_17_01/images/ADE" / split / "urban/street"
        photo(folder / f"{key}.jpg", (600, 700))
        # wall is name 2978 of all names, building 312, adding machine 3148; 3000 + 200 is no class
        values = columns(2978, 312, 3148, 3200, size_hw=(600, 700))
        channels = np.stack([values // 256 * 10, values % 256, values * 0 + 77], axis=-1)
        label(folder / f"{key}_seg.png", channels)
    return root


@pytest.fixture
def voc(tmp_path):
    home = tmp_path / "voc/VOCdevkit/VOC2012"
    for key in ("2007_000032", "2007_000033", "2008_000001"):
        photo(home / f"JPEGImages/{key}.jpg")
        label(home / f"SegmentationClass/{key}.png", columns(0, 1, 255, 20), "P")
    label(home / "SegmentationClassAug/2007_000032.png", columns(0, 5))
    label(home / "SegmentationClassAug/2008_000001.png", columns(18, 0))
    words(home / "ImageSets/Segmentation/train.txt", "2007_000032")
    words(home / "ImageSets/Segmentation/trainaug.txt", "2007_000032", "2008_000001")
    words(home / "ImageSets/Segmentation/val.txt", "2007_000033")
    return tmp_path / "voc"


@pytest.fixture
def context(tmp_path):
    home = tmp_path / "context/VOCdevkit/VOC2010"
    images, regions = [], []
    for number, (split, key) in enumerate({"train": "2008_000002", "val": "2008_000003"}.items()):
        photo(home / f"JPEGImages/{key}.jpg")
        (home / "trainval").mkdir(exist_ok=True)
        savemat(home / f"trainval/{key}.mat", {"LabelMap": columns(1, 256, 257, 459)})
        words(home / f"ImageSets/Main/{split}.txt", key)
        images.append({"image_id": number, "file_name": f"{key}.jpg", "phase": split,
                       "height": SIZE_HW[0], "width": SIZE_HW[1]})  # fmt: skip
        # aeroplane everywhere, wood over its left half, and something that is not among the 59
        for category, band in ((2, columns(1)), (458, columns(1, 0)), (300, columns(1, 0, 0, 0))):
            runs = run_lengths.encode(np.asfortranarray(band.astype(np.uint8)))
            runs["counts"] = runs["counts"].decode()
            region = {"image_id": number, "category_id": category, "segmentation": runs}
            regions.append(region)
    merged = {"images": images, "annos_segmentation": regions}
    (home / "trainval_merged.json").write_text(json.dumps(merged))
    return tmp_path / "context"


def prepared(name: str, root: Path, split: str = "val") -> tuple[LabelledFolder, np.ndarray]:
    out = root.parent / "out" / name
    prepare(spec_of(name), root, out, partial=True)
    verify(out)
    folder = LabelledFolder(out, split)
    return folder, folder[0].label


def bands(labels: np.ndarray) -> list[int]:
    """The values along a row, each once, in order."""
    row = labels[0]
    return [int(v) for i, v in enumerate(row) if i == 0 or v != row[i - 1]]


def named(folder: LabelledFolder, labels: np.ndarray) -> list[str | int]:
    return [folder.names[value] if value >= 0 else value for value in bands(labels)]


def test_coco_stuff(coco):
    folder, labels = prepared("coco_stuff171", coco, "train")
    # values are category numbers less one; 12 is the stop sign (13), 181 wood (182)
    assert named(folder, labels) == ["person", "stop sign", "wood", UNLABELLED]
    folder, labels = prepared("coco_stuff171", coco)
    assert named(folder, labels) == ["toothbrush", "banner", "bed", "giraffe"]
    assert folder.keys == ["000000000139"]
    assert len(folder.names) == 171


def test_ade150(ade150):
    folder, labels = prepared("ade150", ade150)
    assert named(folder, labels) == [UNLABELLED, "wall", "bed", folder.names[149]]
    np.testing.assert_array_equal(labels[0] == UNLABELLED, columns(1, 0, 0, 0)[0] == 1)


def test_ade847_keeps_indices_above_255_and_is_brought_to_a_short_side_of_512(ade847):
    folder, labels = prepared("ade847", ade847)
    assert labels.shape == (512, 597)
    assert folder[0].image.shape == (512, 597, 3)
    assert bands(labels) == [0, 1, 846, UNLABELLED]
    assert folder.names[:2] == ["wall", "building"]
    stored = Image.open(folder.root / "labels/ADE_val_00000002.png")
    assert stored.mode == "I;16"
    assert np.asarray(stored).max() == 65535


def test_voc20_ignores_background_and_voc20b_counts_it(voc):
    folder, labels = prepared("voc20", voc)
    assert bands(labels) == [UNLABELLED, 0, UNLABELLED, 19]
    folder, labels = prepared("voc20b", voc)
    assert bands(labels) == [BACKGROUND, 0, UNLABELLED, 19]
    assert len(folder.names) == 20
    groups, group_of = folder.vocabulary.roll_up()
    assert len(folder.vocabulary) == 59
    assert is_background(groups[20])
    assert group_of[20:].tolist() == [20] * 39


def test_voc_trains_on_augmented_labels_where_they_are(voc):
    folder, labels = prepared("voc20", voc, "train")
    assert folder.keys == ["2007_000032", "2008_000001"]
    assert bands(labels) == [UNLABELLED, 4]


def test_pascal_context_59_paints_regions_in_order(context):
    folder, labels = prepared("pc59", context)
    assert named(folder, labels) == [UNLABELLED, "wood", "aeroplane"]


def test_pascal_context_459_keeps_indices_above_255(context):
    folder, labels = prepared("pc459", context)
    assert bands(labels) == [0, 255, 256, 458]
    assert len(folder.names) == 459


def test_photos_are_not_doubled_on_disk(ade150):
    folder, _ = prepared("ade150", ade150)
    made = folder.root / "images/ADE_val_00000001.jpg"
    source = ade150 / "images/validation/ADE_val_00000001.jpg"
    assert made.samefile(source)


def test_an_unfinished_run_goes_on_and_has_no_list(ade150, tmp_path, monkeypatch):
    for number in range(2, 6):
        photo(ade150 / f"images/training/ADE_train_0000000{number}.jpg")
        label(ade150 / f"annotations/training/ADE_train_0000000{number}.png", columns(3, 4))
    broken = ade150 / "annotations/training/ADE_train_00000004.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:20])
    out = tmp_path / "out"
    with pytest.raises(DataError, match="ADE_train_00000004"):
        prepare(SPECS["ade150"], ade150, out, splits=["train"], partial=True, workers=1)
    assert not (out / "train.txt").exists()
    broken.write_bytes(whole)
    [result] = prepare(SPECS["ade150"], ade150, out, splits=["train"], partial=True)
    assert (result.photos, result.written) == (5, 2)
    [again] = prepare(SPECS["ade150"], ade150, out, splits=["train"], partial=True)
    assert (again.photos, again.written) == (5, 0)
    assert again.pixels == result.pixels
    assert sum(result.pixels) == 5 * 12 * 20
    assert result.pixels[2] == 4 * 12 * 10  # sky, value 3


def test_a_label_that_was_changed_is_found_and_made_again(ade150, tmp_path):
    out = tmp_path / "out"
    prepare(SPECS["ade150"], ade150, out, partial=True)
    path = out / "labels/ADE_val_00000001.png"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    check = subprocess.run(["sha256sum", "--check", "val.sha256"], cwd=out, capture_output=True)
    assert check.returncode == 0
    label(path, columns(7))
    with pytest.raises(DataError, match="was changed"):
        verify(out)
    prepare(SPECS["ade150"], ade150, out, partial=True)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert verify(out) == {"train": 1, "val": 1}


def test_incomplete_archives_are_refused_before_anything_is_written(ade150, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"holds 1 photos of ade150 train; .* have 20210"):
        prepare(SPECS["ade150"], ade150, out)
    (ade150 / "annotations/validation/ADE_val_00000001.png").unlink()
    with pytest.raises(DataError, match="is missing; extract ADEChallengeData2016"):
        prepare(SPECS["ade150"], ade150, out, partial=True)
    with pytest.raises(DataError, match="none of the folders"):
        prepare(SPECS["coco_stuff171"], ade150, out, partial=True)
    assert not out.exists()


def test_labels_that_the_encoding_lacks_are_refused(ade150, tmp_path):
    label(ade150 / "annotations/validation/ADE_val_00000001.png", columns(1, 151))
    with pytest.raises(DataError, match="values that ade150 does not"):
        prepare(SPECS["ade150"], ade150, tmp_path / "out", splits=["val"], partial=True)


def test_a_label_of_another_size_is_refused(ade150, tmp_path):
    label(ade150 / "annotations/validation/ADE_val_00000001.png", columns(1)[:-1])
    with pytest.raises(DataError, match="its label"):
        prepare(SPECS["ade150"], ade150, tmp_path / "out", splits=["val"], partial=True)


def test_two_sets_do_not_share_a_folder(ade150, voc, tmp_path):
    prepare(SPECS["ade150"], ade150, tmp_path / "out", partial=True)
    with pytest.raises(DataError, match="belongs to another set"):
        prepare(SPECS["voc20"], voc, tmp_path / "out", partial=True)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_set_has_its_vocabulary(name):
    spec = SPECS[name]
    assert spec.vocabulary == Vocabulary.load(name)
    digits = int("".join(c for c in name if c.isdigit()))
    assert len(spec.class_names) == (21 if name == "voc20b" else digits)


def test_an_unknown_set_is_refused():
    with pytest.raises(DataError, match="no set 'ade'"):
        spec_of("ade")
