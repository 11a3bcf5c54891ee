"""Values as marks and lines: dose curves, the subject beside its controls, bars with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import StoreError
from harness.report.figures.style import (
    ACCENT,
    GREY,
    INK,
    PALE,
    finite_array,
    legend_below,
    line_count,
    new_figure,
    require_equal_lengths,
    styled,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_GOLDEN = 0.6180339887498949
_STRIP_INCHES, _BAR_INCHES, _LINE_INCHES = 0.55, 0.21, 0.15
"""Least height of a group's strip and of a bar, and the height of a line of a name."""
_LETTERS_PER_INCH = 14
"""Of a title beside the axes."""


@styled
def curve(
    x: object,
    y: object,
    *,
    xlabel: str,
    ylabel: str,
    low: object = None,
    high: object = None,
    baseline: float | None = None,
    line: str = "mean",
    band: str = "95 % interval",
    title: str = "",
) -> Figure:
    """A line of y over x with its band and, dashed, the baseline; `line` and `band` say what they are.

    Raises:
        StoreError: x, y and the band have different lengths.
    """
    across, values = finite_array(x, axes=1, what="curve: x"), finite_array(y, axes=1, what="curve: y")
    require_equal_lengths("curve", x=across, y=values)
    figure, axes = new_figure(height=3.0, width=5.6)
    if low is not None and high is not None:
        bottom, top = finite_array(low, axes=1, what="curve: low"), finite_array(high, axes=1, what="curve: high")
        require_equal_lengths("curve", y=values, low=bottom, high=top)
        axes.fill_between(across, bottom, top, color=PALE, linewidth=0, label=wrapped(band, width=60))
    axes.plot(across, values, "-o", color=ACCENT, markersize=4, linewidth=1.5, label=wrapped(line, width=60))
    if baseline is not None:
        axes.axhline(float(baseline), color=INK, linewidth=1, linestyle="--", label="baseline")
    axes.set_xlabel(wrapped(xlabel, width=70))
    axes.set_ylabel(wrapped(ylabel, width=42))
    axes.set_title(wrapped(title, width=64))
    legend_below(axes, columns=3)
    return figure


@styled
def distribution(
    treated: object,
    control: Sequence[object],
    *,
    unit: str,
    labels: Sequence[str] = (),
    threshold: float | None = None,
    title: str = "",
) -> Figure:
    """Every value of the subject above every value of each control, with their means.

    Args:
        treated: [unit], the subject's values.
        control: one array [unit] per control, or a single one.
        unit: of the values.
        labels: of the subject and of each control.
        threshold: a dashed line, where there is one.
        title: stands above.

    Raises:
        StoreError: a group is empty or not finite, or the labels are not as many as the groups.
    """
    names, groups = _named_groups(treated, control, labels=labels)
    shown = [f"{wrapped(name, width=36)}\nn = {group.size}" for name, group in zip(names, groups, strict=True)]
    row_inches = max(_STRIP_INCHES, 0.08 + _LINE_INCHES * line_count(shown))
    figure, axes = new_figure(height=0.9 + row_inches * len(groups))
    for row, group in enumerate(groups):
        _draw_strip(axes, group, row=row, treated=row == 0)
    if threshold is not None:
        axes.axvline(float(threshold), color=INK, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(groups)), shown)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    dashed = " · dashed: threshold" if threshold is not None else ""
    alone = " · diamond: a single value" if any(group.size == 1 for group in groups) else ""
    axes.set_xlabel(f"{wrapped(unit, width=70)}\ndot: one value · bar: mean{alone}{dashed}")
    axes.set_title(wrapped(title, width=84))
    return figure


@styled
def bars(
    labels: Sequence[str],
    values: object,
    *,
    unit: str,
    low: object = None,
    high: object = None,
    threshold: float | None = None,
    ylabel: str = "",
    title: str = "",
) -> Figure:
    """One horizontal bar per label, its 95 % interval, a dashed line at `threshold`; `ylabel` says what the labels are.

    Raises:
        StoreError: labels, values and bounds have different lengths.
    """
    lengths = finite_array(values, axes=1, what="bars: values")
    if len(labels) != lengths.size:
        raise StoreError(f"bars: {len(labels)} labels for {lengths.size} values")
    places = np.arange(lengths.size)
    names = [wrapped(name, width=44) for name in labels]
    row_inches = max(_BAR_INCHES, 0.06 + _LINE_INCHES * line_count(names))
    height = row_inches * lengths.size
    figure, axes = new_figure(height=0.95 + height)
    axes.barh(places, lengths, height=0.68, color=PALE, edgecolor=GREY, linewidth=0.8)
    if low is not None and high is not None:
        left, right = finite_array(low, axes=1, what="bars: low"), finite_array(high, axes=1, what="bars: high")
        require_equal_lengths("bars", values=lengths, low=left, high=right)
        axes.hlines(places, left, right, color=ACCENT, linewidth=1.6)
    axes.plot(lengths, places, "o", color=ACCENT, markersize=3.5, clip_on=False)
    axes.axvline(0, color=INK, linewidth=0.8)
    if threshold is not None:
        axes.axvline(float(threshold), color=INK, linewidth=1, linestyle="--")
    axes.set_yticks(places, names)
    axes.set_ylim(lengths.size - 0.4, -0.6)
    parts = ["line: 95 % interval"] if low is not None and high is not None else []
    parts += ["dashed: reference value"] if threshold is not None else []
    axes.set_xlabel(wrapped(unit, width=70) + ("\n" + " · ".join(parts) if parts else ""))
    axes.set_ylabel(wrapped(ylabel, width=int(np.clip(_LETTERS_PER_INCH * height, 12, 42))))
    axes.set_title(wrapped(title, width=84))
    return figure


def _named_groups(
    treated: object, control: Sequence[object], *, labels: Sequence[str]
) -> tuple[list[str], list[NDArray[np.float64]]]:
    nested = bool(len(control)) and isinstance(control[0], list | tuple | np.ndarray)
    given = [treated, *(control if nested else [control])]
    names = list(labels) or ["subject", *(f"control {place + 1}" for place in range(len(given) - 1))]
    if len(names) != len(given):
        raise StoreError(f"distribution: {len(names)} labels for {len(given)} groups")
    return names, [
        finite_array(group, axes=1, what=f"distribution: {name}") for name, group in zip(names, given, strict=True)
    ]


def _draw_strip(axes: Axes, values: NDArray[np.float64], *, row: int, treated: bool) -> None:
    # Spread by the golden ratio, not by chance: the same figure on every run.
    spread = ((np.arange(values.size) * _GOLDEN) % 1.0 - 0.5) * 0.5
    colour = ACCENT if treated else GREY
    alpha = 0.75 if values.size <= 300 else 0.3
    marker = "o" if treated else "s"
    if values.size == 1:  # its mean would hide it
        axes.plot(values, [row], "D", color=colour, markersize=6, zorder=4)
        return
    axes.plot(values, row + spread, marker, color=colour, markersize=2.8, alpha=alpha, markeredgewidth=0)
    mean = float(values.mean())
    axes.plot([mean, mean], [row - 0.36, row + 0.36], color=INK, linewidth=2, zorder=4)
