"""Label maps of one model in several configurations, through the path that users run.

Each image is encoded once; every configuration asks its own of the encoded image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpseg.arrays import ImageArray, IntArray
from dpseg.engines.detector import Detector
from dpseg.engines.protocol import Engine
from dpseg.errors import DataError
from dpseg.evaluate.configuration import ConfigurableEngine, Configuration
from dpseg.inference.options import Protocol
from dpseg.inference.predictor import Predictor
from dpseg.inference.query import Query
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.tuned import TunedPrompts
from dpseg.prompts.visual import VisualPromptSource
from dpseg.vocabulary import Vocabulary


class Predictions:
    """Predictions for one vocabulary: call it with an image, H W 3, for a list of label maps.

    Each map is H W, one a configuration; unlabelled pixels have the index behind the last class.

    Args:
        engine: encodes images and prompts.
        vocabulary: the classes, K.
        configurations: what to compare.
        bank: for the configurations that use one.
        detector: for the configurations in which it speaks.
        examples: for the configurations that show examples.
        tuned: for the configurations that use tuned prompts.
        cache: for prompt embeddings.
        protocol: how an image is brought to the model's size.
        groups: the index that each class has in the maps, K; None for its own.

    Raises:
        DataError: two configurations have one name, or one asks for examples or switched-off parts
            that are not there.
    """

    def __init__(
        self,
        engine: Engine,
        vocabulary: Vocabulary,
        configurations: Sequence[Configuration],
        *,
        bank: PromptBank | None = None,
        detector: Detector | None = None,
        examples: VisualPromptSource | None = None,
        tuned: TunedPrompts | None = None,
        cache: PromptCache | None = None,
        protocol: Protocol = "dpseg",
        groups: IntArray | None = None,
    ) -> None:
        _check(configurations, examples, tuned)
        self._protocol = protocol
        self._encoder = Predictor(engine, cache=cache)
        own = np.arange(len(vocabulary)) if groups is None else groups
        self._indices = np.append(own, len(vocabulary))  # the last entry is that of -1
        pictures = examples.prompts_for(vocabulary) if examples is not None else None
        self._queries: list[Query] = []
        for one in configurations:
            predictor = Predictor(
                _with_parts_off(engine, one),
                bank if one.bank else None,
                cache=cache,
                detector=detector,
            )
            query = predictor.prepare(
                vocabulary,
                one.options.replace(protocol=protocol),
                pictures=pictures if one.examples else None,
                tuned=tuned if one.tuned else None,
            )
            self._queries.append(query)

    def __call__(self, image: ImageArray) -> list[IntArray]:
        """Label one image, H W 3, in every configuration."""
        encoded = self._encoder.encode(image, self._protocol)
        return [self._indices[query(encoded).labels] for query in self._queries]


def _with_parts_off(engine: Engine, configuration: Configuration) -> Engine:
    if not configuration.forward:
        return engine
    if not isinstance(engine, ConfigurableEngine):
        raise DataError(
            f"configuration {configuration.name!r} switches parts of the network off, which the "
            f"engine of {engine.info.name} cannot"
        )
    return engine.with_options(**configuration.forward)


def _check(
    configurations: Sequence[Configuration],
    examples: VisualPromptSource | None,
    tuned: TunedPrompts | None,
) -> None:
    names = [configuration.name for configuration in configurations]
    if not names or len(set(names)) < len(names):
        raise DataError(f"configurations need different names, at least one; given are {names}")
    for configuration in configurations:
        if configuration.examples and examples is None:
            raise DataError(f"configuration {configuration.name!r} needs examples; give some")
        if configuration.tuned and tuned is None:
            raise DataError(f"configuration {configuration.name!r} needs tuned prompts; give some")
