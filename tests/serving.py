"""A real server for tests, on a free port of this machine, and how to ask it."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import uvicorn
from PIL import Image

from colour_engine import paint
from common_words import CommonWords
from dpseg import Segmenter
from dpseg.serve import ServeSettings, create_app

PHOTO = paint(("red", 0, 48, 0, 48), ("blue", 48, 96, 24, 96))


class HeldRuntime(CommonWords):
    """Stands still at each photo until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)

    def encode_image(self, image):  # type: ignore[no-untyped-def]
        self.entered.release()
        assert self.go.wait(120)
        return super().encode_image(image)


def wait_for(true: Callable[[], bool]) -> None:
    """Wait for what the server does beside or after its answer."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def listening(segmenter: Segmenter, settings: ServeSettings) -> Iterator[str]:
    """Run the application in a thread; its address."""
    config = uvicorn.Config(create_app(segmenter, settings), port=0, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ask(client: httpx.Client, classes: object = "red, blue", **more: object) -> httpx.Response:
    """Segment the photo; `files` and `params` go to httpx, the rest are fields."""
    files = [("image", ("photo.png", png(PHOTO))), *more.pop("files", [])]  # type: ignore[misc]
    params = more.pop("params", None)
    return client.post("/v1/segment", data={"classes": classes, **more}, files=files, params=params)


def complaint(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "\n" not in error["message"]
    return str(error["message"])
