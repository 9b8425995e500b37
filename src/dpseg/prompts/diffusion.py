"""Images of words by Stable Diffusion, as the paper makes its visual prompts.

Every name goes through every sentence template with every seed. An image's file name is a hash of
all that it was made from, and a manifest lists what is there. So a run that was stopped goes on,
and no image is made twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import track

from dpseg.errors import PromptError, require_extra
from dpseg.files import atomic_write, write_text
from dpseg.prompts.templates import check_templates, fill
from dpseg.vocabulary import Vocabulary

EXTRA = "diffusion"
MANIFEST = "manifest.jsonl"

#: Makes images of sentences; what `diffusers.StableDiffusionPipeline` is.
Pipeline: TypeAlias = "Callable[..., Any]"


@dataclass(frozen=True, kw_only=True)
class DiffusionSettings:
    """What makes the images.

    Attributes:
        model: a hub id, or a folder in diffusers' layout.
        revision: a commit of the hub id; plays no part for a folder.
        templates: sentences with one `{}`.
        seeds: images of each sentence.
        steps: of the sampler.
        guidance: how closely an image follows its sentence.
        size: side in pixels.
        batch: images made at once; plays no part in what they show.
    """

    model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    revision: str | None = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
    templates: tuple[str, ...] = ("a photo of a {}", "a photo of the {} in a scene")
    seeds: tuple[int, ...] = (0, 1)
    steps: int = 30
    guidance: float = 7.5
    size: int = 512
    batch: int = 1


@dataclass(frozen=True)
class Picture:
    """An image that was made, or is to be made.

    Attributes:
        name: of the class.
        sentence: what was asked for.
        seed: of the noise that it began with.
        file: in the folder.
        sha256: of the file; empty as long as there is none.
        unsafe: the safety checker blacked it out.
    """

    name: str
    sentence: str
    seed: int
    file: str
    sha256: str = ""
    unsafe: bool = False


def make_pictures(
    vocabulary: Vocabulary,
    folder: Path,
    settings: DiffusionSettings,
    *,
    load: Callable[[DiffusionSettings], Pipeline] | None = None,
    progress: bool = False,
) -> dict[str, list[Path]]:
    """Make the images of a vocabulary that are not there yet.

    Args:
        vocabulary: the names.
        folder: where images and manifest are kept; it is made.
        settings: what makes them.
        load: gives the pipeline, if images are missing; None for `load_pipeline`.
        progress: show a bar.

    Returns:
        Class name to its images; those that the safety checker blacked out are left out, and a
        class of which no other is left is absent.

    Raises:
        PromptError: the pipeline cannot be loaded, or the folder not be written.
        MissingExtraError: diffusers is not installed.
    """
    check_templates(settings.templates)
    wanted = plan(vocabulary, settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = _mend_manifest(folder)
        missing = [picture for picture in wanted if picture.file not in there]
        if missing:
            pipeline = (load or load_pipeline)(settings)
            batches = [
                missing[start : start + settings.batch]
                for start in range(0, len(missing), settings.batch)
            ]
            screen = Console(stderr=True)
            for batch in track(batches, "Pictures", console=screen, disable=not progress):
                there |= {made.file: made for made in _make(pipeline, batch, folder, settings)}
    except OSError as error:
        raise PromptError(f"cannot keep pictures in {folder}: {error}") from error
    return _by_name([there[picture.file] for picture in wanted], folder)


def made_pictures(folder: Path) -> dict[str, list[Path]]:
    """Find all images that were made in a folder.

    Args:
        folder: of `make_pictures`.

    Returns:
        Class name to its images, without those that were blacked out.

    Raises:
        PromptError: the folder has no image that can be used.
    """
    found = _by_name(list(_whole_pictures(folder)), folder)
    if not found:
        raise PromptError(f"{folder / MANIFEST} lists no picture that is there")
    return found


def plan(vocabulary: Vocabulary, settings: DiffusionSettings) -> list[Picture]:
    """List the images of a vocabulary: names, then templates, then seeds."""
    pictures = []
    for entry in vocabulary:
        for template in settings.templates:
            sentence = fill(template, entry.name)
            pictures += [
                Picture(entry.name, sentence, seed, _file_of(sentence, seed, settings))
                for seed in settings.seeds
            ]
    return pictures


def load_pipeline(settings: DiffusionSettings) -> Pipeline:
    """Load Stable Diffusion with its safety checker.

    Raises:
        PromptError: there is no such pipeline, or it has no safety checker.
        MissingExtraError: diffusers is not installed.
    """
    diffusers = require_extra("diffusers", EXTRA)
    torch = require_extra("torch", EXTRA)
    try:
        pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
            settings.model, revision=settings.revision, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PromptError(
            f"cannot load Stable Diffusion from {settings.model!r} (revision {settings.revision}): "
            f"{reason}. If the hub id is gone, give another one, or a folder"
        ) from error
    if pipeline.safety_checker is None:
        raise PromptError(f"{settings.model!r} comes without a safety checker; take one with it")
    pipeline.set_progress_bar_config(disable=True)
    on_device: Pipeline = pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
    return on_device


def _make(
    pipeline: Pipeline, pictures: Sequence[Picture], folder: Path, settings: DiffusionSettings
) -> list[Picture]:
    """Make some images; each is in the manifest as soon as its file is whole."""
    torch = require_extra("torch", EXTRA)
    output = pipeline(
        prompt=[picture.sentence for picture in pictures],
        generator=[torch.Generator("cpu").manual_seed(picture.seed) for picture in pictures],
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        height=settings.size,
        width=settings.size,
    )
    flags = output.nsfw_content_detected  # there is a safety checker, so there are flags
    made = []
    for picture, image, unsafe in zip(pictures, output.images, flags, strict=True):
        with atomic_write(folder / picture.file) as temporary:
            image.save(temporary)
        done = replace(picture, sha256=_digest(folder / picture.file), unsafe=bool(unsafe))
        with (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
            manifest.write(json.dumps(asdict(done) | _source(settings), ensure_ascii=False) + "\n")
        made.append(done)
    return made


def _source(settings: DiffusionSettings) -> dict[str, object]:
    """List what an image depends on, besides its sentence and seed."""
    return {
        "model": settings.model,
        "revision": settings.revision,
        "steps": settings.steps,
        "guidance": settings.guidance,
        "size": settings.size,
    }


def _file_of(sentence: str, seed: int, settings: DiffusionSettings) -> str:
    source = json.dumps([sentence, seed, _source(settings)], sort_keys=True)
    return f"{hashlib.sha256(source.encode()).hexdigest()[:20]}.png"


def _by_name(pictures: Sequence[Picture], folder: Path) -> dict[str, list[Path]]:
    """Group images by class, without those that were blacked out."""
    found: dict[str, list[Path]] = {}
    for picture in pictures:
        if not picture.unsafe:
            found.setdefault(picture.name, []).append(folder / picture.file)
    return found


def _mend_manifest(folder: Path) -> dict[str, Picture]:
    """Leave in the manifest what is whole, so that what comes next begins on a line of its own."""
    path = folder / MANIFEST
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    there = {picture.file: picture for picture in _whole_pictures(folder)}
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _parsed(line) in there.values()]
    if kept != lines:
        write_text(path, "".join(kept))
    return there


def _whole_pictures(folder: Path) -> Iterator[Picture]:
    """List the manifest's images whose files are as they were made."""
    path = folder / MANIFEST
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for picture in map(_parsed, text.splitlines()):
        if picture is not None and _digest(folder / picture.file) == picture.sha256:
            yield picture


def _parsed(line: str) -> Picture | None:
    """Read a line of the manifest; None for one that was cut off."""
    try:
        record = json.loads(line)
        return Picture(**{name: record[name] for name in Picture.__dataclass_fields__})
    except (ValueError, KeyError, TypeError):
        return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
