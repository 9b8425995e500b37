"""What labels a set of photos: names, teachers, and how sure a label must be; one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dpseg.errors import DataError, require_extra

Share = Annotated[float, Field(ge=0, le=1)]


class TeacherSettings(BaseModel):
    """A teacher and how much its word counts.

    Attributes:
        file: its ONNX graph, below the folder of teachers.
        weight: of the log-odds of its scores, beside the model's logits.
        neutral: score that speaks neither for a name nor against it.
        least: a label of a name that it knows needs this score; 0 asks for none.
        only: the names that it is believed for; None for all that it knows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    weight: float = 0.75
    neutral: Share = 0.1
    least: Share = 0.0
    only: tuple[str, ...] | None = None


class BoxTeacherSettings(TeacherSettings):
    """A detector in the form of the one that ships; see `benchmarks/convert_detector.py`."""

    kind: Literal["boxes"]


class MapTeacherSettings(TeacherSettings):
    """A segmentation network: an RGB picture in, a map of logits of each name out.

    Attributes:
        names: text file beside the graph, one name a line in the order of the maps, synonyms behind
            commas.
        mean: subtracted from pixels of 0 to 255.
        scale: they are divided by it afterwards.
        skip: so many maps come before the first name's.
        channels_last: the graph takes 1 H W 3 and gives 1 h w C, as TensorFlow's do; else 1 3 H W
            and 1 C h w.
        keep_aspect: a photo keeps its aspect and is padded with the mean below or on the right;
            else it is stretched to the size that the graph takes.
    """

    kind: Literal["maps"]
    names: str
    mean: float = 127.5
    scale: float = 127.5
    skip: int = 0
    channels_last: bool = False
    keep_aspect: bool = False


Teacher = Annotated[BoxTeacherSettings | MapTeacherSettings, Field(discriminator="kind")]


class MeasureSettings(BaseModel):
    """A labelled folder on which precision is measured.

    Attributes:
        name: folder below the data root.
        every: every n-th photo of its `train` list; keep to those aside from training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    every: int = Field(1, ge=1)


class LabelRecipe(BaseModel):
    """All settings of a labelling.

    Attributes:
        photos: folder below the data root with `images/`, and `train.txt` if only some are meant.
        names_of: labelled folders below the data root whose names are asked for, together.
        model: whose own answer is fused.
        teachers: what speaks beside it.
        share: of its best name, over all names, that a labelled pixel needs.
        own: score of the model itself that a name needs which a teacher knows.
        absent: where every name that a teacher knows scores less, the label is `background`, and
            only these names are labelled; None labels no background.
        measure: where precision is measured before anything is written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: str
    names_of: tuple[str, ...] = Field(min_length=1)
    model: str = "dpseg-lite"
    teachers: tuple[Teacher, ...] = ()
    share: Share = 0.9
    own: Share = 0.3
    absent: Share | None = None
    measure: tuple[MeasureSettings, ...] = ()


class SilhouetteRecipe(BaseModel):
    """All settings of a labelling of photos that show a single thing each.

    Attributes:
        kind: tells such a recipe.
        photos: folder below the data root with `images/NAME__NUMBER.jpg`.
        file: ONNX graph of a network that cuts out the main thing, below the folder of teachers.
        mean: subtracted from pixels of 0 to 255.
        scale: they are divided by it afterwards.
        each: photos of each name, at most.
        more: NAME to another number of photos.
        renamed: NAME to the word for it.
        left_out: NAMEs that are not labelled.
        inside: what is surer than this is the thing.
        outside: what is less sure than this is background.
        least_area: share of the photo that a thing needs.
        most_area: share of the photo that it may have.
        unsure: pixels between the two bars, at most, as a share of the thing's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["silhouettes"]
    photos: str
    file: str
    mean: float = 128.0
    scale: float = Field(256.0, gt=0)
    each: int = Field(ge=1)
    more: dict[str, int] = {}
    renamed: dict[str, str] = {}
    left_out: tuple[str, ...] = ()
    inside: Share = 0.85
    outside: Share = 0.08
    least_area: Share = 0.03
    most_area: Share = 0.85
    unsure: float = Field(0.5, ge=0)


def load_label_recipe(path: Path) -> LabelRecipe | SilhouetteRecipe:
    """Read a recipe of labels.

    Args:
        path: a YAML file; with `kind: silhouettes` it is one for photos of single things.

    Raises:
        DataError: the file is missing, is no YAML, or has unknown or unfit values.
    """
    yaml = require_extra("yaml", "train")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and "kind" in values:
            return SilhouetteRecipe.model_validate(values)
        return LabelRecipe.model_validate(values)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"cannot read recipe {path}: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        position = ".".join(str(part) for part in first["loc"])
        raise DataError(f"recipe {path}: {position}: {first['msg']}") from error
