"""Our Markdown as HTML: only the markup that the report itself writes comes through, everything else is text.

The Markdown is made by the same functions as EVIDENCE.md, where all foreign text is escaped already. Here it meets a
second gate: raw HTML other than a few tags of our own, links to other than web addresses and this page, and images
other than the page's own figures are shown as text.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.report.html.figure import figure_html
from harness.report.html.pictures import Shown
from harness.report.reading import SYMBOLS

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markupsafe import Markup

_OWN_TAGS = re.compile(r"</?code>|<br>")
_ADDRESS = re.compile(r"#[a-z0-9-]+|https?://\S+")
_SIGNS = "|".join(re.escape(sign) for sign in SYMBOLS.values())
_BADGE = re.compile(rf"(?P<sign>{_SIGNS}) (?:\d+ of \d+ )?(?P<verdict>{'|'.join(SYMBOLS)})")


def parse(text: str) -> list[Token]:
    """The tokens of Markdown that the report wrote."""
    return prepared(_markdown().parse(text))


def render(tokens: Sequence[Token], *, shown: Mapping[str, Shown] | None = None) -> Markup:
    """HTML of tokens; `shown` are the page's figures by name."""
    from markupsafe import Markup

    markdown = _markdown()
    return Markup(markdown.renderer.render(tokens, markdown.options, {"shown": shown or {}}))


def render_line(text: str) -> Markup:
    """HTML of one line of Markdown, without a paragraph around it."""
    from markupsafe import Markup

    markdown = _markdown()
    inline = markdown.parseInline(text)
    for token in inline:
        token.children = list(_with_badges(token.children or []))
    return Markup(markdown.renderer.render(inline, markdown.options, {"shown": {}}))


def prepared(tokens: Sequence[Token]) -> list[Token]:
    """The same tokens with row heads, scopes, captions and badges of verdicts."""
    made: list[Token] = []
    for place, token in enumerate(tokens):
        if token.type == "thead_open" and not _has_words(tokens[place:], until="thead_close"):
            token.meta["hidden"] = True
        if token.type in ("th_open", "td_open"):
            _mark_cell(tokens, place)
        if token.type == "inline" and place and tokens[place - 1].type in ("td_open", "th_open", "heading_open"):
            token.children = list(_with_details(list(_with_badges(token.children or []))))
        made.append(token)
        if token.type == "table_open":
            _take_caption(made)
    return list(_without_empty_heads(made))


def _mark_cell(tokens: Sequence[Token], place: int) -> None:
    """Alignment as a class (the page allows no styles in attributes), heads with their scope, first cells as heads."""
    token = tokens[place]
    if "right" in str(token.attrs.pop("style", "")):
        token.attrSet("class", "number")
    empty = not tokens[place + 1].content
    is_head, first = token.type == "th_open", tokens[place - 1].type == "tr_open"
    closing = next(other for other in tokens[place:] if other.type == token.type.replace("open", "close"))
    token.tag = closing.tag = "th" if not empty and (is_head or first) else "td"
    if token.tag == "th":
        token.attrSet("scope", "col" if is_head else "row")


def _take_caption(made: list[Token]) -> None:
    """A bold line right before a table becomes the table's caption."""
    if len(made) < 4 or [token.type for token in made[-4:-1]] != ["paragraph_open", "inline", "paragraph_close"]:
        return
    children = made[-3].children or []
    types = [child.type for child in children if child.content or child.type != "text"]
    if types[:1] != ["strong_open"] or types[-1:] != ["strong_close"] or types.count("strong_open") > 1:
        return
    table, line = made[-1], made[-3]
    line.children = [child for child in children if not child.type.startswith("strong")]
    made[-4:] = [table, _token("caption_open", tag="caption"), line, _token("caption_close", tag="caption")]


def _without_empty_heads(tokens: Sequence[Token]) -> Iterator[Token]:
    hidden = False
    for token in tokens:
        hidden = hidden or bool(token.type == "thead_open" and token.meta.get("hidden"))
        if not hidden:
            yield token
        hidden = hidden and token.type != "thead_close"


