"""The page in a real browser: what can be seen, sorted, filtered and read without a mouse or eyes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from made_run import save_run

from textdiff_monai.apps.report.report import report

CASES = 500


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium; apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return report(save_run(tmp_path_factory.mktemp("page") / "films", CASES)).as_uri()


@pytest.fixture
def page(browser, written):
    """The page, opened; it must say nothing to the console and ask for nothing."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else 0
    )
    page.goto(written)
    yield page
    assert said == []
    context.close()


def shown(page, column="Case"):
    return page.eval_on_selector_all(
        f'.cases tbody tr:not([hidden]) td[data-name="{column}"]', "cells => cells.map(cell => cell.textContent)"
    )


def test_five_hundred_cases_open_and_decode_only_what_is_near(browser, written):
    page, start = browser.new_page(), time.monotonic()
    page.goto(written)
    page.wait_for_selector(".cases tbody tr")
    took = time.monotonic() - start
    megabytes = Path(written.removeprefix("file://")).stat().st_size / 1e6
    print(f"{CASES} cases, {megabytes:.1f} MB: open after {took:.2f} s")
    assert len(shown(page)) == CASES
    assert page.locator("img[src]").count() < 10
    page.locator("#worst").scroll_into_view_if_needed()
    page.wait_for_selector("img[src]")
    width = page.eval_on_selector(".picture img", "image => image.decode().then(() => image.naturalWidth)")
    assert width > 300
    assert page.locator("img[src]").count() < 60


def test_headings_sort_both_ways_and_say_so(page):
    dice = page.get_by_role("columnheader", name="mean Dice", exact=True)
    dice.get_by_role("button").click()
    found = [float(value) for value in shown(page, "mean Dice")]
    assert found == sorted(found)
    assert dice.get_attribute("aria-sort") == "ascending"
    assert shown(page)[0] == "case_7"
    dice.get_by_role("button").click()
    assert [float(value) for value in shown(page, "mean Dice")] == found[::-1]
    assert "by mean Dice, highest first" in page.locator("#told").inner_text()
    page.get_by_role("columnheader", name="Case").get_by_role("button").click()
    assert shown(page)[:3] == ["case_0", "case_1", "case_2"]
    assert shown(page)[-1] == f"case_{CASES - 1}"  # numbers as numbers
    for _ in range(2):
        page.get_by_role("columnheader", name="mean Dice nonempty").get_by_role("button").click()
        assert shown(page)[-1] == "case_2"  # has none


def test_worst_cases_come_first_on_request(page):
    page.get_by_role("button", name="Worst first").click()
    assert shown(page)[0] == "case_7"


def test_words_and_figures_filter(page):
    page.get_by_label("Find").fill("RIGHT nuclei")
    assert len(shown(page)) == CASES // 2 - 1  # the last has another sentence
    assert f"{CASES // 2 - 1} of {CASES} cases" in page.locator("#told").inner_text()
    page.get_by_label("Dice at most").fill("0.5")
    assert shown(page) == ["case_7"]
    page.get_by_label("Find").fill("<script>alert")
    page.get_by_label("Dice at most").fill("1")
    assert shown(page) == [f"case_{CASES - 1}"]


def test_all_is_reached_by_keyboard(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the cases"
    page.keyboard.press("Enter")
    page.get_by_label("Find").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert shown(page)[0] == "case_7"
    picture = page.get_by_role("button", name="Enlarge the picture of case_7", exact=True)
    before = picture.bounding_box()["width"]
    picture.focus()
    page.keyboard.press("Space")
    assert picture.get_attribute("aria-expanded") == "true"
    assert picture.bounding_box()["width"] > 1.5 * before


def of_case(page, case):
    row = page.locator(".cases tbody tr", has=page.get_by_text(case, exact=True))
    return row, row.locator(".map"), row.locator(".told")


@pytest.mark.parametrize("width", [1200, 360])
def test_a_word_shows_its_map_over_the_image_and_what_the_mask_is_without_it(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_role("button", name="Worst first").click()
    row, shown_map, told = of_case(page, "case_7")
    assert not shown_map.is_visible()
    words = row.locator(".words")
    before = words.bounding_box()
    row.get_by_role("button", name="nuclei").hover()
    assert told.inner_text() == "Dice 0.80 without it, 0.90 with it; 8% of the attention"
    assert shown_map.is_visible()
    after = words.bounding_box()
    assert (after["width"], after["height"]) == (before["width"], before["height"])  # nothing slips from the pointer
    place = shown_map.evaluate("map => getComputedStyle(map).backgroundPositionX")
    over, picture = shown_map.bounding_box(), row.locator("img").bounding_box()
    assert (over["x"], over["y"], over["height"]) == pytest.approx(
        (picture["x"], picture["y"], picture["height"]), abs=1
    )
    assert over["width"] == pytest.approx(picture["width"] / 3, abs=2)
    row.get_by_role("button", name="right.").hover()
    assert shown_map.evaluate("map => getComputedStyle(map).backgroundPositionX") != place
    page.mouse.move(0, 0)
    assert not shown_map.is_visible()
    assert told.inner_text() == ""


def test_words_are_reached_by_keyboard_with_one_stop_a_sentence(page):
    row, shown_map, told = of_case(page, "case_7")
    row.get_by_role("button", name="Enlarge").focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "The"
    assert shown_map.is_visible()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "nuclei"
    assert "Dice 0.80 without it" in told.inner_text()
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == "right."
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.closest('.words')")
    assert not shown_map.is_visible()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(focused) == "right."
    page.keyboard.press("Escape")
    assert not shown_map.is_visible()
    words = row.get_by_role("toolbar", name="Words of case_7").get_by_role("button")
    assert words.nth(1).get_attribute("aria-label").startswith("nuclei: Dice 0.80 without it")


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (360, "light"), (360, "dark")])
def test_it_fits_its_window_and_can_be_read_in_light_and_dark(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = page.evaluate(_CONTRASTS)
    assert len(contrasts) > 5
    assert min(contrasts) >= 4.5  # WCAG 2, level AA


# Of the texts of each kind of element with the page's or their own background.
_CONTRASTS = """() => {
  const light = (rgb) => rgb.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const kinds = ["h1", "h2", ".note", "dt", "dd", ".controls p", "#worst", ".cases td", ".cases th button", "summary"];
  return [...kinds, "svg text"]
    .map((kind) => document.querySelector(kind)).map((node) => {
      const fill = node.tagName === "text" ? getComputedStyle(node).fill : getComputedStyle(node).color;
      const [a, b] = [light(fill), light(behind(node))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    });
}"""
