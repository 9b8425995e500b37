"""Finding and loading weights: shipped and published ones by name, others by folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from dpseg.engines.devices import EXPORTED_ONLY, onnx_providers
from dpseg.engines.onnx_files import IMAGE_FILE, holds_clip, is_exported
from dpseg.engines.onnx_files import MODEL_FILE as MODEL_FILE
from dpseg.errors import CheckpointError, DeviceError, require_extra
from dpseg.factory.calibration import calibration_path, read_threshold
from dpseg.factory.config import PRESETS, PUBLISHED, REPOSITORIES, ClipConfig

if TYPE_CHECKING:
    from dpseg.engines.detector import Detector
    from dpseg.engines.protocol import Engine
    from dpseg.prompts.bank import PromptBank

EngineName: TypeAlias = Literal["onnx", "torch"]

WEIGHTS = Path(__file__).parents[1] / "weights"  # of the model that ships
BANK_FILE = "dpseg-lite-bank.safetensors"
DETECTOR_FILE = "dpseg-lite-detector.onnx"
CLIP_FILE = "model.safetensors"
CLIP_BANK_FILE = "bank.safetensors"
_CLIP_NAMES = ("convnext_", "ViT-", "MobileCLIP")  # how open_clip's names begin


def load_engine(
    name_or_folder: str | Path, *, engine: EngineName | None = None, device: str = "auto"
) -> tuple[Engine, PromptBank | None]:
    """Load a model and its prompt bank.

    Args:
        name_or_folder: a preset's name, an open_clip ConvNeXt's name, or a folder with a model file
            and, if there is one, its bank.
        engine: what is to run it; None takes onnxruntime where the model was exported, else torch.
        device: where: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`; of exported models also
            `"directml"` and `"openvino"`. `"auto"` takes a GPU where there is one.

    Returns:
        The engine that runs it, and the bank or None.

    Raises:
        CheckpointError: there is no such model or folder, or its files are damaged or do not
            belong together.
        DeviceError: the device is not there.
        MissingExtraError: the model needs an extra that is not installed.
    """
    from dpseg.prompts.bank import PromptBank

    if _is_clip_name(str(name_or_folder)):
        return _calibrated(_named_clip(str(name_or_folder), device), name_or_folder), None
    folder = _find(name_or_folder)
    model_path, bank_path = _pair(folder)
    if engine is None and is_exported(folder):
        engine = _fitting_engine(device)
    if engine == "onnx":
        model_path = folder / IMAGE_FILE
    loaded = _read(model_path, device)
    bank = PromptBank.load(bank_path) if bank_path.exists() else None
    if bank is not None and bank.encoder_key != loaded.info.encoder_key:
        raise CheckpointError(
            f"{bank_path} was made with encoder {bank.encoder_key}, but {model_path.name} holds "
            f"{loaded.info.encoder_key}; build the bank again"
        )
    return _calibrated(loaded, name_or_folder), bank


def _calibrated(engine: Engine, name_or_folder: str | Path) -> Engine:
    """Give a model the threshold that `dpseg calibrate` measured with it, if it did."""
    path = _calibration(name_or_folder)
    threshold = None if path is None else read_threshold(path, engine.info.encoder_key)
    return engine if threshold is None else engine.calibrated(threshold)


def _calibration(name_or_folder: str | Path) -> Path | None:
    """Name the place of a model's calibration, if there is a place for one."""
    try:
        return calibration_path(name_or_folder)
    except CheckpointError:  # nowhere to keep one
        return None


def _fitting_engine(device: str) -> EngineName:
    """Choose onnxruntime for an exported model, or torch if that alone knows the device."""
    try:
        onnx_providers(device)
    except DeviceError:
        if device in EXPORTED_ONLY or importlib.util.find_spec("torch") is None:
            raise
        return "torch"
    return "onnx"


def load_detector(name_or_folder: str | Path) -> Detector | None:
    """Find the detector that a model has beside it, if it has one.

    Args:
        name_or_folder: as for `load_engine`.

    Returns:
        The detector, loaded at its first use; None for a model without one.

    Raises:
        CheckpointError: there is no such preset or folder.
    """
    from dpseg.engines.detector import Detector

    if _is_clip_name(str(name_or_folder)):
        return None
    path = _find(name_or_folder) / DETECTOR_FILE
    return Detector(path) if path.is_file() else None


def model_files(name_or_folder: str | Path) -> list[Path]:
    """List the files that make up a model, in the order of their names, and its calibration.

    Args:
        name_or_folder: as for `load_engine`.

    Returns:
        Paths; none for towers that open_clip keeps.

    Raises:
        CheckpointError: there is no such preset or folder.
    """
    if _is_clip_name(str(name_or_folder)):
        return []
    folder = _find(name_or_folder)
    patterns = ("dpseg-lite*", CLIP_FILE, "model-*.onnx", "model-*.json", CLIP_BANK_FILE)
    files = sorted(p for pattern in patterns for p in folder.glob(pattern) if p.is_file())
    calibration = _calibration(name_or_folder)
    return files if calibration is None or not calibration.is_file() else [*files, calibration]


def _is_clip_name(name: str) -> bool:
    """Return whether a name, with or without weights after a colon, stands for CLIP towers."""
    model = name.partition(":")[0]
    return isinstance(PRESETS.get(model), ClipConfig) or model.startswith(_CLIP_NAMES)


def _named_clip(name: str, device_name: str) -> Engine:
    require_extra("torch", "clip")
    from dpseg.engines.torch_devices import torch_device
    from dpseg.factory.clip import ClipModel, clip_engine, load_clip
    from dpseg.factory.clip_names import named_clip_config

    device = torch_device(device_name)
    preset, _, file = name.partition(":")
    config = PRESETS.get(preset)
    if isinstance(config, ClipConfig) and config.network in PUBLISHED and file:
        from dpseg.factory.importers.published import import_checkpoint, read_checkpoint

        model, _ = import_checkpoint(read_checkpoint(Path(file)), config=config.without_weights())
        return clip_engine(model.to(device), brief=True)
    if isinstance(config, ClipConfig) and config.network in REPOSITORIES:
        from dpseg.factory.importers.fetch import published_model

        return clip_engine(load_clip(published_model(config) / CLIP_FILE).to(device), brief=True)
    return clip_engine(ClipModel(named_clip_config(name)).to(device), brief=True)


def _read(model_path: Path, device_name: str) -> Engine:
    if model_path.name == IMAGE_FILE:
        from dpseg.engines.onnx_engine import OnnxEngine

        return OnnxEngine(model_path.parent, device=device_name)
    clip = model_path.name == CLIP_FILE
    require_extra("torch", "clip" if clip else "torch")
    from dpseg.engines.torch_devices import torch_device

    device = torch_device(device_name)
    if clip:
        from dpseg.factory.clip import clip_engine, load_clip

        return clip_engine(load_clip(model_path).to(device), brief=True)
    from dpseg.factory.lite import lite_engine, load_lite

    return lite_engine(load_lite(model_path).to(device))


def _pair(folder: Path) -> tuple[Path, Path]:
    """Name a folder's model file and the place of its bank."""
    if (folder / CLIP_FILE).is_file() or holds_clip(folder):
        return folder / CLIP_FILE, folder / CLIP_BANK_FILE
    return folder / MODEL_FILE, folder / BANK_FILE


def _find(name_or_folder: str | Path) -> Path:
    if str(name_or_folder) in PRESETS and not _is_clip_name(str(name_or_folder)):
        return WEIGHTS
    folder = Path(name_or_folder)
    held = [(folder / name).is_file() for name in (MODEL_FILE, CLIP_FILE)]
    if any(held) or is_exported(folder):
        return folder
    raise CheckpointError(
        f"{str(name_or_folder)!r} is neither a preset ({', '.join(PRESETS)}) "
        f"nor a folder that holds {MODEL_FILE} or {CLIP_FILE}"
    )
