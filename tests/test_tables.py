"""Tables of the guides that list what the code knows: neither lists more than the other."""

import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer.main

from colour_engine import ColourEngine
from dpseg import Segmentation, Segmenter
from dpseg.cli import app
from dpseg.commands.convert import convert
from dpseg.commands.export import _Precision
from dpseg.data.archives import SPECS
from dpseg.data.splits import read_split, split_names
from dpseg.evaluate.ablate import ablations
from dpseg.factory.config import PRESETS
from dpseg.imaging.photo import SUFFIXES
from dpseg.inference.unlabelled import UnlabelledRules
from dpseg.serve import ServeSettings, create_app
from dpseg.train.labels.recipe import LabelRecipe
from dpseg.vocabulary import Vocabulary, builtin_names
from dpseg.vocabulary.languages import languages
from page_tables import DOCS, codes_in, names_in, table_of, tables_of

ROOT = Path(__file__).parents[1]
DATA, SERVE, FORMATS = "guides/data.md", "guides/serve.md", "guides/formats.md"
WORDS = "guides/words-and-examples.md"


def options_of(*command: str) -> dict[str, object]:
    """The options of a command by name."""
    one = typer.main.get_command(app)
    for name in command:
        one = one.commands[name]
    return {
        option: parameter
        for parameter in one.params
        for option in parameter.opts
        if option.startswith("--")
    }


def options_in(cells: Iterable[str]) -> list[str]:
    return re.findall(r"`(--[\w-]+)", " ".join(cells))


#: Page and columns of a table, and what its first cells list.
LISTS: dict[tuple[str, ...], Callable[[], Iterable[str]]] = {
    (WORDS, "name", "classes"): builtin_names,
    (DATA, "set", "classes", "archives", "photos, train / val"): lambda: SPECS,
    (DATA, "set", "photos", "labels"): lambda: SPECS,
    (DATA, "set", "value in the archive", "class index"): lambda: SPECS,
    (DATA, "split", "unseen"): split_names,
    (DATA, "key", "meaning"): lambda: LabelRecipe.model_fields,
    ("guides/export.md", "value", "weights", "computes in"): lambda: get_args(_Precision),
    ("guides/evaluate.md", "table", "rows"): lambda: ablations(ColourEngine().info),
    ("guides/unlabelled.md", "rule", "meaning", "larger means"): lambda: [
        field.name for field in fields(UnlabelledRules)
    ],
}


@pytest.mark.parametrize("table", LISTS, ids=" | ".join)
def test_a_list_names_what_the_code_knows(table: tuple[str, ...]) -> None:
    listed = names_in(table_of(*table).column(0))
    assert sorted(listed) == sorted(LISTS[table]())


@pytest.mark.parametrize(
    ("page", "command", "left_out"),
    [
        ("guides/evaluate.md", "evaluate", {"--device"}),
        ("guides/tune.md", "tune", {"--device", "--out", "--seed"}),
    ],
)
def test_options_of_a_guide_are_those_of_its_command(
    page: str, command: str, left_out: set[str]
) -> None:
    listed = options_in(table_of(page, "option", "does").column(0))
    assert sorted([*listed, *left_out]) == sorted(options_of(command))


def test_forms_of_results_are_there() -> None:
    table = table_of(FORMATS, "form", "from Python", "from the command line")
    calls = " ".join(table.column(1))
    listed = set(re.findall(r"result\.(\w+)", calls))
    assert {"save", *(name for name in dir(Segmentation) if name.startswith("to_"))} <= listed
    known = {*dir(Segmentation), *(field.name for field in fields(Segmentation))}
    assert listed <= known
    modules = {path.stem for path in (ROOT / "src/dpseg/interop").glob("*.py")}
    assert set(re.findall(r"dpseg\.interop\.(\w+)", calls)) <= modules
    assert {"from_pretrained", "push_to_hub"} <= set(codes_in(calls)) & set(dir(Segmenter))
    commands = " ".join(table.column(2))
    named = set(re.findall(r"`dpseg ([\w-]+)", commands))
    assert named <= set(typer.main.get_command(app).commands)
    (exact,) = [one for one in tables_of(FORMATS) if one.section.startswith("How exact")]
    forms = {*re.findall(r"--to ([\w-]+)", commands), *codes_in(" ".join(exact.column(0)))}
    choices, *_ = get_args(get_type_hints(convert, include_extras=True)["to"])
    assert forms == set(get_args(choices))
    assert len(exact.rows) == len(forms)


