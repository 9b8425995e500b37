"""One photo and one question through the model: views, distractors, rounds of refinement, labels.

`Segmenter` brings photos and questions in order; this module spends the model's passes on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dpseg.arrays import FloatArray, ImageArray, LabelArray
from dpseg.engines.blas_threads import one_blas_thread
from dpseg.engines.protocol import Engine, ImageFeatures, VisualEmbedding
from dpseg.explain import Evidence
from dpseg.imaging.tiling import (
    Decide,
    TilingRules,
    View,
    cut_views,
    merge_labels,
    merge_scores,
    plan_views,
)
from dpseg.inference.class_prior import class_prior, presence_gate
from dpseg.inference.distractors import Distractors, UnlabelledRules, leave_unlabelled
from dpseg.inference.hypernyms import with_hypernyms
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.ontology import PromptMode, PromptOntology
from dpseg.prompts.pooling import l2_normalize
from dpseg.prompts.refine import (
    RefineMode,
    found_classes,
    is_still,
    refine_prompts,
    sigmoid,
)
from dpseg.prompts.visual import VisualPromptSource
from dpseg.segmentation import Segmentation
from dpseg.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class EncodedExamples:
    """Example pictures, encoded once for all photos of a call: a source of visual prompts.

    Attributes:
        names: of the classes that are shown.
        prompts: class index to one row a picture.
    """

    names: tuple[str, ...]
    prompts: Mapping[int, VisualEmbedding]

    def prompts_for(self, vocabulary: Vocabulary) -> Mapping[int, VisualEmbedding]:
        """Give them; every vocabulary of a call begins with the given classes."""
        return self.prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of every photo of a call; see `Segmenter.__call__`."""

    vocabulary: Vocabulary
    examples: EncodedExamples
    refine: int
    refine_mode: RefineMode
    unlabelled: bool
    prompts: PromptMode


@dataclass(frozen=True, slots=True)
class _Seen:
    """A photo as the model saw it: its views, their pixels and their features."""

    photo_hw: tuple[int, int]
    views: list[View]
    pictures: list[ImageArray]
    features: list[ImageFeatures]


@dataclass(frozen=True, slots=True)
class _Scored:
    """Scores in [0, 1] of every view, K h w each, their blend at low resolution, its labels h w.

    `prior` K 1 1 is what the scene adds to logits.
    """

    prior: FloatArray
    by_view: Sequence[FloatArray]
    low: FloatArray
    positions: LabelArray


