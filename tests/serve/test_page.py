"""The real page in headless Chromium: by mouse, by keyboard, on a phone, and without the internet.

Pictures of the page are written to `out/page/`, to be looked at. Skipped where no Chromium is
installed (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Error, Page, expect

from browsing import Outside, browsing, needs_chromium, shoot
from colour_engine import paint
from serving import PHOTO, HeldRuntime

PATIENCE = 60_000  # milliseconds; machines under test are slow
pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser_and_outside() -> Iterator[tuple[Browser, Outside]]:
    with browsing() as both:
        yield both


@pytest.fixture(scope="module")
def browser(browser_and_outside: tuple[Browser, Outside]) -> Browser:
    return browser_and_outside[0]


@pytest.fixture(scope="module")
def outside(browser_and_outside: tuple[Browser, Outside]) -> Outside:
    return browser_and_outside[1]


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    one = context.new_page()
    failures: list[str] = []
    one.on("pageerror", lambda error: failures.append(str(error)))
    one.goto(address)
    yield one
    context.close()
    assert failures == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "blocks.png"
    Image.fromarray(PHOTO).save(path)
    return path


def choose(page: Page, photo: Path, names: str = "red, blue") -> None:
    page.set_input_files("#photo", photo)
    page.fill("#class-input", f"{names},")


def find(page: Page) -> None:
    page.click("#run")
    expect(page.locator("#found")).to_be_visible()
    expect(page.locator("#progress")).to_be_hidden()


def canvas(page: Page) -> np.ndarray:
    """The pixels of the shown picture, as the page drew them."""
    page.wait_for_timeout(60)  # a frame
    values = page.evaluate(
        """() => { const { width, height } = document.getElementById("canvas");
        const context = document.getElementById("canvas").getContext("2d");
        return [width, height, ...context.getImageData(0, 0, width, height).data] }"""
    )
    width, height = values[:2]
    return np.array(values[2:]).reshape(height, width, 4)[..., :3]


def colour_of(page: Page, name: str) -> np.ndarray:
    row = page.locator("#legend li", has_text=name)
    text = row.locator(".dot").evaluate("dot => getComputedStyle(dot).backgroundColor")
    return np.array([int(part) for part in text[4:-1].split(",")])


def point(page: Page, x: float, y: float) -> None:
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x / 96 * box["width"], box["y"] + y / 96 * box["height"])


def test_words_colour_a_photo(page: Page, photo: Path) -> None:
    choose(page, photo)
    expect(page.locator(".chip")).to_have_count(2)
    find(page)
    shown = canvas(page)
    assert shown.shape == (96, 96, 3)
    for name, y, x in (("red", 20, 20), ("blue", 70, 70)):
        expected = PHOTO[y, x] + 0.55 * (colour_of(page, name) - PHOTO[y, x])
        np.testing.assert_allclose(shown[y, x], expected, atol=3)
    expect(page.locator("#legend li").first).to_contain_text("blue")
    expect(page.locator("#legend")).to_contain_text("25%")
    expect(page.locator("#legend")).to_contain_text("unlabelled")
    assert shoot(page, "page/result").std() > 20


def test_opacity_and_switches_change_the_picture(page: Page, photo: Path) -> None:
    choose(page, photo)
    find(page)
    page.locator("#opacity").fill("0")
    inside = np.s_[4:40, 4:40]  # away from edges, where JPEG smears
    np.testing.assert_allclose(canvas(page)[inside], PHOTO[inside], atol=3)
    page.locator("#opacity").fill("100")
    np.testing.assert_allclose(canvas(page)[20, 20], colour_of(page, "red"), atol=3)
    page.locator("#legend li", has_text="red").locator("input").uncheck()
    page.mouse.move(5, 5)
    page.locator("#legend input").last.blur()
    np.testing.assert_allclose(canvas(page)[20, 20], PHOTO[20, 20], atol=3)
    np.testing.assert_allclose(canvas(page)[70, 70], colour_of(page, "blue"), atol=3)
    page.click("#toggle-all")
    np.testing.assert_allclose(canvas(page)[70, 70], PHOTO[70, 70], atol=3)
    page.click("#toggle-all")
    np.testing.assert_allclose(canvas(page)[20, 20], colour_of(page, "red"), atol=3)


def test_pointing_names_and_clicking_explains(page: Page, photo: Path) -> None:
    choose(page, photo)
    find(page)
    point(page, 20, 20)
    expect(page.locator("#tip")).to_have_text("red")
    expect(page.locator("#legend li.hot")).to_contain_text("red")
    point(page, 80, 20)
    expect(page.locator("#tip")).to_have_text("unlabelled")
    point(page, 70, 70)
    page.mouse.down()
    page.mouse.up()
    why = page.locator("#why")
    expect(why.locator("h3")).to_have_text("Why “blue” here?")
    expect(why).to_contain_text("Second: red")
    expect(why).to_contain_text("spoke for it")
    shoot(page, "page/why")


def test_everything_goes_by_keyboard(page: Page, photo: Path) -> None:
    page.set_input_files("#photo", photo)  # the system's own window is not the page's
    page.locator("#class-input").focus()
    page.keyboard.type("red|crimson, green, blue, ")
    expect(page.locator(".chip")).to_have_count(3)
    expect(page.locator(".chip").first).to_contain_text("red · crimson")
    page.keyboard.type("yellow")
    page.keyboard.press("Enter")
    page.keyboard.press("Backspace")
    expect(page.locator(".chip")).to_have_count(3)
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Remove blue")).to_be_focused()
    page.get_by_role("button", name="Remove green").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_count(2)
    page.locator("#class-input").focus()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#found")).to_be_visible()
    page.locator("#viewer").focus()
    for _ in range(7):
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Shift+ArrowUp")
    expect(page.locator("#spoken")).to_have_text("red")
    page.keyboard.press("Enter")
    expect(page.locator("#why h3")).to_have_text("Why “red” here?")


def test_pictures_dropped_on_a_name_show_it(page: Page, photo: Path) -> None:
    choose(page, photo, "red, blorp")
    file = io.BytesIO()
    Image.fromarray(paint(("blue", 0, 96, 0, 96))).save(file, "PNG")
    carried = page.evaluate_handle(
        """bytes => { const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], "blue.png", {type: "image/png"}));
        return carried }""",
        list(file.getvalue()),
    )
    chip = page.locator(".chip", has_text="blorp")
    chip.dispatch_event("drop", {"dataTransfer": carried})
    expect(chip.locator(".shown img")).to_have_count(1)
    page.locator("#unlabelled").uncheck()
    find(page)
    point(page, 70, 70)
    expect(page.locator("#tip")).to_have_text("blorp")
    shoot(page, "page/dropped")
    chip.get_by_role("button", name="Remove the picture").click()
    expect(chip.locator(".shown")).to_be_hidden()
    page.locator("body").dispatch_event("drop", {"dataTransfer": carried})
    expect(page.locator("#photo-name")).to_have_text("blue.png")


def test_switches_reach_the_model(page: Page, photo: Path) -> None:
    choose(page, photo)
    page.locator("#unlabelled").uncheck()
    page.locator("#refine").check()
    page.locator("summary").click()
    page.locator("#rounds").select_option("2")
    page.locator("#vocabulary").select_option("voc20")
    with page.expect_response("**/v1/segment") as answered:
        find(page)
    settings = answered.value.json()["settings"]
    assert settings["unlabelled"] is False
    assert settings["refine_mode"] == "pool"
    assert len(answered.value.json()["classes"]) == 22
    expect(page.locator("#missing")).to_contain_text("more")


def test_a_minus_makes_a_name_unwanted(page: Page, photo: Path) -> None:
    choose(page, photo, "red, -green, blue")
    unwanted = page.locator(".chip.negative")
    expect(unwanted).to_have_count(1)
    page.get_by_role("button", name="Not wanted: green").click()
    expect(unwanted).to_have_count(0)
    page.get_by_role("button", name="Remove green").click()
    minus = page.get_by_role("button", name="Not wanted: blue")
    minus.focus()
    page.keyboard.press("Enter")
    expect(minus).to_have_attribute("aria-pressed", "true")
    expect(unwanted).to_contain_text("blue")
    page.locator("#unlabelled").uncheck()  # what is not wanted stays unlabelled even so
    with page.expect_response("**/v1/segment") as answered:
        find(page)
    assert answered.value.json()["settings"]["not_classes"] == ["blue"]
    point(page, 70, 70)
    expect(page.locator("#tip")).to_have_text("unlabelled")
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#why")).to_contain_text("“blue”, which you do not want, fits")
    expect(page.locator("#why")).to_contain_text("Not wanted: blue")
    point(page, 20, 20)
    expect(page.locator("#tip")).to_have_text("red")
    shoot(page, "page/negative")
    page.get_by_role("button", name="Not wanted: red").click()
    page.click("#run")
    expect(page.locator("#error")).to_have_text("Name at least one thing to find.")


def test_the_model_names_things_and_names_can_be_dropped(
    page: Page, browser: Browser, address: str, photo: Path
) -> None:
    page.set_input_files("#photo", photo)
    page.click("#name-it")
    expect(page.locator("#found")).to_be_visible()
    expect(page.locator(".chip")).to_have_count(2)
    expect(page.locator("#legend")).to_contain_text("sky")
    expect(page.locator("#look-hint")).to_contain_text("Drop the names that are wrong")
    shoot(page, "page/auto")
    page.get_by_role("button", name="Remove snow").click()
    page.fill("#class-input", "red,")
    find(page)
    expect(page.locator("#legend")).not_to_contain_text("snow")
    page.click("#name-it")  # own names stay
    expect(page.locator(".chip")).to_have_count(3)
    expect(page.locator("#legend")).to_contain_text("red")
    phone = browser.new_page(viewport={"width": 390, "height": 800})
    phone.goto(address)
    phone.set_input_files("#photo", photo)
    phone.click("#name-it")
    expect(phone.locator(".chip")).to_have_count(2)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    shoot(phone, "page/auto-phone")
    phone.close()


def click(page: Page, x: float, y: float) -> None:
    point(page, x, y)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#why")).to_be_visible()


def test_a_place_can_be_corrected_and_undone(page: Page, photo: Path) -> None:
    choose(page, photo, "blue")
    find(page)
    click(page, 20, 20)
    expect(page.locator("#why .correct")).to_contain_text("Is something missing?")
    page.get_by_label("What this place is").fill("blorp")
    with page.expect_response("**/corrections") as answered:
        page.keyboard.press("Enter")
    assert answered.value.json()["settings"]["corrections"] == 1
    expect(page.locator("#legend")).to_contain_text("blorp")
    expect(page.locator(".chip")).to_have_count(2)
    point(page, 20, 20)
    expect(page.locator("#tip")).to_have_text("blorp")
    expect(page.locator("#said-words")).to_have_text("1 correction is kept for the next photo.")
    click(page, 70, 70)
    page.get_by_role("button", name="This is not “blue”").click()
    expect(page.locator("#said-words")).to_contain_text("2 corrections are kept")
    point(page, 70, 70)
    expect(page.locator("#tip")).not_to_have_text("blue")
    shoot(page, "page/corrected")
    page.click("#undo")
    expect(page.locator("#said-words")).to_contain_text("1 correction is")
    point(page, 70, 70)
    expect(page.locator("#tip")).to_have_text("blue")
    page.click("#undo")
    expect(page.locator("#said")).to_be_hidden()
    point(page, 20, 20)
    expect(page.locator("#tip")).to_have_text("unlabelled")


def test_corrections_are_saved_and_used_again(page: Page, photo: Path, tmp_path: Path) -> None:
    choose(page, photo, "blue")
    find(page)
    click(page, 20, 20)
    page.get_by_label("What this place is").fill("blorp")
    page.get_by_role("button", name="This is it").click()
    with page.expect_download() as download:
        page.click("#save-corrections")
    assert download.value.suggested_filename == "blocks-corrections.safetensors"
    saved = tmp_path / "saved.safetensors"
    download.value.save_as(saved)
    with page.expect_response("**/v1/segment") as answered:  # they stay for the next photo
        find(page)
    assert answered.value.json()["settings"]["corrections"] == 1
    page.click("#forget")
    expect(page.locator("#said")).to_be_hidden()
    with page.expect_response("**/v1/segment") as answered:
        find(page)
    assert answered.value.json()["settings"]["corrections"] == 0
    page.locator("summary").click()
    page.set_input_files("#corrections-file", saved)
    expect(page.locator("#said-words")).to_have_text(
        "saved.safetensors is used for the next photo."
    )
    with page.expect_response("**/v1/segment") as answered:
        find(page)
    assert answered.value.json()["settings"]["corrections"] == 1
    expect(page.locator("#missing")).to_contain_text("blorp")  # by sight alone it is not sure here


def test_bad_corrections_are_said_in_words(
    browser: Browser, serve: Callable[..., str], photo: Path
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(serve(kept_results=1))
    choose(page, photo, "red, -black")
    find(page)
    click(page, 70, 70)
    page.get_by_label("What this place is").fill("black")
    page.get_by_role("button", name="This is it").click()
    expect(page.locator("#error")).to_contain_text("both wanted and not wanted")
    page.get_by_label("What this place is").fill("blorp")
    page.get_by_role("button", name="This is it").click()
    expect(page.locator("#legend")).to_contain_text("blorp")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    click(page, 20, 20)
    shoot(page, "page/corrected-phone")
    page.click("#undo")
    expect(page.locator("#said")).to_be_hidden()
    page.locator("#canvas").click(position={"x": 300, "y": 300})
    expect(page.locator("#error")).to_contain_text("no longer kept; segment the photo again")
    page.close()


def test_presence_is_told_and_can_be_asked_for(page: Page, photo: Path) -> None:
    choose(page, photo, "red, blue, green")
    with page.expect_response("**/v1/segment") as answered:
        find(page)
    presence = [entry["presence"] for entry in answered.value.json()["classes"]]
    expect(page.locator("#legend")).to_contain_text("presence")
    expect(page.locator("#missing")).to_have_text(re.compile(r"green \(presence [<\d.]+%\)"))
    page.locator("summary").click()
    page.locator("#min-presence").select_option("90")
    with page.expect_response("**/v1/segment") as answered:
        find(page)
    pixels = [entry["pixels"] for entry in answered.value.json()["classes"]]
    assert [count for count, chance in zip(pixels, presence, strict=True) if chance < 0.9] == [
        0 for chance in presence if chance < 0.9
    ]


def test_results_can_be_saved(page: Page, photo: Path) -> None:
    choose(page, photo)
    find(page)
    saved = {}
    for button in ("picture", "labels", "data"):
        with page.expect_download() as download:
            page.click(f"#save-{button}")
        saved[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    assert set(saved) == {"blocks-overlay.png", "blocks-labels.png", "blocks.json"}
    labels = np.asarray(Image.open(io.BytesIO(saved["blocks-labels.png"])))
    assert (labels[20, 20], labels[70, 70], labels[5, 90]) == (0, 1, 255)
    assert Image.open(io.BytesIO(saved["blocks-overlay.png"])).width >= 480
    assert json.loads(saved["blocks.json"])["classes"][0]["name"] == "red"


def test_the_picture_is_saved_as_it_is_shown(page: Page, photo: Path) -> None:
    choose(page, photo)
    find(page)
    page.locator("#opacity").fill("100")
    page.locator("#legend li", has_text="red").locator("input").uncheck()
    with page.expect_download() as download:
        page.click("#save-picture")
    saved = np.asarray(Image.open(download.value.path())).astype(int)
    scale = 720 / 96  # small photos are enlarged
    for name, y, x in (("red", 20, 20), ("blue", 70, 70)):
        expected = PHOTO[y, x] if name == "red" else colour_of(page, name)
        np.testing.assert_allclose(saved[int(y * scale), int(x * scale)], expected, atol=3)


def test_a_name_that_fits_better_can_be_found_too(page: Page, photo: Path) -> None:
    choose(page, photo, "red")
    find(page)
    point(page, 70, 70)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#why")).to_contain_text("“sky”, which you did not name, fits")
    page.get_by_role("button", name="Find “sky” too").click()
    expect(page.locator("#legend")).to_contain_text("sky")
    expect(page.locator(".chip")).to_have_count(2)


def test_errors_are_said_in_words(page: Page, photo: Path, tmp_path: Path) -> None:
    error = page.locator("#error")
    page.click("#run")
    expect(error).to_have_text("Choose a photo first.")
    page.set_input_files("#photo", photo)
    page.click("#run")
    expect(error).to_have_text("Name at least one thing to find.")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    choose(page, broken, "red")
    page.click("#run")
    expect(error).to_contain_text("not a picture")
    shoot(page, "page/error")
    page.set_input_files("#photo", photo)
    expect(error).to_be_hidden()
    page.fill("#class-input", "x" * 300)
    page.click("#run")
    expect(error).to_contain_text("at most 200")


def test_examples_can_be_tried(page: Page) -> None:
    expect(page.locator("#try button")).to_have_count(4)
    page.locator("#try button").last.click()
    expect(page.locator("#found")).to_be_visible()
    expect(page.locator(".chip .shown img")).to_have_count(1)
    assert canvas(page).std() > 5


def test_progress_is_shown_and_can_be_cancelled(
    browser: Browser, serve: Callable[..., str], photo: Path
) -> None:
    engine = HeldRuntime()
    engine.go.clear()
    page = browser.new_page(viewport={"width": 360, "height": 640})
    page.goto(serve(engine))
    choose(page, photo)
    page.click("#run")
    expect(page.locator("#progress-words")).to_contain_text("Looking at the photo")
    expect(page.locator("#bar")).to_be_in_viewport(ratio=1)
    shoot(page, "page/progress")
    page.click("#cancel")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#error")).to_be_hidden()
    engine.go.set()
    find(page)
    page.close()


def test_a_token_is_asked_for(browser: Browser, serve: Callable[..., str], photo: Path) -> None:
    token = "a-token-of-some-length"
    page = browser.new_page()
    page.goto(serve(token=token))
    expect(page.locator("#token")).to_be_focused()
    expect(page.locator("#token")).to_be_in_viewport(ratio=1)
    expect(page.locator("#error")).to_be_hidden()
    page.fill("#token", "another-token-of-some-length")
    page.press("#token", "Tab")
    expect(page.locator("#error")).to_have_text("That is not the service's token.")
    shoot(page, "page/token")
    page.fill("#token", token)
    page.press("#token", "Tab")
    expect(page.locator("#token-row")).to_be_hidden()
    choose(page, photo)
    find(page)
    page.close()


def test_a_phone_shows_all_of_it(browser: Browser, address: str, photo: Path) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto(address)
    choose(page, photo, "red, blue, a thing with a rather long name that does not fit in one line")
    find(page)
    page.locator("#canvas").tap()
    expect(page.locator("#why")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, .button, select, summary, .switch")]
        .filter(one => one.offsetParent && one.getBoundingClientRect().height < 30)
        .map(one => one.outerHTML)"""
    )
    assert small == []  # fingers need room
    shoot(page, "page/phone")
    context.close()


def test_controls_have_names(page: Page) -> None:
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select")].filter(one =>
        !one.hidden && !one.labels?.length && !one.getAttribute("aria-label")
        && !one.textContent.trim()).map(one => one.outerHTML)"""
    )
    assert nameless == []


def test_no_request_leaves_this_machine(page: Page, photo: Path, outside: Outside) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    choose(page, photo)
    find(page)
    page.goto(page.url + "docs")
    expect(page.locator("#swagger-ui .opblock").first).to_be_visible()
    shoot(page, "page/docs")
    assert asked
    local = ("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:")
    assert [url for url in asked if not url.startswith(local)] == []
    assert outside.hosts() == set()
    # Not even the page's own code may leave; and the notes are kept, as a visit shows.
    assert page.evaluate("fetch('http://outside.example/').then(() => false, () => true)")
    assert outside.hosts() == set()
    with pytest.raises(Error, match="ERR_"):
        page.goto("http://outside.example/")
    assert outside.hosts() == {"outside.example"}
