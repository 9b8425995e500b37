"""Tables of the guides that say how something is read or written: each row is done and compared."""

import json
import re
from pathlib import Path

import numpy as np
import pyogrio
import pytest
from PIL import Image

from colour_engine import COLOURS, ColourEngine
from dpseg import Segmenter
from dpseg.data.archives import SPECS
from dpseg.data.dataset import UNLABELLED
from dpseg.data.label_values import UNKNOWN
from dpseg.errors import VocabularyError
from dpseg.geo.rules import MapRules
from dpseg.geo.segment_map import segment_map
from dpseg.prompts.cache import PromptCache
from dpseg.video.segment_video import segment_video
from dpseg.vocabulary import Vocabulary
from geo.maps import colour_map, write_map
from page_tables import Rows, codes_in, names_in, table_of, tables_of
from video.clips import encode

DATA = "guides/data.md"
forms = Rows(table_of("guides/words-and-examples.md", "in the file", "read as"))
places = Rows(table_of(DATA, "set", "photos", "labels"))
values = Rows(table_of(DATA, "set", "value in the archive", "class index"))


@pytest.mark.parametrize("given", forms.rows, ids=str)
def test_forms_of_class_files(given, request):
    forms.check(given, request)


@pytest.fixture
def read(tmp_path):
    """Read the classes of a text file."""

    def read(content):
        path = tmp_path / "classes.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Vocabulary.load(path).names

    return read


@forms.row("`# comment`, `cat  # comment`")
def _(read):
    assert read("# comment\ncat  # comment\nwall\n") == ["cat", "wall"]


NUMBERED = "`0: cat`, `0<tab>cat`, `0,cat`, `0. cat`, `0) cat` or a bar between them, in every line"


@forms.row(NUMBERED)
def _(read):
    for code in [*codes_in(NUMBERED), "0 | cat", "0|cat"]:
        cat = code.replace("<tab>", "\t")
        wall = cat.replace("0", "5").replace("cat", "wall")
        assert read(f"{cat}\n{wall}\n") == ["cat", "wall"]
        with pytest.raises(VocabularyError, match="line 2"):
            read(f"{wall}\n{cat}\n")


@forms.row("`0 cat`, `1 wall`, ... in every line, without gaps from 0 or 1")
def _(read):
    assert read("0 cat\n1 wall\n") == read("1 cat\n2 wall\n") == ["cat", "wall"]
    assert read("0 cats\n2 doors\n") == ["0 cats", "2 doors"]


@forms.row("one line alone, `cat, wall`")
def _(read):
    assert read("cat, wall\n") == ["cat", "wall"]


@forms.row("UTF-8, UTF-16 or UTF-32, as its byte order mark tells")
def _(read):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert read("caf\u00e9\n".encode(encoding)) == ["caf\u00e9"]


@forms.row(
    "what could mean two things: `cat, kitty` in one of many lines, "
    "other tabs, quotes, `:`, `;` or brackets"
)
def _(read):
    for line in ("cat, kitty", "cat\tkitty", '"cat"', "'cat'", "cat: 1", "cat; kitty", "[cat]"):
        with pytest.raises(VocabularyError, match="line 2"):
            read(f"wall\n{line}\nsky\n")


@pytest.mark.parametrize("given", places.rows, ids=str)
def test_places_below_the_archives(given, request):
    places.check(given, request)


def either(place: str) -> list[str]:
    """Read `"[images/]val2017/"` as two places."""
    return [re.sub(r"\[.*\]", "", place), re.sub(r"[\[\]]", "", place)]


@pytest.fixture
def finds(tmp_path):
    """Put a photo, its label and lists somewhere, and expect a set to find both."""

    def finds(name: str, photo: str, label: str, **lists: str) -> None:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for place, content in {photo: "", label: "", **lists}.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(content)
        (record,) = SPECS[name].records(root, SPECS[name].splits["val"])
        assert record.image.samefile(root / photo)
        assert not isinstance(record.label, Path) or record.label.samefile(root / label)

    return finds


@places.row("`coco_stuff171`")
def _(finds):
    photos, labels = places.cells("`coco_stuff171`")
    for folder in either(*codes_in(photos)):
        for beside in codes_in(labels):
            finds("coco_stuff171", f"{folder}1.jpg", f"{beside}1.png")


@places.row("`ade150`")
def _(finds):
    photos, labels = places.cells("`ade150`")
    for folder in either(*codes_in(photos)):
        home = folder.removesuffix("images/validation/")
        finds("ade150", f"{folder}1.jpg", f"{home}{codes_in(labels)[0]}1.png")


