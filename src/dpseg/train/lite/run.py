"""The whole of a `dpseg-lite` training run: align, fine-tune the tower, train the decoder.

Each stage writes its result into the run's folder when it is done; a run that begins again skips
the stages that are done and resumes the one that was cut off.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpseg.data.mixture import Mixture
from dpseg.data.plain_names import plain_name, with_synonyms
from dpseg.encoders.kernel_projection import KernelProjection
from dpseg.encoders.lite import LEVELS, STRIDE, LiteImageTower
from dpseg.encoders.minilm import MiniLM
from dpseg.errors import DataError
from dpseg.factory.lite import LiteModel, lite_engine, load_lite, save_lite
from dpseg.factory.load import BANK_FILE, MODEL_FILE
from dpseg.inference.distractors import unrelated_distractors
from dpseg.prompts.cache import PromptCache
from dpseg.segmenter import Segmenter
from dpseg.train.lite.align import align
from dpseg.train.lite.build_bank import build_lite_bank
from dpseg.train.lite.calibrate import calibrate
from dpseg.train.lite.cross_fit import CrossFitting
from dpseg.train.lite.decoder_stage import FINE_CELL, DecoderTraining
from dpseg.train.lite.encoder_stage import TowerStage
from dpseg.train.lite.sampling import BatchSampler, NameVariants
from dpseg.train.loop import LoopSettings, run_stage
from dpseg.train.recipe import Recipe, keep_recipe
from dpseg.vocabulary import ClassEntry

CALIBRATION_BATCHES = 24
REGION_PHOTOS = 8  # of each name, for the bank
REGION_BATCHES = 500
_ALIGNED, _TUNED = "aligned.safetensors", "tuned.safetensors"


@dataclass(frozen=True)
class TrainContext:
    """What every stage trains with.

    `others` are embeddings R D of common names that are not the mixture's.
    """

    recipe: Recipe
    aligned: LiteModel
    mixture: Mixture
    variants: NameVariants
    text_tokens: tuple[Tensor, Tensor]
    others: Tensor


def train_lite(recipe: Recipe, data_root: Path, folder: Path, *, start: Path | None = None) -> None:
    """Train a model from ImageNet weights to a file that `Segmenter` loads.

    Args:
        recipe: all settings.
        data_root: folder that holds the recipe's sources and `imagenet_pictures`.
        folder: receives the stages' results and, at the end, `dpseg-lite.safetensors` and its
            prompt bank.
        start: an earlier run's folder, or a model's; its model is where the stages begin, and its
            alignment, or the model itself where there is none, is what they stay faithful to.

    Raises:
        DataError: the data are not as the recipe says, or there are several processes.
        CheckpointError: the folder holds a run of another recipe.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DataError("recipes of dpseg-lite train in one process; start them without torchrun")
    folder.mkdir(parents=True, exist_ok=True)
    mixture = Mixture(  # first, as it reads every photo and label, and says what is wrong
        data_root,
        recipe.sources,
        unseen=_unseen_names(recipe, data_root),
        repeat_factor_max=recipe.repeat_factor_max,
        hypernyms=recipe.hypernyms,
        distractors=_unrelated if recipe.distractors else None,
    )
    keep_recipe(recipe, folder)
    text_tower = MiniLM()
    if start is not None:  # the text map, too, must be the one that its model was trained with
        first = start / _ALIGNED
        save_lite(load_lite(first if first.exists() else start / MODEL_FILE), folder / _ALIGNED)
    aligned = _aligned(recipe, text_tower, data_root, folder / _ALIGNED)
    names = [with_synonyms(name).split("|") for name in mixture.names]
    variants, tokens = embed_variants(aligned.text_map, text_tower, names, aligned.config.templates)
    common = [
        [name]
        for name in unrelated_distractors(
            [ClassEntry(first, tuple(rest)) for first, *rest in names]
        )
        if name not in mixture.names
    ]
    others = torch.empty(0, aligned.config.embedding_dim)
    if common:
        embedded, _ = embed_variants(aligned.text_map, text_tower, common, aligned.config.templates)
        others = embedded.mean

    context = TrainContext(recipe, aligned, mixture, variants, tokens, others)

    begun = [start, *(folder.parent / name for name in recipe.mean_with)] if start else []
    model = mean_model([load_lite(one / MODEL_FILE) for one in begun] or [copy.deepcopy(aligned)])
    if not (folder / _TUNED).exists():
        if recipe.tower.loop.steps:
            _tune_tower(context, model, mixture, recipe.tower.loop, folder / "tower")
        save_lite(model, folder / _TUNED)
    model = load_lite(folder / _TUNED)  # rounded to half precision, as a run begun again has it
    if recipe.decoder.loop.steps:
        _train_decoder(context, model, folder)
    save_lite(model, folder / MODEL_FILE)
    shown = mixture.labelled_by_people().few_of_each(REGION_PHOTOS)
    queue = _decoder_training(context, model, shown).collect_regions(REGION_BATCHES)
    finished = load_lite(folder / MODEL_FILE)
    engine = lite_engine(finished, text_tower=text_tower)
    cache = PromptCache(folder / "prompts")
    bank = build_lite_bank(engine, data_root, mixture.names, queue, cache=cache)
    bank.save(folder / BANK_FILE)
    threshold = calibrate(Segmenter(engine, bank, cache=cache), data_root, recipe.sources)
    finished.config = finished.config.model_copy(update={"score_threshold": threshold})
    save_lite(finished, folder / MODEL_FILE)


