"""The page in a real browser: answers, keyboard, narrow screens, names, contrast, nobody is asked."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocd.demo import Address, serve
from ocd.runs import Run
from small_run import SMALL

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (top, below) => { const a = top[3] ?? 1;
    return [0, 1, 2].map(i => a * top[i] + (1 - a) * below[i]); };
  const behind = element => { const layers = [];
    for (let e = element; e; e = e.parentElement)
      layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]); };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const written = own ? e.textContent.trim() : e.matches('input, textarea') ? e.value : '';
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!written || !box.width || !box.height || e.matches('input[type=range], input[type=checkbox]')
        || style.visibility === 'hidden' || !e.checkVisibility({opacityProperty: true})) continue;
    const ground = behind(e), ink = over(parse(style.color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const needed = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    const ratio = (a + 0.05) / (b + 0.05);
    found.push([ratio, needed, written.slice(0, 40), e.tagName + '.' + e.className, style.color]);
  }
  return found;
}"""
NAMED = {
    *("button", "checkbox", "combobox", "slider", "spinbutton", "textbox", "tab", "application"),
    *("image", "img", "table", "link"),
}
"""Roles that are nothing to a person who hears them without a name."""


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Where the server's process connects to."""
    return []


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, asked: list[str]) -> Iterator[str]:
    root = tmp_path_factory.mktemp("demo") / "run"
    settings = SMALL | {"train_size": 60, "test_size": 20, "base_epochs": 4, "num_draws": 3}
    run = Run.create("digits", root, seeds=[0], settings={k: str(v) for k, v in settings.items()})
    run.predict(0)
    run.report()
    connect = socket.socket.connect

    def watched(self: socket.socket, place: Any) -> None:
        asked.append(str(place[0]) if isinstance(place, tuple) else str(place))
        connect(self, place)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", watched)
        told: list[str] = []
        page = serve(root, Address(port=port), ready=told.append, block=False)
        yield told[0]
        page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def requests() -> list[str]:
    return []


@pytest.fixture(scope="module", params=[1280, 390], ids=["wide", "narrow"])
def page(request: Any, browser: Any, url: str, requests: list[str]) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    opened.on("request", lambda one: requests.append(one.url))
    opened.goto(url)
    opened.wait_for_selector("#answer .answer")
    yield opened
    context.close()


def answer_of(page: Any, begins: str) -> str:
    """The answer, once it is about what is said."""
    page.wait_for_function(
        "begins => document.querySelector('#answer .asked')?.textContent === begins", arg=begins
    )
    text: str = page.locator("#answer").inner_text()
    return text


def overflow(page: Any) -> int:
    found: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return found


def test_a_digit_is_picked_and_answered(page: Any) -> None:
    button = page.locator("#changed-most button").nth(1)
    place = button.get_attribute("data-place")
    button.click()
    text = answer_of(page, f"Test example {place}")
    for part in ("Base", "OCD, 3 draws", "Right answer", "Uncertainty", "Probabilities", "draw 3"):
        assert part in text
    assert page.locator("#answer tbody tr").count() == 10
    assert page.locator("#number input").input_value() == place
    assert overflow(page) <= 0


def test_a_digit_is_drawn_with_the_pointer(page: Any) -> None:
    page.locator("#canvas .clear").click()
    cleared = answer_of(page, "Your own input")
    canvas = page.locator("#canvas canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_function(
        "before => document.querySelector('#answer').innerText !== before", arg=cleared
    )
    assert "Right answer" not in answer_of(page, "Your own input")
    pixels = page.evaluate(
        "[...document.querySelector('#canvas canvas').getContext('2d').getImageData(0, 0, 8, 8).data]"
    )
    shown = [pixels[4 * place] for place in range(64)]
    assert shown[4 * 8 + 4] > 120 and shown[4 * 8 + 0] == 0


def test_an_upload_is_shown_as_the_network_sees_it(page: Any, tmp_path: Path) -> None:
    from PIL import Image

    place = page.locator("#number input").input_value()
    half = Image.new("L", (64, 64), 0)
    half.paste(255, (32, 0, 64, 64))
    half.save(tmp_path / "half.png")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "half.png")
    page.wait_for_function(
        """() => { const ink = document.querySelector('#canvas canvas').getContext('2d');
        const all = ink.getImageData(0, 0, 8, 8).data;
        return [...Array(64).keys()].every(i => all[4 * i] === (i % 8 < 4 ? 0 : 255)); }"""
    )
    answer_of(page, "Your own input")
    assert page.locator("#number input").input_value() != place or place == ""
    (tmp_path / "bad.png").write_text("no image")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "bad.png")
    page.locator("#answer p.error").wait_for()
    assert "not a readable image" in page.locator("#answer").inner_text()


def tab_until(page: Any, wanted: str, most: int = 40) -> None:
    """Press Tab until something holds of the element that has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(f"(e => {wanted})(document.activeElement)"):
            return
    pytest.fail(f"{wanted} is not reached by Tab")


def test_the_keyboard_is_enough(page: Any) -> None:
    page.reload()
    page.wait_for_selector("#answer .answer")
    tab_until(page, "e.getAttribute('role') === 'tab' && e.innerText.trim() === 'Report'")
    page.keyboard.press("Enter")
    page.locator(".report").wait_for(state="visible")
    page.reload()
    page.wait_for_selector("#answer .answer")
    tab_until(page, "e.tagName === 'CANVAS'")
    assert page.locator("#canvas .cursor").is_visible()
    page.keyboard.press("Delete")
    cleared = answer_of(page, "Your own input")
    for _ in range(3):
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
    page.wait_for_function(
        "before => document.querySelector('#answer').innerText !== before", arg=cleared
    )
    tab_until(page, "e.dataset.place")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    place = page.evaluate("document.activeElement.dataset.place")
    page.keyboard.press("Enter")
    answer_of(page, f"Test example {place}")


def test_the_other_tabs_fit_and_lead_back(page: Any) -> None:
    page.get_by_role("tab", name="Report").click()
    report = page.locator(".report")
    report.wait_for()
    assert "cross entropy" in report.inner_text() and overflow(page) <= 0
    assert "overfitted on each test example" in report.inner_text()
    page.get_by_role("tab", name="Test examples").click()
    button = page.locator("#most-uncertain-table button").nth(2)
    button.wait_for()
    assert overflow(page) <= 0
    place = button.get_attribute("data-place")
    button.click()
    page.locator("#canvas canvas").wait_for(state="visible")
    answer_of(page, f"Test example {place}")


def test_everything_has_a_name_and_can_be_read(page: Any) -> None:
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in nodes if not node.get("ignored")]
    roles = {node["role"]["value"] for node in seen}
    assert {"button", "slider", "spinbutton", "tab", "application", "table"} <= roles
    nameless = [
        node["role"]["value"]
        for node in seen
        if node["role"]["value"] in NAMED and not node.get("name", {}).get("value", "").strip()
    ]
    assert not nameless
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.reload()
        page.wait_for_selector("#answer .answer")
        found = page.evaluate(CONTRAST)
        assert len(found) > 60
        assert not [one for one in found if one[0] < one[1]], scheme


def test_nobody_else_is_asked(page: Any, url: str, requests: list[str], asked: list[str]) -> None:
    assert len(requests) > 30
    assert not [one for one in requests if not one.startswith((url, "data:", "blob:"))]
    assert {one for one in asked if not one.startswith("/")} <= {"127.0.0.1", "localhost", "::1"}
