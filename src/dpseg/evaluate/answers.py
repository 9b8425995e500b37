"""What a model says of a picture, in several configurations at once.

Each picture is encoded once; configurations that differ only later (refinement rounds) share
their first scores too. The answer is the best of the set's names at every pixel, at the picture's
own size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from dpseg.arrays import FloatArray, ImageArray, IntArray
from dpseg.engines.blas_threads import one_blas_thread
from dpseg.engines.protocol import Engine, ModelInfo
from dpseg.errors import DataError
from dpseg.evaluate.accumulators import decide
from dpseg.evaluate.configuration import ConfigurableEngine, Configuration
from dpseg.imaging.resize import resize_bilinear
from dpseg.inference.class_prior import class_prior
from dpseg.prompts.bank import PromptBank
from dpseg.prompts.cache import PromptCache
from dpseg.prompts.ontology import Examples, PromptOntology
from dpseg.prompts.refine import RefineSettings, refine_rounds, sigmoid
from dpseg.prompts.regions import fit_picture
from dpseg.prompts.tuned import TunedPrompts
from dpseg.vocabulary import Vocabulary

#: `"dpseg"` keeps a picture's aspect; `"sed"` does as SED, CAT-Seg and the paper do.
Protocol: TypeAlias = Literal["dpseg", "sed"]
SED_SHORT_SIDE = 640
SED_LONGEST = 2560


@dataclass(frozen=True)
class _Plan:
    """A configuration with the engine and the prompts that it needs."""

    configuration: Configuration
    engine: Engine
    ontology: PromptOntology

    @property
    def first_round(self) -> Configuration:
        """What decides the first scores: the configuration without name and refinement."""
        return replace(self.configuration, name="", refine=0, refine_mode="pool")


class ModelAnswers:
    """Answers of one model to one vocabulary, a list with one label map a configuration.

    Args:
        engine: encodes pictures and prompts.
        vocabulary: the classes, K.
        configurations: what to compare.
        bank: for the configurations that use one.
        examples: for the configurations that show examples.
        tuned: for the configurations that use tuned prompts.
        cache: for prompt embeddings.
        refine_settings: which classes take part in refinement.
        protocol: how a picture is brought to the model's size.
        groups: the index that each class has in the answer, K; None for its own.

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
        examples: Examples | None = None,
        tuned: TunedPrompts | None = None,
        cache: PromptCache | None = None,
        refine_settings: RefineSettings | None = None,
        protocol: Protocol = "dpseg",
        groups: IntArray | None = None,
    ) -> None:
        _check(configurations, examples, tuned)
        self._runtime = engine
        self._settings = refine_settings or RefineSettings()
        self._protocol: Protocol = protocol
        self._groups = groups
        ontologies = {
            (bank_on, examples_on): PromptOntology.build(
                engine,
                vocabulary,
                bank=bank if bank_on else None,
                examples=examples if examples_on else None,
                cache=cache,
            )
            for bank_on, examples_on in {(one.bank, one.examples) for one in configurations}
        }
        self._plans = []
        for one in configurations:
            ontology = _with_templates(ontologies[one.bank, one.examples], one.templates)
            if one.tuned and tuned is not None:
                ontology = tuned.applied(ontology, engine.info.encoder_key)
            plan = _Plan(one, _with_parts_off(engine, one), ontology.seen_as(one.prompts))
            self._plans.append(plan)

    @one_blas_thread
    def __call__(self, image: ImageArray) -> list[IntArray]:
        """Answer one picture, H W 3: class indices H W for each configuration."""
        fitted = fit(image, self._runtime.info, self._protocol)
        features = self._runtime.encode_image(fitted)
        size_hw = (image.shape[0], image.shape[1])
        firsts: dict[Configuration, FloatArray] = {}
        answers = []
        for plan in self._plans:
            if plan.first_round not in firsts:
                firsts[plan.first_round] = plan.engine.score(features, plan.ontology.arrays)
            with_scene = plan.configuration.scene and self._protocol != "sed"
            logits = refine_rounds(
                plan.engine,
                features,
                plan.ontology,
                rounds=plan.configuration.refine,
                mode=plan.configuration.refine_mode,
                image=fitted,
                settings=self._settings,
                logits=firsts[plan.first_round],
                prior=class_prior(firsts[plan.first_round]) if with_scene else None,
            ).logits
            if self._protocol == "sed":
                logits = sigmoid(logits)
            labels = decide(logits, size_hw)
            answers.append(labels if self._groups is None else self._groups[labels])
        return answers


def fit(image: ImageArray, info: ModelInfo, protocol: Protocol) -> ImageArray:
    """Bring a picture to the size that a model is measured at.

    Args:
        image: H W 3.
        info: of the model.
        protocol: `"sed"` first brings the short side to 640, then squashes the picture to a square
            of the model's size, whatever its aspect.

    Returns:
        h w 3, sides multiples of the model's stride.
    """
    if protocol == "dpseg":
        return fit_picture(image, info)
    height, width = image.shape[:2]
    scale = min(SED_SHORT_SIDE / min(height, width), SED_LONGEST / max(height, width))
    size_wh = (round(width * scale), round(height * scale))
    resized = np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.BILINEAR))
    planes = resized.transpose(2, 0, 1).astype(np.float32)  # 3 H W
    square = resize_bilinear(planes, (info.image_size, info.image_size))
    return np.ascontiguousarray(square.round().astype(np.uint8).transpose(1, 2, 0))


def _with_parts_off(engine: Engine, configuration: Configuration) -> Engine:
    if not configuration.switches:
        return engine
    if not isinstance(engine, ConfigurableEngine):
        raise DataError(
            f"configuration {configuration.name!r} switches parts of the network off, which the "
            f"engine of {engine.info.name} cannot"
        )
    return engine.switched(**configuration.switches)


def _with_templates(ontology: PromptOntology, templates: int | None) -> PromptOntology:
    """Let the first few templates take the places of all, round-robin."""
    if templates is None:
        return ontology
    places = ontology.text_embedding.shape[1]
    if not 1 <= templates <= places:
        raise DataError(f"{templates} templates are asked for; the model has {places}")
    kept = np.arange(places) % templates
    visual = replace(
        ontology.visual,
        embedding=ontology.visual.embedding[:, kept],
        features={level: rows[:, kept] for level, rows in ontology.visual.features.items()},
    )
    return replace(ontology, text_embedding=ontology.text_embedding[:, kept], visual=visual)


def _check(
    configurations: Sequence[Configuration], examples: Examples | None, tuned: TunedPrompts | None
) -> None:
    names = [configuration.name for configuration in configurations]
    if not names or len(set(names)) < len(names):
        raise DataError(f"configurations need different names, at least one; given are {names}")
    for configuration in configurations:
        if configuration.examples and examples is None:
            raise DataError(f"configuration {configuration.name!r} needs examples; give some")
        if configuration.tuned and tuned is None:
            raise DataError(f"configuration {configuration.name!r} needs tuned prompts; give some")
