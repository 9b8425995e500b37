"""Presets and the settings that travel with a model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict

from dpseg.engines.protocol import ModelInfo
from dpseg.prompts.templates import SHORT_TEMPLATES

Network: TypeAlias = Literal["dpseg", "sed", "err-seg", "cat-seg", "cosine"]
Towers: TypeAlias = Literal["convnext", "vit", "tipsv2"]
RGB: TypeAlias = tuple[float, float, float]


class Repository(NamedTuple):
    """Where the authors of a network keep its checkpoints.

    Attributes:
        name: on the hub.
        kind: of the repository.
        licence: of the weights.
    """

    name: str
    kind: Literal["model", "space"]
    licence: str


#: Where the checkpoints of a network are that can be fetched.
REPOSITORIES: Mapping[Network, Repository] = {
    "err-seg": Repository("lchen1019/ERR-Seg", "model", "MIT"),
    "cat-seg": Repository("hamacojr/CAT-Seg-weights", "space", "MIT"),
}
#: Networks whose decoder is in their authors' checkpoints only.
PUBLISHED: tuple[Network, ...] = ("sed", *REPOSITORIES)

#: Mean and deviation of ImageNet's pixels, RGB in [0, 1].
IMAGENET_PIXELS: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class LiteConfig(BaseModel):
    """Everything that `dpseg-lite` needs beside its tensors.

    Attributes:
        name: preset name.
        embedding_dim: D of the joint space.
        adapter_dim: hidden width of the image tower's adapter.
        context_blocks: attention blocks over positions in that adapter.
        text_dim: size of the text tower's embedding.
        templates: the M sentence templates, each with one `{}`.
        widths: channels before the first stage, then after each stage.
        guidance_levels: levels j of the stages, deepest first.
        image_size: long side in pixels of the view that the model likes best.
        score_threshold: calibrated sigmoid score below which a pixel is unlabelled, if a few names
            are given.
        anchors: names that the text map is fitted on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "dpseg-lite"
    embedding_dim: int = 512
    adapter_dim: int = 256
    context_blocks: int = 0
    text_dim: int = 384
    templates: tuple[str, ...] = SHORT_TEMPLATES
    widths: tuple[int, ...] = (32, 32, 16, 16)
    guidance_levels: tuple[int, ...] = (4, 3, 2)
    image_size: int = 512
    score_threshold: float = 0.3
    anchors: int = 0

    @property
    def synonyms(self) -> bool:
        """Return True: a class's synonyms are averaged with its name."""
        return True

    @property
    def source(self) -> str:
        """Return where weights come from that are not in the package."""
        return "weights are missing"


