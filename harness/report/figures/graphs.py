"""A circuit as a graph: its components by layer, their classes as shapes, and the edges between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.errors import StoreError, did_you_mean
from harness.report.figures.style import ACCENT, GREY, INK, PALE, label, legend_below, new_figure, styled, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]

_BELOW = ("embed", "input", "tokens")
_ABOVE = ("logits", "output")
_SHAPES = ("o", "s", "D", "^", "v", "P", "X", "h", "*", "p")
_FACES = (ACCENT, "white", GREY)
"""A class is a shape; from the eleventh on a shape with another filling: both are seen in greyscale."""
_MOST_IN_A_ROW = 14
"""More components of one layer stand in further rows of it, where their names do not touch."""
_ROW_INCHES = 0.34


@styled
def circuit(
    nodes: Mapping[str, str],
    *,
    edges: Sequence[Sequence[object]] = (),
    unit: str = "",
    title: str = "",
) -> Figure:
    """The components of a circuit, layers upwards, each class with a shape of its own.

    Layers without a component are left out. Where a component stands within its layer means nothing.

    Args:
        nodes: class of each component; components are named by their layer: "5.1", "17.kv1", "3.mlp", or are `embed`,
            `input` or `tokens` below all layers, `logits` or `output` above them.
        edges: (from, to) or (from, to, weight): a line as wide as the weight is large, dashed where it is negative.
        unit: of the weights.
        title: stands above.

    Raises:
        StoreError: no component, one without a layer, an edge to something else or downwards, too many classes.
    """
    rows = _rows(nodes)
    classes = list(dict.fromkeys(nodes.values()))
    if len(classes) > len(_SHAPES) * len(_FACES):
        raise StoreError(f"circuit: {len(classes)} classes, and {len(_SHAPES) * len(_FACES)} can be told apart")
    places = {
        name: ((column + 0.5) / len(members), height)
        for height, (_, members) in enumerate(rows)
        for column, name in enumerate(members)
    }
    figure, axes = new_figure(height=0.8 + _ROW_INCHES * max(len(rows), 2))
    _draw_edges(axes, edges, places=places, rows=rows)
    for place, name in enumerate(classes):
        _draw_class(axes, [one for one in nodes if nodes[one] == name], places=places, name=name, place=place)
    axes.set_yticks(range(len(rows)), [named for named, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_ylabel("layer")
    axes.set_title(wrapped(title, width=84))
    legend_below(axes, columns=4, title=_legend_title(edges, unit=unit))
    return figure


def _rows(nodes: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Rows from below: what stands on the axis, and the components from left to right."""
    if not nodes or not isinstance(nodes, Mapping):
        raise StoreError("circuit: no component")
    classes = list(dict.fromkeys(nodes.values()))
    by_layer: dict[float, list[str]] = {}
    for name in sorted(nodes, key=lambda name: (classes.index(nodes[name]), _natural(name))):
        by_layer.setdefault(_layer(name), []).append(name)
    rows = []
    for layer, members in sorted(by_layer.items()):
        named = str(int(layer)) if math.isfinite(layer) else "in" if layer < 0 else "out"
        for begin in range(0, len(members), _MOST_IN_A_ROW):
            rows.append((named if begin == 0 else "", members[begin : begin + _MOST_IN_A_ROW]))
    return rows


def _layer(name: str) -> float:
    if name in _BELOW or name in _ABOVE:
        return -math.inf if name in _BELOW else math.inf
    layer, dot, rest = name.partition(".")
    if not (dot and rest and layer.isascii() and layer.isdigit()):
        known = ", ".join((*_BELOW, *_ABOVE))
        raise StoreError(f"circuit: component {name!r} has no layer; it is written '5.1' or '3.mlp', or is {known}")
    return int(layer)


def _natural(name: str) -> tuple[int, str]:
    """Head 5.10 after head 5.9."""
    last = name.rpartition(".")[2]
    return (int(last), name) if last.isascii() and last.isdigit() else (10**9, name)


def _draw_class(axes: Axes, members: Sequence[str], *, places: Mapping[str, Point], name: str, place: int) -> None:
    from matplotlib.patheffects import withStroke

    shape, face = _SHAPES[place % len(_SHAPES)], _FACES[place // len(_SHAPES)]
    across, up = zip(*(places[one] for one in members), strict=True)
    axes.plot(across, up, shape, color=ACCENT, markerfacecolor=face, markeredgecolor=INK, markersize=8,
              label=f"{label(name, length=40)} ({len(members)})", zorder=4)  # fmt: skip
    for one in members:
        axes.annotate(label(one, length=12), places[one], xytext=(5, 4), textcoords="offset points", va="bottom",
                      fontsize=7, color=INK, path_effects=[withStroke(linewidth=2, foreground="white")],
                      zorder=5)  # fmt: skip


def _draw_edges(
    axes: Axes,
    edges: Sequence[Sequence[object]],
    *,
    places: Mapping[str, Point],
    rows: Sequence[tuple[str, Sequence[str]]],
) -> None:
    from matplotlib.patches import FancyArrowPatch

    weights = [_weight(edge) for edge in edges]
    most = max((abs(weight) for weight in weights), default=0.0) or 1.0
    for edge, weight in zip(edges, weights, strict=True):
        begin, end = (_known(name, edge=edge, places=places) for name in edge[:2])
        if _layer(begin) >= _layer(end):
            raise StoreError(f"circuit: edge {list(edge)!r} does not lead to a later layer")
        passes = places[end][1] - places[begin][1] > 1  # bent, or it would run through what stands between
        axes.add_patch(
            FancyArrowPatch(
                places[begin], places[end], arrowstyle="-|>", mutation_scale=7, shrinkA=5, shrinkB=6, color=GREY,
                linewidth=0.5 + 1.9 * abs(weight) / most, linestyle="-" if weight >= 0 else "--", zorder=2,
                connectionstyle="arc3,rad=0.12" if passes else "arc3,rad=0",
            )
        )  # fmt: skip
    if not edges:  # layers are told apart by lines where nothing leads from one to another
        for height in range(len(rows)):
            axes.axhline(height, color=PALE, linewidth=0.8, zorder=1)


def _known(name: object, *, edge: Sequence[object], places: Mapping[str, Point]) -> str:
    if str(name) not in places:
        raise StoreError(f"circuit: edge {list(edge)!r} names no component.{did_you_mean(str(name), places)}")
    return str(name)


def _weight(edge: Sequence[object]) -> float:
    if isinstance(edge, str) or len(edge) not in (2, 3):
        raise StoreError(f"circuit: edge {edge!r} is not (from, to) or (from, to, weight)")
    weight = edge[2] if len(edge) == 3 else 1.0
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise StoreError(f"circuit: edge {list(edge)!r} has no finite weight")
    return float(weight)


def _legend_title(edges: Sequence[Sequence[object]], *, unit: str) -> str | None:
    if not any(len(edge) == 3 for edge in edges):
        return None
    return f"width of an edge: its weight{f' ({label(unit, length=50)})' if unit else ''}; dashed: negative"