class Pipeline:
    """A model with its bank, cache and rules.

    Args:
        engine: the loaded model.
        bank: visual prompts of many names, or None.
        cache: where prompt embeddings are kept.
        tiling: when and how large photos are cut into tiles.
        unlabelled_rules: how readily pixels are left unlabelled.
    """

    def __init__(
        self,
        engine: Engine,
        bank: PromptBank | None,
        *,
        cache: PromptCache,
        tiling: TilingRules,
        unlabelled_rules: UnlabelledRules,
    ) -> None:
        self.engine = engine
        self.cache = cache
        self._bank = bank
        self._tiling = tiling
        self._rules = unlabelled_rules
        self._unnamed = Distractors(engine, bank, cache=cache, rules=unlabelled_rules)
        self._distractor_prompts: dict[PromptMode, PromptOntology] = {}

    @one_blas_thread
    def ontology(self, question: Question) -> PromptOntology:
        """Make the prompts of the given classes."""
        vocabulary = question.vocabulary
        if self._bank is not None:
            vocabulary = with_hypernyms(vocabulary, self._bank)
        return self._build(vocabulary, question.prompts, question.examples)

    def _build(
        self,
        vocabulary: Vocabulary,
        kind: PromptMode,
        examples: VisualPromptSource | None = None,
    ) -> PromptOntology:
        return PromptOntology.build(
            self.engine,
            vocabulary,
            bank=self._bank,
            examples=examples,
            cache=self.cache,
            prompts=kind,
        )

    def _with_distractors(
        self, ontology: PromptOntology, distractors: Sequence[str]
    ) -> PromptOntology:
        """Put distractors behind the given classes; each distractor's prompts are made once."""
        if not distractors:
            return ontology
        known = self._distractor_prompts.get(ontology.kind)
        missing = [
            name for name in distractors if known is None or name not in known.vocabulary.names
        ]
        if missing:
            made = self._build(Vocabulary.of(missing), ontology.kind)
            known = made if known is None else known.joined(made)
            self._distractor_prompts[ontology.kind] = known
        assert known is not None
        rows = [known.vocabulary.names.index(name) for name in distractors]
        return ontology.joined(known.select(rows))

    @one_blas_thread
    def answer(
        self, photo: ImageArray, question: Question, ontology: PromptOntology
    ) -> Segmentation:
        """Segment one photo.

        Args:
            photo: H W 3.
            question: what is asked.
            ontology: prompts of the question's classes.

        Returns:
            The result, with the evidence that explains it.
        """
        seen = self._look(photo)
        distractors = self._distractors(seen, question, ontology)
        ontology = self._with_distractors(ontology, distractors)
        scored = self._score(seen, question, ontology)
        rounds = 0
        while rounds < question.refine:
            before, refined = scored, self._refine(seen, question, ontology, scored)
            if refined is ontology:
                break
            ontology = refined
            scored = self._score(seen, question, ontology, before)
            rounds += 1
            if is_still(before.positions, scored.positions):
                break
        given = len(question.vocabulary)
        return Segmentation(
            photo=photo,
            labels=self._label(seen, question, scored),
            classes=tuple(question.vocabulary.names),
            scores=scored.low[:given],
            settings={
                "model": self.engine.info.name,
                "prompts": question.prompts,
                "examples": list(question.examples.names),
                "unlabelled": question.unlabelled,
                "distractors": distractors,
                "refine_mode": question.refine_mode if question.refine else None,
                "refine_rounds": rounds,
                "views": len(seen.views),
            },
            evidence=Evidence(
                names=(*question.vocabulary.names, *distractors),
                given=given,
                scores=scored.low,
                views=tuple(seen.views),
                image_embeddings=tuple(one.image_embedding for one in seen.features),
                prompts=ontology.arrays,
            ),
        )

    def decide(self, names: int) -> Decide:
        """Give the rule that leaves pixels unlabelled.

        Args:
            names: how many are given.

        Returns:
            The last word on the labels of some pixels; see `leave_unlabelled`.
        """
        threshold = self._needed_score(names)
        return partial(leave_unlabelled, threshold=threshold, margin=self._rules.margin)

    def _look(self, photo: ImageArray) -> _Seen:
        info, photo_hw = self.engine.info, (photo.shape[0], photo.shape[1])
        views = plan_views(
            photo_hw, image_size=info.image_size, stride=info.stride, rules=self._tiling
        )
        pictures = list(cut_views(photo, views))
        features = [self.engine.encode_image(picture) for picture in pictures]
        return _Seen(photo_hw, views, pictures, features)

    def _distractors(self, seen: _Seen, question: Question, ontology: PromptOntology) -> list[str]:
        """Choose the names that compete with the given ones in this photo."""
        without_pictures = question.prompts == "visual" and self._bank is None
        if not question.unlabelled or without_pictures:
            return []
        return self._unnamed.in_photo(
            question.vocabulary,
            l2_normalize(ontology.text_embedding.mean(axis=1)),
            seen.features[0].image_embedding,
        )

    def _score(
        self,
        seen: _Seen,
        question: Question,
        ontology: PromptOntology,
        before: _Scored | None = None,
    ) -> _Scored:
        """Score the views; in a further round, only the classes that were found before."""
        if before is None:
            logits = [self.engine.score(one, ontology.arrays) for one in seen.features]
            prior = np.zeros((len(logits[0]), 1, 1), np.float32)
            if question.unlabelled:  # a scene's shares would only make small things vanish here
                given = len(question.vocabulary)
                in_views = [presence_gate(view[:given]) for view in logits]
                prior[:given] = np.max(in_views, axis=0)  # a tile shows what the whole view misses
            else:
                prior = class_prior(logits[0])
            by_view = [sigmoid(view + prior) for view in logits]
        else:
            found = found_classes(before.positions)
            prompts, prior = ontology.arrays.select(found), before.prior
            by_view = [scores.copy() for scores in before.by_view]
            for scores, one in zip(by_view, seen.features, strict=True):
                scores[found] = sigmoid(self.engine.score(one, prompts) + prior[found])
        low = merge_scores(by_view, seen.views, seen.photo_hw, self._tiling)
        positions: LabelArray = low.argmax(axis=0).astype(
            np.int32
        )  # distractors count as classes here
        if question.unlabelled:
            positions[low.max(axis=0) < self._needed_score(len(question.vocabulary))] = -1
        return _Scored(prior, by_view, low, positions)

    def _refine(
        self, seen: _Seen, question: Question, ontology: PromptOntology, scored: _Scored
    ) -> PromptOntology:
        """Let what was found in the global view become its own prompt."""
        crop = question.refine_mode == "crop"
        return refine_prompts(
            ontology,
            seen.pictures[0] if crop else seen.features[0],
            scored.positions,
            scored.low,
            engine=self.engine,
            mode=question.refine_mode,
        )

    def _label(self, seen: _Seen, question: Question, scored: _Scored) -> LabelArray:
        given = len(question.vocabulary)
        return merge_labels(
            scored.by_view,
            seen.views,
            seen.photo_hw,
            kept=given,
            decide=self.decide(given) if question.unlabelled else None,
            rules=self._tiling,
        )

    def _needed_score(self, names: int) -> float:
        return self._rules.needed_score(self.engine.info.score_threshold, names)
