"""A real server on a free port of this machine, with the model that knows colours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import httpx
import pytest

from colour_engine import ColourEngine
from common_words import CommonWords
from dpseg import Segmenter
from dpseg.prompts.cache import PromptCache
from dpseg.serve import ServeSettings
from serving import listening

Serve = Callable[..., str]


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    return Segmenter(CommonWords(), cache=PromptCache(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def serve(segmenter: Segmenter) -> Iterator[Serve]:
    """Start a server with the given settings; its address."""
    with contextlib.ExitStack() as running:

        def start(engine: ColourEngine | None = None, **settings: object) -> str:
            one = segmenter
            if engine is not None:
                one = Segmenter(engine, cache=segmenter._predictor.cache)
            return running.enter_context(listening(one, ServeSettings(**settings)))

        yield start


@pytest.fixture(scope="session")
def address(segmenter: Segmenter) -> Iterator[str]:
    """A server with the usual settings, for all tests that leave it as it is."""
    with listening(segmenter, ServeSettings()) as one:
        yield one


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=address, timeout=60) as one:
        yield one
