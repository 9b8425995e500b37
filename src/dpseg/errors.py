"""Every error that dpseg raises on purpose.

An error says what was given, what is allowed and what to do next. All derive from
`DPSegError`, so that a caller (the CLI, a server) can turn them into one line.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class DPSegError(Exception):
    """Base of all errors that dpseg raises on purpose."""


class ImageError(DPSegError):
    """A photo or mask cannot be read, is too large, or has an unusable shape."""


class VocabularyError(DPSegError):
    """The class names are empty, repeated, too long or contradict each other."""


class PromptError(DPSegError):
    """An example, a mask or a prompt file cannot be used."""


class CheckpointError(DPSegError):
    """Weights are missing, damaged, or belong to another model."""


class DeviceError(DPSegError):
    """The device that was asked for is not there, or unknown."""


class DataError(DPSegError):
    """A data set's files, labels or class list are not as its layout demands."""


class ShapeError(DPSegError):
    """Arrays that belong together have sizes that do not fit; carries both."""


class MissingExtraError(DPSegError):
    """An optional dependency is not installed; names the extra that brings it."""


class ServiceError(DPSegError):
    """The server cannot start with these settings, or at this address."""


class WorkerError(DPSegError):
    """Workers on other processes or machines cannot be reached or died again and again."""


class ServiceBusyError(DPSegError):
    """The server's queue is full; try again later."""


def require_extra(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Args:
        module: the module's import name, such as `"torch"`.
        extra: the extra of this package that installs it, such as `"train"`.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module!r} is not installed. Install it with: pip install 'dpseg[{extra}]'"
        ) from error
