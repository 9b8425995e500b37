"""Every command and every Python block of the documents runs, in the order in which they stand.

`dpseg segment` and Python run on the example photos with the model that knows colours.
`benchmarks/quality.py` runs whole, on tiny made-up sets with a random model, and so does what is
called with `--tiny`. Three
stop short: `dpseg train` after reading its recipe and `dpseg export` after reading its options,
because the rest takes long, and the other benchmarks after reading theirs. `make` and `pip` lines
must name targets and extras that exist.
`dpseg serve` listens on a free port, and `curl` asks there.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import runpy
import shlex
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image

import cat_seg_reference
import dpseg.batch.folder
import dpseg.batch.ray
import dpseg.export.model
import dpseg.factory.load
import dpseg.prompts.diffusion
import dpseg.serve.server
import dpseg.train.clip.run
import dpseg.train.lite.run
import err_seg_reference
import sed_reference
from colour_engine import paint
from common_words import CommonWords
from dpseg.batch.folder import run_local
from dpseg.batch.job import Job
from dpseg.batch.work import Outcome, Task
from dpseg.cli import main
from dpseg.data.archives import SPECS
from dpseg.encoders.minilm import EMBEDDING_DIM
from dpseg.engines.torch_engine import TorchEngine
from dpseg.errors import CheckpointError
from dpseg.factory.config import PRESETS, ClipConfig, LiteConfig
from dpseg.factory.lite import LiteModel, lite_engine
from dpseg.prompts.bank import PromptBank, build_bank
from dpseg.prompts.visual import ExemplarSource
from dpseg.serve import ServeSettings
from dpseg.video.streams import VideoOut
from dpseg.vocabulary import Vocabulary
from geo.maps import colour_map, write_map
from serving import listening
from tiny_graphs import write_detector

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = [page for page in PAGES if FENCE.search(page.read_text(encoding="utf-8"))]
COMMANDS = ("", "bash")  # fences whose every line is a command
SETS = ("voc", "coco_things", "coco_panoptic", "stanford", "msrc")
PARSED = "parsed"
ON_TORCH = ("evaluate", "ablate", "tune")  # commands that look into the network


class Words:
    """A text tower that gives every sentence a unit vector of its own."""

    def encode(self, sentences: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        seeds = [sum(sentence.encode()) for sentence in sentences]
        vectors = [np.random.default_rng(seed).normal(size=EMBEDDING_DIM) for seed in seeds]
        whole = torch.nn.functional.normalize(torch.tensor(np.array(vectors)).float(), dim=-1)
        return whole, whole[:, None], torch.ones(len(sentences), 1, dtype=torch.bool)


class Servers(contextlib.ExitStack):
    """The servers that a document starts; `curl` asks the last one."""

    address = ""

    def start(self, model: str, settings: ServeSettings) -> None:
        segmenter = dpseg.Segmenter.from_pretrained(model)
        self.address = self.enter_context(listening(segmenter, settings))


SERVERS = Servers()


@pytest.fixture
def place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clip_config: ClipConfig,
    sed_config: ClipConfig,
    err_seg_config: ClipConfig,
    cat_seg_config: ClipConfig,
) -> Iterator[Path]:
    """A folder that looks like the repository, with data, runs and pictures beside it."""
    for name in ("examples", "recipes", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # as `python benchmarks/NAME.py` does
    for name in ("m1.jpg", "m2.jpg", "m2.mask.png"):
        Image.new("RGB", (40, 30), "red").save(tmp_path / name)
    for name in SETS:
        make_set(tmp_path / "DATA" / name)
    make_archive(tmp_path / "ARCHIVES/VOCdevkit/VOC2012", monkeypatch)
    (tmp_path / "DATA/coco_unlabelled/images").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "DATA/coco_unlabelled/images/one.jpg")
    (tmp_path / "TEACHERS").mkdir()
    write_detector(tmp_path / "TEACHERS/detector.onnx")
    (tmp_path / "DATA/splits").mkdir()
    (tmp_path / "DATA/splits/unseen.txt").write_text("blue\n")
    for name in ("lite", "light", "zero_shot"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "dpseg-lite.safetensors").touch()
    write_map(tmp_path / "field.tif", colour_map(300, 400))
    write_clip(tmp_path / "clip.mp4")
    torch.save({"model": sed_reference.tiny_checkpoint()}, tmp_path / "sed_model_base.pth")
    torch.save({"model": err_seg_reference.tiny_checkpoint()}, tmp_path / "err_seg_base.pth")
    torch.save({"model": cat_seg_reference.tiny_checkpoint()}, tmp_path / "model_base.pth")
    for config in (
        clip_config,
        sed_config,
        err_seg_config,
        cat_seg_config,
    ):  # of those checkpoints' size
        monkeypatch.setitem(PRESETS, config.name, config)
    monkeypatch.setenv("DPSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    load_engine = dpseg.factory.load.load_engine

    def load(name: str, **_: str) -> object:
        known = name in PRESETS or name.startswith("runs/")
        return (CommonWords(), None) if known else load_engine(name)

    monkeypatch.setattr(dpseg.factory.load, "load_engine", load)
    monkeypatch.setattr(dpseg.export.model, "export_model", lambda model, out, **_: [])
    monkeypatch.setattr(dpseg.serve.server, "run", SERVERS.start)
    monkeypatch.setattr(dpseg.prompts.diffusion, "make_pictures", drawn_without_diffusion)
    with SERVERS:
        yield tmp_path


def drawn_without_diffusion(
    vocabulary: Vocabulary, folder: Path, *_: object, **__: object
) -> dict[str, list[Path]]:
    """One red picture for every name: the real pipeline is a large download."""
    return {name: [Path("m1.jpg")] for name in vocabulary.names}


def make_set(root: Path) -> None:
    """A labelled set: two small photos a split, half red, half blue, some background."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("0\tbackground\n1\tred\n2\tblue\n")
    label = np.ones((48, 64), np.uint8)
    label[:, 32:], label[:8] = 2, 0
    for split in ("train", "val"):
        (root / f"{split}.txt").write_text(f"{split}0\n{split}1\n")
        for key in (f"{split}0", f"{split}1"):
            colours = np.array([(90, 90, 90), (220, 30, 30), (30, 50, 220)], np.uint8)
            Image.fromarray(colours[label]).save(root / "images" / f"{key}.jpg")
            Image.fromarray(label).save(root / "labels" / f"{key}.png")


