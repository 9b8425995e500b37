"""Sources of visual prompts: examples of a thing, and the bank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dpseg.arrays import FloatArray, ImageArray, concat_records, from_tensors, to_tensors
from dpseg.engines.protocol import Engine
from dpseg.errors import ImageError, PromptError
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import CacheKey, PromptCache, hash_arrays
from dpseg.prompts.examples import PictureLike, load_example
from dpseg.prompts.localize import localize_object
from dpseg.prompts.pooling import VisualEmbedding, l2_normalize
from dpseg.prompts.regions import crops_for, encode_region
from dpseg.vocabulary import ClassEntry, Vocabulary

POOLING = "crop-3"  # changes when `encode_region` or `localize_object` would answer differently


class VisualPromptSource(Protocol):
    """Whatever gives classes visual prompts."""

    def prompts_for(self, vocabulary: Vocabulary) -> Mapping[int, VisualEmbedding]:
        """Return visual prompts.

        Args:
            vocabulary: the classes.

        Returns:
            Class index to one row an example; a class that the source does not know is absent.
        """


class ExemplarSource:
    """Examples of classes.

    Args:
        engine: the model that is to see them.
        pictures: class name (or synonym) to photos, or to pairs of photo and mask.
        cache: where to look first, and where to leave what was encoded.
    """

    def __init__(
        self,
        engine: Engine,
        pictures: Mapping[str, Sequence[PictureLike]],
        cache: PromptCache | None = None,
    ) -> None:
        self._engine = engine
        self._pictures = pictures
        self._cache = cache
        if not isinstance(pictures, Mapping) or not all(isinstance(name, str) for name in pictures):
            raise PromptError("examples are not lists of pictures by names, {name: [photo, ...]}")
        for name, examples in pictures.items():
            if isinstance(examples, tuple):  # may mean one example with its mask, or two examples
                raise PromptError(
                    f"examples of {name!r} are a tuple of {len(examples)}; give a list: "
                    "[(photo, mask)] for a picture with its mask, [photo, photo] for two pictures"
                )
            if isinstance(examples, (str, bytes)) or not isinstance(examples, Sequence):
                raise PromptError(f"examples of {name!r} are not a list of pictures")
            if not examples:
                raise PromptError(f"no example pictures of {name!r} were given")

    def prompts_for(self, vocabulary: Vocabulary) -> Mapping[int, VisualEmbedding]:
        """Encode the examples of the vocabulary's classes.

        Raises:
            PromptError: a name is in no class, or an example or its mask cannot be used.
        """
        found: dict[int, list[VisualEmbedding]] = {}
        for name, examples in self._pictures.items():
            index = vocabulary.find(name)
            if index is None:
                raise PromptError(
                    f"examples are given for {name!r}, which is none of the classes "
                    f"{', '.join(vocabulary.names[:20])}"
                )
            for number, example in enumerate(examples, start=1):
                try:
                    row = self._encode(vocabulary[index], example)
                except (ImageError, PromptError) as error:
                    raise PromptError(f"example {number} of {name!r}: {error}") from error
                found.setdefault(index, []).append(row)
        return {index: concat_records(rows) for index, rows in found.items()}

    def _encode(self, entry: ClassEntry, example: PictureLike) -> VisualEmbedding:
        image, mask = load_example(example)
        how = POOLING if mask is not None else f"{POOLING} {'|'.join(entry.words)}"
        key = CacheKey(self._engine.info.encoder_key, hash_arrays(image, mask), how)
        cached = self._cache.load(key) if self._cache is not None else None
        if cached is not None:
            return from_tensors(VisualEmbedding, cached)
        if mask is None:
            mask = localize_object(self._engine, image, entry, self._cache)
        row = encode_region(self._engine, image, mask)
        if self._cache is not None:
            self._cache.store(key, to_tensors(row))
        return row


class CropSource:
    """Regions of a labelled data set, by class name.

    Args:
        prompts: class name to one row a region.
    """

    def __init__(self, prompts: Mapping[str, VisualEmbedding]) -> None:
        self._prompts = prompts

    @classmethod
    def from_samples(
        cls,
        engine: Engine,
        samples: Iterable[tuple[ImageArray, npt.NDArray[np.integer]]],
        names: Sequence[str],
        *,
        wanted: Iterable[str] | None = None,
        per_class: int = 3,
    ) -> CropSource:
        """Take the first few regions of each class.

        Args:
            engine: the model that is to see them.
            samples: images H W 3 with label maps H W, indices into `names`.
            names: of the data set's classes.
            wanted: the names to find; None for all.
            per_class: regions a class.

        Returns:
            The source.
        """
        chosen = set(names if wanted is None else wanted)
        indices = [index for index, name in enumerate(names) if name in chosen]
        found = crops_for(engine, samples, indices, per_class=per_class)
        return cls({names[index]: rows for index, rows in found.items()})

    def prompts_for(self, vocabulary: Vocabulary) -> Mapping[int, VisualEmbedding]:
        """Return the regions of the classes that the data set has."""
        positions = {name: vocabulary.find(name) for name in self._prompts}
        return {
            index: self._prompts[name] for name, index in positions.items() if index is not None
        }


def bank_rows(
    bank: PromptBank, vocabulary: Vocabulary, text_embedding: FloatArray
) -> VisualEmbedding:
    """Take each class's row of a bank, or a mixture of rows for a class that it lacks.

    Args:
        bank: where the prompts are.
        vocabulary: K classes.
        text_embedding: of the classes, K M D.

    Returns:
        K rows.
    """
    rows = [bank.find(entry) for entry in vocabulary]
    return bank.retrieve_rows(l2_normalize(text_embedding.mean(axis=1)), rows)
