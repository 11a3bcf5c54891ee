"""Numbers and foreign text made safe to print: in Markdown, in tables, in file names, in a terminal."""

from __future__ import annotations

import hashlib
import html
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from harness.report.effects import Effect
from harness.report.reading import to_float

_MARKDOWN = re.compile(r"([\\`*\[\]~$])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_RUN_OF_BACKTICKS = re.compile(r"`+")


def plain(text: object) -> str:
    """One line of printable text: newlines, tabs and control characters become spaces, runs of spaces one."""
    return _one_line(str(text))


@lru_cache(maxsize=65_536)
def _one_line(text: str) -> str:
    if text.isprintable():  # then none of the categories below is in it
        return " ".join(text.split())
    kept = "".join(" " if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") else char for char in str(text))
    return " ".join(kept.split())


def inline(text: object) -> str:
    """Text that Markdown shows as it is, also inside a table: nothing in it can become markup, a link or HTML."""
    return _escaped(plain(text))


@lru_cache(maxsize=65_536)
def _escaped(line: str) -> str:
    safe = html.escape(line, quote=False)
    safe = _MARKDOWN.sub(lambda found: "\\" + found[0], safe)
    # An entity, not a backslash: GitHub splits table cells before it reads escapes.
    return safe.replace("|", "&#124;").replace("\\\\", "&#92;")


def code(text: object) -> str:
    """Text in type-writer face, safe inside a table too, where backtick spans are not."""
    return f"<code>{inline(text)}</code>"


def code_block(text: object, *, language: str = "sh") -> str:
    """A fenced block that the text cannot close."""
    line = plain(text)
    longest = max((len(run) for run in _RUN_OF_BACKTICKS.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{line}\n{fence}"


def table(columns: Sequence[str], *, rows: Iterable[Sequence[str]], numeric: Iterable[int] = ()) -> str:
    """A Markdown table; cells are Markdown already, so foreign text comes in through `inline` or `code`."""
    right = set(numeric)
    rule = ["--:" if place in right else "---" for place in range(len(columns))]
    lines = [list(columns), rule, *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: object) -> str:
    """About three significant digits; `inf` for an infinite bound, a hyphen for nothing."""
    if type(value) is float:
        return _float(value)
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return plain(value)
    if isinstance(value, int):
        return str(value)
    try:
        return _float(to_float(value))
    except ValueError:
        return plain(value)


def p_value(value: object) -> str:
    """A p value with four decimals, or the bound below which it lies."""
    if value is None:
        return "-"
    p = to_float(value)
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def interval(low: object, high: object) -> str:
    """`[low, high]`."""
    return f"[{number(to_float(low))}, {number(to_float(high))}]"


def effect_text(effect: Effect) -> str:
    """The estimate and, where something was sampled, its interval; with its unit where that is not the metric's."""
    text = number(effect.estimate) + (f" {interval(effect.low, effect.high)}" if effect.sampled else "")
    return f"{text} {plain(effect.unit)}" if effect.foreign else text


def must_be(effect: Effect) -> str:
    """The condition's own threshold: `above 0.6`, `below -1`, `within [0.8, 1.25]`."""
    if math.isinf(effect.zone_low):
        return f"below {number(effect.zone_high)}"
    if math.isinf(effect.zone_high):
        return f"above {number(effect.zone_low)}"
    return f"within {interval(effect.zone_low, effect.zone_high)}"


def nearest_text(effect: Effect) -> str:
    """An effect with the threshold and the p that belong to it."""
    p = "" if effect.p is None else f", p {p_value(effect.p)}"
    return f"{effect_text(effect)}, must be {must_be(effect)}{p}"


def slug(text: object, *, length: int = 60) -> str:
    """A file name's stem: lower-case letters, digits, dots and hyphens; a hash where something was dropped."""
    name = str(text)
    kept = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")
    lossless = kept == name.lower().replace("@", "-").replace(" ", "-") and len(kept) <= length
    return kept if lossless and kept else f"{kept[:length].rstrip('-.')}-{_short_hash(name)}".lstrip("-")


def sentence(text: object) -> str:
    """The text as a Markdown sentence: a capital where it begins with a word, a full stop at its end."""
    line = plain(text)
    if line.split(" ")[0].isalpha():
        line = line[0].upper() + line[1:]
    return inline(line if not line or line.endswith((".", "!", "?")) else f"{line}.")


def listing(words: Sequence[str], *, last: str = "and") -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def plural(count: int, noun: str) -> str:
    """`1 sequence`, `2 sequences`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@lru_cache(maxsize=65_536)
def _float(value: float) -> str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.001 or size >= 1e6:
        return f"{value:.1e}"
    decimals = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    text = f"{value:.{decimals}f}"
    # 0.2 was declared as 0.2; a measured 0.1997 keeps its zeros. Machines differ in rounding errors, reports must not.
    return f"{float(text):g}" if abs(float(text) - value) < 1e-9 * size else text
