"""SED, the text-only baseline: the same encoders and early rejection, its own decoder stages.

It runs in the decoder loop of DPSeg. What differs: stages of a large depthwise convolution and a
class transformer, guidance by the enlarged cost volume instead of shallow visual costs, and logits
that do not build on the coarse ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.model.class_attention import ClassAttention
from dpseg.model.cost_volume import cost_volume
from dpseg.model.decoder import CostVolumeGuidedDecoder, DecoderConfig, DecoderOutput
from dpseg.model.dpseg import Prompts, Switches
from dpseg.model.stage import StageConfig, match_size, projected_fusion

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
        """Map (B K) C H W to the same shape."""
        y: Tensor = self.norm(self.depthwise(x).permute(0, 2, 3, 1))  # (B K) H W C
        y = self.gamma * self.mlp(y)
        return x + y.permute(0, 3, 1, 2)  # (B K) C H W


class ClassTransformer(nn.Module):
    """Class attention and an MLP, on pooled places while training.

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

    def forward(self, x: Tensor, classes: int) -> Tensor:
        """Let the K classes of each place see each other, (B K) C H W to the same shape."""
        y = F.avg_pool2d(x, self.training_pool) if self.training else x
        y = self.attention(y, classes)
        hidden = self.mlp(self.norm(y.permute(0, 2, 3, 1)))  # (B K) h w C
        y = y + hidden.permute(0, 3, 1, 2)  # (B K) C h w
        if y.shape != x.shape:
            y = F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=True)
        return x + y


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

    def forward(self, x: Tensor, image_features: Tensor, cost: Tensor, classes: int) -> Tensor:
        """Refine the classes' maps and double their resolution.

        Args:
            x: (B K) C h w.
            image_features: E_j, B C_j H W.
            cost: projected, enlarged cost volume, B K G H W.
            classes: K.

        Returns:
            (B K) C' H W.
        """
        x = self.class_transformer(self.spatial(x), classes)
        x = match_size(self.enlarge(x), image_features)
        guidance = cost.flatten(0, 1).to(x.dtype)  # (B K) G H W
        fused: Tensor = self.fusion(x, image_features, guidance, classes)
        return fused


class SED(nn.Module):
    """The baseline network; called like `DPSeg`, of the prompts it sees the text alone.

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
        prompts: Prompts,
        switches: Switches,
    ) -> Tensor:
        """Score every class at every place.

        Args:
            image_embedding: E, B D h w.
            image_features: level j to E_j, B C_j h_j w_j.
            prompts: of K classes.
            switches: `decoder` and `keep` are heeded.

        Returns:
            Logits, B K H W: at stride 4, or at E's without a decoder.
        """
        coarse, output = self.decode(image_embedding, image_features, prompts, switches)
        return coarse if output is None else output.logits

    def decode(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: Prompts,
        switches: Switches,
    ) -> tuple[Tensor, DecoderOutput | None]:
        """Compute mean cosines, B K h w, and the decoder's logits.

        The shallow features are detached: the image tower learns through the cost volume alone.
        """
        cost = cost_volume(image_embedding, prompts.text_embedding)  # B K M h w
        coarse = cost.mean(2)
        if not switches.decoder:
            return coarse, None
        features = {level: one.detach() for level, one in image_features.items()}
        costs = self._enlarged_costs(cost)
        return coarse, self.decoder(cost, coarse, features, costs, switches.keep)

    def _enlarged_costs(self, cost: Tensor) -> dict[int, Tensor]:
        """Project and double the cost volume stage by stage, j to B K G h_j w_j."""
        x = cost.flatten(0, 1)  # (B K) M h w
        costs = {}
        for stage, enlarge in zip(self.decoder.config.stages, self.enlarge_cost, strict=True):
            x = F.relu(enlarge(x))  # (B K) G 2h 2w
            costs[stage.level] = torch.unflatten(x, 0, cost.shape[:2])  # B K G 2h 2w
        return costs
