"""Matrices as pictures: a value per head of a model, the attention pattern of one head, and any table of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import StoreError
from harness.report.figures.style import (
    COLOURS,
    INK,
    SIGNED_COLOURS,
    WIDTH_INCHES,
    finite_array,
    line_count,
    new_figure,
    styled,
    thinned,
    token_label,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SIGNED_FROM = 0.1
"""A map has two signs where the smaller extreme is at least this share of the larger one."""
MINUS_FROM = 0.25
"""Share of the scale from which a negative cell carries a minus; paler ones are pale in grey as well."""
NUMBERED_CELLS = 120
"""Most cells whose values are written into them."""
_LEAST_FONT, _MOST_FONT = 5.0, 8.0
_CHARACTER = 0.62
"""Width of a digit as a share of the font size."""
_CELLS_INCHES, _LABEL_INCHES = 5.0, 0.075
"""Width of a matrix's cells (the rest are names and the colour bar), and of a character of its labels."""
_MOST_LINES = 3
"""Names of columns that would take more lines than this are turned."""


@styled
def head_map(values: object, *, unit: str, marked: Sequence[str] = (), title: str = "") -> Figure:
    """One cell per head, layers downwards; marked heads ("5.1") are framed and named.

    Where values have both signs, large negative ones carry a minus: in grey the colours of the two signs are alike.

    Args:
        values: [layer head]; None where a head was not measured.
        unit: what the colour means.
        marked: the subject's heads.
        title: stands above the map.

    Raises:
        StoreError: not a matrix, or a marked head that it does not have.
    """
    matrix = finite_array(values, axes=2, what="head map")
    layers, heads = matrix.shape
    cells = [_cell(name, layers=layers, heads=heads) for name in marked]
    wide = heads > layers * 1.6
    figure, axes = new_figure(height=min(7.5, max(2.2, 1.2 + 0.21 * layers)), width=WIDTH_INCHES if wide else 5.4)
    _mark_negative(axes, _draw_matrix(axes, matrix, unit=unit), matrix)
    axes.set_xticks(thinned(heads, at_most=24))
    axes.set_yticks(thinned(layers, at_most=32))
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    for layer, head in cells:
        _frame(axes, layer=layer, head=head)
    length = 70 if wide else 58
    named = _framed(marked, length=length)
    axes.set_title("\n".join(part for part in (wrapped(title, width=length), named) if part))
    return figure


@styled
def pattern(matrix: object, *, tokens: Sequence[str], head: str, title: str = "") -> Figure:
    """The attention of one head: from each query (downwards) to each key (across), as probabilities.

    Raises:
        StoreError: not a square matrix with one token per row.
    """
    weights = finite_array(matrix, axes=2, what=f"attention pattern of {head}")
    if weights.shape != (len(tokens), len(tokens)):
        raise StoreError(f"attention pattern of {head}: shape {weights.shape} for {len(tokens)} tokens")
    count = len(tokens)
    size = min(6.6, 2.6 + 0.16 * count)
    figure, axes = new_figure(height=size, width=size + 0.9)
    _draw_matrix(axes, weights, unit="attention probability", low=0.0)
    places = thinned(count, at_most=34)
    names = [token_label(tokens[place]) for place in places]
    fontsize = 8 if len(places) <= 18 else 6.5
    axes.set_xticks(places, names, rotation=90, fontsize=fontsize)
    axes.set_yticks(places, names, fontsize=fontsize)
    token = "token id" if all(str(one).isdigit() for one in tokens) else "token"
    axes.set_xlabel(f"key: {token} attended to")
    axes.set_ylabel(f"query: {token} attending")
    axes.set_title(wrapped(title or f"head {head}", width=60))
    return figure


@styled
def matrix(
    values: object,
    *,
    rows: Sequence[object],
    columns: Sequence[object],
    unit: str,
    xlabel: str,
    ylabel: str,
    marked: Sequence[Sequence[object]] = (),
    title: str = "",
) -> Figure:
    """A cell per row and column, with its number where there are few; marked cells are framed.

    Args:
        values: [row column]; None where nothing was measured.
        rows: names of the rows, from the top.
        columns: names of the columns.
        unit: what the colour and the numbers mean.
        xlabel: what the columns are.
        ylabel: what the rows are.
        marked: cells as (row name, column name).
        title: stands above.

    Raises:
        StoreError: not a matrix with one name per row and column, a name that stands twice, an axis without a title,
            or a marked cell that it does not have.
    """
    cells = finite_array(values, axes=2, what="matrix")
    count, across = cells.shape
    down, right = _axis_names("row", rows, count=count), _axis_names("column", columns, count=across)
    places = [_named_cell(cell, rows=down, columns=right) for cell in marked]
    if not (xlabel.strip() and ylabel.strip()):
        raise StoreError(f"matrix: xlabel {xlabel!r} and ylabel {ylabel!r}: say what the columns and the rows are")
    figure, axes = new_figure(height=min(7.5, max(2.2, 1.4 + 0.3 * count)))
    image = _draw_matrix(axes, cells, unit=unit)
    _name_cells(axes, down, right)
    axes.set_xlabel(wrapped(xlabel, width=70))
    axes.set_ylabel(wrapped(ylabel, width=26 if count < 8 else 42))
    axes.set_title(wrapped(title, width=84))
    if cells.size <= NUMBERED_CELLS:
        _write_numbers(axes, image, cells)
    for row, column in places:
        _frame(axes, layer=row, head=column)
    return figure


