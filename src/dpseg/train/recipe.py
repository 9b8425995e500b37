"""A training recipe: one YAML file that names the data and the settings.

Where `model` is a name, the recipe trains that model on CLIP towers; else it makes `dpseg-lite`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
)

from dpseg.data.mixture import SourceSettings
from dpseg.data.transforms import CropSettings
from dpseg.encoders.lite import STRIDE
from dpseg.encoders.open_clip import STRIDE as CLIP_STRIDE
from dpseg.errors import CheckpointError, DataError, require_extra
from dpseg.factory.config import LiteConfig
from dpseg.files import write_text
from dpseg.train.clip.prompts import PromptSettings
from dpseg.train.clip.stage import ClipSettings
from dpseg.train.lite.decoder_stage import DecoderSettings
from dpseg.train.lite.encoder_stage import TowerSettings
from dpseg.train.loop import LoopSettings, Precision

RECIPE_FILE = "recipe.json"
_FREE_LOOP = {"loop": {"checkpoint_every", "log_every"}}
#: What may change from one start of a run to the next.
_FREE: Any = {"workers": True, "tower": _FREE_LOOP, "decoder": _FREE_LOOP, **_FREE_LOOP}

#: Where a recipe of an earlier release has a key under another name: section to old and new names.
_RENAMED: Mapping[tuple[str, ...], Mapping[str, str]] = {
    (): {"rare_repeats": "repeat_factor_max", "kinds": "hypernyms"},
    ("tower", "loss"): {
        "keep": "distill_weight",
        "keep_scale": "distill_scale",
        "keep_places": "distill_positions",
        "compete": "softmax_weight",
        "confidence": "pseudo_label_threshold",
    },
    ("decoder",): {"half_tower_steps": "cross_fit_steps", "share": "wise_ft_alpha"},
    **{(*stage, "crop"): {"hide": "cutout"} for stage in ((), ("tower",), ("decoder",))},
}


class StageRecipe(BaseModel):
    """What every stage says: how batches are drawn, and how long it trains.

    Attributes:
        batch_size: crops of a step.
        crop: how they are drawn.
        paste: probability that a thing of the `pasted` sources is pasted into a crop.
        loop: how long it trains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int
    crop: CropSettings
    paste: float = Field(0.0, ge=0, le=1)
    loop: LoopSettings

    @field_validator("crop")
    @classmethod
    def _whole_places(cls, crop: CropSettings) -> CropSettings:
        return _divided(crop, STRIDE)


class TowerRecipe(StageRecipe):
    """Stage one: dense fine-tuning of the image tower."""

    loss: TowerSettings


class DecoderRecipe(StageRecipe):
    """Stage two: the decoder on frozen towers.

    Attributes:
        loss: rates and chances.
        cross_fit_steps: the decoder learns on each half of the photos in turn, by the features of
            a tower that is trained for this many steps on the other half; 0 learns on all photos,
            by the features of the tower that has seen them.
        wise_ft_alpha: weight of the trained weights in the result, in (0, 1]; the rest is of those
            that it began with, which makes up for what a further run forgets (WiSE-FT).
    """

    loss: DecoderSettings
    cross_fit_steps: int = 0
    wise_ft_alpha: float = Field(1.0, gt=0, le=1)


class Recipe(BaseModel):
    """All settings of a training run.

    Attributes:
        sources: folders below the data root, and how they are mixed.
        tower: stage one.
        decoder: stage two.
        repeat_factor_max: photos of rare names are shown up to this many times as often.
        hypernyms: a name to the wider names that its pixels are as well.
        distractors: whether common words that a labelled thing is not are learnt as not it.
        mean_with: runs beside this one whose models' weights are averaged with those of the model
            that it starts from.
        unseen: file below the data root with names whose pixels are ignored (zero-shot protocol).
        model: sizes of the network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[SourceSettings, ...]
    tower: TowerRecipe
    decoder: DecoderRecipe
    repeat_factor_max: float = 1.0
    hypernyms: dict[str, tuple[str, ...]] = {}
    distractors: bool = False
    mean_with: tuple[str, ...] = ()
    unseen: str | None = None
    model: LiteConfig = LiteConfig()


class ClipRecipe(BaseModel):
    """All settings of a training run on CLIP towers.

    Attributes:
        model: a preset's name, or an open_clip ConvNeXt's.
        source: a labelled folder below the data root.
        split: its list of photos.
        vocabulary: words for its classes, in their order: a built-in list or a file; None for the
            folder's own.
        unseen: a built-in zero-shot split, or a file; pixels of its names are ignored, and they
            are never asked for.
        prompts: where the pictures of the names come from.
        batch_size: crops of an optimiser step, in all processes together.
        workers: processes that load crops ahead, for each process that trains.
        precision: of the forward pass.
        crop: how crops are drawn; `scale` is of the photo's short side.
        loss: rates, and what counts.
        loop: how long it trains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    source: str
    split: str = "train"
    vocabulary: str | None = None
    unseen: str | None = None
    prompts: PromptSettings = PromptSettings()
    batch_size: PositiveInt
    workers: NonNegativeInt = 0
    precision: Precision = "32-true"
    crop: CropSettings
    loss: ClipSettings = ClipSettings()
    loop: LoopSettings

    @field_validator("crop")
    @classmethod
    def _whole_places(cls, crop: CropSettings) -> CropSettings:
        return _divided(crop, CLIP_STRIDE)


def load_recipe(path: Path) -> Recipe | ClipRecipe:
    """Read a recipe.

    Args:
        path: a YAML file; its `base` key may name another recipe beside it, whose values it
            overrides key by key.

    Returns:
        The recipe.

    Raises:
        DataError: the file is missing, is no YAML, or has unknown or unfit values.
    """
    try:
        values = _read(path, ())
        if isinstance(values.get("model"), str):
            return ClipRecipe.model_validate(values)
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"recipe {path}: {place}: {first['msg']}") from error


def keep_recipe(recipe: Recipe | ClipRecipe, folder: Path) -> None:
    """Write down what a run is made by; refuse to go on with a run of another recipe.

    How often a run logs and checkpoints, and how many processes load its crops, may change.

    Args:
        recipe: of the run.
        folder: of the run.

    Raises:
        CheckpointError: the folder's run was begun by another recipe.
    """
    path = folder / RECIPE_FILE
    said = recipe.model_dump_json(indent=1, exclude=_FREE)
    if path.exists() and path.read_text(encoding="utf-8") != said:
        raise CheckpointError(f"{folder} was begun by another recipe ({path}); use another folder")
    write_text(path, said)


def _divided(crop: CropSettings, stride: int) -> CropSettings:
    """Refuse crops that are no whole number of places wide."""
    if crop.size < stride or crop.size % stride:
        raise ValueError(f"size is {crop.size}; it must be a multiple of {stride}")
    return crop


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise DataError(f"recipe {path} is its own base")
    yaml = require_extra("yaml", "train")
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"cannot read recipe {path}: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"recipe {path} holds no mapping")
    _rename_keys(values)
    base = values.pop("base", None)
    return _merge(_read(path.parent / base, (*above, path.resolve())), values) if base else values


def _rename_keys(values: dict[str, Any]) -> None:
    """Give the keys of an earlier release their names of today, in place."""
    for path, names in _RENAMED.items():
        section: Any = values
        for key in path:
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict):
            for old, new in names.items():
                if old in section and new not in section:
                    section[new] = section.pop(old)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both_nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both_nested else value
    return merged
