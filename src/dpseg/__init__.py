"""Open-vocabulary segmentation: name it, or show it, and get its pixels."""

__version__ = "0.1.0"

from dpseg.errors import (
    CheckpointError,
    DataError,
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
from dpseg.inference.distractors import UnlabelledRules
from dpseg.segmentation import Segmentation
from dpseg.segmenter import Segmenter
from dpseg.vocabulary import ClassEntry, Vocabulary

__all__ = [
    "CheckpointError",
    "ClassEntry",
    "DPSegError",
    "DataError",
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
