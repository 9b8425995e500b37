"""Vision transformers read densely: the libraries' forward, and numpy for the last block."""

import numpy as np
import open_clip
import pytest
import torch
from scipy.special import erf, softmax
from timm.layers import resample_abs_pos_embed
from torch.nn import functional as F

from dpseg.encoders.dense_vit import gaussian_window, read_densely, read_in_windows
from dpseg.encoders.vit import OpenClipViTEncoder, Tipsv2Encoder
from dpseg.errors import CheckpointError

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
PLAIN = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 64,
        "layers": 3,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
        "ls_init_value": 0.5,
    },
    "text_cfg": TEXT,
}
TIMM = {
    "embed_dim": 64,
    "vision_cfg": {
        "timm_model_name": "test_vit",
        "timm_pool": "map",
        "timm_proj": "none",
        "image_size": 64,
    },
    "text_cfg": TEXT,
}
TIPS = {
    "vision_config": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 56,
        "layerscale_value": 0.5,
    },
    "text_config": {
        "vocab_size": 99,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
}


class Letters:
    """A tokenizer that numbers letters."""

    def __call__(self, sentences, max_length, **_):
        ids = [[ord(letter) - 31 for letter in one][:max_length] for one in sentences]
        padded = torch.tensor([[*one, *[0] * (max_length - len(one))] for one in ids])
        return {"input_ids": padded, "attention_mask": (padded > 0).long()}


def make(kind, **settings):
    torch.manual_seed(0)
    if kind == "tipsv2":
        encoder = Tipsv2Encoder(
            "google/tipsv2-b14",
            pretrained=False,
            architecture=TIPS,
            tokenizer=Letters(),
            **settings,
        )
    else:
        name, sizes = {
            "open_clip": ("ViT-B-16-quickgelu", PLAIN),
            "timm": ("ViT-B-16-SigLIP2-512", TIMM),
        }[kind]
        encoder = OpenClipViTEncoder(name, pretrained=None, architecture=sizes, **settings)
    for parameter in encoder.parameters():  # biases and class tokens begin at zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["open_clip", "timm", "tipsv2"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def encoder(kind):
    return make(kind)


@pytest.fixture
def image(encoder):
    """Of the tower's own size."""
    return picture(4 * encoder.stride, 4 * encoder.stride)


def picture(height, width, batch=2):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def pixels_of(encoder, image):
    return (image - encoder.pixel_mean) / encoder.pixel_std


def test_all_but_the_last_block_is_the_librarys_own(kind, encoder, image):
    """With its own last block behind it, the tower's tokens give the library's embedding."""
    pixels, tower = pixels_of(encoder, image), encoder.tower
    tokens, grid = tower.before_last(pixels)
    assert grid == (4, 4)
    if kind == "open_clip":
        block = encoder.clip.visual.transformer.resblocks[-1]
        found, expected = tower.project(block(tokens))[:, 0], encoder.clip.encode_image(pixels)
    elif kind == "timm":
        trunk = encoder.clip.visual.trunk
        found = encoder.clip.visual.head(trunk.forward_head(trunk.norm(trunk.blocks[-1](tokens))))
        expected = encoder.clip.encode_image(pixels)
    else:
        vision = encoder.model.vision_model
        found = tower.project(vision.encoder.layer[-1](tokens))
        expected = vision(pixels).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def weights_of(kind, encoder):
    """The last block and what follows it, by common names, in double precision."""
    if kind == "open_clip":
        visual = encoder.clip.visual
        block = visual.transformer.resblocks[-1]
        parts = {
            "norm1": block.ln_1,
            "qkv": (block.attn.in_proj_weight, block.attn.in_proj_bias),
            "out": block.attn.out_proj,
            "scale1": block.ls_1.gamma,
            "norm2": block.ln_2,
            "fc1": block.mlp.c_fc,
            "fc2": block.mlp.c_proj,
            "scale2": block.ls_2.gamma,
            "final": visual.ln_post,
        }
    elif kind == "timm":
        trunk = encoder.clip.visual.trunk
        block, one = trunk.blocks[-1], torch.ones(())
        parts = {
            "norm1": block.norm1,
            "qkv": block.attn.qkv,
            "out": block.attn.proj,
            "scale1": getattr(block.ls1, "gamma", one),
            "norm2": block.norm2,
            "fc1": block.mlp.fc1,
            "fc2": block.mlp.fc2,
            "scale2": getattr(block.ls2, "gamma", one),
            "final": trunk.norm,
        }
    else:
        vision = encoder.model.vision_model
        block = vision.encoder.layer[-1]
        attention = block.attention
        joined = [attention.q_proj, attention.k_proj, attention.v_proj]
        parts = {
            "norm1": block.norm1,
            "qkv": (torch.cat([p.weight for p in joined]), torch.cat([p.bias for p in joined])),
            "out": attention.o_proj,
            "scale1": block.layer_scale1.lambda1,
            "norm2": block.norm2,
            "fc1": block.mlp.fc1,
            "fc2": block.mlp.fc2,
            "scale2": block.layer_scale2.lambda1,
            "final": vision.layernorm,
        }
    return parts


