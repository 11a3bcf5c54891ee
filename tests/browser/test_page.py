"""The HTML report in a real browser; `nox -s browser` makes the pages and runs this, other sessions skip it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser's driver is not here: nox -s browser")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not here: nox -s browser")

PAGES = sorted(Path(os.environ.get("MECHCLAIMS_PAGES", ".")).glob("*.html"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install your distribution's package chromium"),
    pytest.mark.skipif(not PAGES, reason="MECHCLAIMS_PAGES names no folder of pages: nox -s browser"),
]
WIDTHS = (400, 800, 1400)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(params=PAGES, ids=lambda path: path.stem)
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, without a network; whatever the console says or the page asks for is a failure."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, offline=True)
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: said.append(dialog.message))
    opened.on("request", lambda made: asked.append(made.url) if not made.url.startswith("data:") else None)
    opened.goto(request.param.resolve().as_uri())
    yield opened
    assert said == []
    assert len(asked) == 1, "the page itself and nothing else"
    context.close()


def shown_claims(page: Any) -> list[str]:
    return list(page.locator("details.claim:visible > summary h3").all_inner_texts())


def unfold_everything(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_never_scrolls_sideways_not_even_unfolded(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    measure = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    folded = page.evaluate(measure)
    unfold_everything(page)
    unfolded = page.evaluate(measure)
    assert folded[0] <= folded[1]
    assert unfolded[0] <= unfolded[1]


def test_every_image_is_whole(page: Any) -> None:
    unfold_everything(page)
    broken = page.evaluate("""async () => {
      const images = [...document.images];
      for (const image of images) image.loading = "eager";
      await Promise.allSettled(images.map((image) => image.decode()));
      return images.filter((image) => !image.naturalWidth).map((image) => image.alt);
    }""")
    assert broken == []
    assert page.locator("img").count() > 0


def test_filters_show_the_claims_and_records_that_fit_and_no_others(page: Any) -> None:
    everything = shown_claims(page)
    for name in ("model", "mechanism", "verdict", "paper"):
        choices = page.locator(f"#filters select[name={name}] option").evaluate_all(
            "options => options.map((option) => option.value)"
        )
        assert len(choices) > 1
        for choice in choices[1:]:
            page.select_option(f"#filters select[name={name}]", choice)
            fitting = page.evaluate(
                """([name, choice]) => [...document.querySelectorAll("details.claim")].filter((claim) => {
                  if (name === "mechanism" || name === "paper") return claim.dataset[name] === choice;
                  return [...claim.querySelectorAll("details.record")].some(({ dataset }) => {
                    if (choice === "surprise") return "surprise" in dataset;
                    if (name === "verdict") return dataset.verdict === choice;
                    return choice === `model:${dataset.model}` || choice === `family:${dataset.family}`;
                  });
                }).length""",
                [name, choice],
            )
            assert 0 < len(shown_claims(page)) == fitting
            assert page.inner_text("#count").startswith(f"{fitting} of {len(everything)} claims")
        page.click("#filters button[type=reset]")
    assert shown_claims(page) == everything


def test_a_model_filter_hides_other_records_and_other_columns(page: Any) -> None:
    choice = page.locator("#filters select[name=model] option").nth(1).get_attribute("value")
    page.select_option("#filters select[name=model]", choice)
    page.click("#unfold")
    models = set(page.locator("details.record:visible").evaluate_all("found => found.map((one) => one.dataset.family)"))
    assert len(models) == 1
    matrices = page.locator("#summary table:has(thead th:text-matches('^claim'))")
    assert matrices.count() > 1
    assert {matrix.locator("thead th:visible").count() for matrix in matrices.all()} <= {1, 2}
    assert matrices.first.locator("thead th:visible").count() == 2


def test_words_narrow_the_list_and_what_fits_nothing_says_so(page: Any) -> None:
    first = shown_claims(page)[0]
    page.fill("#filters input[name=words]", first)
    assert first in shown_claims(page)
    page.fill("#filters input[name=words]", "no claim has these words")
    assert shown_claims(page) == []
    assert page.inner_text("#count").startswith("0 of ")
    assert page.locator("p.none:visible").count() == page.locator("section.group").count()


def test_sorting_by_verdict_begins_with_what_was_refuted(page: Any) -> None:
    named = shown_claims(page)
    page.select_option("#filters select[name=order]", "verdict")
    first = page.locator("section.group").first.locator("details.claim").first
    assert "refuted" in first.locator("> summary .counts").inner_text()
    page.select_option("#filters select[name=order]", "name")
    assert shown_claims(page) == named


def test_a_link_of_the_matrix_unfolds_its_claim(page: Any) -> None:
    link = page.locator("#summary tbody a").first
    target = page.locator(f"[id='{link.get_attribute('href')[1:]}']")
    assert target.get_attribute("open") is None
    link.click()
    assert target.get_attribute("open") is not None
    assert target.locator("> summary").is_visible()


def test_a_claim_unfolds_by_keyboard(page: Any) -> None:
    page.locator("details.claim > summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.claim").first.get_attribute("open") is not None


def test_the_pointer_and_the_arrow_keys_read_the_cells_of_a_map(page: Any) -> None:
    unfold_everything(page)
    figure = page.locator("figure.cells").first
    picture, reading = figure.locator(".picture"), figure.locator("output")
    values = page.evaluate(
        "(figure) => JSON.parse(figure.querySelector('script').textContent)", figure.element_handle()
    )
    picture.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    named = f"{values['row']} {values['rows'][0]}, {values['column']} {values['columns'][1]}: "
    assert named in reading.inner_text()
    assert float(reading.inner_text().partition(named)[2].split()[0]) == values["values"][0][1]
    left, top, across, down = map(float, figure.locator("img").get_attribute("data-cells").split())
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    rows, columns = len(values["rows"]), len(values["columns"])
    x = box["width"] * (left + across * (1.5 / columns))
    y = box["height"] * (top + down * (1.5 / rows))
    picture.hover(position={"x": x, "y": y})
    assert f"{values['row']} {values['rows'][1]}, {values['column']} {values['columns'][1]}: " in reading.inner_text()
    figure.locator(".values > summary").click()
    assert figure.locator(".values tbody tr").count() == rows


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_neither_in_structure_nor_in_contrast(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    for folded in ("details.claim", "details.claim[open] details.record"):
        page.locator(f"{folded} > summary").first.click()
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found] == []


def test_controls_have_names_and_focus_is_seen(page: Any) -> None:
    nameless = page.locator("select, input, button").evaluate_all(
        "found => found.filter((one) => !(one.labels?.length || one.textContent.trim())).map((one) => one.outerHTML)"
    )
    assert nameless == []
    seen = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        seen.add((page.evaluate("document.activeElement.tagName"), style))
    assert {style for _, style in seen} == {"solid"}
    assert {"A", "SELECT", "INPUT", "BUTTON"} <= {tag for tag, _ in seen}


def test_on_paper_everything_is_unfolded(page: Any) -> None:
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    hidden = page.evaluate(
        "[...document.querySelectorAll('details.record > .body')].filter((one) => !one.checkVisibility()).length"
    )
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert hidden == 0
    assert page.locator("details.claim[open]").count() == 0
    assert page.locator("#filters").is_hidden()
