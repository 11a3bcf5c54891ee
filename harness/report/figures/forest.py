"""Forest plots: every effect with its interval, and the zone in which the interval must lie.

What is filled holds; what is hollow does not. The grey zone replaces a coloured threshold line, because thresholds,
bounds of zero and margins differ from row to row and point in different directions. Where rows of different claims or
conditions share an axis, each is drawn as its distance beyond its own threshold (`beyond_row`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from harness.errors import StoreError
from harness.report.effects import Effect, deciding_effect, effects_of
from harness.report.figures.style import ACCENT, GREY, INK, PALE, label, line_count, new_figure, styled, wrapped
from harness.report.reading import SYMBOLS, Entry, model_label, verdict_of
from harness.report.text import effect_text, must_be, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Detail = Literal["effect", "record"]
BEYOND = "beyond its own threshold (at 0), in multiples of the claim's SESOI or of the margin"
_ROW_INCHES = 0.19
_SYMLOG_FROM = 6.0
_LEGEND = "filled: holds · hollow: does not · grey zone: where the interval must lie · line: 95 %"
_NAME_WIDTH, _TEXT_LENGTH = 56, 44
_LINE_INCHES = 0.14
"""Height of a line of a name that takes more than one."""
_HEADER_LENGTH = 60


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot.

    Attributes:
        name: what stands on the left.
        effects: the effects drawn in this line, several where they are the seeds of one model.
        text: what stands on the right.
        others: further estimates (the record's other conditions) on the same axis, drawn as small ticks.
        header: True for a line of text between the rows.
    """

    name: str
    effects: tuple[Effect, ...] = ()
    text: str = ""
    others: tuple[float, ...] = field(default=())
    header: bool = False


def forest(records: Sequence[Entry], *, detail: Detail = "effect", title: str = "") -> Figure:
    """Effects of records of one metric: in its unit a row per condition, or a row per record from its threshold.

    A margin in a unit of its own stands there in words, since it fits no axis in the metric's unit.

    Raises:
        StoreError: nothing was measured, or the records have different units.
    """
    units = sorted({str(record["claim"]["metric"]["unit"]) for record in records})
    if len(units) > 1:
        raise StoreError(f"effects in {', '.join(units)} do not fit one axis; draw one forest per unit")
    rows = [row for record in records for row in _rows_of(record, detail=detail)]
    xlabel = BEYOND if detail == "record" else f"effect ({units[0] if units else ''})"
    return draw_forest(rows, xlabel=xlabel, title=title)


def beyond_row(record: Entry) -> ForestRow:
    """One row of a record: its effect nearest to failing and its other conditions, each from its own threshold."""
    sign, effect = SYMBOLS[verdict_of(record)], deciding_effect(record)
    if effect is None:
        return ForestRow(model_label(record), text=f"{sign} {verdict_of(record)}")
    others = tuple(other.beyond().estimate for other in effects_of(record) if other != effect)
    text = f"{sign} {effect_text(effect)}, {must_be(effect)}"
    return ForestRow(model_label(record), (effect.beyond(),), text, others)


@styled
def draw_forest(rows: Sequence[ForestRow], *, xlabel: str, row_inches: float = _ROW_INCHES, title: str = "") -> Figure:
    """The figure of these rows, top to bottom; one of a single line is `row_inches` high.

    Raises:
        StoreError: no row has an effect.
    """
    if not any(row.effects for row in rows):
        raise StoreError("a forest plot needs at least one measured effect")
    names = ["" if row.header else wrapped(row.name, width=_NAME_WIDTH) for row in rows]
    texts = [wrapped(row.text, width=_TEXT_LENGTH if row.effects else 2 * _TEXT_LENGTH) for row in rows]
    heights = [
        max(1.0, 0.45 * len(row.effects), 0.2 + _LINE_INCHES / row_inches * lines if lines > 1 else 0.0)
        for row, lines in zip(rows, map(line_count, zip(names, texts, strict=True)), strict=True)
    ]
    figure, axes = new_figure(height=0.95 + row_inches * sum(heights))
    _set_x_axis(axes, rows=rows, xlabel=xlabel)
    centres = []
    top = 0.0
    for row, text, height in zip(rows, texts, heights, strict=True):
        centres.append(top + height / 2)
        _draw_row(axes, replace(row, text=text), centre=centres[-1], height=height)
        top += height
    axes.set_ylim(top, 0)
    axes.set_yticks(centres, names)
    axes.tick_params(axis="y", length=0, pad=7)
    axes.spines["left"].set_visible(False)
    legend = _LEGEND + (" · tick: another condition or seed" if any(row.others for row in rows) else "")
    figure.supxlabel(legend, fontsize=8)  # under the whole figure: under narrow axes it would be cut off
    figure.suptitle(wrapped(title, width=100), x=0.01, ha="left", fontsize=9.5) if title else None
    return figure


