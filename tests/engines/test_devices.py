"""Where models run: devices by name, and tensors that stay together on a GPU.

A GPU is imitated by torch's own fake tensors, which have a device and no values and refuse to be
mixed with those of another device. What needs a real one says so and is skipped.
"""

import copy

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dpseg.arrays import PromptSet
from dpseg.engines.devices import onnx_providers, split_device
from dpseg.engines.torch_devices import fast_types, torch_device
from dpseg.errors import DeviceError
from dpseg.factory.clip import ClipModel, clip_engine
from dpseg.factory.lite import lite_engine
from dpseg.factory.load import load_engine
from dpseg.model.dpseg import ForwardOptions

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.mark.parametrize(
    "name", ["", "gpu", "cuda:", "cuda:x", "cpu:0", "mps:1", "CUDA", "cuda:-1"]
)
def test_unknown_devices_are_refused(name):
    for find in (split_device, torch_device, onnx_providers):
        with pytest.raises(DeviceError, match="give one of auto, cpu, cuda, mps"):
            find(name)


@pytest.mark.parametrize(
    ("gpus", "mps", "expected"),
    [
        (0, False, {"auto": "cpu", "cpu": "cpu"}),
        (2, False, {"auto": "cuda", "cuda": "cuda", "cuda:1": "cuda:1", "cpu": "cpu"}),
        (0, True, {"auto": "mps", "mps": "mps"}),
        (1, True, {"auto": "cuda", "mps": "mps"}),
    ],
)
def test_torch_finds_what_is_there(gpus, mps, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    for name in ("auto", "cpu", "cuda", "cuda:1", "mps"):
        if name in expected or (name == "cuda:0" and gpus):
            assert torch_device(name) == torch.device(expected[name])
        elif name == "cuda:1" and gpus == 1:
            with pytest.raises(DeviceError, match="'cuda:1' is not there: the last is cuda:0"):
                torch_device(name)
        elif name != "cpu" and not (name == "cuda" and gpus):
            with pytest.raises(DeviceError, match=f"'{name}' is not there: torch"):
                torch_device(name)
    with pytest.raises(DeviceError, match="exported models alone"):
        torch_device("directml")


def test_onnxruntime_takes_the_provider_of_the_device(monkeypatch):
    def with_providers(*names):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*names, CPU])

    with_providers()
    assert onnx_providers("auto") == onnx_providers("cpu") == [(CPU, {})]
    for name in ("cuda", "mps", "directml", "openvino"):
        with pytest.raises(DeviceError, match=f"'{name}' is not there.*no .*Provider .it has CPU"):
            onnx_providers(name)
    with_providers(CUDA)
    assert onnx_providers("auto") == onnx_providers("cuda") == [(CUDA, {}), (CPU, {})]
    assert onnx_providers("cuda:1") == [(CUDA, {"device_id": 1}), (CPU, {})]
    with_providers("CoreMLExecutionProvider")
    assert onnx_providers("auto") == [(CPU, {})]
    assert onnx_providers("mps")[0][0] == "CoreMLExecutionProvider"


def test_a_device_that_is_not_there_is_told_before_the_model_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    for name in (tmp_path, "dpseg-convnext-b", "err-seg-convnext-b"):
        with pytest.raises(DeviceError, match="'cuda:3' is not there"):
            load_engine(name, device="cuda:3")
    with pytest.raises(DeviceError, match="'openvino' is not there"):
        load_engine("dpseg-lite", device="openvino")


class Words:
    """A text tower that is on the processor."""

    def encode(self, sentences):
        tokens = torch.ones(len(sentences), 2, 384)
        return tokens[:, 0], tokens, torch.ones(len(sentences), 2, dtype=torch.bool)


def move_to_fake_gpu(model):
    """Put fake tensors on a GPU in place of everything that a model holds."""
    for module in model.modules():
        for table, wrap in ((module._parameters, frozen), (module._buffers, lambda one: one)):
            for name, tensor in table.items():
                if tensor is not None:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
                    table[name] = wrap(fake)


def frozen(tensor):
    return nn.Parameter(tensor, requires_grad=False)


def values_on_the_processor(tensor):
    assert tensor.device.type == "cpu", "numpy was asked for values that are on the GPU"
    return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize("kind", ["lite", "dpseg", "sed", "err-seg"])
def test_nothing_stays_behind_on_the_processor(
    kind, clip_config, sed_config, err_seg_config, lite_model, monkeypatch
):
    """Photos, prompts and sentences go to the weights' device, and only results come back."""
    configs = {"dpseg": clip_config, "sed": sed_config, "err-seg": err_seg_config}
    model = copy.deepcopy(lite_model) if kind == "lite" else ClipModel(configs[kind])
    if kind == "dpseg":
        model.keep_prompt_tower()
    options = ForwardOptions(top_k=None)  # how many classes survive would depend on values
    with FakeTensorMode(allow_non_fake_inputs=True):
        move_to_fake_gpu(model)
        monkeypatch.setattr(torch.Tensor, "numpy", values_on_the_processor)
        if kind == "lite":
            engine = lite_engine(model, text_tower=Words(), options=options)
            assert engine.encode_text(["cat", "dog"]).class_wise.shape == (2, 512)
        else:
            engine = clip_engine(model, options=options)
            ids = torch.zeros(2, 5, dtype=torch.long, device="cuda")
            assert model.encoder.token_outputs(ids).device.type == "cuda"
        assert engine.device.type == "cuda"
        photo = np.zeros((64, 96, 3), np.uint8)
        features = engine.encode_image(photo)
        prompted = engine.encode_prompt(photo).image_embedding
        assert prompted.shape == features.image_embedding.shape
        dimension, templates = len(prompted), len(model.config.templates)
        vectors = np.zeros((2, templates, dimension), np.float32)
        prompts = PromptSet(
            text_embedding=vectors,
            visual_embedding=vectors,
            visual_features={
                j: np.zeros((2, templates, len(f)), np.float32)
                for j, f in features.image_features.items()
            },
            text_tokens=vectors,
            text_token_mask=np.ones(vectors.shape[:2], bool),
            visual_tokens=vectors,
            visual_mask=np.ones(2, bool),
        )
        assert engine.score(features, prompts).shape == (2, 16, 24)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("network", ["dpseg", "err-seg"])
def test_a_gpu_says_what_the_processor_says(network, clip_config, err_seg_config):
    config = {"dpseg": clip_config, "err-seg": err_seg_config}[network]
    torch.manual_seed(0)
    model = ClipModel(config)
    photo = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    near = clip_engine(model).encode_image(photo).image_embedding
    key = model.encoder_key()
    engine = clip_engine(model.to(torch_device("cuda")))
    assert engine.info.encoder_key == key
    far = engine.encode_image(photo).image_embedding
    np.testing.assert_allclose(far, near, atol=0.05 * np.abs(near).max())
    assert fast_types(engine.device).device == "cuda"