class ClipConfig(BaseModel):
    """A model on the towers of a CLIP.

    Attributes:
        name: preset name.
        clip: open_clip's name of the towers.
        pretrained: open_clip's tag of their weights, or a file; None initialises them at random.
        architecture: parts of open_clip's model configuration to replace, for other sizes.
        network: what stands behind the encoders; `"cosine"` is the bare cost volume.
        templates: the M sentence templates; none stands for the 80 of ImageNet.
        synonyms: whether a class's synonyms are averaged with its name.
        pixel_statistics: mean and deviation of RGB in [0, 1]; None for open_clip's.
        embedding_stride: of a ConvNeXt's image embedding, 32 or 16.
        reading: how a vision transformer's last block is read; see `read_densely`.
        window: side of the windows in which a vision transformer reads a photo, and step between
            two, in pixels; None reads it whole.
        widths: channels before the first stage, then after each stage.
        projections: channels of each stage's image features, and of its guidance.
        heads: of the decoder's attention.
        layers: of ERR-Seg's or CAT-Seg's aggregator.
        guidance_levels: levels j of the image features, deepest first.
        own_prompt_tower: whether the prompt encoder has weights of its own, as after fine-tuning;
            else it is the image tower.
        image_size: long side in pixels of the view that the model likes best.
        score_threshold: calibrated sigmoid score below which a pixel is unlabelled, if a few names
            are given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    clip: str
    pretrained: str | None
    architecture: Mapping[str, Any] | None = None
    network: Network = "dpseg"
    templates: tuple[str, ...] = ()
    synonyms: bool = True
    pixel_statistics: tuple[RGB, RGB] | None = None
    embedding_stride: Literal[32, 16] = 32
    reading: Literal["value", "naclip"] = "value"
    window: tuple[int, int] | None = None
    widths: tuple[int, ...] = (128, 64, 32, 16)
    projections: tuple[int, ...] = (32, 16, 8)
    heads: int = 4
    layers: int = 4
    guidance_levels: tuple[int, ...] = (4, 3, 2)
    own_prompt_tower: bool = False
    image_size: int = 768
    score_threshold: float = 0.0

    @property
    def towers(self) -> Towers:
        """Return which kind of towers these are, by their name."""
        if "tipsv2" in self.clip:
            return "tipsv2"
        return "convnext" if self.clip.startswith("convnext") else "vit"

    def without_weights(self) -> ClipConfig:
        """Copy for a model whose weights come from elsewhere than open_clip."""
        return self.model_copy(update={"pretrained": None})

    @property
    def source(self) -> str:
        """Return where weights come from that are not in the package."""
        if self.network == "sed":
            return "by dpseg import, from SED's checkpoints"
        if self.network == "cosine":
            return f"from the hub at first use: {self.clip}, read without training"
        if self.network in REPOSITORIES:
            where = REPOSITORIES[self.network]
            return f"from the hub at first use: {where.name}, {where.licence} licence"
        return f"from the hub at first use: {self.clip} {self.pretrained}, decoder untrained"


ModelConfig: TypeAlias = LiteConfig | ClipConfig

_TOWERS = {
    "b": ("convnext_base_w_320", "laion_aesthetic_s13b_b82k"),
    "l": ("convnext_large_d_320", "laion2b_s29b_b131k_ft_soup"),
}
#: Both put a class's first word into one sentence.
_ONE_SENTENCE: Mapping[str, Any] = {
    "templates": ("A photo of a {} in the scene",),
    "synonyms": False,
}
#: What sets a network's presets apart from DPSeg's.
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "err-seg": {
        **_ONE_SENTENCE,
        "pixel_statistics": IMAGENET_PIXELS,
        "embedding_stride": 16,
        "guidance_levels": (5, 4, 3, 2),
    }
}
_IMAGE_SIZES = {"err-seg-convnext-b": 640}
#: Score that a pixel needs by a published decoder, until one is measured (`dpseg calibrate`). They
#: were trained by binary cross-entropy, so that scores are probabilities; of such, the threshold
#: J / (1 + J) gives the largest expected IoU J, and their authors publish J of 0.3 to 0.6.
_TRAINED_THRESHOLD = 0.3


def _clip_preset(network: Network, size: str) -> ClipConfig:
    name, (clip, tag) = f"{network}-convnext-{size}", _TOWERS[size]
    return ClipConfig(
        name=name,
        clip=clip,
        pretrained=tag,
        network=network,
        image_size=_IMAGE_SIZES.get(name, 768),
        score_threshold=_TRAINED_THRESHOLD if network in PUBLISHED else 0.0,
        **_SETTINGS.get(network, {}),
    )


_NETWORKS: tuple[Network, ...] = ("dpseg", "sed", "err-seg")
_CLIP_PRESETS = [_clip_preset(network, size) for network in _NETWORKS for size in _TOWERS]
_CAT_SEG_PRESETS = [
    ClipConfig(
        name=f"cat-seg-vit-{size}",
        clip=clip,
        pretrained="openai",
        network="cat-seg",
        widths=(128, 64, 32),
        projections=(32, 16),
        layers=2,
        guidance_levels=(3, 2),
        image_size=image_size,
        score_threshold=_TRAINED_THRESHOLD,
        **_ONE_SENTENCE,
    )
    for size, clip, image_size in (
        ("b", "ViT-B-16-quickgelu", 384),
        ("l", "ViT-L-14-336-quickgelu", 336),
    )
]
_TIPSV2_PRESETS = [
    ClipConfig(
        name=f"tipsv2-{size}",
        clip=f"google/tipsv2-{size}",
        pretrained="hub",
        network="cosine",
        templates=SHORT_TEMPLATES,
        guidance_levels=(),
        image_size=672,
        window=(448, 336),
    )
    for size in ("b14", "l14")
]
PRESETS: Mapping[str, ModelConfig] = {"dpseg-lite": LiteConfig()} | {
    config.name: config for config in (*_CLIP_PRESETS, *_CAT_SEG_PRESETS, *_TIPSV2_PRESETS)
}


def model_info(config: ModelConfig, *, encoder_key: str, stride: int) -> ModelInfo:
    """Return what the product must know of a model.

    Args:
        config: its settings.
        encoder_key: hash of its encoders' weights.
        stride: image sides are multiples of this.
    """
    return ModelInfo(
        name=config.name,
        encoder_key=encoder_key,
        image_size=config.image_size,
        stride=stride,
        levels=config.guidance_levels,
        templates=config.templates,
        score_threshold=config.score_threshold,
        synonyms=config.synonyms,
    )
