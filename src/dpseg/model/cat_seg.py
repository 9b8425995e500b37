"""CAT-Seg: one cost map of each class, refined in windows and between classes, then enlarged.

The image is compared with the prompts at the 24 x 24 patches of a vision transformer. Two of its
earlier blocks, with the same patches, guide the enlargement; learned convolutions bring them to
the resolution. Examples take part as in DPSeg: a class's example is averaged with its text before
the comparison. Without examples it is CAT-Seg.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.model.cat_seg_aggregator import PADDED_CLASSES, CatSegLayer
from dpseg.model.class_choice import choose_nearest, decode_chosen, of_image
from dpseg.model.cost_volume import mean_cosines
from dpseg.model.decoder import DecoderOutput
from dpseg.model.dpseg import ForwardOptions, finest
from dpseg.model.fusion import ProjectedFusion, enlarge_classes

_KERNEL = 7
#: Level j that a block's tokens guide, to the channels and the factor of their enlargement.
ENLARGED = {3: (256, 2), 2: (128, 4)}


@dataclass(frozen=True)
class CatSegSizes:
    """Sizes of the network.

    Attributes:
        embedding_channels: D of the joint space.
        image_channels: of the tokens that guide.
        widths: channels in the aggregator, then after each enlargement.
        projections: channels that the tokens which guide levels 3 and 2 are projected to.
        heads: attention heads; divides the aggregator's width.
        layers: of the aggregator.
    """

    embedding_channels: int
    image_channels: int
    widths: tuple[int, ...] = (128, 64, 32)
    projections: tuple[int, ...] = (32, 16)
    heads: int = 4
    layers: int = 2


class CatSegEnlargement(nn.Module):
    """Double the resolution of class maps, and fuse them with enlarged tokens.

    Args:
        channels: of the class maps.
        channels_out: of the result.
        image_channels: of the tokens.
        image_projection: channels that they are projected to.
        enlarged: channels and factor of their own enlargement.

    Source: CAT-Seg, upsampling decoder.
    """

    def __init__(
        self,
        *,
        channels: int,
        channels_out: int,
        image_channels: int,
        image_projection: int,
        enlarged: tuple[int, int],
    ) -> None:
        super().__init__()
        kept, (inside, factor) = channels - image_projection, enlarged
        self.enlarge_image = nn.ConvTranspose2d(image_channels, inside, factor, stride=factor)
        self.enlarge = nn.ConvTranspose2d(channels, kept, 2, stride=2)
        self.fusion = ProjectedFusion(
            channels=kept,
            image_channels=inside,
            image_projection=image_projection,
            guidance_channels=0,
            channels_out=channels_out,
        )

    def project(self, tokens: Tensor) -> Tensor:
        """Compute the image's part, 1 C_j h w to 1 C' H W."""
        return self.fusion.project(self.enlarge_image(tokens))

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Map S C h w to S C' 2h 2w; `image` is the image's part."""
        fused: Tensor = self.fusion(self.enlarge(x), None, image)
        return fused


class CatSeg(nn.Module):
    """The network behind the encoders; called like `DPSeg`.

    Args:
        sizes: of the network.

    Source: CAT-Seg (Cho et al. 2024).
    """

    def __init__(self, *, sizes: CatSegSizes) -> None:
        super().__init__()
        width = sizes.widths[0]
        self.embed = nn.Conv2d(1, width, _KERNEL, padding=_KERNEL // 2)
        self.image_guidance = nn.Conv2d(sizes.embedding_channels, width, 3, padding=1)
        self.text_guidance = nn.Linear(sizes.embedding_channels, width)
        self.layers = nn.ModuleList(
            CatSegLayer(channels=width, heads=sizes.heads) for _ in range(sizes.layers)
        )
        self.enlargements = nn.ModuleList(
            CatSegEnlargement(
                channels=before,
                channels_out=after,
                image_channels=sizes.image_channels,
                image_projection=projection,
                enlarged=enlarged,
            )
            for (before, after), projection, enlarged in zip(
                pairwise(sizes.widths), sizes.projections, ENLARGED.values(), strict=True
            )
        )
        self.head = nn.Conv2d(sizes.widths[-1], 1, 3, padding=1)

    def forward(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
    ) -> Tensor:
        """Score every class at every position.

        Args:
            image_embedding: E, B D h w; h and w are multiples of 12.
            image_features: level 3 and 2 to the tokens that guide there, B C h w.
            prompts: of K classes.
            options: `strategy`, `decoder`, `chosen` and `class_chunk` are heeded.

        Returns:
            Logits, B K 4h 4w, or B K h w without a decoder.
        """
        return finest(*self.decode(image_embedding, image_features, prompts, options))

    def decode(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
    ) -> tuple[Tensor, DecoderOutput | None]:
        """Compute mean cosines, B K h w, and the decoder's logits."""
        cost = mean_cosines(image_embedding, prompts, options.strategy)
        if not options.decoder:
            return cost, None
        text = F.normalize(prompts.text_embedding.mean(1), dim=-1).to(cost.dtype)  # K D

        def logits(image: int, classes: Tensor) -> Tensor:
            return self._refined(
                cost[image, classes],
                text[classes],
                image_embedding[image, None],
                of_image(image_features, image),
                options.class_chunk,
            )

        chosen = choose_nearest(cost, options.chosen or PADDED_CLASSES)
        return cost, DecoderOutput(decode_chosen(logits, chosen, cost.shape[1]), [])

    def _refined(
        self,
        cost: Tensor,
        text: Tensor,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        class_chunk: int | None,
    ) -> Tensor:
        """Decode S classes of one image, S h w, to logits S H W."""
        guidance = F.relu(self.image_guidance(image_embedding)).permute(0, 2, 3, 1)  # 1 h w C
        words = F.relu(self.text_guidance(text))  # S C
        x = self.embed(cost[:, None]).permute(0, 2, 3, 1)  # S h w C
        for layer in self.layers:
            x = layer(x, guidance, words, class_chunk)
        images = [
            step.project(image_features[level])  # type: ignore[operator]
            for level, step in zip(ENLARGED, self.enlargements, strict=True)
        ]
        maps = x.permute(0, 3, 1, 2)  # S C h w
        return enlarge_classes(maps, self.enlargements, images, self.head, class_chunk)