def array(tensor):
    return tensor.double().numpy()


def linear(x, layer):
    weight, bias = layer if isinstance(layer, tuple) else (layer.weight, layer.bias)
    return x @ array(weight).T + array(bias)


def norm(x, layer):
    centred = x - x.mean(-1, keepdims=True)
    unit = centred / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return unit * array(layer.weight) + array(layer.bias)


def activated(kind, x):
    if kind == "open_clip":
        return x / (1 + np.exp(-1.702 * x))  # quick GELU
    return x * (1 + erf(x / np.sqrt(2))) / 2


@pytest.mark.parametrize("reading", ["value", "naclip"])
def test_the_last_block_is_read_as_published(kind, encoder, image, reading):
    parts = weights_of(kind, encoder)
    pixels = pixels_of(encoder, image)
    tokens = array(encoder.tower.before_last(pixels)[0])
    _, keys, values = np.split(linear(norm(tokens, parts["norm1"]), parts["qkv"]), 3, axis=-1)
    if reading == "value":
        x = tokens + array(parts["scale1"]) * linear(values, parts["out"])
        hidden = activated(kind, linear(norm(x, parts["norm2"]), parts["fc1"]))
        x = x + array(parts["scale2"]) * linear(hidden, parts["fc2"])
    else:
        prefix = tokens.shape[1] - 16
        window = np.zeros((tokens.shape[1],) * 2)
        for i in range(16):
            for j in range(16):
                squared = (i // 4 - j // 4) ** 2 + (i % 4 - j % 4) ** 2
                window[prefix + i, prefix + j] = np.exp(-squared / 50)
        mixed, size = np.empty_like(values), keys.shape[-1] // encoder.tower.heads
        for head in range(encoder.tower.heads):
            part = slice(head * size, (head + 1) * size)
            k = keys[..., part]
            weights = softmax(k @ k.swapaxes(1, 2) / np.sqrt(size) + window, axis=-1)
            mixed[..., part] = weights @ values[..., part]
        x = array(parts["scale1"]) * linear(mixed, parts["out"])
    x = torch.from_numpy(norm(x, parts["final"]))[:, -16:].float()
    if kind == "open_clip":
        x = x @ encoder.clip.visual.proj
    elif kind == "timm":  # the library's pool, one patch at a time
        pool = encoder.clip.visual.trunk.attn_pool
        x = torch.stack([pool(x[:, place, None]) for place in range(16)], dim=1)
    found = read_densely(encoder.tower, pixels, reading).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-4)