def _rows_of(record: Entry, *, detail: Detail) -> list[ForestRow]:
    if detail == "record":
        return [beyond_row(record)]
    head = ForestRow(model_label(record), text=f"{SYMBOLS[verdict_of(record)]} {verdict_of(record)}", header=True)
    return [head, *map(_effect_row, effects_of(record))]


def _effect_row(effect: Effect) -> ForestRow:
    name = f"{effect.component}: {effect.control}" if effect.sampled else effect.control
    if not effect.foreign:
        return ForestRow(name, (effect,), effect_text(effect))
    held = "✓" if effect.holds else "✗"
    return ForestRow(name, text=f"{effect_text(replace(effect, foreign=False))}, {must_be(effect)} {held}")


def _draw_row(axes: Axes, row: ForestRow, *, centre: float, height: float) -> None:
    if row.header:
        _draw_header(axes, row.name, centre=centre)
    left, right = axes.get_xlim()
    step = height / (len(row.effects) + 1)
    for place, effect in enumerate(row.effects):
        y = centre - height / 2 + step * (place + 1)
        half = 0.42 if len(row.effects) == 1 else step / 2
        start, end = max(effect.zone_low, left), min(effect.zone_high, right)
        if start < end:
            axes.fill_betweenx([y - half, y + half], start, end, color=PALE, linewidth=0, zorder=1)
        for edge in (effect.zone_low, effect.zone_high):
            if math.isfinite(edge):
                axes.plot([edge, edge], [y - half, y + half], color=GREY, linewidth=1.2, zorder=2)
        _draw_effect(axes, effect, y=y)
    if row.others:
        axes.plot(row.others, [centre] * len(row.others), "|", color=GREY, markersize=5, zorder=2)
    if row.text:
        axes.text(
            1.01,
            centre,
            row.text,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=7.5,
            color=INK,
        )


def _draw_header(axes: Axes, name: str, *, centre: float) -> None:
    """A bold line from the left edge of the figure on: nothing else stands in its row, so it takes no width."""
    from matplotlib.transforms import blended_transform_factory

    figure = axes.get_figure(root=True)
    assert figure is not None, "axes without a figure"
    header = axes.text(
        0.01, centre, label(name, length=_HEADER_LENGTH), va="center", fontsize=8.5, fontweight="bold", color=INK,
        transform=blended_transform_factory(figure.transFigure, axes.transData), zorder=6,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip
    header.set_in_layout(False)


def _draw_effect(axes: Axes, effect: Effect, *, y: float) -> None:
    left, right = axes.get_xlim()
    low, high = max(effect.low, left), min(effect.high, right)
    axes.plot([low, high], [y, y], color=ACCENT, linewidth=1.5, zorder=3, solid_capstyle="butt")
    for end, bound, marker in ((effect.low, left, "<"), (effect.high, right, ">")):
        if math.isinf(end):
            axes.plot([bound], [y], marker, color=ACCENT, markersize=5, zorder=4, clip_on=False)
    face = ACCENT if effect.holds else "white"
    marker = "o" if effect.sampled else "D"
    axes.plot([effect.estimate], [y], marker, color=ACCENT, markerfacecolor=face, markersize=4.8, zorder=5)


def _set_x_axis(axes: Axes, *, rows: Sequence[ForestRow], xlabel: str) -> None:
    effects = [effect for row in rows for effect in row.effects]
    ends = [
        value for e in effects for value in (e.estimate, e.low, e.high, e.zone_low, e.zone_high) if math.isfinite(value)
    ]
    ends += [0.0, *(value for row in rows for value in row.others)]
    low, high = min(ends), max(ends)
    margin = 0.06 * ((high - low) or 1.0)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=2.5)
    if "SESOI" in xlabel and max(-low, high) > _SYMLOG_FROM:
        axes.set_xscale("symlog", linthresh=1.0, linscale=0.8)
        sizes = [size * 10**power for power in range(6) for size in (1, 3)]
        ticks = [sign * size for sign in (-1, 1) for size in sizes]
        places = sorted([0, *(tick for tick in ticks if low * 1.4 <= tick <= high * 1.4)])
        axes.set_xticks(places, [number(place) for place in places])
        axes.set_xticks([], minor=True)
        axes.set_xlim(min(low * 1.3, -0.15), max(high * 1.3, 1.3))
        xlabel += "; the axis is linear from -1 to 1 and logarithmic beyond"
    else:
        axes.set_xlim(low - margin, high + 2 * margin)
    axes.set_xlabel(wrapped(xlabel, width=64))
