"""The encoders and the network that a CLIP model's settings ask for."""

from __future__ import annotations

from typing import TypeAlias

from dpseg.encoders.cat_seg import CatSegEncoder
from dpseg.encoders.open_clip import OpenClipEncoder, joint_dimension
from dpseg.encoders.vit import OpenClipViTEncoder, Tipsv2Encoder, ViTEncoder
from dpseg.errors import CheckpointError
from dpseg.factory.config import ClipConfig
from dpseg.factory.lite import TOKEN_CHANNELS
from dpseg.model.cat_seg import CatSeg, CatSegSizes
from dpseg.model.cosine import CosineNetwork
from dpseg.model.decoder import DecoderConfig
from dpseg.model.dpseg import DPSeg
from dpseg.model.err_seg import ErrSeg
from dpseg.model.err_seg_decoder import ErrSegSizes
from dpseg.model.sed import SED
from dpseg.model.stage import StageConfig

_EMBED_KERNEL, _HEAD_KERNEL = 7, 3
ClipEncoder: TypeAlias = OpenClipEncoder | ViTEncoder
ClipNetwork: TypeAlias = DPSeg | SED | ErrSeg | CatSeg | CosineNetwork


def make_encoder(config: ClipConfig) -> ClipEncoder:
    """Make the towers.

    Raises:
        CheckpointError: the towers or their weights cannot be had.
        MissingExtraError: their library is not installed.
    """
    if config.towers == "convnext":
        return OpenClipEncoder(
            config.clip,
            pretrained=config.pretrained,
            architecture=config.architecture,
            embedding_stride=config.embedding_stride,
            levels=config.guidance_levels,
            pixel_statistics=config.pixel_statistics,
        )
    if config.network == "cat-seg":
        return CatSegEncoder(
            config.clip,
            pretrained=config.pretrained,
            architecture=config.architecture,
            image_size=config.image_size,
        )
    if config.network != "cosine":
        raise CheckpointError(f"{config.clip} has no shallow levels for a {config.network} decoder")
    if config.towers == "tipsv2":
        return Tipsv2Encoder(
            config.clip,
            pretrained=config.pretrained is not None,
            architecture=config.architecture,
            reading=config.reading,
            window=config.window,
        )
    return OpenClipViTEncoder(
        config.clip,
        pretrained=config.pretrained,
        architecture=config.architecture,
        reading=config.reading,
        window=config.window,
        pixel_statistics=config.pixel_statistics,
    )


def make_network(config: ClipConfig, encoder: ClipEncoder) -> ClipNetwork:
    """Make what stands behind the encoders."""
    channels = encoder.level_channels
    if config.network == "cosine":
        return CosineNetwork()
    if config.network == "err-seg":
        return ErrSeg(
            sizes=ErrSegSizes(
                text_channels=joint_dimension(config.clip, config.architecture),
                image_channels=channels,
                widths=config.widths,
                projections=config.projections,
                heads=config.heads,
                layers=config.layers,
            )
        )
    if config.network == "cat-seg":
        return CatSeg(
            sizes=CatSegSizes(
                embedding_channels=joint_dimension(config.clip, config.architecture),
                image_channels=channels[config.guidance_levels[0]],
                widths=config.widths,
                projections=config.projections,
                heads=config.heads,
                layers=config.layers,
            )
        )
    sizes = clip_decoder(config, channels)
    if config.network == "sed":
        return SED(decoder=sizes)
    return DPSeg(decoder=sizes, mixed_templates=len(config.templates))


def clip_decoder(config: ClipConfig, level_channels: dict[int, int]) -> DecoderConfig:
    """Lay out a decoder from stride 32 to 4 in three stages."""
    templates = len(config.templates)
    stages = tuple(
        StageConfig(
            level=level,
            upsample=2,
            channels_in=inside,
            channels_out=outside,
            image_channels=level_channels[level],
            guidance_channels=projection,
            heads=config.heads,
            image_projection=projection,
            enlarged_channels=inside - projection,
        )
        for level, inside, outside, projection in zip(
            config.guidance_levels,
            config.widths[:-1],
            config.widths[1:],
            config.projections,
            strict=True,
        )
    )
    is_dpseg = config.network == "dpseg"
    return DecoderConfig(
        cost_channels=templates + (TOKEN_CHANNELS if is_dpseg else 0),
        embed_channels=config.widths[0],
        embed_kernel=_EMBED_KERNEL,
        stages=stages,
        head_kernel=_HEAD_KERNEL,
        residual=is_dpseg,
    )