def make_archive(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VOC 2012's archive with one photo a split, which is then all that it should have."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    label = np.repeat(np.arange(21, dtype=np.uint8), 3)[None].repeat(40, axis=0)
    for split in ("train", "val"):
        (home / f"ImageSets/Segmentation/{split}.txt").write_text(f"{split}0\n")
        Image.fromarray(label * 12).convert("RGB").save(home / f"JPEGImages/{split}0.jpg")
        Image.fromarray(label).save(home / f"SegmentationClass/{split}0.png")
    whole = replace(SPECS["voc20"], counts={"train": (1,), "val": (1,)})
    monkeypatch.setitem(SPECS, "voc20", whole)


def write_clip(path: Path) -> None:
    """A second of a red block that moves."""
    encoder = {"codec": "libx264", "pixels": "yuv420p", "given": "rgb24"}
    with VideoOut(path, **encoder, rate=Fraction(5), options={}) as video:
        for step in range(5):
            video.write(paint(("red", 24, 72, 8 * step, 8 * step + 48)), Fraction(step, 5))


def run_dpseg(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_one_process(monkeypatch)
    trained: list[Path] = []
    for module, function in (
        (dpseg.train.lite.run, "train_lite"),
        (dpseg.train.clip.run, "train_clip"),
    ):
        monkeypatch.setattr(module, function, lambda recipe, data, out, start: trained.append(out))
    if arguments[0] in ON_TORCH or "--tuned" in arguments:
        use_random_model(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["dpseg", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, arguments
    assert bool(trained) == (arguments[0] == "train")


def use_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let many workers and Ray be this process: others have only the real model, which is slow.

    Both are tested with other processes in `tests/batch`. A server that would not return is made
    but not started.
    """

    def run_here(job: Job, tasks: Sequence[Task], **options: object) -> Iterator[Outcome]:
        assert options.pop("workers") in (1, 2)
        options.pop("address", None)
        return run_local(job, tasks, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(dpseg.batch.folder, "run_local", run_here)
    monkeypatch.setattr(dpseg.batch.ray, "run_ray", run_here)
    monkeypatch.setattr(uvicorn, "run", lambda app, **_: None)


def run_torchrun(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the module that each process would run."""
    own = arguments.index("--")  # else torchrun would read options of dpseg as its own
    assert arguments[own - 1 : own + 2] == ["-m", "--", "dpseg"]
    run_dpseg(arguments[own + 2 :], monkeypatch)


def run_make(targets: Sequence[str], _: pytest.MonkeyPatch) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def make_environment(arguments: Sequence[str], _: pytest.MonkeyPatch) -> None:
    assert arguments[:2] == ["-m", "venv"]
    venv.create(arguments[2], with_pip=False)


def source(arguments: Sequence[str], _: pytest.MonkeyPatch) -> None:
    subprocess.run(["bash", "-c", f"source {shlex.join(arguments)} && deactivate"], check=True)


def run_pip(arguments: Sequence[str], _: pytest.MonkeyPatch) -> None:
    assert arguments[0] == "install"
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.search(r"\[([\w,]+)\]", arguments[-1])
    for extra in extras[1].split(",") if extras else ():
        assert re.search(rf"^{extra} = \[", project, flags=re.MULTILINE), extra


def run_python(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    script, *options = arguments
    monkeypatch.setattr(sys, "argv", [script, *options])
    if Path(script).name == "quality.py" or "--tiny" in options:
        use_random_model(monkeypatch)
        runpy.run_path(script, run_name="__main__")
        return
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser) -> None:
        parse(parser)
        raise SystemExit(PARSED)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert ended.value.code == PARSED


def use_random_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small random model on torch stand for every model; it is the same each time."""
    torch.manual_seed(0)
    model = LiteModel(LiteConfig(image_size=64, anchors=4))
    torch.nn.init.normal_(model.text_map.centres)
    torch.nn.init.normal_(model.text_map.coefficients)
    engine = lite_engine(model, text_tower=Words())  # type: ignore[arg-type]
    bank = bank_of(engine)
    monkeypatch.setattr(dpseg.factory.load, "load_engine", lambda _, **__: (engine, bank))


def bank_of(engine: TorchEngine) -> PromptBank:
    """A bank of one name, so that every word has a visual prompt."""
    picture = np.full((32, 32, 3), (220, 30, 30), np.uint8)
    shown = {"red": [(picture, np.ones((32, 32), bool))]}
    vocabulary = Vocabulary.of("red")
    return build_bank(engine, vocabulary, ExemplarSource(engine, shown).prompts_for(vocabulary))


def run_curl(arguments: Sequence[str], _: pytest.MonkeyPatch) -> None:
    here = [argument.replace("http://localhost:8000", SERVERS.address) for argument in arguments]
    subprocess.run(["curl", "--silent", "--show-error", *here], check=True, capture_output=True)


RUNNERS: dict[str, Callable[[Sequence[str], pytest.MonkeyPatch], None]] = {
    "curl": run_curl,
    "dpseg": run_dpseg,
    "make": run_make,
    "pip": run_pip,
    "python": run_python,
    "torchrun": run_torchrun,
    "python3": make_environment,
    "source": source,
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_runs(document: Path, place: Path) -> None:
    blocks = FENCE.findall(document.read_text(encoding="utf-8"))
    names: dict[str, object] = {"photo": "examples/photos/cat.jpg"}
    for language, options, text in blocks:
        if language == "python":
            exec(compile(text, f"{document.name}: Python", "exec"), names)
        elif title := re.search(r'title="([\w.]+)"', options):
            (place / title[1]).write_text(text, encoding="utf-8")
        elif language in COMMANDS:
            for line in text.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                with pytest.MonkeyPatch.context() as monkeypatch:
                    RUNNERS[program](arguments, monkeypatch)


def test_links_between_documents_hold() -> None:
    for document in PAGES:
        links = re.findall(r"(?<!!)\[[^\]]+\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
        missing = [link for link in links if not (document.parent / link).exists()]
        assert not missing, (document, missing)


def test_names_of_unknown_models_stay_errors(place: Path) -> None:
    with pytest.raises(CheckpointError):
        dpseg.factory.load.load_engine("no-such-model")
