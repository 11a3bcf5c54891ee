"""What a dose does: the response with its band beside its controls, and what it wins against what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import StoreError
from harness.report.figures.style import (
    ACCENT,
    GREY,
    INK,
    PALE,
    finite_array,
    label,
    legend_below,
    new_figure,
    require_equal_lengths,
    styled,
    wrapped,
)
from harness.report.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MOST_CONTROLS = 6
_DASHES = ("--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("s", "^", "D", "v", "P", "X")
_PLACES = tuple(
    (across * far, up * far, {1: "left", 0: "center", -1: "right"}[across], {1: "bottom", 0: "center", -1: "top"}[up])
    for far in (5, 12)
    for across, up in ((1, -1), (1, 1), (-1, 1), (-1, -1), (0, -1), (0, 1), (1, 0), (-1, 0))
)
"""Where a dose may stand beside its point, the first choice first: points to the right and up, and its alignment."""
_MARK_PIXELS = 4.0
"""Half the width of a mark."""


@styled
def dose_response(
    doses: object,
    values: object,
    *,
    xlabel: str,
    ylabel: str,
    low: object = None,
    high: object = None,
    controls: Sequence[Mapping[str, Any]] = (),
    line: str = "subject",
    title: str = "",
) -> Figure:
    """The response to each dose with its 95 % band, and every control at the same doses, told apart by its marks.

    Args:
        doses: in any order.
        values: the response to each.
        xlabel: what a dose is, with its unit.
        ylabel: what the response is, with its unit.
        low: lower end of the band.
        high: upper end.
        controls: each with `label` and `values`, and with `low` and `high` where it has a band.
        line: what the subject is called.
        title: stands above.

    Raises:
        StoreError: lengths differ, a dose stands twice, or there are more controls than can be told apart.
    """
    across = finite_array(doses, axes=1, what="dose response: doses")
    if len(set(across.tolist())) < across.size:
        raise StoreError(f"dose response: a dose stands twice in {across.tolist()}")
    if len(controls) > MOST_CONTROLS:
        raise StoreError(f"dose response: {len(controls)} controls cannot be told apart; draw at most {MOST_CONTROLS}")
    figure, axes = new_figure(height=3.0, width=5.8)
    axes.axhline(0, color=INK, linewidth=0.8)
    for place, control in enumerate(controls):
        look = {"linestyle": _DASHES[place], "marker": _MARKERS[place], "color": GREY, "markerfacecolor": "white"}
        _draw_response(axes, across, {"label": f"control {place + 1}", **control}, look=look)
    subject = {"label": line, "values": values, "low": low, "high": high}
    _draw_response(axes, across, subject, look={"linestyle": "-", "marker": "o", "color": ACCENT, "zorder": 4})
    axes.set_xlabel(wrapped(xlabel, width=70))
    axes.set_ylabel(wrapped(ylabel, width=42))
    axes.set_title(wrapped(title, width=64))
    legend_below(axes, columns=2)
    return figure


@styled
def trade_off(
    cost: object,
    effect: object,
    *,
    doses: Sequence[object],
    xlabel: str,
    ylabel: str,
    controls: Sequence[Mapping[str, Any]] = (),
    line: str = "subject",
    title: str = "",
) -> Figure:
    """What each dose wins over what it costs, the doses written beside their points and joined in their order.

    Args:
        cost: one value per dose.
        effect: one value per dose.
        doses: what stands beside the points.
        xlabel: what the cost is, with its unit.
        ylabel: what the effect is, with its unit.
        controls: each with `label`, `cost` and `effect`; `joined: False` leaves its points apart, for several draws.
        line: what the subject is called.
        title: stands above.

    Raises:
        StoreError: lengths differ, or there are more controls than can be told apart.
    """
    if len(controls) > MOST_CONTROLS:
        raise StoreError(f"trade-off: {len(controls)} controls cannot be told apart; draw at most {MOST_CONTROLS}")
    figure, axes = new_figure(height=3.3, width=5.8)
    for place, control in enumerate(controls):
        lost, won = _pair(control["cost"], control["effect"])
        named = wrapped(control.get("label", f"control {place + 1}"), width=60)
        dash = _DASHES[place] if control.get("joined", True) else "none"
        axes.plot(lost, won, linestyle=dash, marker=_MARKERS[place], color=GREY, markerfacecolor="white",
                  markersize=4.5, linewidth=1.1, label=named)  # fmt: skip
    lost, won = _pair(cost, effect)
    if len(doses) != lost.size:
        raise StoreError(f"trade-off: {len(doses)} doses for {lost.size} points")
    axes.plot(lost, won, "-o", color=ACCENT, markersize=5, linewidth=1.5, label=wrapped(line, width=60), zorder=4)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.margins(0.12)
    axes.set_xlabel(wrapped(xlabel, width=70) + "\nbeside each point: its dose")
    axes.set_ylabel(wrapped(ylabel, width=48))
    axes.set_title(wrapped(title, width=64))
    if controls:
        legend_below(axes, columns=2)
    _write_doses(axes, lost, won, names=[_dose(dose) for dose in doses])
    return figure


def _draw_response(axes: Axes, doses: Array, row: Mapping[str, Any], *, look: Mapping[str, Any]) -> None:
    named = str(row["label"])
    values = finite_array(row["values"], axes=1, what=f"dose response: {named}")
    require_equal_lengths(f"dose response: {named}", doses=doses, values=values)
    order = np.argsort(doses)
    banded = row.get("low") is not None and row.get("high") is not None
    if banded:
        low, high = (finite_array(row[end], axes=1, what=f"dose response: {named}, {end}") for end in ("low", "high"))
        require_equal_lengths(f"dose response: {named}", values=values, low=low, high=high)
        strong = look["color"] == ACCENT
        axes.fill_between(doses[order], low[order], high[order], color=GREY if strong else PALE, linewidth=0,
                          alpha=0.45 if strong else 0.7)  # fmt: skip
    shown = wrapped(named, width=60) + (" (95 % band)" if banded else "")
    axes.plot(doses[order], values[order], **{"markersize": 4.5, "linewidth": 1.4, **look, "label": shown})


def _pair(cost: object, effect: object) -> tuple[Array, Array]:
    lost = finite_array(cost, axes=1, what="trade-off: cost")
    won = finite_array(effect, axes=1, what="trade-off: effect")
    require_equal_lengths("trade-off", cost=lost, effect=won)
    return lost, won


def _write_doses(axes: Axes, lost: Array, won: Array, *, names: Sequence[str]) -> None:
    """Doses beside their points, where they cover least; one that would lie on another's point is left out.

    Called last: where marks lie on the paper is known once everything else is there.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes without a figure"
    figure.draw_without_rendering()
    spread = max(float(np.ptp(lost)), 1e-12), max(float(np.ptp(won)), 1e-12)
    taken: list[tuple[float, float]] = []
    written: list[Annotation] = []
    for x, y, name in zip(lost, won, names, strict=True):
        place = float(x) / spread[0], float(y) / spread[1]
        if all(abs(place[0] - other[0]) > 0.07 or abs(place[1] - other[1]) > 0.06 for other in taken):
            text = axes.annotate(
                name, (x, y), xytext=(5, -5), textcoords="offset points", fontsize=7.5, color=INK, zorder=5
            )
            _put_aside(axes, text, others=written)
            written.append(text)
            taken.append(place)


def _put_aside(axes: Axes, text: Annotation, *, others: Sequence[Annotation]) -> None:
    """Move a dose to the place beside its point where it covers fewest marks and doses, then fewest lines."""
    marked = [line for line in axes.lines if line.get_marker() != "None"]
    marks = np.concatenate([line.get_transform().transform(line.get_xydata()) for line in marked])
    paths = [
        line.get_transform().transform_path(line.get_path()) for line in axes.lines if line.get_linestyle() != "None"
    ]

    def covered(place: tuple[int, int, str, str]) -> tuple[int, int]:
        text.set(position=place[:2], ha=place[2], va=place[3])
        box = text.get_window_extent()
        near = box.padded(_MARK_PIXELS)
        covers = sum(bool(near.contains(*mark)) for mark in marks)
        covers += sum(bool(box.overlaps(other.get_window_extent())) for other in others)
        return covers, sum(bool(path.intersects_bbox(box, filled=False)) for path in paths)

    covered(min(_PLACES, key=covered))


def _dose(dose: object) -> str:
    return label(number(dose) if isinstance(dose, int | float) else dose, length=12)
