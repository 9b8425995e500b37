"""Everything that can be asked of a photo beside the names: one record, for every way in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from dpseg.errors import PromptError
from dpseg.prompts.prompt_set import PromptMode
from dpseg.prompts.refine import DEFAULT_REFINEMENT, RefineMode, RefineSettings
from dpseg.vocabulary.languages import AUTO, ENGLISH, languages

#: `"dpseg"` keeps a photo's aspect and cuts tiles; `"sed"` does as SED, CAT-Seg and the paper do.
Protocol: TypeAlias = Literal["dpseg", "sed"]


class OptionFields(TypedDict, total=False):
    """Fields of `SegmentOptions`, as keywords of a call."""

    prompts: PromptMode
    refine: int
    refine_mode: RefineMode
    unlabelled: bool
    class_prior: bool
    hypernyms: bool
    detector: bool
    templates: int | None
    refinement: RefineSettings
    protocol: Protocol
    snap: bool
    things: bool
    stuff: Collection[str] | None
    min_presence: float
    language: str


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """What is asked of every photo of a call.

    Attributes:
        prompts: which sides represent a class: its name, its examples, or both.
        refine: at most this many rounds in which what was found becomes its own prompt.
        refine_mode: `"pool"` reads the prompts from the features of the photo, `"crop"` cuts
            regions out and encodes them again.
        unlabelled: leave pixels without a label where nothing that was named convinces; False
            makes every pixel one of the classes.
        class_prior: where every pixel gets a class, prefer those that the whole photo shows.
        hypernyms: ask for a word that the bank lacks together with what it is a kind of.
        detector: let the boxes of the model's detector, if it has one, speak for and against the
            names that it knows.
        templates: different sentence templates in use; None for all of the model's.
        refinement: which classes take part in refinement, and how far their prompts move.
        protocol: how a photo is brought to the model's size; `"sed"` goes without class prior
            and does not snap.
        snap: let outlines follow the edges that the photo shows.
        things: part each class into single things, `Segmentation.instances`.
        stuff: names that are never parted; None for those of a built-in list.
        min_presence: names that are in the photo with a lower probability, in [0, 1], get no pixel.
        language: of the names, such as `"fr"`; `"auto"` tells by the names, `"en"` takes them as
            they are.

    Raises:
        PromptError: a value is not possible; says which are.
    """

    prompts: PromptMode = "dual"
    refine: int = 0
    refine_mode: RefineMode = "pool"
    unlabelled: bool = True
    class_prior: bool = True
    hypernyms: bool = True
    detector: bool = True
    templates: int | None = None
    refinement: RefineSettings = DEFAULT_REFINEMENT
    protocol: Protocol = "dpseg"
    snap: bool = True
    things: bool = False
    stuff: Collection[str] | None = None
    min_presence: float = 0.0
    language: str = AUTO

    def __post_init__(self) -> None:
        if self.refine < 0:
            raise PromptError(f"refine is {self.refine}; 0 or more rounds are possible.")
        if not 0 <= self.min_presence <= 1:  # also catches NaN
            raise PromptError(f"min_presence is {self.min_presence}; it lies in [0, 1].")
        if self.language not in (AUTO, ENGLISH) and self.language not in languages():
            known = ", ".join((AUTO, ENGLISH, *sorted(languages())))
            raise PromptError(f"language is {self.language!r}; give one of {known}.")
        if self.stuff is not None:
            if isinstance(self.stuff, str) or not all(isinstance(name, str) for name in self.stuff):
                raise PromptError(f"stuff is {self.stuff!r}; give a list of names.")
            object.__setattr__(self, "stuff", tuple(self.stuff))
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                possible = ", ".join(map(repr, get_args(kind)))
                raise PromptError(f"{name} is {value!r}; give one of {possible}")

    def replace(self, **changes: Any) -> SegmentOptions:
        """Copy with some fields changed."""
        return replace(self, **changes)


def split_names(items: Sequence[str] | None) -> tuple[str, ...] | None:
    """Split each item at its commas; None without items."""
    names = (name.strip() for item in items or () for name in item.split(","))
    return tuple(name for name in names if name) if items else None


_CHOICES = {"prompts": PromptMode, "refine_mode": RefineMode, "protocol": Protocol}
DEFAULT_OPTIONS = SegmentOptions()
