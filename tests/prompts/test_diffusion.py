"""Pictures by diffusion, from a tiny pipeline of diffusers with random weights."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from dpseg.errors import PromptError
from dpseg.prompts.diffusion import (
    DiffusionSettings,
    load_pipeline,
    made_pictures,
    make_pictures,
    plan,
)
from dpseg.vocabulary import Vocabulary
from factory.hub_server import running_hub

pytestmark = pytest.mark.slow

NAMES = Vocabulary.of("red car|auto, ../odd name, sky")
TEMPLATES = ("a photo of {}", "the {}")


@pytest.fixture
def settings(tiny_diffusion):
    return DiffusionSettings(
        model=str(tiny_diffusion),
        revision=None,
        templates=TEMPLATES,
        seeds=(3, 4),
        steps=2,
        size=32,
        batch=5,
    )


class CountingMaker:
    """A pipeline that counts the pictures asked for, and may stop in the middle."""

    def __init__(self, settings, stop_after=None):
        self.pipeline = load_pipeline(settings)
        self.stop_after = stop_after
        self.made = 0

    def __call__(self, **arguments):
        if self.stop_after is not None and self.made >= self.stop_after:
            raise KeyboardInterrupt
        self.made += len(arguments["prompt"])
        return self.pipeline(**arguments)


def test_every_name_template_and_seed_gets_a_picture(settings, tmp_path):
    found = make_pictures(NAMES, tmp_path / "pictures", settings)
    assert list(found) == NAMES.names
    paths = [path for pictures in found.values() for path in pictures]
    assert len(set(paths)) == 3 * 2 * 2
    assert all(path.parent == tmp_path / "pictures" for path in paths)
    assert {Image.open(path).size for path in paths} == {(32, 32)}
    lines = (tmp_path / "pictures/manifest.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["sentence"] for record in records[:4:2]] == ["a photo of red car", "the red car"]
    assert [record["seed"] for record in records[:2]] == [3, 4]
    assert records[0]["model"] == settings.model


def never(_):
    raise AssertionError("all pictures are there")


def test_a_stopped_run_goes_on_to_the_same_pictures(settings, tmp_path):
    whole = make_pictures(NAMES, tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        make_pictures(
            NAMES, tmp_path / "parts", settings, load=lambda s: CountingMaker(s, stop_after=5)
        )
    manifest = tmp_path / "parts/manifest.jsonl"
    manifest.write_text(manifest.read_text()[:-10])  # as if the kill had come while writing
    rest = CountingMaker(settings)
    parts = make_pictures(NAMES, tmp_path / "parts", settings, load=lambda _: rest)
    assert rest.made == 12 - 4
    for name in NAMES.names:
        for one, other in zip(whole[name], parts[name], strict=True):
            assert one.name == other.name
            difference = np.asarray(Image.open(one), int) - np.asarray(Image.open(other), int)
            assert np.abs(difference).max() <= 1  # batches of other sizes may round otherwise
    assert make_pictures(NAMES, tmp_path / "parts", settings, load=never) == parts
    found = made_pictures(tmp_path / "parts")
    assert {name: set(paths) for name, paths in found.items()} == {
        name: set(paths) for name, paths in parts.items()
    }


def test_a_process_killed_at_work_loses_nothing_that_was_whole(settings, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from dpseg.prompts.diffusion import DiffusionSettings, make_pictures\n"
        "from dpseg.vocabulary import Vocabulary\n"
        f"settings = DiffusionSettings(**{ {**vars(settings), 'batch': 1, 'steps': 20}!r})\n"
        f"make_pictures(Vocabulary.of('sky, sea, sun'), Path({str(tmp_path)!r}), settings)\n"
    )
    manifest = tmp_path / "manifest.jsonl"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not manifest.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    slow = replace(settings, batch=1, steps=20)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}
    rest = CountingMaker(slow)
    found = make_pictures(Vocabulary.of("sky, sea, sun"), tmp_path, slow, load=lambda _: rest)
    assert rest.made < 12
    assert sum(len(paths) for paths in found.values()) == 12
    assert len(before) - 1 <= 12 - rest.made  # a picture may lack its line, no more
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())


def test_a_damaged_picture_is_made_again(settings, tmp_path):
    one = Vocabulary.of("sky")
    [first, *_] = make_pictures(one, tmp_path, settings)["sky"]
    content = first.read_bytes()
    first.write_bytes(content[:50])
    make_pictures(one, tmp_path, settings)
    assert first.read_bytes() == content


def test_other_settings_are_other_pictures(settings):
    files = {picture.file for picture in plan(NAMES, settings)}
    for change in ({"steps": 3}, {"guidance": 1.0}, {"size": 64}, {"model": "other"}):
        changed = replace(settings, **change)
        assert files.isdisjoint(picture.file for picture in plan(NAMES, changed))


def test_pictures_that_the_checker_blacks_out_are_not_used(settings, tmp_path):
    def strict(settings):
        pipeline = load_pipeline(settings)
        pipeline.safety_checker.concept_embeds_weights.data.fill_(-2)
        return pipeline

    assert make_pictures(NAMES, tmp_path, settings, load=strict) == {}
    records = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert all(record["unsafe"] for record in records)
    with pytest.raises(PromptError, match="lists no picture"):
        made_pictures(tmp_path)


@pytest.fixture
def empty_hub(tmp_path, monkeypatch):
    """The real client of the hub, and a hub from which everything was deleted."""
    with running_hub() as (_, address):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", address)
        yield address


def test_a_hub_id_that_is_gone_is_named(empty_hub, tmp_path):
    gone = DiffusionSettings(model="nobody/deleted-diffusion")
    with pytest.raises(PromptError, match=r"'nobody/deleted-diffusion' \(revision 451f4fe.*gone"):
        make_pictures(NAMES, tmp_path / "out", gone)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_shipped_settings_are_pinned():
    standard = DiffusionSettings()
    assert standard.model == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert len(standard.revision) == 40


def test_a_missing_or_unsafe_pipeline_is_refused(settings, tiny_diffusion, tmp_path):
    gone = DiffusionSettings(model=str(tmp_path / "gone"), revision=None)
    with pytest.raises(PromptError, match=r"cannot load Stable Diffusion from .*gone"):
        make_pictures(NAMES, tmp_path / "out", gone)
    index = json.loads((tiny_diffusion / "model_index.json").read_text())
    for part in tiny_diffusion.iterdir():
        if part.name != "model_index.json":
            (tmp_path / part.name).symlink_to(part)
    index["safety_checker"] = [None, None]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(PromptError, match="without a safety checker"):
        load_pipeline(DiffusionSettings(model=str(tmp_path), revision=None))