def _draw_matrix(
    axes: Axes, matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]], *, unit: str, low: float | None = None
) -> AxesImage:
    shown = np.ma.masked_invalid(matrix)
    axes.set_facecolor("white")
    axes.patch.set_hatch("////" if np.ma.is_masked(shown) else "")
    least, most = (float(shown.min()), float(shown.max())) if shown.count() else (0.0, 0.0)
    signed = low is None and least < -SIGNED_FROM * abs(most) and most > -SIGNED_FROM * least
    if signed:  # zero in the middle, or the colours of both signs would be those of more and less
        least, most = -max(-least, most), max(-least, most)
    elif low is not None:
        least = low
    if least == most:
        least, most = least - 0.5, most + 0.5
    colours = SIGNED_COLOURS if signed else COLOURS
    image = axes.imshow(shown, cmap=colours, aspect="auto", interpolation="nearest", vmin=least, vmax=most)
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes without a figure"
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label(wrapped(unit, width=32))
    return image


def _mark_negative(axes: Axes, image: AxesImage, cells: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """A minus in the cells of a signed map that lie below a fourth of its scale."""
    least = image.get_clim()[0]
    if image.get_cmap().name != SIGNED_COLOURS or least is None:
        return
    depth = np.nan_to_num(cells) / least
    for chosen, colour in (((depth > MINUS_FROM) & (depth <= 0.5), INK), (depth > 0.5, "white")):
        rows, columns = np.nonzero(chosen)
        axes.plot(columns, rows, linestyle="none", marker="_", color=colour, markersize=6, markeredgewidth=1.4)


def _write_numbers(axes: Axes, image: AxesImage, cells: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """Each cell's value, light on dark and dark on light; nothing where they would be too small to read."""
    most = float(np.nanmax(np.abs(cells)))
    decimals = int(np.clip(np.floor(2.5 - np.log10(most)), 0, 4)) if most else 0  # 0.97, 2.31, 15.2, 970
    written = {
        place: f"{round(float(value), decimals) + 0.0:.{decimals}f}"  # + 0.0: no minus before a zero
        for place, value in np.ndenumerate(cells)
        if np.isfinite(value)
    }
    width_points = _CELLS_INCHES * 72 / cells.shape[1]
    fontsize = min(_MOST_FONT, width_points / (_CHARACTER * (1 + max(map(len, written.values())))))
    if fontsize < _LEAST_FONT:
        return
    for (row, column), number in written.items():
        red, green, blue, _ = image.to_rgba(cells[row, column])
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axes.text(column, row, number, ha="center", va="center", fontsize=fontsize, color="white" if dark else INK)


def _name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Names of rows and columns, as many as fit; those of columns turned where they would touch."""
    shown = thinned(len(rows), at_most=28)
    axes.set_yticks(shown, [wrapped(rows[place], width=30, most_lines=2) for place in shown])
    shown = thinned(len(columns), at_most=32)
    room = int(_CELLS_INCHES / _LABEL_INCHES / len(shown))
    names = [wrapped(columns[place], width=max(room, 1), most_lines=9) for place in shown]
    words = [word for place in shown for word in columns[place].split()]
    turned = max(map(len, words), default=0) > room or line_count(names) > _MOST_LINES
    if turned:
        names = [wrapped(columns[place], width=30, most_lines=2) for place in shown]
    axes.set_xticks(shown, names, rotation=90 if turned else 0)


def _axis_names(what: str, given: Sequence[object], *, count: int) -> list[str]:
    names = [str(name) for name in given]
    if len(names) != count:
        raise StoreError(f"matrix: {len(names)} {what} names for {count} {what}s")
    if len(set(names)) != count:
        raise StoreError(f"matrix: {what} {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return names


def _named_cell(cell: Sequence[object], *, rows: Sequence[str], columns: Sequence[str]) -> tuple[int, int]:
    row, column = (str(name) for name in cell) if not isinstance(cell, str) and len(cell) == 2 else (str(cell), "")
    if row not in rows or column not in columns:
        raise StoreError(f"matrix: marked cell {cell!r} is not (row name, column name) of this matrix")
    return rows.index(row), columns.index(column)


def _cell(name: str, *, layers: int, heads: int) -> tuple[int, int]:
    layer, dot, head = str(name).partition(".")
    if not (dot and layer.isdigit() and head.isdigit() and int(layer) < layers and int(head) < heads):
        raise StoreError(f"head map: marked head {name!r} is not one of {layers} layers x {heads} heads, written '5.1'")
    return int(layer), int(head)


def _framed(marked: Sequence[str], *, length: int) -> str:
    """`framed: 18.6, 17.4`; where they do not fit, fewer names and their number, but never a part of a name."""
    for shown in range(len(marked), 0, -1):
        rest = "" if shown == len(marked) else f", ... ({len(marked)} heads)"
        line = f"framed: {', '.join(marked[:shown])}{rest}"
        if len(line) <= length:
            return line
    return f"framed: {len(marked)} heads" if marked else ""


def _frame(axes: Axes, *, layer: int, head: int) -> None:
    from matplotlib.patches import Rectangle

    for colour, width in (("black", 3.0), ("white", 1.4)):
        axes.add_patch(
            Rectangle(
                (head - 0.5, layer - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=width, zorder=3, clip_on=False
            )
        )
