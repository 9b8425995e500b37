"""From a vocabulary to its `PromptSet`: the dual-prompt ontology, text and visual, of K classes.

A class's text prompts come from its words. Its visual prompts come from examples, else
from the bank, which answers any word. What changes a set gives a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from dpseg.arrays import AnyArray, PromptSet
from dpseg.engines.protocol import Engine
from dpseg.errors import PromptError, ShapeError
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.blend import blend, fill_templates, gather_tokens, match_tokens
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.pooling import VisualEmbedding, pool_regions
from dpseg.prompts.text import encode_classes
from dpseg.prompts.visual import bank_rows
from dpseg.vocabulary import Vocabulary

PromptMode: TypeAlias = Literal["dual", "text", "visual"]


def build_prompts(
    engine: Engine,
    vocabulary: Vocabulary,
    *,
    bank: PromptBank | None = None,
    pictures: Mapping[int, VisualEmbedding] | None = None,
    cache: PromptCache | None = None,
) -> PromptSet[AnyArray]:
    """Make the prompts of a vocabulary.

    Examples outrank the bank.

    Args:
        engine: the model that is to use the prompts.
        vocabulary: K classes.
        bank: visual prompts for any word; must come from the same encoder.
        pictures: of some classes, class index to one row an example; see `VisualPromptSource`.
        cache: where to look first, and where to leave what was encoded.

    Returns:
        The prompts.

    Raises:
        PromptError: the bank is of another encoder.
        ShapeError: the examples are.
    """
    text_embedding, text_tokens, text_token_mask = encode_classes(engine, vocabulary, cache)
    pictures = pictures or {}
    if bank is not None:
        bank.check_encoder(engine.info.encoder_key)
        rows = bank_rows(bank, vocabulary, text_embedding)
    else:
        rows = _nothing(len(vocabulary), next(iter(pictures.values()), None) or _blank(engine))
    templates = text_embedding.shape[1]
    prompts: PromptSet[AnyArray] = PromptSet(
        text_embedding=text_embedding,
        text_tokens=text_tokens,
        text_token_mask=text_token_mask,
        visual_embedding=_in_slots(rows.class_wise, templates),
        visual_features={j: _in_slots(one, templates) for j, one in rows.level_wise.items()},
        visual_tokens=rows.token_wise,
        visual_mask=np.full(len(vocabulary), bank is not None),
    )
    return show_pictures(prompts, list(pictures), list(pictures.values()))


def show_pictures(
    prompts: PromptSet[AnyArray],
    classes: Sequence[int],
    pictures: Sequence[VisualEmbedding],
    weight: float = 1.0,
) -> PromptSet[AnyArray]:
    """Move the visual prompts of N classes towards examples of them.

    Args:
        prompts: of K classes.
        classes: N different indices.
        pictures: for each of the N classes one row an example.
        weight: share of the examples, in [0, 1]; the rest is what stood there. Where nothing
            stood, the class-wise prompt moves from the text embedding, or a class without
            a visual prompt would outscore others, and the rest is taken whole.

    Returns:
        New prompts; the same object for no class.

    Raises:
        PromptError: the weight is not in [0, 1], or there is no such class.
        ShapeError: the examples were encoded by another model.
    """
    if not 0 <= weight <= 1:
        raise PromptError(f"weight is {weight}; it must lie in [0, 1]")
    outside = [index for index in classes if not 0 <= index < len(prompts)]
    if outside:
        raise PromptError(f"no class {outside[0]}; there are {len(prompts)}")
    if not classes:
        return prompts
    for picture in pictures:
        _check_model(prompts, picture)
    index = np.asarray(classes, np.intp)
    templates = prompts.text_embedding.shape[1]
    stood = np.where(
        prompts.visual_mask[index, None, None],
        prompts.visual_embedding[index],
        prompts.text_embedding[index],
    )
    found = np.stack([fill_templates(one.class_wise, templates) for one in pictures])  # N M D
    embedding = prompts.visual_embedding.copy()
    embedding[index] = blend(stood, found, weight)
    features = {level: table.copy() for level, table in prompts.visual_features.items()}
    for level, table in features.items():
        found = np.stack([fill_templates(one.level_wise[level], templates) for one in pictures])
        table[index] = blend(table[index], found, weight)
    tokens, mask = prompts.visual_tokens.copy(), prompts.visual_mask.copy()
    slots = np.arange(tokens.shape[1]) % pictures[0].token_wise.shape[1]
    anchor = np.stack([gather_tokens(one.token_wise) for one in pictures])[:, slots]  # N P D
    tokens[index] = blend(match_tokens(anchor, tokens[index]), anchor, weight)
    mask[index] = True
    return replace(
        prompts,
        visual_embedding=embedding,
        visual_features=features,
        visual_tokens=tokens,
        visual_mask=mask,
    )


def in_mode(prompts: PromptSet[AnyArray], mode: PromptMode) -> PromptSet[AnyArray]:
    """Keep both sides of the prompts, or one.

    Args:
        prompts: both sides.
        mode: `"text"`: no class has a visual prompt. `"visual"`: the visual embedding stands in
            for the text embedding, so that their mean is the visual one, and no text token is
            there; every class needs a visual prompt.

    Returns:
        The prompts as the network is to use them.
    """
    if mode == "text":
        return replace(prompts, visual_mask=np.zeros_like(prompts.visual_mask))
    if mode == "visual":
        return replace(
            prompts,
            text_embedding=prompts.visual_embedding,
            text_token_mask=np.zeros_like(prompts.text_token_mask),
        )
    return prompts


def repeat_templates(prompts: PromptSet[AnyArray], count: int) -> PromptSet[AnyArray]:
    """Let the first few templates take the slots of all M, round-robin.

    Args:
        prompts: of K classes.
        count: different templates that stay, 1 to M.

    Raises:
        PromptError: there are not so many.
    """
    templates = prompts.text_embedding.shape[1]
    if not 1 <= count <= templates:
        raise PromptError(f"{count} templates are asked for; the model has {templates}")
    slots = np.arange(templates) % count
    return replace(
        prompts,
        text_embedding=prompts.text_embedding[:, slots],
        visual_embedding=prompts.visual_embedding[:, slots],
        visual_features={j: table[:, slots] for j, table in prompts.visual_features.items()},
    )


def _in_slots(rows: AnyArray, templates: int) -> AnyArray:
    """Give every template slot the class's one example, K C to K M C."""
    return np.repeat(rows[:, None], templates, axis=1)