def test_class_lists_have_as_many_classes_as_their_names_say() -> None:
    for name, told in table_of(WORDS, "name", "classes").rows:
        for one in names_in([name]):
            exception = re.search(rf"`{one}` .*\((\d+)\)", told)
            digits = exception[1] if exception else "".join(filter(str.isdigit, one))
            assert len(Vocabulary.load(one)) == int(digits)


def test_languages_are_those_of_the_table() -> None:
    text = (DOCS / WORDS).read_text(encoding="utf-8")
    (named,) = re.findall(r"Everyday names in ([\w,\s]+) are brought to English", text)
    assert len(re.split(r", | and ", " ".join(named.split()))) == len(languages()) == 12


def test_archives_and_numbers_of_photos_are_those_that_are_asked_for() -> None:
    table = table_of(DATA, "set", "classes", "archives", "photos, train / val")
    above = table.rows[0]
    for row in table.rows:
        above = [old if new == "the same" else new for old, new in zip(above, row, strict=True)]
        cell, _, archives, photos = above
        spec = SPECS[cell.strip("`")]
        assert [file for file in codes_in(archives) if file not in spec.archives] == []
        numbers = [spec.counts[split] for split in ("train", "val")]
        assert photos == " / ".join(" or ".join(f"{n:,}" for n in some) for some in numbers)


def test_unseen_classes_are_those_of_the_splits() -> None:
    for cell, told in table_of(DATA, "split", "unseen").rows:
        names = names_in([cell])
        if match := re.fullmatch(r"(\d+) of (\d+)", told):
            assert len(read_split(names[0])) == int(match[1])
            assert len(Vocabulary.load(names[0].rpartition("-")[0])) == int(match[2])
        else:
            every = [name for part in told.split(", then ") for name in part.split(", ")]
            assert sorted(read_split(names[-1])) == sorted(every)


def test_models_that_are_known_by_name_are_in_their_table() -> None:
    (table,) = [one for one in tables_of("guides/clip-models.md") if one.head[0] == "name"]
    assert set(PRESETS) - {"dpseg-lite"} <= set(names_in(table.column(0)))


def test_endings_of_photos_are_those_that_are_told() -> None:
    text = (DOCS / "guides/folders-and-clusters.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"Photos\s+are\s+known\s+by\s+their\s+endings,([^;]+);", text)
    assert set(codes_in(told)) == SUFFIXES


@pytest.fixture(scope="module")
def service() -> dict[str, dict]:
    """What the service says of itself."""
    return create_app(Segmenter(ColourEngine())).openapi()


def test_routes_are_those_of_the_service(service: dict[str, dict]) -> None:
    listed, folder = set(), ""
    for code in codes_in(" ".join(table_of(SERVE, "route", "gives").column(0))):
        method, _, path = code.partition("?")[0].rpartition(" ")
        path = path if path.startswith("/") else f"{folder}/{path}"  # beside the one before
        folder = path.rpartition("/")[0]
        listed.add((method or "GET", re.sub(r"/[A-Z_]+(?=/|$)", "/*", path)))
    known = {
        (method.upper(), re.sub(r"\{\w+\}", "*", path))
        for path, methods in service["paths"].items()
        for method in methods
    }
    assert listed == known


def test_fields_are_those_of_the_service(service: dict[str, dict]) -> None:
    (form,) = [
        schema["properties"]
        for name, schema in service["components"]["schemas"].items()
        if name.startswith("Body_segment")
    ]
    assert sorted(names_in(table_of(SERVE, "field", "is").column(0))) == sorted(form)


def test_statuses_are_those_of_the_service(service: dict[str, dict]) -> None:
    known = {
        status
        for methods in service["paths"].values()
        for route in methods.values()
        for status in route["responses"]
    }
    cells = table_of(SERVE, "status", "means").column(0)
    listed = {status for cell in cells for status in cell.split(", ")}
    assert listed == (known - {"200"}) | {"500"}


def test_bounds_are_those_of_the_service() -> None:
    options = options_of("serve")
    for cell, defaults, _ in table_of(SERVE, "bound", "default", "beyond").rows:
        for option, told in zip(options_in([cell]), defaults.split(", "), strict=True):
            field = {"--timeout": "timeout_seconds"}.get(option, option[2:].replace("-", "_"))
            assert float(told) == options[option].default == getattr(ServeSettings(), field)
    listed = set(options_in(table_of(SERVE, "bound", "default", "beyond").column(0)))
    places = {"--host", "--port", "--token", "--insecure", "--model", "--device"}
    assert listed | places == set(options)
