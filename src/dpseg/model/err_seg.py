"""ERR-Seg, text-only as published: two cost volumes, a choice of classes for each image, a decoder.

The image is compared with the prompts at strides 16 and 32. Every position votes for the classes
that are nearest to it, and those with most votes go through the decoder; the others are rejected.
Examples take part as in DPSeg: a class's example is averaged with its text before both
comparisons. Without examples it is ERR-Seg.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.arrays import PromptSet
from dpseg.model.class_choice import choose_by_votes, decode_chosen, of_image
from dpseg.model.cost_volume import mean_cosines
from dpseg.model.decoder import DecoderOutput
from dpseg.model.dpseg import ForwardOptions, finest
from dpseg.model.err_seg_decoder import ErrSegDecoder, ErrSegSizes


class ErrSeg(nn.Module):
    """The network behind the encoders.

    Args:
        sizes: of the decoder.

    Source: ERR-Seg (Chen et al. 2025).
    """

    def __init__(self, *, sizes: ErrSegSizes) -> None:
        super().__init__()
        self.decoder = ErrSegDecoder(sizes)

    def forward(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
        coarse_embedding: Tensor,
    ) -> Tensor:
        """Score every class at every position.

        Args:
            image_embedding: E at stride 16, B D h w.
            image_features: level j, of 5, 4, 3, 2, to E_j, B C_j h_j w_j.
            prompts: of K classes.
            options: `strategy`, `decoder`, `chosen` and `class_chunk` are heeded.
            coarse_embedding: E at stride 32, B D h/2 w/2.

        Returns:
            Logits, B K H W: at stride 4, or at 16 without a decoder.
        """
        decoded = self.decode(image_embedding, image_features, prompts, options, coarse_embedding)
        return finest(*decoded)

    def decode(
        self,
        image_embedding: Tensor,
        image_features: Mapping[int, Tensor],
        prompts: PromptSet[Tensor],
        options: ForwardOptions,
        coarse_embedding: Tensor,
    ) -> tuple[Tensor, DecoderOutput | None]:
        """Compute mean cosines at stride 16, B K h w, and the decoder's logits."""
        fine = mean_cosines(image_embedding, prompts, options.strategy)
        if not options.decoder:
            return fine, None
        coarse = mean_cosines(coarse_embedding, prompts, options.strategy)
        text = F.normalize(prompts.text_embedding.mean(1), dim=-1).to(fine.dtype)  # K D

        def logits(image: int, classes: Tensor) -> Tensor:
            decoded: Tensor = self.decoder(
                fine[image, classes],
                coarse[image, classes],
                text[classes],
                of_image(image_features, image),
                options.class_chunk,
            )
            return decoded

        chosen = choose_by_votes(fine, options.chosen)
        return fine, DecoderOutput(decode_chosen(logits, chosen, fine.shape[1]), [])
