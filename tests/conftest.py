"""What tests share; this file also puts `tests/` on the import path."""

import pytest

from colour_engine import ColourEngine
from dpseg.prompts.cache import PromptCache


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture
def cache(tmp_path) -> PromptCache:
    return PromptCache(tmp_path / "cache")


@pytest.fixture
def normal():
    """Draw reproducible normal tensors, `normal(2, 3)`; new modules are reproducible too."""
    import torch

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    return lambda *shape: torch.randn(*shape, generator=generator)


@pytest.fixture(scope="session")
def text_tower():
    from dpseg.encoders.minilm import MiniLM

    return MiniLM()


@pytest.fixture(scope="session")
def lite_model():
    """The lite model with random weights; tests must leave them as they are."""
    import torch

    from dpseg.factory.config import LiteConfig
    from dpseg.factory.lite import LiteModel

    torch.manual_seed(0)
    model = LiteModel(LiteConfig(anchors=6)).eval().requires_grad_(False)
    model.text_map.fit(
        torch.nn.functional.normalize(torch.randn(6, 384), dim=-1), torch.randn(6, 512)
    )
    for layer in (model.network.decoder.predict, *model.network.decoder.heads):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return model


@pytest.fixture(scope="session")
def clip_config():
    """The settings of a DPSeg on a tiny ConvNeXt with random weights."""
    import sed_reference as tiny
    from dpseg.factory.config import ClipConfig

    return ClipConfig(
        name="dpseg-tiny",
        clip="convnext_tiny",
        pretrained=None,
        architecture=tiny.ARCHITECTURE,
        templates=("{}", "a photo of a {}.", "the {}"),
        widths=tiny.WIDTHS,
        projections=tiny.PROJECTIONS,
        image_size=64,
    )


@pytest.fixture(scope="session")
def sed_config(clip_config):
    return clip_config.model_copy(update={"name": "sed-tiny", "network": "sed"})


@pytest.fixture(scope="session")
def err_seg_config(clip_config):
    """The settings of an ERR-Seg on the same towers."""
    import err_seg_reference as tiny
    from dpseg.factory.config import PRESETS

    preset = PRESETS["err-seg-convnext-b"]
    names = ("templates", "synonyms", "pixel_statistics", "embedding_stride", "guidance_levels")
    settings = {name: getattr(preset, name) for name in names}
    sizes = {"widths": tiny.WIDTHS, "projections": tiny.PROJECTIONS, "layers": tiny.LAYERS}
    return clip_config.model_copy(
        update={"name": "err-seg-tiny", "network": "err-seg", **settings, **sizes}
    )


@pytest.fixture(scope="session")
def cat_seg_config():
    """The settings of a CAT-Seg on a tiny vision transformer."""
    import cat_seg_reference as tiny
    from dpseg.factory.config import PRESETS

    return PRESETS["cat-seg-vit-b"].model_copy(
        update={
            "name": "cat-seg-tiny",
            "pretrained": None,
            "architecture": tiny.ARCHITECTURE,
            "image_size": tiny.SIDE,
            "widths": tiny.WIDTHS,
            "projections": tiny.PROJECTIONS,
            "heads": tiny.HEADS,
            "layers": tiny.LAYERS,
        }
    )
