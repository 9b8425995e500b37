"""The public surface, and what importing it costs."""

import subprocess
import sys

import dpseg

PUBLIC = {
    "CheckpointError", "ClassEntry",
    "Corrections", "DPSegError", "DataError", "DeviceError", "ImageError",
    "MissingExtraError",
    "PromptError", "Segmentation", "Segmenter", "ServiceBusyError", "ServiceError", "ShapeError",
    "TilingRules", "UnlabelledRules", "Vocabulary", "VocabularyError", "__version__",
}  # fmt: skip

HEAVY = ("torch", "torchvision", "timm", "transformers", "scipy", "skimage", "matplotlib")


def test_public_names_are_pinned() -> None:
    assert set(dpseg.__all__) == PUBLIC
    assert all(hasattr(dpseg, name) for name in PUBLIC)


def test_every_error_is_ours() -> None:
    errors = [getattr(dpseg, name) for name in PUBLIC if name.endswith("Error")]
    assert all(issubclass(error, dpseg.DPSegError) for error in errors)


def test_importing_is_light() -> None:
    code = f"import sys, dpseg, dpseg.cli; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