def _has_words(tokens: Sequence[Token], *, until: str) -> bool:
    for token in tokens:
        if token.type == until:
            return False
        if token.type == "inline" and token.content:
            return True
    return False


def _with_badges(children: Sequence[Token]) -> Iterator[Token]:
    """Verdicts with their sign at the beginning of a text as badges of their own."""
    for child in children:
        rest = child.content if child.type == "text" else ""
        begin = re.match(r":? ?", rest)
        lead = begin[0] if begin else ""
        if not _BADGE.match(rest, len(lead)):
            yield child
            continue
        yield _token("text", content=lead)
        rest = rest[len(lead) :]
        while found := _BADGE.match(rest):
            yield _token("badge", content=found[0], meta={"verdict": found["verdict"]})
            rest = rest[found.end() :]
            if rest.startswith(", "):
                yield _token("text", content=", ")
                rest = rest[2:]
        yield _token("text", content=rest)


def _with_details(children: Sequence[Token]) -> Iterator[Token]:
    """What follows the first line of a cell, in smaller letters."""
    within = False
    for child in children:
        yield child
        if child.type == "html_inline" and child.content == "<br>" and not within:
            within = True
            yield _token("detail_open")
    if within:
        yield _token("detail_close")


def _token(type_: str, *, tag: str = "", content: str = "", meta: dict[str, Any] | None = None) -> Token:
    from markdown_it.token import Token

    nesting = 1 if type_.endswith("_open") else -1 if type_.endswith("_close") else 0
    return Token(type_, tag, nesting, content=content, meta=meta or {})  # type: ignore[arg-type]


@functools.cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML

    class Renderer(RendererHTML):
        """Rules by the names of tokens; all others are the library's."""

        def html_inline(self, tokens: Sequence[Token], place: int, *_: object) -> str:
            content = tokens[place].content
            return content if _OWN_TAGS.fullmatch(content) else html.escape(content)

        def html_block(self, tokens: Sequence[Token], place: int, *_: object) -> str:
            return html.escape(tokens[place].content)

        def image(self, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
            token = tokens[place]
            caption = self.renderInlineAsText(token.children, options, env)
            found = env["shown"].get(str(token.attrs.get("src", "")))
            return html.escape(caption) if found is None else figure_html(found, caption=caption)

        def link_open(self, tokens: Sequence[Token], place: int, *_: object) -> str:
            address = str(tokens[place].attrs.get("href", ""))
            return f'<a href="{html.escape(address)}">' if _ADDRESS.fullmatch(address) else "<a>"

        def table_open(self, *_: object) -> str:
            return '<div class="scroll" role="group" aria-label="Table" tabindex="0"><table>\n'

        def table_close(self, *_: object) -> str:
            return "</table></div>\n"

        def badge(self, tokens: Sequence[Token], place: int, *_: object) -> str:
            name = str(tokens[place].meta["verdict"]).replace(" ", "-")
            return f'<span class="verdict {name}">{html.escape(tokens[place].content)}</span>'

        def detail_open(self, *_: object) -> str:
            return '<span class="detail">'

        def detail_close(self, *_: object) -> str:
            return "</span>"

        def paragraph_open(self, tokens: Sequence[Token], place: int, *_: object) -> str:
            return "" if _is_figure(tokens[place + 1]) else ("" if tokens[place].hidden else "<p>")

        def paragraph_close(self, tokens: Sequence[Token], place: int, *_: object) -> str:
            return "\n" if _is_figure(tokens[place - 1]) else ("" if tokens[place].hidden else "</p>\n")

    return MarkdownIt("commonmark", renderer_cls=Renderer).enable("table")


def _is_figure(token: Token) -> bool:
    """Whether a paragraph is one image and nothing else: a figure cannot stand within a paragraph."""
    return [child.type for child in token.children or ()] == ["image"]
