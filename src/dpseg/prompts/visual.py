"""Sources of visual prompts: example pictures of a thing, and the bank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dpseg.arrays import FloatArray, ImageArray
from dpseg.engines.protocol import Engine, VisualEmbedding
from dpseg.errors import ImageError, PromptError
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import CacheKey, PromptCache, hash_arrays
from dpseg.prompts.embedding import stack_rows, take_rows
from dpseg.prompts.examples import PictureLike, load_example, pictures_in
from dpseg.prompts.localize import localize_object
from dpseg.prompts.pooling import l2_normalize
from dpseg.prompts.regions import crops_for, encode_region
from dpseg.vocabulary import ClassEntry, Vocabulary

POOLING = "crop-2"  # changes when `encode_region` or `localize_object` would answer differently


class VisualPromptSource(Protocol):
    """Whatever gives classes visual prompts."""

    def prompts_for(self, vocabulary: Vocabulary) -> Mapping[int, VisualEmbedding]:
        """Give visual prompts.

        Args:
            vocabulary: the classes.

        Returns:
            Class index to one row a picture; a class that the source does not know is absent.
        """


class ExemplarSource:
    """Example pictures of classes.

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
        self._runtime = engine
        self._pictures = pictures
        self._cache = cache
        for name, examples in pictures.items():
            if isinstance(examples, tuple):  # may mean one picture with its mask, or two pictures
                raise PromptError(
                    f"examples of {name!r} are a tuple of {len(examples)}; give a list: "
                    "[(photo, mask)] for a picture with its mask, [photo, photo] for two pictures"
                )
            if isinstance(examples, (str, bytes)) or not isinstance(examples, Sequence):
                raise PromptError(f"examples of {name!r} are not a list of pictures")
            if not examples:
                raise PromptError(f"no example pictures of {name!r} were given")

    @classmethod
    def from_folder(
        cls, engine: Engine, folder: Path | str, cache: PromptCache | None = None
    ) -> ExemplarSource:
        """Take the pictures `NAME/*.jpg` of a folder, with their masks `NAME/*.mask.png`.

        Args:
            engine: the model that is to see them.
            folder: holds one folder a class.
            cache: where to look first, and where to leave what was encoded.

        Returns:
            The source.

        Raises:
            PromptError: the folder holds no such picture, or a class's folder is empty.
        """
        return cls(engine, pictures_in(folder), cache)

    def prompts_for(self, vocabulary: Vocabulary) -> Mapping[int, VisualEmbedding]:
        """Encode the examples of the vocabulary's classes.

        Raises:
            PromptError: a name is in no class, or a picture or its mask cannot be used.
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
        return {index: stack_rows(rows) for index, rows in found.items()}

    def _encode(self, entry: ClassEntry, example: PictureLike) -> VisualEmbedding:
        image, mask = load_example(example)
        how = POOLING if mask is not None else f"{POOLING} {'|'.join(entry.words)}"
        key = CacheKey(self._runtime.info.encoder_key, hash_arrays(image, mask), how)
        cached = self._cache.load(key) if self._cache is not None else None
        if cached is not None:
            return _from_arrays(cached)
        if mask is None:
            mask = localize_object(self._runtime, image, entry, self._cache)
        row = encode_region(self._runtime, image, mask)
        if self._cache is not None:
            self._cache.store(key, _to_arrays(row))
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
            samples: pictures H W 3 with label maps H W, indices into `names`.
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
        """Give the regions of the classes that the data set has."""
        positions = {name: vocabulary.find(name) for name in self._prompts}
        return {
            index: self._prompts[name] for name, index in positions.items() if index is not None
        }


class BankSource:
    """Prompts from a bank, for every class.

    Args:
        bank: where the prompts are.
        text_embedding: of the vocabulary that will be asked for, K M D.
    """

    def __init__(self, bank: PromptBank, text_embedding: FloatArray) -> None:
        self._bank = bank
        self._text_embedding = text_embedding

    def prompts_for(self, vocabulary: Vocabulary) -> Mapping[int, VisualEmbedding]:
        """Give each class its row of the bank, or a mixture of rows."""
        rows = self.rows_for(vocabulary)
        return {index: take_rows(rows, [index]) for index in range(len(vocabulary))}

    def rows_for(self, vocabulary: Vocabulary) -> VisualEmbedding:
        """Give the same as one embedding of K rows."""
        rows = [self._bank.find(entry) for entry in vocabulary]
        return self._bank.retrieve_rows(l2_normalize(self._text_embedding.mean(axis=1)), rows)


def _to_arrays(row: VisualEmbedding) -> dict[str, FloatArray]:
    levels = {f"level_wise.{level}": rows for level, rows in row.level_wise.items()}
    return {"class_wise": row.class_wise, "token_wise": row.token_wise, **levels}


def _from_arrays(arrays: Mapping[str, FloatArray]) -> VisualEmbedding:
    return VisualEmbedding(
        class_wise=arrays["class_wise"],
        level_wise={
            int(name.removeprefix("level_wise.")): rows
            for name, rows in arrays.items()
            if name.startswith("level_wise.")
        },
        token_wise=arrays["token_wise"],
    )
