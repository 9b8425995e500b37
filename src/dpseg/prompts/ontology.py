"""The prompt ontology: a vocabulary with all its prompts, text and visual, ready for a model.

Class-wise, level-wise and token-wise prompts of K classes, and for each visual prompt where it
came from. It does not change; atomic_write a prompt gives a new ontology.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from dpseg.arrays import BoolArray, FloatArray
from dpseg.engines.protocol import Engine, PromptArrays, VisualEmbedding
from dpseg.errors import PromptError
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.examples import PictureLike
from dpseg.prompts.pooling import pool_regions
from dpseg.prompts.tables import VisualTables
from dpseg.prompts.text import encode_classes, pad_tokens
from dpseg.prompts.visual import BankSource, ExemplarSource, VisualPromptSource
from dpseg.vocabulary import Vocabulary

PromptMode: TypeAlias = Literal["dual", "text", "visual"]
Origin: TypeAlias = Literal["example", "bank exact", "bank retrieved", "refined", "tuned"]
Examples: TypeAlias = "Mapping[str, Sequence[PictureLike]] | VisualPromptSource"


@dataclass(frozen=True)
class PromptOntology:
    """The prompts of K classes.

    Attributes:
        vocabulary: the classes.
        kind: which prompts the model gets to see.
        text_embedding: unit vectors, K M D.
        text_tokens: unit vectors, K L D.
        text_token_mask: K L.
        visual: the visual prompts, zero for a class without one.
        origins: where each visual prompt came from, K; None for a class without.
    """

    vocabulary: Vocabulary
    kind: PromptMode
    text_embedding: FloatArray
    text_tokens: FloatArray
    text_token_mask: BoolArray
    visual: VisualTables
    origins: tuple[Origin | None, ...]

    @classmethod
    def build(
        cls,
        engine: Engine,
        vocabulary: Vocabulary,
        *,
        bank: PromptBank | None = None,
        examples: Examples | None = None,
        cache: PromptCache | None = None,
        prompts: PromptMode = "dual",
    ) -> PromptOntology:
        """Make all prompts of a vocabulary.

        Example pictures outrank the bank.

        Args:
            engine: the model that is to use the prompts.
            vocabulary: the classes.
            bank: visual prompts for any word; must come from the same encoder.
            examples: pictures by class name, or any source of visual prompts.
            cache: where to look first, and where to leave what was encoded.
            prompts: `"dual"`, or one side only. `"visual"` needs a visual prompt for every class.

        Returns:
            The ontology.

        Raises:
            PromptError: an example, or the bank, cannot be used; or a class lacks its visual
                prompt.
        """
        text_embedding, text_tokens, text_token_mask = encode_classes(engine, vocabulary, cache)
        classes, templates, _ = text_embedding.shape
        origins: list[Origin | None] = [None] * classes
        visual: VisualTables | None = None
        if bank is not None:
            bank.check_encoder(engine.info.encoder_key)
            rows = BankSource(bank, text_embedding).rows_for(vocabulary)
            visual = VisualTables.of_rows(rows, templates)
            exact = [bank.find(entry) is not None for entry in vocabulary]
            origins = ["bank exact" if known else "bank retrieved" for known in exact]
        if examples is not None:
            if isinstance(examples, Mapping):
                examples = ExemplarSource(engine, examples, cache)
            shown = examples.prompts_for(vocabulary)
            if shown:
                found = VisualTables.of_pictures(list(shown.values()), templates)
                if visual is None:
                    like = next(iter(shown.values()))
                    visual = VisualTables.empty(classes, templates, like)
                visual = visual.blended(list(shown), found)
            for index in shown:
                origins[index] = "example"
        if visual is None:
            visual = VisualTables.empty(classes, templates, _blank_prompt(engine))
        dual = cls(
            vocabulary=vocabulary,
            kind="dual",
            text_embedding=text_embedding,
            text_tokens=text_tokens,
            text_token_mask=text_token_mask,
            visual=visual,
            origins=tuple(origins),
        )
        return dual.seen_as(prompts)

    def seen_as(self, kind: PromptMode) -> PromptOntology:
        """Let the model see both sides of the prompts, or one.

        Args:
            kind: `"dual"`, `"text"` or `"visual"`.

        Returns:
            An ontology of the same prompts.

        Raises:
            PromptError: there is no such kind, or `"visual"` lacks the prompt of a class.
        """
        if kind not in ("dual", "text", "visual"):
            raise PromptError(f"prompts is {kind!r}; give 'dual', 'text' or 'visual'")
        entries = zip(self.vocabulary, self.origins, strict=True)
        lacking = [entry.name for entry, origin in entries if origin is None]
        if kind == "visual" and lacking:
            raise PromptError(f"visual prompts alone need a picture of each class; none: {lacking}")
        return replace(self, kind=kind)

    @cached_property
    def arrays(self) -> PromptArrays:
        """The prompts as a model consumes them, with the side that is off left out.

        Text only: no class has a visual prompt. Visual only: the visual embedding stands in for
        the text embedding, so that their mean is the visual one, and no text token is there.
        """
        has_visual = np.array([origin is not None for origin in self.origins])
        only_visual = self.kind == "visual"
        return PromptArrays(
            text_embedding=self.visual.embedding if only_visual else self.text_embedding,
            visual_embedding=self.visual.embedding,
            visual_features=self.visual.features,
            text_tokens=self.text_tokens,
            text_token_mask=self.text_token_mask & (not only_visual),
            visual_tokens=self.visual.tokens,
            visual_mask=has_visual & (self.kind != "text"),
        )

    def select(self, classes: Sequence[int]) -> PromptOntology:
        """Keep some of the classes, in the order given."""
        index = np.asarray(classes, np.intp)
        return PromptOntology(
            vocabulary=Vocabulary([self.vocabulary[row] for row in classes]),
            kind=self.kind,
            text_embedding=self.text_embedding[index],
            text_tokens=self.text_tokens[index],
            text_token_mask=self.text_token_mask[index],
            visual=self.visual.select(classes),
            origins=tuple(self.origins[row] for row in classes),
        )

    def joined(self, other: PromptOntology) -> PromptOntology:
        """Put further classes behind these.

        Args:
            other: their prompts, of the same model and kind.

        Returns:
            A new ontology of all classes.

        Raises:
            VocabularyError: a class is in both.
            ShapeError: the prompts come from another model.
        """
        length = max(self.text_tokens.shape[1], other.text_tokens.shape[1])
        text_tokens = [pad_tokens(part.text_tokens, length) for part in (self, other)]
        text_token_masks = [pad_tokens(part.text_token_mask, length) for part in (self, other)]
        return PromptOntology(
            vocabulary=Vocabulary([*self.vocabulary, *other.vocabulary]),
            kind=self.kind,
            text_embedding=np.concatenate([self.text_embedding, other.text_embedding]),
            text_tokens=np.concatenate(text_tokens),
            text_token_mask=np.concatenate(text_token_masks),
            visual=self.visual.joined(other.visual),
            origins=(*self.origins, *other.origins),
        )

    def replace_visual(
        self, index: int, visual: VisualEmbedding, weight: float = 1.0
    ) -> PromptOntology:
        """Give a class a new visual prompt, or move its old one towards the new one.

        Args:
            index: the class.
            visual: one row a picture.
            weight: share of the new prompt; the rest is the old one, or the text embedding if
                there was none.

        Returns:
            A new ontology; this one stays as it is.

        Raises:
            PromptError: the weight is not in [0, 1], or there is no such class.
            ShapeError: the prompt comes from another model.
        """
        return self._replaced(
            [index], VisualTables.of_pictures([visual], self.text_embedding.shape[1]), weight
        )

    def replace_rows(
        self, indices: Sequence[int], rows: VisualEmbedding, weight: float = 1.0
    ) -> PromptOntology:
        """Do `replace_visual` for several classes at once, one picture each.

        Args:
            indices: N different classes.
            rows: N rows.
            weight: share of the new prompts.

        Returns:
            A new ontology.
        """
        return self._replaced(
            indices, VisualTables.of_rows(rows, self.text_embedding.shape[1]), weight
        )

    def _replaced(
        self, indices: Sequence[int], found: VisualTables, weight: float
    ) -> PromptOntology:
        if not 0 <= weight <= 1:
            raise PromptError(f"weight is {weight}; it must lie in [0, 1]")
        count = len(self.vocabulary)
        outside = [index for index in indices if not 0 <= index < count]
        if outside:
            raise PromptError(f"no class {outside[0]}; there are {count}")
        origins = list(self.origins)
        bare = [index for index in indices if origins[index] is None]
        for index in indices:
            origins[index] = "refined"
        embedding = self.visual.embedding.copy()
        embedding[bare] = self.text_embedding[bare]  # else a bare class would leap ahead of others
        start = replace(self.visual, embedding=embedding)
        visual = start.blended(indices, found, weight)
        return replace(self, visual=visual, origins=tuple(origins))


def _blank_prompt(engine: Engine) -> VisualEmbedding:
    """A prompt of an empty picture, for the shapes of a model that no other prompt tells."""
    side = 2 * engine.info.stride
    features = engine.encode_prompt(np.zeros((side, side, 3), np.uint8))
    return pool_regions(features, np.ones((1, 1, 1), np.float32))
