"""From a model's name to a folder that runs without torch: graphs, tokenizer, weights and bank.

What `dpseg export` does. It needs the `onnx` extra, which brings torch; what it writes does not.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dpseg.arrays import ImageArray
from dpseg.engines.protocol import ModelInfo
from dpseg.errors import CheckpointError, ImageError, require_extra
from dpseg.factory.load import BANK_FILE, CLIP_BANK_FILE, MODEL_FILE, load_engine, model_files
from dpseg.files import atomic_write
from dpseg.imaging.folder import PhotoFolder, no_photo
from dpseg.imaging.photo import load_photo
from dpseg.imaging.tiling import cut_views, plan_views

if TYPE_CHECKING:
    from dpseg.export.precision import Precision

_CARRIED = (MODEL_FILE, BANK_FILE)


def export_model(
    name_or_folder: str | Path,
    out: Path,
    *,
    image: Precision = "fp16",
    text: Precision = "int8-weights",
    pictures: Path | None = None,
) -> list[Path]:
    """Write a model's files and its ONNX graphs into a folder that `load_engine` reads.

    Args:
        name_or_folder: a lite model, or one on ConvNeXt CLIP towers.
        out: the folder; made if it is not there. The model's own folder is allowed.
        image: how the image tower stores its weights and computes.
        text: the same for the text tower.
        pictures: folder of photos on which the ranges of an int8 image tower are measured.

    Returns:
        The files.

    Raises:
        MissingExtraError: the `onnx` extra, which brings torch, is not installed.
        CheckpointError: there is no such model, or it is not exported so.
        ImageError: an int8 image tower was asked for without images, or one cannot be read.
    """
    photos = _photos_in(pictures) if image == "int8" else []
    for module in ("torch", "onnx", "onnxscript"):
        require_extra(module, "onnx")
    from dpseg.encoders.minilm import MiniLM
    from dpseg.engines.torch_engine import TorchEngine
    from dpseg.export.onnx import Precisions, export_lite
    from dpseg.factory.lite import LiteModel

    engine, bank = load_engine(name_or_folder, engine="torch", device="cpu")
    assert isinstance(engine, TorchEngine)
    out.mkdir(parents=True, exist_ok=True)
    if not isinstance(engine.model, LiteModel):
        if "int8" in (image, text):
            raise CheckpointError(f"{engine.info.name} is exported as fp32, fp16 or int8-weights")
        from dpseg.export.clip import export_clip

        if bank is not None:
            bank.save(out / CLIP_BANK_FILE)
        return export_clip(engine, out, image=image, text=text)  # type: ignore[arg-type]
    files = [_copied(path, out) for path in model_files(name_or_folder) if path.name in _CARRIED]
    files += export_lite(
        engine.model,
        MiniLM(),
        engine.info,
        out / MODEL_FILE,
        precisions=Precisions(image=image, text=text),
        pictures=(_view_of(photo, engine.info) for photo in photos),
    )
    return files


def _copied(path: Path, folder: Path) -> Path:
    copy = folder / path.name
    if copy.resolve() != path.resolve():
        with atomic_write(copy) as temporary:
            shutil.copyfile(path, temporary)
    return copy


def _photos_in(folder: Path | None) -> list[Path]:
    if folder is None:
        raise ImageError("an int8 image tower needs a folder of pictures to measure its ranges on")
    paths = PhotoFolder.read(folder).photos
    if not paths:
        raise no_photo(folder)
    return paths


def _view_of(path: Path, info: ModelInfo) -> ImageArray:
    """Show a photo as the model sees it: its global view."""
    photo = load_photo(path)
    size_hw = (photo.shape[0], photo.shape[1])
    views = plan_views(size_hw, image_size=info.image_size, stride=info.stride)
    return next(cut_views(photo, views[:1]))