@torch.no_grad()
def mean_model(models: Sequence[LiteModel]) -> LiteModel:
    """Average models' weights into the first of them.

    Source: model soups (Wortsman et al., ICML 2022); docs/log/experiments.md, 19 and 34.
    """
    for key, tensor in models[0].state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.stack([model.state_dict()[key] for model in models]).mean(0))
    return models[0]


def _aligned(recipe: Recipe, text_tower: MiniLM, data_root: Path, path: Path) -> LiteModel:
    if not path.exists():
        config = recipe.model
        torch.manual_seed(recipe.tower.loop.seed)  # first weights of adapter and decoder
        tower = LiteImageTower(
            embedding_dim=config.embedding_dim,
            adapter_dim=config.adapter_dim,
            context_blocks=config.context_blocks,
        )
        alignment = align(tower, text_tower, data_root / "imagenet_pictures", config.templates)
        model = LiteModel(config.model_copy(update={"anchors": len(alignment.names)}))
        model.tower.load_state_dict(tower.state_dict())
        model.text_map.load_state_dict(alignment.text_map.state_dict())
        save_lite(model, path)
    return load_lite(path)  # rounded to half precision, as a run begun again has it


def _tune_tower(
    context: TrainContext, model: LiteModel, mixture: Mixture, loop: LoopSettings, folder: Path
) -> None:
    settings = context.recipe.tower
    stage = TowerStage(
        tower=model.tower,
        teacher=context.aligned.tower,
        sampler=BatchSampler(
            mixture,
            crop=settings.crop,
            batch_size=settings.batch_size,
            cells=(STRIDE,),
            paste=settings.paste,
        ),
        names=context.variants,
        others=context.others,
        anchors=anchor_embeddings(context.aligned.text_map),
        settings=settings.loss,
    )
    stage.module.log_scale.data.copy_(model.network.log_scale.data)
    stage.module.bias.data.copy_(model.network.bias.data)
    run_stage(stage, loop, folder)
    model.network.log_scale.data.copy_(stage.module.log_scale.data)
    model.network.bias.data.copy_(stage.module.bias.data)
    calibrate_levels(model.tower, stage.sampler)


def _train_decoder(context: TrainContext, model: LiteModel, folder: Path) -> None:
    settings = context.recipe.decoder
    before = copy.deepcopy(model.network.state_dict())
    stage: DecoderTraining | CrossFitting
    if settings.cross_fit_steps:
        halves = [_half_tower(context, folder, which) for which in (0, 1)]
        for half in halves:
            half.network = model.network  # one decoder on both
        unseen = [context.mixture.half(1), context.mixture.half(0)]
        stage = CrossFitting(
            [_decoder_training(context, *pair) for pair in zip(halves, unseen, strict=True)]
        )
    else:
        stage = _decoder_training(context, model, context.mixture)
    run_stage(stage, settings.loop, folder / "decoder")
    for key, tensor in model.network.state_dict().items():
        tensor.copy_(torch.lerp(before[key], tensor, settings.wise_ft_alpha))


