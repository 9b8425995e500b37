"""Names with their prompts and options: what is asked of one photo after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dpseg.arrays import AnyArray, PromptSet
from dpseg.engines.batches import takes_batches
from dpseg.errors import VocabularyError
from dpseg.imaging.photo import PhotoLike, read_photo
from dpseg.inference.auto_names import named_by_model
from dpseg.inference.encoded_photo import EncodedPhoto
from dpseg.inference.options import SegmentOptions
from dpseg.prompts.corrections import Corrections
from dpseg.segmentation import Segmentation
from dpseg.vocabulary import Vocabulary

PHOTOS = 8  # that are looked at together at most

if TYPE_CHECKING:
    from dpseg.inference.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class Query:
    """Classes whose prompts are encoded: call it with one photo after the other.

    `Segmenter.prepare` makes it.

    Attributes:
        predictor: the model that answers.
        vocabulary: K classes.
        named: the classes, then those that compete and are never shown.
        english: the same, in the words that the model reads.
        prompts: of all that is named, both sides.
        options: everything else that is asked.
        shown: names of the classes that have examples.
        own: so many of the classes are looked for in every photo, and the others where it shows
            them; None for all in every photo.
        corrections: what was said of regions of photos; None for nothing.
    """

    predictor: Predictor
    vocabulary: Vocabulary
    named: Vocabulary
    english: Vocabulary
    prompts: PromptSet[AnyArray]
    options: SegmentOptions
    shown: tuple[str, ...] = ()
    own: int | None = None
    corrections: Corrections | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that are looked for."""
        return tuple(self.vocabulary.names)

    @property
    def negatives(self) -> tuple[str, ...]:
        """The names that compete and are never shown."""
        return tuple(self.named.names[len(self.vocabulary) :])

    @property
    def translations(self) -> dict[str, str]:
        """The names of other languages, and what the model was asked for in their place."""
        pairs = zip(self.named.names, self.english.names, strict=True)
        return {name: word for name, word in pairs if name != word}

    def only(self, classes: Sequence[str]) -> Query:
        """Ask for some of the classes, in every photo."""
        kept = [index for index, name in enumerate(self.classes) if name in classes]
        rows = [*kept, *range(len(self.vocabulary), len(self.named))]
        return replace(
            self,
            vocabulary=Vocabulary(self.vocabulary[index] for index in kept),
            named=Vocabulary(self.named[index] for index in rows),
            english=Vocabulary(self.english[index] for index in rows),
            prompts=self.prompts.select(rows),
            own=None,
        )

    def corrected(self, corrections: Corrections) -> Query:
        """Ask the same with corrections; names that only they tell of are added to the classes.

        Raises:
            PromptError: they were made with another model.
            VocabularyError: a name is both wanted and not wanted.
        """
        corrections.check_encoder(self.predictor.engine.info.encoder_key)
        for name in corrections.names:
            if (index := self.named.find(name)) is not None and index >= len(self.vocabulary):
                raise VocabularyError(f"{name!r} is both wanted and not wanted; give it once.")
        query = replace(self, corrections=corrections)
        new = [name for name in corrections.names if self.named.find(name) is None]
        if not new:
            return query
        more = self.predictor.prepare(Vocabulary.of(new), self.options)
        given = len(self.vocabulary)
        place = given if self.own is None else self.own
        named, added = len(self.named), len(new)
        order = [*range(place), *range(named, named + added), *range(place, named)]
        entries, english = [*self.named, *more.named], [*self.english, *more.english]
        return replace(
            query,
            vocabulary=Vocabulary(entries[index] for index in order[: given + added]),
            named=Vocabulary(entries[index] for index in order),
            english=Vocabulary(english[index] for index in order),
            prompts=self.prompts.concat(more.prompts).select(order),
            own=None if self.own is None else self.own + added,
        )

    def encode(self, photo: PhotoLike) -> EncodedPhoto:
        """Look at a photo, so that it can be asked about again and again.

        Raises:
            ImageError: the photo cannot be used.
        """
        pixels, scale = read_photo(photo)
        return self.predictor.encode(pixels, self.options.protocol, scale=scale)

    def each(self, photos: Sequence[PhotoLike | EncodedPhoto]) -> list[Segmentation]:
        """Segment photos; a few are looked at together where the engine is faster so.

        Raises:
            ImageError: a photo cannot be used.
        """
        together = PHOTOS if takes_batches(self.predictor.engine) else 1
        results = []
        for start in range(0, len(photos), together):
            part = photos[start : start + together]
            read = [read_photo(one) for one in part if not isinstance(one, EncodedPhoto)]
            fresh = iter(self.predictor.encode_several(read, self.options.protocol))
            results += [self(one if isinstance(one, EncodedPhoto) else next(fresh)) for one in part]
        return results

    def __call__(self, photo: PhotoLike | EncodedPhoto) -> Segmentation:
        """Segment a photo.

        Raises:
            ImageError: the photo cannot be used.
        """
        encoded = photo if isinstance(photo, EncodedPhoto) else self.encode(photo)
        if self.own is not None:
            return named_by_model(encoded, self)
        return self.predictor.predict(encoded, self)
