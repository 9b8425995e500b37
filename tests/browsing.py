"""A real browser for tests, headless Chromium, and a stand-in for the internet around it."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = Path(__file__).parents[1] / "out"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
)

#: What Chromium asks in spite of all flags, whichever page is open.
CHROMIUMS_OWN = {
    "accounts.google.com",
    "clients2.google.com",
    "content-autofill.googleapis.com",
    "update.googleapis.com",
}

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


class Outside:
    """Stands where the internet would be, and notes who asks for what."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._note, daemon=True).start()

    def _note(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.asked.append(connection.recv(200).decode("latin-1").split("\r\n")[0])

    def hosts(self) -> set[str]:
        """Who was asked for, but by Chromium for its own ends."""
        found = re.findall(r"^[A-Z]+ (?:https?://)?([^/: ]+)", "\n".join(self.asked), re.MULTILINE)
        return set(found) - CHROMIUMS_OWN

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def browsing() -> Iterator[tuple[Browser, Outside]]:
    """Start Chromium; all that it asks of other machines goes to the stand-in, and is noted."""
    outside = Outside()
    proxy = f"--proxy-server=http://127.0.0.1:{outside.port}"
    with contextlib.closing(outside), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, proxy])
        yield browser, outside
        browser.close()


def shoot(page: Page, name: str, whole: bool = True) -> np.ndarray:
    """Keep a picture of the page as `out/NAME.png`, to be looked at; its pixels, H W 3."""
    path = SHOTS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=whole)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)