def _decoder_training(context: TrainContext, model: LiteModel, mixture: Mixture) -> DecoderTraining:
    settings = context.recipe.decoder
    sampler = BatchSampler(
        mixture,
        crop=settings.crop,
        batch_size=settings.batch_size,
        cells=(FINE_CELL, 8, STRIDE),
        paste=settings.paste,
    )
    return DecoderTraining(
        model=model,
        sampler=sampler,
        names=context.variants,
        text_tokens=context.text_tokens,
        settings=settings.loss,
    )


def _half_tower(context: TrainContext, folder: Path, which: int) -> LiteModel:
    """Train a tower on one half of the photos."""
    path = folder / f"half{which}.safetensors"
    if not path.exists():
        half = copy.deepcopy(context.aligned)
        loop = replace(context.recipe.tower.loop, steps=context.recipe.decoder.cross_fit_steps)
        _tune_tower(context, half, context.mixture.half(which), loop, folder / f"half_tower{which}")
        save_lite(half, path)
    return load_lite(path)


def embed_variants(
    text_map: KernelProjection,
    text_tower: MiniLM,
    names: Sequence[Sequence[str]],
    templates: Sequence[str],
) -> tuple[NameVariants, tuple[Tensor, Tensor]]:
    """Embed names and their synonyms in the joint space.

    Args:
        text_map: from the text tower's space.
        text_tower: embeds sentences.
        names: for each of N names its synonyms, the name itself first.
        templates: M sentence templates.

    Returns:
        The names' variants, and the token-wise embeddings N L D with their mask N L.
    """
    variants = []
    for synonyms in names:
        sentences = [template.format(word) for word in synonyms for template in templates]
        embedded = text_map(text_tower.encode(sentences)[0])
        variants.append(torch.unflatten(embedded, 0, (len(synonyms), len(templates))))  # S M D
    _, tokens, mask = text_tower.encode([synonyms[0] for synonyms in names])
    return NameVariants(variants), (text_map(tokens).clone(), mask)


def anchor_embeddings(text_map: KernelProjection) -> Tensor:
    """Place the map's own centres in the joint space, A D."""
    anchors: Tensor = text_map(text_map.centres)
    return anchors


@torch.inference_mode()
def calibrate_levels(tower: LiteImageTower, sampler: BatchSampler) -> None:
    """Measure mean and spread of each guidance channel on training crops, in place.

    Args:
        tower: its `level_mean` and `level_scale` are set.
        sampler: draws the crops.
    """
    tower.level_mean.zero_()
    tower.level_scale.fill_(1.0)
    generator = np.random.default_rng(0)
    sums: dict[int, list[Tensor]] = {level: [] for level in LEVELS}
    for _ in range(CALIBRATION_BATCHES):
        for level, features in tower(sampler.draw(generator).images).image_features.items():
            places = features.float().transpose(0, 1).flatten(1)  # C_j (B h_j w_j)
            sums[level].append(torch.stack([places.mean(1), places.square().mean(1)]))
    means, scales = [], []
    for level in LEVELS:
        mean, square = torch.stack(sums[level]).mean(0)
        means.append(mean)
        scales.append((square - mean.square()).clamp_min(1e-4).rsqrt())
    tower.level_mean.copy_(torch.cat(means))
    tower.level_scale.copy_(torch.cat(scales))


def _unrelated(name: str) -> list[str]:
    """List the common words that a thing of a name is none of."""
    word, *synonyms = with_synonyms(name).split("|")
    return unrelated_distractors([ClassEntry(word, tuple(synonyms))])


def _unseen_names(recipe: Recipe, data_root: Path) -> frozenset[str]:
    if recipe.unseen is None:
        return frozenset()
    path = data_root / recipe.unseen
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise DataError(f"cannot read the unseen names {path}: {error}") from error
    return frozenset(plain_name(line) for line in lines if line.strip())
