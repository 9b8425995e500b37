"""Encoders on the vision transformers of open_clip and on TIPSv2, read densely without training.

There are no shallow levels to guide a decoder by: patches have one size throughout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpseg.encoders.dense_vit import DenseViT, Reading, read_densely, read_in_windows
from dpseg.encoders.open_clip import BATCH, EXTRA, create_clip, is_vit
from dpseg.encoders.protocol import FeaturePyramid, SentenceEmbedding
from dpseg.encoders.vit_towers import OpenClipViT, TimmViT, Tipsv2ViT
from dpseg.errors import CheckpointError, require_extra

_TIPSV2_TOKENS = 64


class ViTEncoder(nn.Module, ABC):
    """A text tower and a densely read vision transformer.

    Args:
        reading: how the vision transformer is read.
        window: side of a window and step between two, in pixels; None reads an image as a whole.
        pixel_statistics: mean and deviation of RGB in [0, 1].
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    tower: DenseViT

    def __init__(
        self,
        *,
        reading: Reading,
        window: tuple[int, int] | None,
        pixel_statistics: Sequence[Sequence[float]],
    ) -> None:
        super().__init__()
        self.reading: Reading = reading
        self.window = window
        for buffer, values in zip(("pixel_mean", "pixel_std"), pixel_statistics, strict=True):
            self.register_buffer(buffer, torch.tensor(values)[:, None, None], persistent=False)

    @property
    def stride(self) -> int:
        """Image sides are multiples of this."""
        return self.tower.patch

    @property
    def level_channels(self) -> dict[int, int]:
        """Return nothing: there are no shallow levels."""
        return {}

    def keep_prompt_tower(self) -> None:
        """Refuse: what is read without training has no prompt encoder of its own."""
        raise CheckpointError("vision transformers are read without training; train a ConvNeXt")

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[str]) -> SentenceEmbedding:
        """Embed N sentences; the one token of each is the sentence itself."""
        parts = [
            self._sentences(sentences[start : start + BATCH])
            for start in range(0, len(sentences), BATCH)
        ]
        whole = F.normalize(torch.cat(parts), dim=-1)  # N D
        mask = torch.ones(len(whole), 1, dtype=torch.bool, device=whole.device)
        return SentenceEmbedding(whole, whole[:, None], mask)

    @abstractmethod
    def _sentences(self, sentences: Sequence[str]) -> Tensor:
        """Embed a few sentences, N D."""

    def encode_image(self, images: Tensor) -> FeaturePyramid:
        """Embed images, RGB in [0, 1], B 3 H W, sides multiples of the patch."""
        pixels = (images - self.pixel_mean) / self.pixel_std
        if self.window is None:
            return FeaturePyramid(read_densely(self.tower, pixels, self.reading), {})
        return FeaturePyramid(read_in_windows(self.tower, pixels, self.reading, self.window), {})

    @torch.no_grad()
    def encode_prompt(self, images: Tensor) -> FeaturePyramid:
        """Embed prompt images; as `encode_image`."""
        return self.encode_image(images)


class OpenClipViTEncoder(ViTEncoder):
    """Both towers of a model of open_clip.

    Args:
        name: open_clip's name of a model with a vision transformer.
        pretrained: open_clip's tag of its weights, or a file; None initialises at random.
        architecture: parts of open_clip's model configuration to replace.
        reading: how the vision transformer is read.
        window: side of a window and step between two, in pixels; None reads an image as a whole.
        pixel_statistics: mean and deviation of RGB in [0, 1]; None for OpenAI's.

    Raises:
        CheckpointError: there is no such model, or its weights cannot be had.
        MissingExtraError: open_clip is not installed.
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: str | None,
        architecture: Mapping[str, Any] | None = None,
        reading: Reading = "value",
        window: tuple[int, int] | None = None,
        pixel_statistics: Sequence[Sequence[float]] | None = None,
    ) -> None:
        open_clip = require_extra("open_clip", EXTRA)
        usual = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        super().__init__(reading=reading, window=window, pixel_statistics=pixel_statistics or usual)
        self.clip: Any = create_clip(name, pretrained, architecture or {}, is_known=is_vit)
        visual = self.clip.visual
        self.tower = TimmViT(visual) if hasattr(visual, "trunk") else OpenClipViT(visual)
        text = {**(open_clip.get_model_config(name) or {}), **(architecture or {})}["text_cfg"]
        self._tokenize = (
            open_clip.get_tokenizer(name)
            if "hf_tokenizer_name" in text
            else open_clip.SimpleTokenizer(context_length=text["context_length"])
        )

    def text_parameters(self) -> list[nn.Parameter]:
        """List what belongs to the text tower."""
        return [p for name, p in self.clip.named_parameters() if not name.startswith("visual.")]

    def _sentences(self, sentences: Sequence[str]) -> Tensor:
        ids = self._tokenize(list(sentences)).to(self.pixel_mean.device)
        embedded: Tensor = self.clip.encode_text(ids)
        return embedded


class Tipsv2Encoder(ViTEncoder):
    """Both towers of TIPSv2.

    Args:
        name: its name on the hub, or a folder.
        pretrained: whether to load its weights; else they are random.
        architecture: settings of `Tipsv2Config` to make it with; None takes the name's.
        tokenizer: splits sentences, as transformers' do; None takes the name's.
        reading: how the vision transformer is read.
        window: side of a window and step between two, in pixels; None reads an image as a whole.

    Raises:
        CheckpointError: the model cannot be had.
        MissingExtraError: transformers is not installed.

    Source: TIPSv2 (2604.12012). Pixels go in as they are, in [0, 1].
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool,
        architecture: Mapping[str, Any] | None = None,
        tokenizer: Any = None,
        reading: Reading = "value",
        window: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(reading=reading, window=window, pixel_statistics=((0.0,) * 3, (1.0,) * 3))
        transformers = require_extra("transformers", "tipsv2")
        if not hasattr(transformers, "Tipsv2Model"):
            raise CheckpointError(
                f"transformers {transformers.__version__} does not know TIPSv2; take a newer one"
            )
        try:
            self.model: Any = (
                transformers.Tipsv2Model.from_pretrained(name)
                if pretrained
                else transformers.Tipsv2Model(
                    transformers.Tipsv2Config(**architecture)
                    if architecture
                    else transformers.AutoConfig.from_pretrained(name)
                )
            )
            self._tokenizer = tokenizer or transformers.AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"cannot load {name}: {reason}") from error
        self.tower = Tipsv2ViT(self.model.vision_model)

    def text_parameters(self) -> list[nn.Parameter]:
        """List what belongs to the text tower."""
        return list(self.model.text_model.parameters())

    def _sentences(self, sentences: Sequence[str]) -> Tensor:
        split = self._tokenizer(
            list(sentences),
            padding="max_length",
            truncation=True,
            max_length=_TIPSV2_TOKENS,
            return_tensors="pt",
        )
        device = self.pixel_mean.device
        embedded: Tensor = self.model.text_model(
            input_ids=split["input_ids"].to(device),
            attention_mask=split["attention_mask"].to(device),
        ).pooler_output
        return embedded
