"""Open-vocabulary segmentation: name it, or show it, and get its pixels."""

import os

# Nothing leaves the machine unasked: onnxruntime, Ray and the Hugging Face hub report how they are
# used unless these say no before they are imported. A value that the user set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

from dpseg.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    DPSegError,
    ImageError,
    MissingExtraError,
    PromptError,
    ServiceBusyError,
    ServiceError,
    ShapeError,
    VocabularyError,
)
from dpseg.imaging.tiling import TilingRules
from dpseg.inference.unlabelled import UnlabelledRules
from dpseg.prompts.corrections import Corrections
from dpseg.segmentation import Segmentation
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import ClassEntry, Vocabulary

__all__ = [
    "CheckpointError",
    "ClassEntry",
    "Corrections",
    "DPSegError",
    "DataError",
    "DeviceError",
    "ImageError",
    "MissingExtraError",
    "PromptError",
    "Segmentation",
    "Segmenter",
    "ServiceBusyError",
    "ServiceError",
    "ShapeError",
    "TilingRules",
    "UnlabelledRules",
    "Vocabulary",
    "VocabularyError",
    "__version__",
]
