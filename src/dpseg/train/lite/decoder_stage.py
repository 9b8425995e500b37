"""Stage two: the decoder, on the fine-tuned tower, towers frozen.

Each step asks for a few names: those in the batch and some that are not. Their visual prompts are
recent regions of other photos. Parts of the prompts are left out at random, so that one network
serves text only, pictures only, both, and every subset of guidance levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.encoders.lite import LEVEL_CHANNELS, LEVELS, STRIDE
from dpseg.encoders.protocol import FeaturePyramid
from dpseg.engines.protocol import ImageFeatures
from dpseg.factory.lite import LiteModel
from dpseg.model.cost_volume import PromptStrategy
from dpseg.model.decoder import DecoderOutput
from dpseg.model.dpseg import DPSeg, ForwardOptions
from dpseg.prompts.pooling import VisualEmbedding, pool_regions
from dpseg.prompts.refine import RefineSettings
from dpseg.train.lite.dense_loss import balanced_sigmoid_loss, masked_softmax_loss
from dpseg.train.lite.refinement import refine_in_training
from dpseg.train.lite.region_queue import RegionQueue
from dpseg.train.lite.sampling import Batch, BatchSampler, NameVariants

FINE_CELL = 4
VISUAL_TOKENS = 4
REFINED_SHARES = (0.2, 0.6)  # of the found prompt in the new one
STRATEGIES: tuple[PromptStrategy, ...] = ("average", "text", "visual")


@dataclass(frozen=True)
class DecoderSettings:
    """How the decoder is trained.

    Attributes:
        lr: peak learning rate.
        classes: names asked for in a step, K.
        strategy_shares: probability of dual, text-only and visual-only prompts.
        drop: probability that a guidance level, or the token-wise costs, are left out.
        token_drop: probability that a name's tokens are left out, words and parts on their own.
        token_noise: largest length of random error added to a part's unit vector.
        refined: probability that a step is a refinement round, its prompts moved towards what the
            network found in each crop.
        min_cells: smallest region, in cells of the image embedding, that makes a visual prompt.
        auxiliary: weight of the early heads' loss.
    """

    lr: float = 1e-3
    classes: int = 14
    strategy_shares: tuple[float, float, float] = (0.6, 0.3, 0.1)
    drop: float = 0.1
    token_drop: float = 0.0
    token_noise: float = 0.0
    refined: float = 0.0
    min_cells: float = 1.0
    auxiliary: float = 0.3


class DecoderModule(nn.Module):
    """What stage two checkpoints: the network and the regions."""

    def __init__(self, network: DPSeg, queue: RegionQueue) -> None:
        super().__init__()
        self.network = network
        self.queue = queue


class DecoderTraining:
    """Training of the decoder on frozen towers.

    Args:
        model: its tower is used as it is, its network is trained.
        sampler: batches with targets for cells of 16 and 4 pixels.
        names: joint text embeddings of the mixture's names.
        text_tokens: their token-wise embeddings N L D and mask N L.
        settings: rates and chances.
    """

    def __init__(
        self,
        *,
        model: LiteModel,
        sampler: BatchSampler,
        names: NameVariants,
        text_tokens: tuple[Tensor, Tensor],
        settings: DecoderSettings,
    ) -> None:
        self.tower = model.tower.eval().requires_grad_(False)
        self.sampler = sampler
        self.names = names
        self.text_tokens, self.text_token_mask = text_tokens
        self.settings = settings
        dimension = model.config.embedding_dim
        widths = {"class_wise": dimension, "token_wise": VISUAL_TOKENS * dimension}
        widths |= {f"level{j}": c for j, c in LEVEL_CHANNELS.items()}
        queue = RegionQueue(names=len(names.mean), widths=widths)
        self.module = DecoderModule(model.network.requires_grad_(True), queue)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """List the trained parameters, each group with its peak `lr`."""
        return [{"params": list(self.module.network.parameters()), "lr": self.settings.lr}]

    def loss(
        self, generator: np.random.Generator, averaged: nn.Module
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Draw a batch and compute its loss and the figures to log."""
        batch = self.sampler.draw(generator)
        classes = self._choose_classes(batch, generator)
        prompts = self._prompts(generator).select(classes)
        options = self._options(generator)
        refined = options.strategy != "text" and generator.random() < self.settings.refined
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                pyramid = self.tower(batch.images)
            if refined:
                coarse, output = self._second_round(pyramid, prompts, options, generator)
            else:
                coarse, output = self._decode(pyramid, prompts, options)
        fine = self._loss_at(output.logits, batch, classes)
        early = torch.stack([self._loss_at(a, batch, classes) for a in output.auxiliary]).mean()
        self._remember(pyramid, batch)
        with torch.no_grad():
            before = self._loss_at(coarse, batch, classes)
        return fine + self.settings.auxiliary * early, {
            "fine": fine.item(),
            "early": early.item(),
            "coarse": before.item(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Tell where the sampler is; the rest is in `module`."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the sampler to where `state_dict` was taken."""
        self.sampler.load_state_dict(state)

    @torch.no_grad()
    def collect_regions(self, batches: int) -> RegionQueue:
        """Draw batches only for their regions, as visual prompts of this model's tower.

        Args:
            batches: how many.

        Returns:
            The last regions of every name.
        """
        generator = np.random.default_rng(0)
        for _ in range(batches):
            batch = self.sampler.draw(generator)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                pyramid = self.tower(batch.images)
            self._remember(pyramid, batch)
        return self.module.queue

    def _decode(
        self, pyramid: FeaturePyramid, prompts: PromptSet[Tensor], options: ForwardOptions
    ) -> tuple[Tensor, DecoderOutput]:
        coarse, output = self.module.network.decode(
            pyramid.image_embedding, pyramid.image_features, prompts, options
        )
        assert output is not None
        return coarse, output

    def _second_round(
        self,
        pyramid: FeaturePyramid,
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
        generator: np.random.Generator,
    ) -> tuple[Tensor, DecoderOutput]:
        """Decode each crop with prompts refined by a first pass over it."""
        with torch.no_grad():
            _, first = self._decode(pyramid, prompts, options)
        settings = RefineSettings(alpha=generator.uniform(*REFINED_SHARES))
        rounds = []
        for image, logits in enumerate(first.logits):
            moved = refine_in_training(prompts, _features(pyramid, image), logits, settings)
            one = FeaturePyramid(
                pyramid.image_embedding[image, None],
                {j: f[image, None] for j, f in pyramid.image_features.items()},
            )
            rounds.append(self._decode(one, moved, options))
        coarse = torch.cat([coarse for coarse, _ in rounds])
        auxiliary = zip(*(output.auxiliary for _, output in rounds), strict=True)
        return coarse, DecoderOutput(
            logits=torch.cat([output.logits for _, output in rounds]),
            auxiliary=[torch.cat(heads) for heads in auxiliary],
        )

    def _choose_classes(self, batch: Batch, generator: np.random.Generator) -> Tensor:
        """Take the names in the batch, then others at random."""
        amount = batch.targets[STRIDE][0].sum((0, 1)).numpy()
        order = amount + 1e-3 * generator.random(len(amount)) * amount.max(initial=1.0)
        present = np.argsort(-order, kind="stable")[: self.settings.classes]
        return torch.from_numpy(generator.permutation(present))

    def _options(self, generator: np.random.Generator) -> ForwardOptions:
        strategy = STRATEGIES[generator.choice(3, p=self.settings.strategy_shares)]
        levels = tuple(j for j in LEVELS if generator.random() >= self.settings.drop)
        token_wise = bool(generator.random() >= self.settings.drop)
        return ForwardOptions(
            strategy=strategy, token_wise=token_wise, guidance_levels=levels, top_k=None
        )

    def _prompts(self, generator: np.random.Generator) -> PromptSet[Tensor]:
        """Draw prompts of all names: one region for all templates, or one for each."""
        text = self.names.draw(generator)  # N M D
        templates = text.shape[1]
        regions = int(generator.choice([1, templates]))
        drawn, known = self.module.queue.draw(generator, regions=regions)
        slots = {kind: rows.repeat(1, templates // regions, 1) for kind, rows in drawn.items()}
        tokens = drawn["token_wise"].reshape(len(text), regions * VISUAL_TOKENS, -1)  # N (R P) D
        words_kept, parts_kept = torch.from_numpy(
            generator.random((2, len(text))) >= self.settings.token_drop
        )
        return PromptSet(
            text_embedding=text,
            visual_embedding=slots["class_wise"],
            visual_features={j: slots[f"level{j}"] for j in LEVELS},
            text_tokens=self.text_tokens,
            text_token_mask=self.text_token_mask & words_kept[:, None],
            visual_tokens=self._blurred(tokens, generator) * parts_kept[:, None, None],
            visual_mask=known,
        )

    def _blurred(self, tokens: Tensor, generator: np.random.Generator) -> Tensor:
        """Add random errors to tokens, N L D.

        The tower knows its training photos better than any other: without errors the decoder would
        learn to trust tokens more than they deserve.
        """
        lengths = generator.uniform(0, self.settings.token_noise, (len(tokens), 1, 1))  # N 1 1
        spread = torch.from_numpy(lengths).to(tokens.dtype) / tokens.shape[-1] ** 0.5
        errors: Tensor = spread * torch.randn(tokens.shape)
        return F.normalize(tokens, dim=-1) + errors

    def _loss_at(self, logits: Tensor, batch: Batch, classes: Tensor) -> Tensor:
        """Score logits (B K H W) against the targets of their resolution."""
        cell = self.sampler.crop.size // logits.shape[-1]
        positive, negative = (weights[..., classes] for weights in batch.targets[cell])
        rows = logits.float().flatten(2).transpose(1, 2)  # B (H W) K
        return balanced_sigmoid_loss(rows, positive, negative) + masked_softmax_loss(
            rows, positive, negative
        )

    def _remember(self, pyramid: FeaturePyramid, batch: Batch) -> None:
        """Pool the batch's regions into visual prompts, as at inference, and keep them."""
        positive = batch.targets[FINE_CELL][0]  # B (H W) N
        side = self.sampler.crop.size // FINE_CELL
        cells = positive.sum(1) * (FINE_CELL / STRIDE) ** 2  # B N
        for image in range(len(positive)):
            names = (cells[image] >= self.settings.min_cells).nonzero().flatten().tolist()
            if not names:
                continue
            masks = positive[image][:, names].T.reshape(-1, side, side)  # n H W
            features = _features(pyramid, image)
            pooled = pool_regions(features, masks.contiguous().numpy(), VISUAL_TOKENS)
            for row, name in enumerate(names):
                self.module.queue.push(name, _queue_row(pooled, row))


def _features(pyramid: FeaturePyramid, image: int) -> ImageFeatures:
    """Take one picture of a batch, as inference has it."""
    return ImageFeatures(
        image_embedding=pyramid.image_embedding[image].float().numpy(),
        image_features={j: f[image].float().numpy() for j, f in pyramid.image_features.items()},
    )


def _queue_row(pooled: VisualEmbedding, row: int) -> dict[str, Tensor]:
    prompts = {
        "class_wise": torch.from_numpy(pooled.class_wise[row]),
        "token_wise": torch.from_numpy(pooled.token_wise[row].reshape(-1)),
    }
    return prompts | {
        f"level{j}": torch.from_numpy(rows[row]) for j, rows in pooled.level_wise.items()
    }
