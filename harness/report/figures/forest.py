"""Forest plots: every effect with its interval, and the zone in which the interval must lie.

What is filled holds; what is hollow does not. The grey zone replaces a coloured threshold line, because thresholds,
bounds of zero and margins differ from row to row and point in different directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from harness.errors import StoreError
from harness.report.figures.style import ACCENT, GREY, INK, PALE, label, new_figure, styled
from harness.report.reading import (
    SYMBOLS,
    Effect,
    Entry,
    deciding_effect,
    effects_of,
    model_label,
    verdict_of,
)
from harness.report.text import effect_text, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Detail = Literal["effect", "record"]
_ROW_INCHES = 0.19
_SYMLOG_FROM = 6.0
_LEGEND = "filled: holds · hollow: does not · grey zone: where the interval must lie · line: 95 %"


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot.

    Attributes:
        name: what stands on the left.
        effects: the effects drawn in this line, several where they are the seeds of one model.
        text: what stands on the right.
        others: further estimates (other controls), drawn as small ticks.
        header: True for a line of text between the rows.
    """

    name: str
    effects: tuple[Effect, ...] = ()
    text: str = ""
    others: tuple[float, ...] = field(default=())
    header: bool = False


def forest(records: Sequence[Entry], *, detail: Detail = "effect", title: str = "") -> Figure:
    """Effects of records of one metric, in its unit: one row per component and control, or one per record.

    Raises:
        StoreError: nothing was measured, or the records have different units.
    """
    units = sorted({str(record["claim"]["metric"]["unit"]) for record in records})
    if len(units) > 1:
        raise StoreError(f"effects in {', '.join(units)} do not fit one axis; draw one forest per unit")
    rows = [row for record in records for row in _rows_of(record, detail=detail)]
    return draw_forest(rows, xlabel=f"effect ({units[0] if units else ''})", title=title)


@styled
def draw_forest(rows: Sequence[ForestRow], *, xlabel: str, title: str = "") -> Figure:
    """The figure of these rows, top to bottom.

    Raises:
        StoreError: no row has an effect.
    """
    if not any(row.effects for row in rows):
        raise StoreError("a forest plot needs at least one measured effect")
    heights = [max(1.0, 0.45 * len(row.effects)) for row in rows]
    figure, axes = new_figure(height=0.95 + _ROW_INCHES * sum(heights))
    _set_x_axis(axes, rows=rows, xlabel=xlabel)
    centres = []
    top = 0.0
    for row, height in zip(rows, heights, strict=True):
        centres.append(top + height / 2)
        _draw_row(axes, row, centre=centres[-1], height=height)
        top += height
    axes.set_ylim(top, 0)
    axes.set_yticks(centres, [label(row.name, length=52) for row in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row.header else "normal")
    axes.tick_params(axis="y", length=0, pad=7)
    axes.spines["left"].set_visible(False)
    figure.suptitle(label(title, length=100), x=0.01, ha="left", fontsize=9.5) if title else None
    return figure


def _rows_of(record: Entry, *, detail: Detail) -> list[ForestRow]:
    sign = SYMBOLS[verdict_of(record)]
    if detail == "record":
        effect = deciding_effect(record)
        others = tuple(other.estimate for other in effects_of(record))
        if effect is None:
            return [ForestRow(model_label(record), text=f"{sign} {verdict_of(record)}")]
        return [ForestRow(model_label(record), (effect,), f"{sign} {effect_text(effect)}", others)]
    head = ForestRow(model_label(record), text=f"{sign} {verdict_of(record)}", header=True)
    return [head, *(ForestRow(f"{e.component}: {e.control}", (e,), effect_text(e)) for e in effects_of(record))]


def _draw_row(axes: Axes, row: ForestRow, *, centre: float, height: float) -> None:
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
            label(row.text, length=44),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=7.5,
            color=INK,
        )


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
    else:
        axes.set_xlim(low - margin, high + 2 * margin)
    legend = _LEGEND + (" · tick: another control" if any(row.others for row in rows) else "")
    axes.set_xlabel(f"{label(xlabel, length=100)}\n{legend}")
