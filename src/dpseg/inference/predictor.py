"""The one path from a photo and prompts to labels: encode once, predict as often as asked.

`Segmenter`, evaluation, folders, maps, videos and the service all go through here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from dpseg.arrays import AnyArray, FloatArray, ImageArray, LabelArray, PromptSet
from dpseg.engines.blas_threads import one_blas_thread
from dpseg.engines.detector import Detector
from dpseg.engines.protocol import Engine
from dpseg.errors import PromptError
from dpseg.explain import Evidence
from dpseg.imaging.tiling import DEFAULT_RULES, TilingRules, View, merge_labels, merge_scores
from dpseg.inference.auto_names import AUTO, own_in_english
from dpseg.inference.box_evidence import BoxHints, BoxReader
from dpseg.inference.correction_evidence import CorrectionHints
from dpseg.inference.distractors import Distractors
from dpseg.inference.encoded_photo import EncodedPhoto, encode_photos
from dpseg.inference.hypernyms import with_hypernyms
from dpseg.inference.negatives import WITHOUT_NEGATIVES, raise_negatives, with_negatives
from dpseg.inference.options import DEFAULT_OPTIONS, Protocol, SegmentOptions
from dpseg.inference.outlines import snap_scores
from dpseg.inference.query import Query
from dpseg.inference.scoring import ViewScorer, ViewScores
from dpseg.inference.things import part_things
from dpseg.inference.unlabelled import DEFAULT_UNLABELLED, UnlabelledRules, leave_unlabelled
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.pooling import VisualEmbedding, l2_normalize
from dpseg.prompts.prompt_set import build_prompts, in_mode, repeat_templates
from dpseg.prompts.refine import found_classes, is_still, refine_prompts
from dpseg.prompts.tuned import TunedPrompts
from dpseg.segmentation import Segmentation
from dpseg.vocabulary import Vocabulary


class Predictor:
    """A model with its bank, cache and rules.

    Args:
        engine: the loaded model.
        bank: visual prompts of many names, or None.
        cache: where prompt embeddings are kept; None for the usual folder.
        tiling: when and how large photos are cut into tiles.
        unlabelled_rules: how readily pixels are left unlabelled.
        detector: whose boxes speak for names beside the model; None for none.
    """

    def __init__(
        self,
        engine: Engine,
        bank: PromptBank | None = None,
        *,
        cache: PromptCache | None = None,
        tiling: TilingRules = DEFAULT_RULES,
        unlabelled_rules: UnlabelledRules = DEFAULT_UNLABELLED,
        detector: Detector | None = None,
    ) -> None:
        self.engine = engine
        self.cache = cache or PromptCache()
        self.detector = detector
        self._bank = bank
        self._tiling = tiling
        self._rules = unlabelled_rules
        self._distractors = Distractors(engine, bank, cache=self.cache, rules=unlabelled_rules)
        self._box_reader = None if detector is None else BoxReader(detector, self._embed_names)

    @one_blas_thread
    def prepare(
        self,
        vocabulary: Vocabulary,
        options: SegmentOptions = DEFAULT_OPTIONS,
        *,
        negatives: Vocabulary | None = None,
        pictures: Mapping[int, VisualEmbedding] | None = None,
        tuned: TunedPrompts | None = None,
        own: int | None = None,
    ) -> Query:
        """Encode the prompts of some classes.

        Args:
            vocabulary: the classes.
            options: everything else that is asked.
            negatives: classes that compete and are never shown.
            pictures: of some classes, class index to one row a picture; negatives come behind.
            tuned: outranks names and pictures of the classes that it holds.
            own: so many of the classes are looked for in every photo, and the others where it
                shows them; None for all in every photo.

        Returns:
            What `predict` takes.

        Raises:
            PromptError: the tuned prompts are of another model, visual prompts alone are asked
                for and a class has none, or presence is needed of a model that does not tell it.
            VocabularyError: a name is both a class and a negative, or two mean the same.
        """
        if (options.min_presence or own is not None) and not self.engine.info.photo_bias:
            name, what = self.engine.info.name, AUTO if own is not None else "min_presence"
            raise PromptError(f"{name} does not tell presence; it cannot do {what}.")
        named = with_negatives(vocabulary, negatives)
        given = len(vocabulary)
        english = own_in_english(named, given if own is None else own, given, options.language)
        asked = english
        if self._bank is not None and options.hypernyms:
            asked = with_hypernyms(english, self._bank)
        prompts = build_prompts(
            self.engine, asked, bank=self._bank, pictures=pictures, cache=self.cache
        )
        if tuned is not None:
            prompts = tuned.applied(prompts, named, self.engine.info.encoder_key)
        if options.prompts == "visual" and not prompts.visual_mask.all():
            bare = [named.names[index] for index in np.flatnonzero(~prompts.visual_mask)]
            raise PromptError(f"visual prompts alone need a picture of each class; none: {bare}")
        return Query(
            predictor=self,
            vocabulary=vocabulary,
            named=named,
            english=english,
            prompts=prompts,
            options=options,
            shown=tuple(named.names[index] for index in pictures or ()),
            own=own,
        )

    def encode(
        self, photo: ImageArray, protocol: Protocol = "dpseg", *, scale: float = 1.0
    ) -> EncodedPhoto:
        """Look at a photo, H W 3; what is asked of it may change afterwards.

        Args:
            photo: H W 3.
            protocol: `"sed"` squashes the photo to a square, whatever its aspect.
            scale: of the photo to its file, for the record.
        """
        return self.encode_several([(photo, scale)], protocol)[0]

    def encode_several(
        self, photos: Sequence[tuple[ImageArray, float]], protocol: Protocol = "dpseg"
    ) -> list[EncodedPhoto]:
        """Look at several photos, H W 3 each with its scale, as `encode` at each."""
        return encode_photos(self.engine, photos, self._tiling, protocol)

    @one_blas_thread
    def predict(self, encoded: EncodedPhoto, query: Query) -> Segmentation:
        """Segment one photo.

        Args:
            encoded: the photo, as this model saw it.
            query: what is asked.

        Returns:
            The result, with the evidence that explains it.
        """
        options, given = query.options, len(query.vocabulary)
        distractors = self._distractors_in(encoded, query)
        prompts = query.prompts
        if distractors:
            prompts = prompts.concat(self._distractors.prompts(distractors))
        hints = self._look_for_boxes(encoded, query, distractors)
        said = None
        if query.corrections is not None:
            said = CorrectionHints(query.corrections, query.named, encoded.photo)
        scorer = ViewScorer(self.engine, encoded, options, given, boxes=hints, corrections=said)
        views, rounds = scorer.first(_as_asked(prompts, options)), 0
        if options.refine and options.prompts != "text":
            views, prompts, rounds = self._refine(encoded, query, prompts, scorer, views)
        if options.snap and options.protocol == "dpseg":
            views = replace(views, scores=snap_scores(views.scores, encoded.images))
        low = merge_scores(views.scores, encoded.views, encoded.size_hw, self._tiling)
        result = Segmentation(
            photo=encoded.photo,
            labels=self._label(encoded, query, views),
            classes=query.classes,
            scores=low[:given],
            presence=self._presence(query, views),
            settings={
                "model": self.engine.info.name,
                "prompts": options.prompts,
                "examples": list(query.shown),
                "not_classes": list(query.negatives),
                "corrections": 0 if query.corrections is None else len(query.corrections),
                "english": query.translations,
                "unlabelled": options.unlabelled,
                "snap": options.snap,
                "detector": self.detector.title if self.detector and hints else None,
                "distractors": distractors,
                "rivals": distractors,  # the word of earlier releases
                "refine_mode": options.refine_mode if options.refine else None,
                "refine_rounds": rounds,
                "views": len(encoded.views),
                "scale": encoded.scale,
            },
            evidence=Evidence(
                names=(*query.named.names, *distractors),
                given=given,
                negatives=len(query.negatives),
                scores=low,
                views=tuple(encoded.views),
                image_embeddings=tuple(one.image_embedding for one in encoded.features),
                prompts=_as_asked(prompts, options),
                boxes=None if hints is None else hints.boxes,
                box_names=() if hints is None else hints.names,
                encoder_key=self.engine.info.encoder_key,
                corrections=query.corrections,
            ),
        )
        if not options.things:
            return result
        return part_things(result, query.english[:given], options.stuff)

    def label(
        self,
        by_view: Sequence[FloatArray],
        views: Sequence[View],
        photo_hw: tuple[int, int],
        *,
        given: int,
        negatives: int = 0,
        unlabelled: bool = True,
    ) -> LabelArray:
        """Turn the scores of all views into labels.

        Args:
            by_view: scores in [0, 1] of every view, K h w each.
            views: the parts of the photo.
            photo_hw: size of the label map.
            given: only the first `given` of the K classes may win.
            negatives: so many classes behind them are not wanted; the others are distractors.
            unlabelled: leave pixels without a label where no class convinces.

        Returns:
            The winning class of each pixel, -1 for unlabelled, H W.
        """
        decide = WITHOUT_NEGATIVES if negatives else None
        if unlabelled:
            margin = self._rules.margin
            decide = partial(leave_unlabelled, threshold=self._needed_score(given), margin=margin)
            if negatives:
                by_view = raise_negatives(by_view, slice(given, given + negatives), margin)
        return merge_labels(by_view, views, photo_hw, kept=given, decide=decide, rules=self._tiling)

    def _distractors_in(self, encoded: EncodedPhoto, query: Query) -> list[str]:
        """Choose the names that compete with the given ones in this photo."""
        without_pictures = query.options.prompts == "visual" and self._bank is None
        if not query.options.unlabelled or without_pictures:
            return []
        wanted = query.prompts.text_embedding[: len(query.vocabulary)]
        return self._distractors.in_photo(
            Vocabulary(query.english[: len(wanted)]),  # a negative drives no distractor out
            l2_normalize(wanted.mean(axis=1)),
            encoded.features[0].image_embedding,
        )

    def _look_for_boxes(
        self, encoded: EncodedPhoto, query: Query, distractors: Sequence[str]
    ) -> BoxHints | None:
        """Let the detector speak of the given names, and against the distractors."""
        if self._box_reader is None or not query.options.detector:
            return None
        classes = self._box_reader.known(
            query.english, l2_normalize(query.prompts.text_embedding.mean(axis=1))
        )
        if distractors:
            others = self._box_reader.known(
                Vocabulary.of(distractors), self._embed_names(distractors)
            )
            classes += [known and known.as_distractor() for known in others]
        boxes = self._box_reader.look(encoded.images, encoded.views, encoded.size_hw)
        return BoxHints(boxes, classes)

    def _embed_names(self, names: Sequence[str]) -> FloatArray:
        """Embed common names, N D; each is encoded once."""
        text_embedding = self._distractors.prompts(names).text_embedding
        return l2_normalize(text_embedding.mean(axis=1))

    def _refine(
        self,
        encoded: EncodedPhoto,
        query: Query,
        prompts: PromptSet[AnyArray],
        scorer: ViewScorer,
        views: ViewScores,
    ) -> tuple[ViewScores, PromptSet[AnyArray], int]:
        """Let what was found in the global view become its own prompt, round by round.

        Returns:
            The last scores, their prompts, and how many rounds changed them.
        """
        options, crop = query.options, query.options.refine_mode == "crop"
        low, positions = self._found(encoded, query, views)
        for done in range(options.refine):
            refined = refine_prompts(
                prompts,
                encoded.images[0] if crop else encoded.features[0],
                positions,
                low,
                engine=self.engine,
                settings=options.refinement,
            )
            if refined is prompts:
                return views, prompts, done
            prompts, before = refined, positions
            views = scorer.again(_as_asked(prompts, options), views, found_classes(before))
            low, positions = self._found(encoded, query, views)
            if is_still(before, positions):
                return views, prompts, done + 1
        return views, prompts, options.refine

    def _found(
        self, encoded: EncodedPhoto, query: Query, views: ViewScores
    ) -> tuple[FloatArray, LabelArray]:
        """Blend the views at low resolution, K h w, and find what wins where, h w."""
        low = merge_scores(views.scores, encoded.views, encoded.size_hw, self._tiling)
        positions: LabelArray = low.argmax(axis=0).astype(np.int32)  # distractors are classes here
        if query.options.unlabelled:
            positions[low.max(axis=0) < self._needed_score(len(query.vocabulary))] = -1
        return low, positions

    def _label(self, encoded: EncodedPhoto, query: Query, views: ViewScores) -> LabelArray:
        labels = self.label(
            views.scores,
            encoded.views,
            encoded.size_hw,
            given=len(query.vocabulary),
            negatives=len(query.negatives),
            unlabelled=query.options.unlabelled,
        )
        absent = np.flatnonzero(views.presence < query.options.min_presence)
        labels[np.isin(labels, absent)] = -1  # where no name is left, one that is absent won
        return labels

    def _presence(self, query: Query, views: ViewScores) -> dict[str, float]:
        """Name the probabilities; none for models on whose logits they were not calibrated."""
        if not self.engine.info.photo_bias:
            return {}
        return dict(zip(query.classes, views.presence.tolist(), strict=True))

    def _needed_score(self, names: int) -> float:
        return self._rules.needed_score(self.engine.info.score_threshold, names)


def _as_asked(prompts: PromptSet[AnyArray], options: SegmentOptions) -> PromptSet[AnyArray]:
    """Leave out the side and the templates that are switched off."""
    if options.templates is not None:
        prompts = repeat_templates(prompts, options.templates)
    return in_mode(prompts, options.prompts)
