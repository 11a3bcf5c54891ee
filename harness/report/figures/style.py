"""One look for all figures, readable in greyscale, and files that are the same bytes on every run."""

from __future__ import annotations

import functools
import io
import os
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from harness.errors import StoreError
from harness.report.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#111111"
GREY = "#8a8a8a"
PALE = "#e4e4e4"
ACCENT = "#1f4e8c"
"""Dark blue: as dark as ink in greyscale, so it never carries a meaning of its own."""
COLOURS = "cividis"
"""Rises evenly in lightness: readable in greyscale and with every kind of colour vision."""
SIGNED_COLOURS = "RdBu_r"
"""White at zero, darker to both sides, for values of both signs; apart from each other with every colour vision."""
WIDTH_INCHES = 7.2
DPI = 110
_LETTER_INCHES, _MARK_INCHES, _LINE_INCHES = 0.072, 0.55, 0.19
"""Width of a letter of a legend, and of its mark with the room around it; height of a line."""

Arguments = ParamSpec("Arguments")

_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.unicode_minus": False,
    "svg.hashsalt": "mechclaims",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "text.usetex": False,
}


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """The same figure function under our settings, which are put back after it."""

    @functools.wraps(draw)
    def under_our_settings(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        import matplotlib as mpl

        with mpl.rc_context(_settings()):
            return draw(*args, **kwargs)

    return under_our_settings


def new_figure(*, height: float, width: float = WIDTH_INCHES) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, drawn by Agg and unknown to pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def save(figure: Figure, path: Path) -> Path:
    """The file, PNG or SVG by its suffix; equal figures give equal bytes.

    Raises:
        StoreError: another suffix.
    """
    if path.suffix not in (".png", ".svg"):
        raise StoreError(f"{path}: a figure is written as .png or .svg")
    return write_bytes(path, encoded(figure, suffix=path.suffix[1:]))


def encoded(figure: Figure, *, suffix: str) -> bytes:
    """The figure as the bytes of a `png` or an `svg`; equal figures give equal bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if suffix == "svg" else {"Software": None}
    with mpl.rc_context(_settings()):
        figure.savefig(buffer, format=suffix, metadata=metadata)
    return _few_colours(buffer.getvalue()) if suffix == "png" else buffer.getvalue()


def write_bytes(path: Path, content: bytes) -> Path:
    """The file, which is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
    return path


def label(text: object, *, length: int = 46) -> str:
    """One printable line for a figure: shortened in the middle, characters without a glyph written as `U+4E2D`."""
    line = _printable(text)
    if len(line) <= length:
        return line
    tail = length // 3
    return f"{line[: length - tail - 1]}…{line[-tail:]}"


def wrapped(text: object, *, width: int, most_lines: int = 6) -> str:
    """The whole text in lines of at most `width` characters; shortened only where it would take too many of them."""
    lines = textwrap.wrap(_printable(text), width)
    if len(lines) > most_lines:
        lines = textwrap.wrap(label(text, length=width * most_lines * 2 // 3), width)[:most_lines]
    return "\n".join(lines)


def line_count(names: Iterable[str]) -> int:
    """Lines of the tallest of these texts, at least one."""
    return max((name.count("\n") + 1 for name in names), default=1)


def token_label(token: object) -> str:
    """A token with its spaces and newlines made visible, at most 20 characters."""
    shown = str(token).replace("\n", "↵").replace("\t", "→")
    visible = "·" + shown[1:] if shown.startswith(" ") else shown
    return label(visible, length=20)


def thinned(count: int, *, at_most: int) -> list[int]:
    """Positions to label: all of them, or every 2nd, 5th, 10th ... so that labels do not overlap."""
    steps = (step * 10**power for power in range(9) for step in (1, 2, 5))
    step = next(step for step in steps if count <= at_most * step)
    return list(range(0, count, step))


def finite_array(values: object, *, axes: int, what: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The values as float64 with None as NaN ("not measured"); refused where the shape is another or all is missing.

    Raises:
        StoreError: wrong number of axes, nothing in it, an infinity.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what}: not a rectangular array of numbers ({error})") from error
    if array.ndim != axes or not array.size or np.isinf(array).any() or np.isnan(array).all():
        raise StoreError(f"{what}: expected finite numbers on {axes} axes, not empty; got shape {array.shape}")
    return array


def require_equal_lengths(what: str, **arrays: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Refuse arrays of different lengths by their names.

    Raises:
        StoreError: lengths differ.
    """
    if len({array.size for array in arrays.values()}) > 1:
        listed = ", ".join(f"{name} has {array.size}" for name, array in arrays.items())
        raise StoreError(f"{what}: lengths differ: {listed}")


def legend_below(axes: Axes, *, columns: int, title: str | None = None) -> None:
    """A legend under the axes and their label, in so many columns or in fewer where they would be cut off.

    The figure grows by what the legend needs.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes without a figure"
    handles, names = axes.get_legend_handles_labels()
    widest = _MARK_INCHES + _LETTER_INCHES * max((len(line) for name in names for line in name.split("\n")), default=0)
    used = min(columns, max(1, int(figure.get_figwidth() / widest)))
    lines = -(-len(names) // used) * line_count(names) + (title is not None)
    figure.set_figheight(figure.get_figheight() + _LINE_INCHES * lines)
    figure.legend(handles, names, loc="outside lower center", ncols=used, frameon=False, title=title,
                  title_fontsize=8)  # fmt: skip


def _printable(text: object) -> str:
    return "".join(char if ord(char) in _glyphs() else f"U+{ord(char):04X}" for char in plain(text))


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap())


def _settings() -> dict[Any, Any]:
    """The defaults of matplotlib with ours on top, so that a user's matplotlibrc changes no byte."""
    import matplotlib as mpl

    kept = {"backend", "backend_fallback", "interactive", "toolbar", "webagg.port"}
    defaults = {name: value for name, value in mpl.rcParamsDefault.items() if name not in kept}
    return {**defaults, **_SETTINGS}


def _few_colours(png: bytes) -> bytes:
    """The same picture with a palette of 240 colours: half the size, no visible difference."""
    from PIL import Image

    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        few = image.convert("RGB").quantize(colors=240, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(out, format="PNG", optimize=True)
    return out.getvalue()
