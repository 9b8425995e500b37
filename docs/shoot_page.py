"""Takes the picture of the page in `docs/images/page.png`: the pagoda example, and a click for why.

Run it when the page or the shipped weights change: `python docs/shoot_page.py` (needs Chromium).
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

TARGET = Path(__file__).parent / "images" / "page.png"
SIZE = {"width": 1360, "height": 880}
PATIENCE = 300_000  # milliseconds
PLACE = (0.31, 0.3)  # on the pagoda's roof, as shares of the photo's width and height


def main() -> None:
    """Start a service, use its page, save what it shows with few colours."""
    command = [sys.executable, "-m", "dpseg", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            said = next(line for line in service.stdout if "listens on" in line)
            picture = shot(said.split()[-1])
        finally:
            service.terminate()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256).save(TARGET, optimize=True)


def shot(address: str) -> bytes:
    """Take the picture; the first run is for warming up, so that the time shown is that of a photo.

    Args:
        address: of the service.
    """
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        for _ in range(2):
            run_example(page)
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        across, down = PLACE
        page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
        page.wait_for_selector("#why:not([hidden])")
        page.wait_for_timeout(500)  # a frame or two
        return page.screenshot()


def run_example(page: Page) -> None:
    """Try the pagoda, and wait until it is found."""
    page.click("#try li:nth-child(2) button")
    page.wait_for_selector("#found.stale, #progress:not([hidden])")
    page.wait_for_selector("#found:not(.stale):not([hidden])")


if __name__ == "__main__":
    main()