@places.row("`ade847`")
def _(finds):
    photos, labels = places.cells("`ade847`")
    for folder in either(*codes_in(photos)):
        finds("ade847", f"{folder}1.jpg", folder + codes_in(labels)[0].replace("*", "1"))


@places.row("`pc59`, `pc459`")
def _(finds):
    photos, labels = places.cells("`pc59`, `pc459`")
    merged, matlab, lists = codes_in(labels)
    for folder in either(*codes_in(photos)):
        home = folder.removesuffix("VOC2010/JPEGImages/")
        image = {"image_id": 0, "file_name": "1.jpg", "phase": "val", "height": 4, "width": 5}
        regions = json.dumps({"images": [image], "annos_segmentation": []})
        finds("pc59", f"{folder}1.jpg", f"{home}1", **{home + merged: regions})
        names = {f"{home}VOC2010/{lists}/val.txt": "1"}
        finds("pc459", f"{folder}1.jpg", home + matlab.replace("*", "1"), **names)


@places.row("`voc20`, `voc20b`")
def _(finds):
    photos, labels = places.cells("`voc20`, `voc20b`")
    folder_of_labels, lists = codes_in(labels)
    for folder in either(*codes_in(photos)):
        home = folder.removesuffix("VOC2012/JPEGImages/")
        names = {f"{home}VOC2012/{lists}/val.txt": "1"}
        for name in ("voc20", "voc20b"):
            finds(name, f"{folder}1.jpg", f"{home}{folder_of_labels}1.png", **names)


@pytest.mark.parametrize("given", values.rows, ids=str)
def test_values_of_labels(given, request):
    values.check(given, request)


@pytest.fixture
def every(tmp_path):
    """What a set makes of each value of 8 bits."""

    def every(name: str) -> list[int]:
        Image.fromarray(np.arange(256, dtype=np.uint8)[None]).save(tmp_path / "label.png")
        return SPECS[name].read(tmp_path / "label.png")[0].tolist()

    return every


@values.row("`coco_stuff171`")
def _(every):
    found = every("coco_stuff171")
    assert [index for index in found if index >= 0] == list(range(171))
    assert found[:182].count(UNKNOWN) == 11
    assert (found[0], found[181], found[255]) == (0, 170, UNLABELLED)


@values.row("`ade150`")
def _(every):
    assert every("ade150")[:152] == [UNLABELLED, *range(150), UNKNOWN]


values.proven(
    "`ade847`",
    "data/test_prepare.py::test_ade847_keeps_indices_above_255_and_is_brought_to_a_short_side_of_512",
)

values.proven("`pc59`", "data/test_prepare.py::test_pascal_context_59_paints_regions_in_order")


@values.row("`pc459`")
def _(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(tmp_path / "one.mat", {"LabelMap": np.arange(1, 460)[None]})
    assert SPECS["pc459"].read(tmp_path / "one.mat")[0].tolist() == list(range(459))


@values.row("`voc20`")
def _(every):
    found = every("voc20")
    assert found[:22] == [UNLABELLED, *range(20), UNKNOWN]
    assert found[255] == UNLABELLED


@values.row("`voc20b`")
def _(every):
    found = every("voc20b")
    assert found[:22] == [20, *range(20), UNKNOWN]
    assert found[255] == UNLABELLED


def files_of(section: str) -> set[str]:
    """The files that a section of the guide to maps and videos lists."""
    page = tables_of("guides/maps-and-video.md")
    (table,) = [one for one in page if (one.section, one.head) == (section, ("file", "holds"))]
    return set(names_in(table.column(0)))


@pytest.fixture
def segmenter(tmp_path):
    return Segmenter(ColourEngine(), cache=PromptCache(tmp_path / "cache"))


def test_a_map_leaves_the_files_of_the_table(segmenter, tmp_path):
    path = write_map(tmp_path / "map.tif", colour_map(64, 64))
    rules = MapRules(polygons="gpkg")
    folder = segment_map(segmenter.prepare("red"), path, tmp_path / "out", rules=rules)
    assert {file.name for file in folder.iterdir()} == files_of("Maps")
    columns = pyogrio.read_info(folder / "polygons.gpkg")["fields"].tolist()
    assert columns == ["class_index", "name", "pixels"]


def test_a_video_leaves_the_files_of_the_table(segmenter, tmp_path):
    path = encode(tmp_path / "clip.mkv", [np.full((48, 64, 3), COLOURS["red"], np.uint8)], "ffv1")
    folder = segment_video(segmenter, segmenter.prepare("red"), path, tmp_path / "out")
    assert {file.name for file in folder.iterdir()} == files_of("Video")
    assert {"times", "bad_frames"} <= json.loads((folder / "result.json").read_text()).keys()
