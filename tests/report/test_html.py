"""The HTML report: one file, whole, safe against every text in a record, and the same on every run."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.report import figures
from harness.report.html import write_html
from harness.report.html.cells import cells_of, script_json, visible
from harness.report.html.drawing import SCALE, draw_all, draw_one, drawn_in
from harness.report.html.rendering import parse, render, render_line
from harness.report.text import plain
from tests.cli.calling import call
from tests.report.hostile_records import HOSTILE, hostile
from tests.report.sample_pictures import pictures
from tests.report.sample_records import PAPERS, RUN, claim, exact_record, not_run, record

VOID = {"meta", "img", "br", "input", "hr"}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "h1", "h2", "h3", "h4", "nav", "ul", "li", "main",
    "form", "label", "select", "option", "optgroup", "input", "div", "button", "p", "noscript", "section", "strong",
    "code", "table", "caption", "thead", "tbody", "tr", "th", "td", "br", "span", "details", "summary", "figure", "img",
    "figcaption", "script", "em", "pre", "blockquote",
}  # fmt: skip


class Page(HTMLParser):
    """Elements in their order with attributes and text; elements that are not closed where they must be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[int] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.wrong += [f"{self.elements[place][0]} is not closed" for place in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.elements[self.open[-1]][0] != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        for place in self.open:
            self.elements[place][2].append(data)

    def of(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        """Attributes and text of all elements of this tag that have these attributes."""
        return [
            (found, "".join(text))
            for name, found, text in self.elements
            if name == tag and all(found.get(key.rstrip("_")) == value for key, value in attributes.items())
        ]


def records() -> list[dict[str, Any]]:
    """Two seeds of one model, two other models, a surprise, an exploratory record, weights alone, hostile text."""
    about = claim("induction.refused")
    return [
        record("induction-2l@0", pictures=pictures()[:1]),
        record("induction-2l@1"),
        not_run(),
        record(claim=about, verdict="refuted"),
        exact_record(),
        record(heads=1, exploratory=True),
        hostile(),
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_html(records(), out=tmp_path_factory.mktemp("page"), run=RUN, papers=PAPERS, workers=1)


@pytest.fixture(scope="module")
def text(written: Path) -> str:
    return written.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_is_well_formed_and_has_only_tags_that_we_write(page: Page) -> None:
    assert page.wrong == []
    assert {tag for tag, _, _ in page.elements} <= TAGS


def test_nothing_is_loaded_and_nothing_but_our_script_runs(page: Page) -> None:
    for _, attributes, _ in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset", "action")]
        assert attributes.get("src", "data:image/webp;base64,").startswith("data:image/webp;base64,")
        assert re.match(r"#[a-z0-9-]+$|https://", attributes.get("href", "#x"))
    policy = page.of("meta", **{"http-equiv": "Content-Security-Policy"})[0][0]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    running = [text for attributes, text in page.of("script") if attributes.get("type") != "application/json"]
    assert len(running) == len(page.of("style")) == 1
    for content in (running[0], page.of("style")[0][1]):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy


def test_hostile_text_is_shown_as_it_is(page: Page, text: str) -> None:
    assert [shown for _, shown in page.of("span", class_="statement") if shown == plain(HOSTILE)]
    assert [found for found, _ in page.of("details") if found.get("data-model") == HOSTILE]
    assert [found for found, _ in page.of("option") if found.get("value") == f"model:{HOSTILE}"]
    assert any(plain(HOSTILE) in shown for _, shown in page.of("figcaption"))
    assert any(plain(HOSTILE) in shown for _, shown in page.of("td"))
    assert "7 * 7" in text
    assert "<svg" not in text


def test_the_numbers_under_the_maps_are_json_that_closes_no_script(page: Page) -> None:
    found = [json.loads(shown) for _, shown in page.of("script", type="application/json")]
    assert len(found) == 4
    by_unit = {tuple(one["values"][0]): one for one in found}
    ours = pictures()[0]
    first = tuple(float(f"{value:.4g}") for value in ours["values"][0])
    assert by_unit[first]["columns"] == [str(head) for head in range(9)]
    assert any(plain(HOSTILE) in one["rows"] for one in found)


def test_every_claim_and_record_is_there_with_what_the_filters_ask(page: Page) -> None:
    claims = page.of("details", class_="claim")
    assert [found["id"] for found, _ in claims] == [
        "claim-hostile-names",
        "claim-induction-k-composition",
        "claim-induction-prefix-matching",
        "claim-induction-refused",
        "exploratory-claim-induction-prefix-matching",
    ]
    kept = {(found["data-model"], found["data-verdict"]) for found, _ in page.of("details", class_="record")}
    assert kept == {
        (HOSTILE, "supported"),
        ("gpt2-small", "supported"),
        ("gpt2-small", "not run"),
        ("induction-2l@0", "supported"),
        ("induction-2l@1", "supported"),
        ("smollm2-135m-q4", "refuted"),
        ("smollm2-135m-q4", "supported"),
    }
    offered = {found["value"] for found, _ in page.of("option")}
    assert {f"model:{model}" for model, _ in kept} | {"family:induction-2l", "surprise"} <= offered
    assert {"olsson2022", "induction", "refuted", "not run", "sure"} <= offered
    assert "too small" not in offered, "no record has this verdict"


def test_surprises_are_those_whose_verdict_is_not_the_registered_one(page: Page) -> None:
    surprising = {found["data-model"] for found, _ in page.of("details", class_="record") if "data-surprise" in found}
    assert surprising == {HOSTILE, "smollm2-135m-q4"}


def test_orders_rank_the_refuted_first_by_verdict_and_by_effect(page: Page) -> None:
    claims = {found["id"]: found for found, _ in page.of("details", class_="claim")}
    assert claims["claim-induction-refused"]["data-by-verdict"] == "0"
    assert claims["claim-induction-refused"]["data-by-sure"] == "0"
    assert claims["claim-induction-refused"]["data-by-name"] == "3"
    assert claims["claim-hostile-names"]["data-by-paper"] == "0", "this paper's key begins with <"


def test_every_record_has_its_own_text(page: Page) -> None:
    for attributes, shown in page.of("details", class_="record"):
        assert "Content hash" in shown
        assert "Preconditions" in shown or attributes["data-verdict"] == "not run"
    together = page.of("div", class_="together")
    assert len(together) == 1
    assert "Combined over 2 training seeds" in together[0][1]


def test_names_of_places_are_unique_and_every_link_has_its_place(page: Page) -> None:
    names = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = {found["href"][1:] for found, _ in page.of("a") if found.get("href", "").startswith("#")}
    assert "claim-induction-refused" in links
    assert links <= set(names)


def test_a_reader_without_sight_finds_heads_names_and_an_order_of_headings(page: Page) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(found.get("scope") in ("col", "row") and shown.strip() for found, shown in page.of("th"))
    assert all(found["alt"].strip() for found, _ in page.of("img"))
    assert page.of("html")[0][0]["lang"] == "en"
    assert len(page.of("main")) == len(page.of("header")) == 1
    described = {found["aria-labelledby"] for found, _ in page.of("section")}
    assert described <= {attributes.get("id") for _, attributes, _ in page.elements}
    labels = [shown for _, shown in page.of("label")]
    assert len(labels) == len(page.of("select")) + len(page.of("input"))


def test_a_bold_line_before_a_table_is_its_caption(page: Page) -> None:
    assert "Effect against every control" in {shown for _, shown in page.of("caption")}


def test_every_picture_is_whole_and_as_large_as_it_says(text: str) -> None:
    from PIL import Image

    drawn = drawn_in(text)
    assert len(drawn) == len(re.findall("<img ", text)) > 4
    for one in drawn.values():
        with Image.open(io.BytesIO(base64.b64decode(one.webp))) as image:
            image.load()
            assert (image.width // SCALE, image.height // SCALE) == (one.width, one.height)


def test_a_picture_that_cannot_be_drawn_leaves_a_line_that_says_why(page: Page) -> None:
    assert any("No picture" in shown and "is not one of" in shown for _, shown in page.of("p"))


def test_the_page_is_the_same_bytes_again_and_draws_nothing_twice(
    written: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    def count(job: Any) -> Any:
        made.append(job)
        return draw_one(job)

    monkeypatch.setattr("harness.report.html.drawing.draw_one", count)
    again = tmp_path / "again.html"
    again.write_text(text, encoding="utf-8")
    write_html(records()[::-1], out=again, run=RUN, papers=PAPERS, workers=1)
    assert again.read_bytes() == written.read_bytes()
    assert len(made) == 1, "only the picture that cannot be drawn is tried again"
    assert [path.name for path in tmp_path.iterdir()] == ["again.html"]


def test_processes_draw_the_same_pictures_as_one() -> None:
    jobs = [partial(figures.draw, {**picture, "name": f"{turn}"}) for turn in range(2) for picture in pictures()]
    assert draw_all(jobs, workers=2) == draw_all(jobs, workers=1)


def test_another_picture_is_drawn_again() -> None:
    picture = pictures()[5]
    [(key, drawn)] = draw_all([partial(figures.draw, picture)])
    [(other, changed)] = draw_all([partial(figures.draw, {**picture, "values": [0.31, 0.6]})], known={key: drawn})
    assert other != key
    assert changed != drawn


def test_the_box_of_cells_lies_where_the_cells_are() -> None:
    from PIL import Image

    values = np.zeros((5, 8))
    values[3, 6] = 1.0  # by hand: the only yellow cell of the map is the one of layer 3, head 6
    picture = {"kind": "head_map", "name": "one head", "values": values.tolist(), "unit": "nats"}
    drawn = draw_one(partial(figures.draw, picture))
    with Image.open(io.BytesIO(base64.b64decode(drawn.webp))) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    left, top, width, height = drawn.cells
    for layer in range(5):
        for head in range(8):
            x = int((left + width * (head + 0.5) / 8) * pixels.shape[1])
            y = int((top + height * (layer + 0.5) / 5) * pixels.shape[0])
            assert bool(pixels[y, x, 0] > 200) == (layer == 3 and head == 6)


def test_cells_of_a_pattern_name_tokens_with_their_places() -> None:
    made = cells_of(
        {"kind": "pattern", "matrix": [[1.0, None], [0.123456, 0.5]], "tokens": [" a", "\n"], "head": "0.1"}
    )
    assert made is not None
    assert made["rows"] == ["“·a” at 0", "“↵” at 1"]
    assert made["values"] == [[1.0, None], [0.1235, 0.5]]
    assert (made["row"], made["column"], made["unit"]) == ("query", "key", "attention probability")
    assert cells_of({"kind": "curve"}) is None
    assert visible("\tx") == "→x"


@given(st.text(max_size=60))
def test_no_text_in_json_can_close_a_script(text: str) -> None:
    made = script_json({"text": text})
    assert not set(made) & set("<>&\u2028\u2029")
    assert json.loads(made) == {"text": text}


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("a <script>alert(1)</script>", "<p>a &lt;script&gt;alert(1)&lt;/script&gt;</p>\n"),
        ("<div onclick=x>", "&lt;div onclick=x&gt;"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>\n"),
        ("[x](file:///etc/passwd)", "<p>[x](file:///etc/passwd)</p>\n"),
        ("[x](mailto:a@b)", "<p><a>x</a></p>\n"),
        ("![y](https://example.org/x.png)", "y"),
        ("<code>a</code>", "<p><code>a</code></p>\n"),
    ],
)
def test_markup_that_is_not_ours_is_text(markdown: str, shown: str) -> None:
    assert str(render(parse(markdown))).strip() == shown.strip()


def test_verdicts_are_badges_and_later_lines_of_a_cell_are_small() -> None:
    made = str(render(parse("| a | b |\n| --- | --- |\n| x | ✓ 4 of 5 supported, ? 1 of 5 inconclusive<br>0.3 |\n")))
    assert '<span class="verdict supported">✓ 4 of 5 supported</span>, ' in made
    assert '<span class="verdict inconclusive">? 1 of 5 inconclusive</span><br><span class="detail">0.3</span>' in made
    assert '<th scope="row">x</th>' in made
    assert str(render_line("<code>m</code>: ≈ too small")) == (
        '<code>m</code>: <span class="verdict too-small">≈ too small</span>'
    )


def test_columns_of_numbers_are_aligned_without_inline_styles() -> None:
    made = str(render(parse("| a | b |\n| --- | --: |\n| x | 1 |\n")))
    assert '<td class="number">1</td>' in made
    assert "style=" not in made


def test_a_page_of_nothing_and_a_place_that_cannot_be_written_to_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="at least one record"):
        write_html([], out=tmp_path, run=RUN)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be written"):
        write_html([not_run()], out=tmp_path / "file" / "page.html", run=RUN)


def test_the_command_writes_the_page_into_a_folder_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.evidence import Record
    from harness.store import write_record, write_run_info

    monkeypatch.chdir(tmp_path)
    plain_record = not_run()
    plain_record.pop("content_hash")
    run = tmp_path / "reports" / "runs" / "20260131T120000Z_abc"
    write_record(Record(**plain_record), folder=run)
    write_run_info(RUN, folder=run)
    assert "EVIDENCE.html: 1 record of 20260131T120000Z_abc (1 not run)" in call("report", "--html").stdout
    assert call("report", "--html", "--out", "page.html").exit_code == 0
    assert Page((tmp_path / "page.html").read_text(encoding="utf-8")).of("details", class_="record")
    assert (tmp_path / "reports" / "EVIDENCE.html").read_bytes() == (tmp_path / "page.html").read_bytes()
    assert not (tmp_path / "reports" / "EVIDENCE.md").exists()
