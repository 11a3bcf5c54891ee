"""Matrices as pictures: a value per head of a model, and the attention pattern of one head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import StoreError
from harness.report.figures.style import (
    COLOURS,
    SIGNED_COLOURS,
    WIDTH_INCHES,
    finite_array,
    label,
    new_figure,
    styled,
    thinned,
    token_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNED_FROM = 0.1
"""A map has two signs where the smaller extreme is at least this share of the larger one."""


@styled
def head_map(values: object, *, unit: str, marked: Sequence[str] = (), title: str = "") -> Figure:
    """One cell per head, layers downwards; marked heads ("5.1") are framed and named.

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
    _draw_matrix(axes, matrix, unit=unit)
    axes.set_xticks(thinned(heads, at_most=24))
    axes.set_yticks(thinned(layers, at_most=32))
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    for layer, head in cells:
        _frame(axes, layer=layer, head=head)
    length = 70 if wide else 58
    named = _framed(marked, length=length)
    axes.set_title("\n".join(part for part in (label(title, length=length), named) if part))
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
    axes.set_xlabel("key: token attended to")
    axes.set_ylabel("query: token attending")
    axes.set_title(label(title or f"head {head}", length=60))
    return figure


def _draw_matrix(
    axes: Axes, matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]], *, unit: str, low: float | None = None
) -> None:
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
    bar.set_label(label(unit, length=48))


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
            Rectangle((head - 0.5, layer - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=width, zorder=3)
        )
