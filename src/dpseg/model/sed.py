"""SED, the text-only baseline: the same encoders and early rejection, its own decoder stages.

It runs in the decoder loop of DPSeg. What differs: stages of a large depthwise convolution and a
class transformer, guidance by the enlarged cost volume instead of shallow visual costs, and logits
that do not build on the coarse ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.model.class_attention import ClassAttention
from dpseg.model.cost_volume import cost_volume
from dpseg.model.decoder import CostVolumeGuidedDecoder, DecoderConfig, DecoderOutput
from dpseg.model.dpseg import ForwardOptions, finest
from dpseg.model.stage import StageConfig, by_class, match_size, projected_fusion

KERNEL = 9
EXPANSION = 4


class ConvNeXtBlock(nn.Module):
    """A large depthwise convolution and an MLP, around a residual connection.

    Args:
        channels: C of input and output.

    Source: SED, decoder stage; ConvNeXt block of Liu et al. 2022 with a 9x9 kernel.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(channels, EXPANSION * channels),
            nn.GELU(),
            nn.Linear(EXPANSION * channels, channels),
        )
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (k B) C H W to the same shape."""
        y: Tensor = self.norm(self.depthwise(x).permute(0, 2, 3, 1))  # (k B) H W C
        y = self.gamma * self.mlp(y)
        return x + y.permute(0, 3, 1, 2)  # (k B) C H W


class ClassTransformer(nn.Module):
    """Class attention and an MLP, on pooled positions while training.

    Args:
        channels: C of input and output.
        heads: attention heads; divides C.
        training_pool: side of the pooling window in training; evaluation does not pool.

    Source: SED, decoder stage (its configurations set 2x2 for training, 1x1 for evaluation).
    """

    def __init__(self, *, channels: int, heads: int, training_pool: int = 2) -> None:
        super().__init__()
        self.training_pool = training_pool
        self.attention = ClassAttention(channels=channels, heads=heads, output=False)
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, EXPANSION * channels),
            nn.ReLU(),
            nn.Linear(EXPANSION * channels, channels),
        )

    def sums(self, parts: Iterable[Tensor], batch: int) -> Tensor:
        """Sum over the classes at each position, as `ClassAttention.sums`."""
        return self.attention.sums((self._pooled(part) for part in parts), batch)

    def forward(self, x: Tensor, sums: Tensor) -> Tensor:
        """Attend from each class to all through their sums, (k B) C H W to the same shape."""
        y: Tensor = self.attention(self._pooled(x), sums)
        hidden = self.mlp(self.norm(y.permute(0, 2, 3, 1)))  # (k B) h w C
        y = y + hidden.permute(0, 3, 1, 2)  # (k B) C h w
        if y.shape != x.shape:
            y = F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=True)
        return x + y

    def _pooled(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        pooled: Tensor = F.avg_pool2d(x, self.training_pool)
        return pooled


class SEDStage(nn.Module):
    """Depthwise convolution, class transformer, enlargement, fusion.

    Args:
        config: sizes; image features must be projected.

    Source: SED, gradual fusion decoder.
    """

    def __init__(self, config: StageConfig) -> None:
        super().__init__()
        inside = config.channels_in
        self.spatial = ConvNeXtBlock(channels=inside)
        self.class_transformer = ClassTransformer(channels=inside, heads=config.heads)
        self.enlarge = nn.ConvTranspose2d(inside, config.enlarged, 2, stride=2)
        self.fusion = projected_fusion(config)

    def forward(
        self, parts: Sequence[Tensor], image_features: Tensor, costs: Iterable[Tensor]
    ) -> Iterator[Tensor]:
        """Refine the classes' maps and double their resolution.

        Args:
            parts: maps of the K classes, a few classes in each, (k B) C h w.
            image_features: E_j, B C_j H W.
            costs: of each part the projected, enlarged cost volume, B k G H W.

        Yields:
            The same parts, (k B) C' H W.
        """
        parts = [self.spatial(part) for part in parts]
        sums = self.class_transformer.sums(parts, len(image_features))
        image = self.fusion.project(image_features)  # B C' H W
        for part, cost in zip(parts, costs, strict=True):
            x = self.class_transformer(part, sums)
            x = match_size(self.enlarge(x), image_features)
            yield self.fusion(x, by_class(cost).to(x.dtype), image)


class SED(nn.Module):
    """The baseline network; called like `DPSeg`, of the prompts it uses the text alone.

    Args:
        decoder: sizes of the decoder; `cost_channels` is M.

    Source: SED (Xie et al. 2024).
    """

    def __init__(self, *, decoder: DecoderConfig) -> None:
        super().__init__()
        self.decoder = CostVolumeGuidedDecoder(decoder, stage=SEDStage)
        channels = [decoder.cost_channels, *(s.guidance_channels for s in decoder.stages)]
        self.enlarge_cost = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 2, stride=2) for before, after in pairwise(channels)
        )

    def forward(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
    ) -> Tensor:
        """Score every class at every position.

        Args:
            image_embedding: E, B D h w.
            image_features: level j to E_j, B C_j h_j w_j.
            prompts: of K classes.
            options: `decoder`, `top_k` and `class_chunk` are heeded.

        Returns:
            Logits, B K H W: at stride 4, or at E's without a decoder.
        """
        return finest(*self.decode(image_embedding, image_features, prompts, options))

    def decode(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
    ) -> tuple[Tensor, DecoderOutput | None]:
        """Compute mean cosines, B K h w, and the decoder's logits.

        The shallow features are detached: the image tower learns through the cost volume alone.
        """
        cost = cost_volume(image_embedding, prompts.text_embedding)  # B K M h w
        coarse = cost.mean(2)
        if not options.decoder:
            return coarse, None
        features = {level: one.detach() for level, one in image_features.items()}
        guide = partial(self._enlarged_cost, cost)
        return coarse, self.decoder(
            cost, coarse, features, guide, options.top_k, options.class_chunk
        )

    def _enlarged_cost(self, cost: Tensor, level: int, classes: Tensor) -> Tensor:
        """Project and double some classes' cost volume up to a level, B K M h w to B k G H W."""
        x = by_class(cost[:, classes])  # (k B) M h w
        for stage, enlarge in zip(self.decoder.config.stages, self.enlarge_cost, strict=True):
            x = F.relu(enlarge(x))  # (k B) G 2h 2w
            if stage.level == level:
                break
        return torch.unflatten(x, 0, (-1, len(cost))).transpose(0, 1)  # B k G H W