def test_a_picture_of_one_patch_is_siglips_own_embedding():
    """Without a class token, attention of one patch is its value."""
    encoder = make("timm")
    trunk = encoder.clip.visual.trunk
    if trunk.num_prefix_tokens:
        trunk.cls_token = None
        trunk.num_prefix_tokens, trunk.no_embed_class = 0, True
        trunk.pos_embed = torch.nn.Parameter(trunk.pos_embed[:, 1:])
    image = picture(16, 16)
    found = encoder.encode_image(image).image_embedding
    expected = encoder.clip.encode_image(pixels_of(encoder, image))
    torch.testing.assert_close(found[..., 0, 0], expected, atol=1e-5, rtol=1e-5)


def test_positions_are_stretched_as_timm_does():
    encoder = make("open_clip")
    visual = encoder.clip.visual
    pixels = picture(48, 96)
    found, grid = encoder.tower.before_last(pixels)
    stretched = resample_abs_pos_embed(
        visual.positional_embedding[None], new_size=(3, 6), num_prefix_tokens=1
    )
    x = visual.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(2, 1, -1), x], dim=1)
    x = visual.ln_pre(x + stretched)
    for block in visual.transformer.resblocks[:-1]:
        x = block(x)
    assert grid == (3, 6)
    torch.testing.assert_close(found, x)


def test_any_size_is_read(kind, encoder):
    side = encoder.stride
    pyramid = encoder.encode_image(picture(3 * side, 5 * side))
    assert pyramid.image_embedding.shape[2:] == (3, 5)
    assert pyramid.image_embedding.isfinite().all()
    assert pyramid.image_features == {}


def test_windows_are_averaged_where_they_meet(encoder):
    side = encoder.stride
    pixels = pixels_of(encoder, picture(5 * side, 3 * side, batch=1))
    found = read_in_windows(encoder.tower, pixels, "value", (3 * side, side))
    seen = [[] for _ in range(5)]
    for top in range(3):
        crop = pixels[:, :, top * side : (top + 3) * side]
        part = F.normalize(read_densely(encoder.tower, crop, "value"), dim=1)
        for row in range(3):
            seen[top + row].append(part[0, :, row])
    expected = torch.stack([torch.stack(rows).mean(0) for rows in seen], dim=1)
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=1e-5)
    whole = read_in_windows(encoder.tower, pixels, "value", (9 * side, side))
    plain = F.normalize(read_densely(encoder.tower, pixels, "value"), dim=1)
    torch.testing.assert_close(whole, plain)


def test_window_is_one_for_a_patch_itself():
    window = gaussian_window((2, 3))
    assert window.shape == (6, 6)
    torch.testing.assert_close(window.diagonal(), torch.ones(6))
    torch.testing.assert_close(window[0, 5], torch.tensor(np.exp(-5 / 50)).float())


def test_sentences_are_the_librarys_own(kind, encoder, monkeypatch):
    sentences = ["cat", "a photo of a large dog", "sky"]
    if kind == "tipsv2":
        split = Letters()(sentences, 64)
        expected = encoder.model.get_text_features(**split).pooler_output
    else:
        expected = encoder.clip.encode_text(open_clip.SimpleTokenizer()(sentences))
    found = encoder.encode_text(sentences)
    torch.testing.assert_close(found.class_wise, F.normalize(expected, dim=-1))
    assert found.token_wise.shape[:2] == found.token_mask.shape == (3, 1)
    monkeypatch.setattr("dpseg.encoders.vit.BATCH", 1)
    torch.testing.assert_close(encoder.encode_text(sentences).class_wise, found.class_wise)


def test_what_cannot_be_had_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"'RN50' is not among open_clip's .*ViT-B-32"):
        OpenClipViTEncoder("RN50", pretrained=None)
    with pytest.raises(CheckpointError, match="cannot load"):
        Tipsv2Encoder(str(tmp_path), pretrained=True)
    with pytest.raises(CheckpointError, match="read without training"):
        make("open_clip").keep_prompt_tower()