def _nothing(classes: int, like: VisualEmbedding) -> VisualEmbedding:
    """Make zero rows of K classes, in the shapes of a model's prompts."""
    return VisualEmbedding(
        class_wise=np.zeros((classes, *like.class_wise.shape[1:]), np.float32),
        level_wise={
            level: np.zeros((classes, *rows.shape[1:]), np.float32)
            for level, rows in like.level_wise.items()
        },
        token_wise=np.zeros((classes, *like.token_wise.shape[1:]), np.float32),
    )


def _blank(engine: Engine) -> VisualEmbedding:
    """Encode an empty image, for the shapes of a model that no other prompt tells."""
    side = 2 * engine.info.stride
    features = engine.encode_prompt(np.zeros((side, side, 3), np.uint8))
    return pool_regions(features, np.ones((1, 1, 1), np.float32))


def _check_model(prompts: PromptSet[AnyArray], picture: VisualEmbedding) -> None:
    expected = {j: table.shape[-1] for j, table in prompts.visual_features.items()}
    found = {j: rows.shape[-1] for j, rows in picture.level_wise.items()}
    dimensions = prompts.visual_embedding.shape[-1], picture.class_wise.shape[-1]
    if dimensions[0] != dimensions[1] or expected != found:
        raise ShapeError(
            f"prompts of different models: {dimensions[0]}, {expected} and {dimensions[1]}, {found}"
        )
