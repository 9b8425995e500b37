"""The documents as a site: it builds, links and anchors lead somewhere, nothing is asked outside.

The browser's pictures are written to `out/site/`, to be looked at; without Chromium its tests are
skipped.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import pkgutil
import re
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from typer.testing import CliRunner

import dpseg
from browsing import Outside, browsing, needs_chromium, shoot
from dpseg.cli import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PATIENCE = 60_000  # milliseconds
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
COMMANDS_ONLY = ("dpseg.cli", "dpseg.__main__", "dpseg.commands")  # the command line has its page


class Read(HTMLParser):
    """What a page refers to, what it loads, and the places in it that can be referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.ids |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values:
            self.loads.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it; anything that mkdocs warns of fails it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Read]:
    """Every page of the site by its path; the one for what is not found has no place of its own."""
    files = [file for file in site.rglob("*.html") if file.name != "404.html"]
    return {
        file.relative_to(site).as_posix(): Read(file.read_text(encoding="utf-8")) for file in files
    }


def dead_ends(pages: dict[str, Read], site: Path) -> dict[str, list[str]]:
    """The links of each page that lead to no file or place of the site."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, page in pages.items():
        for link in (*page.links, *page.loads):
            if urlsplit(link).scheme:
                continue
            goal = urlsplit(urljoin(f"/{name}", link))
            path, place = unquote(goal.path).lstrip("/"), unquote(goal.fragment)
            known = not place or path not in pages or place in pages[path].ids
            if not ((site / path).is_file() and known):
                found[name].append(link)
    return dict(found)


def test_every_link_and_anchor_leads_somewhere(pages: dict[str, Read], site: Path) -> None:
    assert len(pages) > 30
    assert dead_ends(pages, site) == {}


def test_a_dead_end_would_be_noticed(pages: dict[str, Read], site: Path) -> None:
    links = ["errors.html#no-such-place", "no-such-page.html", "guides/serve.html#rest"]
    changed = Read("".join(f'<a href="{link}"></a>' for link in links))
    assert dead_ends({**pages, "x.html": changed}, site) == {"x.html": links[:2]}


def test_pages_load_nothing_from_outside(pages: dict[str, Read], site: Path) -> None:
    outside = {load for page in pages.values() for load in page.loads if urlsplit(load).netloc}
    assert outside == set()
    for file in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", file.read_text("utf-8")), file


def test_everything_public_is_in_the_reference(pages: dict[str, Read]) -> None:
    described = set().union(*(page.ids for name, page in pages.items() if "reference/" in name))
    public = [getattr(dpseg, name) for name in dpseg.__all__ if name != "__version__"]
    modules = [module.name for module in pkgutil.walk_packages(dpseg.__path__, "dpseg.")]
    wanted = {f"{one.__module__}.{one.__qualname__}" for one in public}
    wanted |= {name for name in modules if not name.startswith(COMMANDS_ONLY)}
    assert wanted - described == set()


def test_every_command_is_in_the_reference(site: Path, pages: dict[str, Read]) -> None:
    text = (site / "reference/command-line.html").read_text(encoding="utf-8")
    for command in ("segment", "serve", "data prepare"):
        assert f"dpseg-{command.replace(' ', '-')}" in pages["reference/command-line.html"].ids
        helped = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
        options = set(re.findall(r"(--[a-z][a-z-]+)\b", helped.output)) - {"--help"}
        assert options
        assert {option for option in options if option not in text} == set()


def test_words_of_every_page_can_be_searched(site: Path, pages: dict[str, Read]) -> None:
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    assert {entry["location"].split("#")[0] for entry in index["docs"]} == set(pages)


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser_and_outside() -> Iterator[tuple[Browser, Outside]]:
    with browsing() as both:
        yield both


def visit(browser: Browser, width: int, colours: str) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": 860},
        color_scheme=colours,  # type: ignore[arg-type]
    )
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return context.new_page()


@needs_chromium
def test_pages_fit_and_ask_nobody(
    browser_and_outside: tuple[Browser, Outside], address: str, pages: dict[str, Read]
) -> None:
    browser, outside = browser_and_outside
    asked: list[str] = []
    for width, colours in ((1280, "dark"), (360, "light")):
        page = visit(browser, width, colours)
        page.on("request", lambda request: asked.append(request.url))
        for name in sorted(pages):
            page.goto(f"{address}/{name}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        for name in ("index", "architecture", "reference/segmenter"):
            page.goto(f"{address}/{name}.html")
            pictures = page.evaluate("[...document.images].map(one => one.naturalWidth)")
            assert 0 not in pictures, name
            light = shoot(page, f"site/{name.replace('/', '-')}-{width}", whole=False).mean()
            assert (light > 128) == (colours == "light"), name
        page.context.close()
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert outside.hosts() == set()


@needs_chromium
def test_search_finds_a_page(browser_and_outside: tuple[Browser, Outside], address: str) -> None:
    page = visit(browser_and_outside[0], 1280, "light")
    page.goto(f"{address}/index.html")
    page.locator("input[name=query]").click()
    page.keyboard.type("unlabelled distractors")
    found = page.locator(".md-search-result__link[href*='unlabelled']").first
    expect(found).to_be_visible()
    shoot(page, "site/search", whole=False)
    page.context.close()
