"""A prepared question: one photo after the other -> `Segmentation`."""

from __future__ import annotations

from dpseg.imaging.photo import PhotoLike, load_photo
from dpseg.inference.predictor import Pipeline, Question
from dpseg.prompts.tuned import TunedPrompts
from dpseg.segmentation import Segmentation


class Finder:
    """A question whose prompts are encoded: call it with one photo after the other.

    `Segmenter.prepare` makes it.
    """

    def __init__(
        self, pipeline: Pipeline, question: Question, tuned: TunedPrompts | None = None
    ) -> None:
        self._pipeline = pipeline
        self._question = question
        ontology = pipeline.ontology(question)
        key = pipeline.engine.info.encoder_key
        self._ontology = ontology if tuned is None else tuned.applied(ontology, key)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that are looked for."""
        return tuple(self._question.vocabulary.names)

    @property
    def unlabelled(self) -> bool:
        """Whether pixels may stay without a label."""
        return self._question.unlabelled

    def __call__(self, photo: PhotoLike) -> Segmentation:
        """Segment a photo.

        Raises:
            ImageError: the photo cannot be used.
        """
        return self._pipeline.answer(load_photo(photo), self._question, self._ontology)
