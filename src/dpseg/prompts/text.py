"""Text prompts: class names, their synonyms and descriptions, through the text encoder.

Class-wise, every word of a class goes through every template, and the words of a template are
averaged. Token-wise, the words stand alone: a template's own words say nothing of the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dpseg.arrays import BoolArray, FloatArray
from dpseg.engines.protocol import Engine
from dpseg.errors import ShapeError
from dpseg.prompts.cache import Arrays, CacheKey, PromptCache, hash_text
from dpseg.prompts.pooling import l2_normalize
from dpseg.prompts.templates import GAP, check_templates, fill
from dpseg.vocabulary import ClassEntry, Vocabulary

_NO_TOKENS = "no tokens"  # in the key of an entry without them
MAX_TOKENS = 16  # L at most; the name's own tokens come first
BATCH = 256  # sentences a call of the encoder


def encode_classes(
    engine: Engine, vocabulary: Vocabulary, cache: PromptCache | None = None
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Make the text prompts of a vocabulary.

    Args:
        engine: whose text encoder and templates to use.
        vocabulary: K classes.
        cache: where to look first, and where to leave what was encoded.

    Returns:
        Class-wise unit vectors K M D, token-wise unit vectors K L D, which tokens are there K L.
    """
    if not engine.info.synonyms:
        vocabulary = Vocabulary([replace(entry, synonyms=()) for entry in vocabulary])
    texts = list(dict.fromkeys(text for entry in vocabulary for text in _texts_of(entry)))
    encoded = dict(zip(texts, encode_texts(engine, texts, cache), strict=True))
    class_wise, token_lists = [], []
    for entry in vocabulary:
        parts = [encoded[text]["class_wise"] for text in _texts_of(entry)]
        class_wise.append(l2_normalize(np.mean(parts, axis=0)))  # M D
        tokens = [encoded[word]["token_wise"] for word in entry.words]
        token_lists.append(np.concatenate(tokens)[:MAX_TOKENS])  # l D
    text_tokens, text_token_mask = _padded(token_lists)
    return np.stack(class_wise), text_tokens, text_token_mask


def encode_texts(
    engine: Engine,
    texts: Sequence[str],
    cache: PromptCache | None = None,
    *,
    templates: Sequence[str] = (),
) -> list[Arrays]:
    """Encode words or descriptions, each in every template and, for its tokens, alone.

    Args:
        engine: whose text encoder and templates to use.
        texts: N different texts.
        cache: where to look first, and where to leave what was encoded.
        templates: M others than the model's.

    Returns:
        For each text `class_wise` (unit vectors, M D) and `token_wise` (its own tokens, l D; none
        where token-wise prompts do not take part).
    """
    templates = check_templates(templates or engine.info.templates)
    found: list[Arrays | None] = [None] * len(texts)
    keys = [_key(engine, text, templates) for text in texts]
    if cache is not None:
        found = [cache.load(key) for key in keys]
    missing = [index for index, entry in enumerate(found) if entry is None]
    fresh = _encode(engine, [texts[index] for index in missing], templates)
    for index, entry in zip(missing, fresh, strict=True):
        found[index] = entry
        if cache is not None:
            cache.store(keys[index], entry)
    return [entry for entry in found if entry is not None]


def _texts_of(entry: ClassEntry) -> tuple[str, ...]:
    return entry.words if entry.description is None else (*entry.words, entry.description)


def _key(engine: Engine, text: str, templates: Sequence[str]) -> CacheKey:
    whole = templates if engine.info.token_wise else (*templates, _NO_TOKENS)
    return CacheKey(engine.info.encoder_key, hash_text(text), "\n".join(whole))


def _encode(engine: Engine, texts: Sequence[str], templates: Sequence[str]) -> list[Arrays]:
    """Encode each text in every template and alone, each different sentence once."""
    alone = (GAP,) if engine.info.token_wise else ()
    wanted = [fill(template, text) for text in texts for template in (*templates, *alone)]
    position = {sentence: index for index, sentence in enumerate(dict.fromkeys(wanted))}
    sentences = list(position)
    vectors: list[FloatArray] = []
    tokens: list[FloatArray] = []
    for start in range(0, len(sentences), BATCH):
        batch = sentences[start : start + BATCH]
        output = engine.encode_text(batch)
        if len(output.class_wise) != len(batch):
            raise ShapeError(f"{len(batch)} sentences gave {len(output.class_wise)} embeddings")
        vectors += list(output.class_wise)
        tokens += [
            row[mask][:MAX_TOKENS]
            for row, mask in zip(output.token_wise, output.token_mask, strict=True)
        ]
    entries: list[Arrays] = []
    for text in texts:
        rows = [vectors[position[fill(template, text)]] for template in templates]
        own = (
            tokens[position[fill(GAP, text)]] if alone else np.zeros((0, rows[0].size), np.float32)
        )
        entries.append({"class_wise": np.stack(rows), "token_wise": own})
    return entries


def _padded(token_lists: Sequence[FloatArray]) -> tuple[FloatArray, BoolArray]:
    """Bring token lists to one length, at least 1: K L D and K L."""
    length = max(1, max(len(tokens) for tokens in token_lists))
    dimension = token_lists[0].shape[1]
    padded = np.zeros((len(token_lists), length, dimension), np.float32)
    mask = np.zeros((len(token_lists), length), np.bool_)
    for index, tokens in enumerate(token_lists):
        padded[index, : len(tokens)] = tokens
        mask[index, : len(tokens)] = True
    return padded, mask
