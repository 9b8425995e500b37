"""From the parts of a request to a query for the `Segmenter`.

Reading is cheap and happens as the request comes in; decoding images is not, and happens when it
is the request's turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpseg.arrays import FloatArray, ImageArray
from dpseg.errors import ImageError, PromptError, VocabularyError
from dpseg.imaging.photo import load_photo
from dpseg.inference.options import SegmentOptions
from dpseg.prompts.examples import load_mask
from dpseg.segmenter import Segmenter
from dpseg.serve.corrections import read_corrections
from dpseg.serve.results import Answer
from dpseg.serve.settings import ServeSettings
from dpseg.vocabulary import Vocabulary, builtin_names


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An example as it came in: the class that it shows, its file and its mask's file."""

    name: str
    picture: bytes
    mask: bytes | None


@dataclass(frozen=True, kw_only=True)
class SegmentRequest:
    """A query that is not checked against the model yet."""

    photo: bytes
    classes: Vocabulary | None
    not_classes: Vocabulary | None = None
    examples: Sequence[Shown]
    corrections: bytes | None = None
    options: SegmentOptions

    def answer(self, segmenter: Segmenter, *, max_pixels: int) -> Answer:
        """Decode the images and ask.

        Args:
            segmenter: whom to ask.
            max_pixels: larger images are refused.

        Raises:
            DPSegError: the images or the names cannot be used.
        """
        examples: dict[str, list[tuple[ImageArray, FloatArray | None]]] = {}
        for number, shown in enumerate(self.examples, 1):
            try:
                picture = load_photo(shown.picture, max_pixels=max_pixels, what="the file")
                mask = None
                if shown.mask is not None:
                    mask = load_mask(shown.mask, max_pixels=max_pixels)
            except (ImageError, PromptError) as error:
                raise PromptError(f"example {number}, of {shown.name!r}: {error}") from error
            examples.setdefault(shown.name, []).append((picture, mask))
        query = segmenter.prepare(
            self.classes if self.classes is not None else (),
            not_classes=self.not_classes,
            examples=examples,
            corrections=None if self.corrections is None else read_corrections(self.corrections),
            options=self.options,
        )
        return Answer.of(query, query.encode(load_photo(self.photo, max_pixels=max_pixels)))


def read_classes(classes: Sequence[str], vocabulary: str) -> Vocabulary | None:
    """Join names and a built-in class list.

    Args:
        classes: each a name, or several by commas; `car|automobile` gives synonyms.
        vocabulary: a built-in list's name, or empty. Files of the server are not read.

    Returns:
        The list's classes, then the names; None if there are neither.

    Raises:
        VocabularyError: the names cannot be used, or there is no such list.
    """
    names = ",".join(classes)
    if vocabulary and vocabulary not in builtin_names():
        raise VocabularyError(
            f"no vocabulary {vocabulary!r}; there are {', '.join(builtin_names())}."
        )
    listed = Vocabulary.load(vocabulary) if vocabulary else None
    given = Vocabulary.of(names) if names.strip(" ,") else None
    if listed is None or given is None:
        return listed if given is None else given
    return Vocabulary([*listed, *(entry for entry in given if listed.find(entry.name) is None)])


def read_examples(
    pictures: Sequence[bytes],
    names: Sequence[str],
    masks: Sequence[bytes],
    mask_of: Sequence[int],
) -> list[Shown]:
    """Bring examples, their classes and their masks together.

    Args:
        pictures: files.
        names: of the class that each shows, in the same order.
        masks: files.
        mask_of: which example each belongs to, from 0.

    Raises:
        PromptError: they do not fit together.
    """
    if len(pictures) != len(names):
        raise PromptError(
            f"{len(pictures)} examples come with {len(names)} example_classes; "
            "give one name for each picture, in the same order."
        )
    if len(masks) != len(mask_of):
        raise PromptError(
            f"{len(masks)} example_masks come with {len(mask_of)} mask_of; "
            "give one number for each mask, in the same order."
        )
    if any(not 0 <= index < len(pictures) for index in mask_of):
        raise PromptError(f"mask_of is {list(mask_of)}, but {len(pictures)} examples were given.")
    if len(set(mask_of)) < len(mask_of):
        raise PromptError(f"mask_of is {list(mask_of)}; an example has one mask.")
    if any(not name.strip() for name in names):
        raise PromptError("an example_classes is empty; name what each picture shows.")
    mask_for = dict(zip(mask_of, masks, strict=True))
    return [
        Shown(name=name.strip(), picture=picture, mask=mask_for.get(index))
        for index, (name, picture) in enumerate(zip(names, pictures, strict=True))
    ]


def check_counts(asked: SegmentRequest, settings: ServeSettings) -> None:
    """Refuse queries that are too large.

    Raises:
        VocabularyError: too many names.
        PromptError: too many examples.
    """
    names = len(asked.classes or ()) + len(asked.not_classes or ())
    if names > settings.max_classes:
        raise VocabularyError(
            f"{names} classes were given; at most {settings.max_classes} are possible."
        )
    if len(asked.examples) > settings.max_examples:
        raise PromptError(
            f"{len(asked.examples)} examples were given; "
            f"at most {settings.max_examples} are possible."
        )
