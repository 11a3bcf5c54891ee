"""Numbers and hostile text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.report.text import (
    code,
    code_block,
    inline,
    interval,
    listing,
    number,
    p_value,
    plain,
    sentence,
    slug,
    table,
)

HOSTILE = [
    "a|b",
    "a\\|b",
    "a\\",
    "two\nlines\r\n\ttab",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "`code` ``more`` ```fence```",
    "[link](javascript:alert(1))",
    "![image](http://example.org/x.png)",
    "**bold** _it_ ~~no~~ $x^2$",
    "</details></code>",
    "&lt;b&gt;",
    "| --- | --- |",
    "<!-- comment",
    "\x1b[31mred\x1b[0m",
    "\u202eright to left",
    "# heading",
]
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def kinds_and_text(markdown: str) -> tuple[set[str], str]:
    """Kinds of inline tokens, and the visible text."""
    kinds, text = set(), ""
    for token in MARKDOWN.parse(markdown):
        for child in token.children or ():
            kinds.add(child.type)
            text += child.content if child.type != "html_inline" else ""
    return kinds, text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_shows_as_it_is(text: str) -> None:
    kinds, shown = kinds_and_text(f"x {inline(text)}")
    assert kinds <= {"text", "text_special"}
    assert shown == f"x {plain(text)}"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("made", [inline, code])
def test_hostile_text_stays_in_its_table_cell(text: str, made: object) -> None:
    assert callable(made)
    tokens = MARKDOWN.parse(table(["a", "b"], rows=[[made(text), "next"]]))
    cells = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "td_open"]
    assert len(cells) == 2
    assert cells[1] == "next"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_code_block_cannot_be_closed_from_inside(text: str) -> None:
    tokens = MARKDOWN.parse(code_block(text))
    assert [token.type for token in tokens] == ["fence"]
    assert tokens[0].content.strip() == plain(text)


@given(st.text(max_size=40))
def test_any_text_shows_as_it_is(text: str) -> None:
    kinds, shown = kinds_and_text(f"x {inline(text)} y")
    assert kinds <= {"text", "text_special"}
    assert shown == f"x {plain(text)} y"


@given(st.text(max_size=200))
def test_a_slug_is_a_safe_file_name(text: str) -> None:
    made = slug(text)
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", made)
    assert len(made) < 80
    assert ".." not in made.split("-")


def test_slugs_of_different_names_differ() -> None:
    assert slug("path:a/b") != slug("path:a:b")
    assert slug("induction-2l@3") == "induction-2l-3"
    assert slug("中") != slug("文")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.2, "0.2"),  # a declared number keeps its own digits
        (0.61237, "0.612"),
        (0.19996, "0.200"),
        (0.1 + 0.2, "0.3"),
        (3.14159, "3.14"),
        (123.456, "123.5"),
        (12345.6, "12346"),
        (0.00012, "1.2e-04"),
        (0.0, "0"),
        (-0.5, "-0.5"),
        (7, "7"),
        ("inf", "inf"),
        ("-inf", "-inf"),
        (None, "-"),
    ],
)
def test_numbers_have_about_three_digits(value: object, shown: str) -> None:
    assert number(value) == shown


def test_p_values_and_intervals() -> None:
    assert (p_value(0.00001), p_value(0.0123), p_value(None)) == ("< 0.0001", "0.0123", "-")
    assert interval("-inf", 0.25) == "[-inf, 0.25]"


def test_sentences_begin_with_a_capital_unless_they_begin_with_a_name() -> None:
    assert sentence("every control is beaten") == "Every control is beaten."
    assert sentence("gpt2-small is not here.") == "gpt2-small is not here."
    assert sentence("") == ""


def test_listings() -> None:
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"], last="or") == "a, b or c"
