"""The product in one object: photo + names + example pictures -> `Segmentation`.

Ties the path together: photo -> views -> features; names and pictures -> prompts; both -> scores ->
labels. It talks numpy to a `Runtime` and does not know which engine runs the model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np

from dpseg.errors import PromptError
from dpseg.explain import Evidence
from dpseg.photo import PhotoLike, load_photo
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.examples import PictureLike
from dpseg.prompts.ontology import PromptKind, PromptOntology
from dpseg.prompts.pooling import unit
from dpseg.prompts.refine import RefineMode, is_still, refine_prompts, sigmoid
from dpseg.prompts.visual import ExemplarSource
from dpseg.runtime import (
    FloatArray,
    ImageArray,
    ImageFeatures,
    ModelInfo,
    Runtime,
    VisualEmbedding,
)
from dpseg.segmentation import Segmentation
from dpseg.tiling import (
    DEFAULT_RULES,
    LabelArray,
    TilingRules,
    cut_views,
    merge_labels,
    merge_scores,
    plan_views,
)
from dpseg.unlabelled import (
    DEFAULT_UNLABELLED,
    UnlabelledRules,
    Unnamed,
    leave_unlabelled,
)
from dpseg.vocabulary import ClassEntry, Vocabulary

Classes: TypeAlias = "Sequence[str | ClassEntry] | str | Vocabulary"
Examples: TypeAlias = "Mapping[str, Sequence[PictureLike]]"


class Segmenter:
    """Finds the pixels of named or shown things in photos.

    Args:
        runtime: the loaded model.
        bank: visual prompts of many names; without one, names have text prompts only.
        cache: where prompt embeddings are kept between runs; None for the usual folder.
        tiling: when and how large photos are cut into tiles.
        unlabelled_rules: how readily pixels are left unlabelled.
    """

    def __init__(
        self,
        runtime: Runtime,
        bank: PromptBank | None = None,
        *,
        cache: PromptCache | None = None,
        tiling: TilingRules = DEFAULT_RULES,
        unlabelled_rules: UnlabelledRules = DEFAULT_UNLABELLED,
    ) -> None:
        self._runtime = runtime
        self._bank = bank
        self._cache = cache or PromptCache()
        self._tiling = tiling
        self._rules = unlabelled_rules
        self._unnamed = Unnamed(runtime, bank, cache=self._cache, rules=unlabelled_rules)

    @classmethod
    def from_pretrained(cls, name_or_folder: str | os.PathLike[str] = "dpseg-lite") -> Segmenter:
        """Load a model and its prompt bank.

        Args:
            name_or_folder: a preset's name, or a folder with weights.

        Returns:
            A segmenter that is ready to run.

        Raises:
            CheckpointError: there are no such weights, or they are damaged.
        """
        from dpseg.weights import load_runtime

        runtime, bank = load_runtime(os.fspath(name_or_folder))
        return cls(runtime, bank)

    @property
    def info(self) -> ModelInfo:
        """Tell what the loaded model is."""
        return self._runtime.info

    @overload
    def __call__(
        self,
        photo: list[Any] | tuple[Any, ...],
        classes: Classes = ...,
        *,
        examples: Examples | None = ...,
        refine: int = ...,
        refine_mode: RefineMode = ...,
        unlabelled: bool = ...,
        prompts: PromptKind = ...,
    ) -> list[Segmentation]: ...

    @overload
    def __call__(
        self,
        photo: PhotoLike,
        classes: Classes = ...,
        *,
        examples: Examples | None = ...,
        refine: int = ...,
        refine_mode: RefineMode = ...,
        unlabelled: bool = ...,
        prompts: PromptKind = ...,
    ) -> Segmentation: ...

    def __call__(
        self,
        photo: PhotoLike | list[Any] | tuple[Any, ...],
        classes: Classes = (),
        *,
        examples: Examples | None = None,
        refine: int = 0,
        refine_mode: RefineMode = "pool",
        unlabelled: bool = True,
        prompts: PromptKind = "dual",
    ) -> Segmentation | list[Segmentation]:
        """Segment a photo, or several.

        Args:
            photo: a path, a file's bytes, a PIL picture or an array H W 3; or a list of these.
            classes: what to look for; `"car|automobile"` gives synonyms, one string is split at
                commas.
            examples: pictures of a class, by its name; a name that `classes` lacks is added.
            refine: at most this many rounds in which what was found becomes its own prompt.
            refine_mode: `"pool"` reads the prompts from the features of the photo, `"crop"` cuts
                regions out and encodes them again.
            unlabelled: leave pixels without a label where nothing that was named convinces;
                False makes every pixel one of the classes.
            prompts: what speaks for a class: its name, its pictures, or both.

        Returns:
            A result, or a list of results for a list of photos.

        Raises:
            ImageError: a photo cannot be used.
            VocabularyError: the names cannot be used.
            PromptError: an example picture cannot be used, or `refine` is negative.
        """
        if refine < 0:
            raise PromptError(f"refine is {refine}; 0 or more rounds are possible.")
        examples = examples or {}
        vocabulary = _with_examples(classes, examples)
        shown = ExemplarSource(self._runtime, examples, self._cache).prompts_for(vocabulary)
        task = _Task(
            vocabulary=vocabulary,
            examples=_Encoded(shown) if shown else None,
            example_names=tuple(examples),
            refine=refine,
            refine_mode=refine_mode,
            unlabelled=unlabelled,
            prompts=prompts,
        )
        ontology = self._ontology(task, task.vocabulary)
        if isinstance(photo, (list, tuple)):
            return [self._segment(load_photo(one), task, ontology) for one in photo]
        return self._segment(load_photo(photo), task, ontology)

    def _segment(self, photo: ImageArray, task: _Task, ontology: PromptOntology) -> Segmentation:
        photo_hw = (photo.shape[0], photo.shape[1])
        info, given = self.info, len(task.vocabulary)
        views = plan_views(
            photo_hw, image_size=info.image_size, stride=info.stride, rules=self._tiling
        )
        pictures = list(cut_views(photo, views))
        features = [self._runtime.encode_image(picture) for picture in pictures]
        rivals = self._rivals(task, features[0], ontology)
        if rivals:
            names = Vocabulary([*task.vocabulary, *map(ClassEntry, rivals)])
            ontology = self._ontology(task, names)

        scores = self._scores(features, ontology)
        low = merge_scores(scores, views, photo_hw, self._tiling)
        places = self._places(low, task)
        rounds = 0
        while rounds < task.refine:
            before, source = places, features[0] if task.refine_mode == "pool" else pictures[0]
            refined = refine_prompts(
                ontology, source, before, low, runtime=self._runtime, mode=task.refine_mode
            )
            if refined is ontology:
                break
            ontology = refined
            scores = self._scores(features, ontology)
            low = merge_scores(scores, views, photo_hw, self._tiling)
            places = self._places(low, task)
            rounds += 1
            if is_still(before, places):
                break

        def decide(winner: LabelArray, best: FloatArray, rival: FloatArray) -> LabelArray:
            return leave_unlabelled(
                winner, best, rival, threshold=self._threshold, margin=self._rules.margin
            )

        labels = merge_labels(
            scores,
            views,
            photo_hw,
            kept=given,
            decide=decide if task.unlabelled else None,
            rules=self._tiling,
        )
        return Segmentation(
            photo=photo,
            labels=labels,
            classes=tuple(task.vocabulary.names),
            scores=low[:given],
            settings={
                "model": info.name,
                "prompts": task.prompts,
                "examples": list(task.example_names),
                "unlabelled": task.unlabelled,
                "rivals": rivals,
                "refine_mode": task.refine_mode if task.refine else None,
                "refine_rounds": rounds,
                "views": len(views),
            },
            evidence=Evidence(
                names=(*task.vocabulary.names, *rivals),
                given=given,
                scores=low,
                views=tuple(views),
                image_embeddings=tuple(one.image_embedding for one in features),
                prompts=ontology.arrays,
            ),
        )

    def _ontology(self, task: _Task, vocabulary: Vocabulary) -> PromptOntology:
        return PromptOntology.build(
            self._runtime,
            vocabulary,
            bank=self._bank,
            examples=task.examples,
            cache=self._cache,
            prompts=task.prompts,
        )

    def _scores(
        self, features: Sequence[ImageFeatures], ontology: PromptOntology
    ) -> list[FloatArray]:
        """Score every view: K h w in [0, 1] each."""
        return [sigmoid(self._runtime.score(one, ontology.arrays)) for one in features]

    def _rivals(self, task: _Task, features: ImageFeatures, ontology: PromptOntology) -> list[str]:
        """Choose the names that compete with the given ones in this photo."""
        if not task.unlabelled or (task.prompts == "visual" and self._bank is None):
            return []
        return self._unnamed.in_photo(
            task.vocabulary, unit(ontology.text_embedding.mean(axis=1)), features.image_embedding
        )

    def _places(self, low: FloatArray, task: _Task) -> LabelArray:
        """Label the places of the low-resolution scores; rivals count as classes here."""
        labels: LabelArray = low.argmax(axis=0).astype(np.int32)
        if task.unlabelled:
            labels[low.max(axis=0) < self._threshold] = -1
        return labels

    @property
    def _threshold(self) -> float:
        given = self._rules.threshold
        return self.info.score_threshold if given is None else given


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Example pictures that were encoded once, for all photos and vocabularies of a call."""

    prompts: Mapping[int, VisualEmbedding]

    def prompts_for(self, vocabulary: Vocabulary) -> Mapping[int, VisualEmbedding]:
        """Give them; every vocabulary of a call begins with the given classes."""
        return self.prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What one call asks for."""

    vocabulary: Vocabulary
    examples: _Encoded | None
    example_names: tuple[str, ...]
    refine: int
    refine_mode: RefineMode
    unlabelled: bool
    prompts: PromptKind


def _with_examples(classes: Classes, examples: Examples) -> Vocabulary:
    """Add the names that only example pictures tell of."""
    if examples and len(classes) == 0:
        return Vocabulary.of(list(examples))
    vocabulary = Vocabulary.of(classes)
    unknown = [ClassEntry(name) for name in examples if vocabulary.find(name) is None]
    return Vocabulary([*vocabulary, *unknown]) if unknown else vocabulary
