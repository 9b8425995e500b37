"""What tests share; this file also puts `tests/` on the import path."""

import pytest

from colour_runtime import ColourRuntime
from dpseg.prompts.cache import PromptCache


@pytest.fixture
def runtime() -> ColourRuntime:
    return ColourRuntime()


@pytest.fixture
def cache(tmp_path) -> PromptCache:
    return PromptCache(tmp_path / "cache")
