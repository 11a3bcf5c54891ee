"""How often the suite says what: the share supported over the true effect, and how often a bound misses the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import StoreError
from harness.report.figures.style import (
    ACCENT,
    GREY,
    INK,
    PALE,
    finite_array,
    legend_below,
    new_figure,
    styled,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def power(
    multiples: object,
    shares: object,
    *,
    xlabel: str = "true effect against every control (multiples of the SESOI)",
    aim: float = 0.8,
    title: str = "",
) -> Figure:
    """The share of samples that support a claim over its true effect: the median of all designs, and most of them.

    Args:
        multiples: true effects, in SESOI.
        shares: [design effect], each from 0 to 1; a single design may be a plain row.
        xlabel: what a true effect is.
        aim: the power that a design is to reach, dashed.
        title: stands above.

    Raises:
        StoreError: a share outside 0 to 1, or not one per effect.
    """
    across = finite_array(multiples, axes=1, what="power: multiples")
    given = np.atleast_2d(np.array(shares, dtype=np.float64))
    rows = finite_array(given, axes=2, what="power: shares")
    if rows.shape[1] != across.size or rows.min() < 0 or rows.max() > 1:
        raise StoreError(f"power: shares of shape {rows.shape} for {across.size} effects, all from 0 to 1")
    order = np.argsort(across)
    across, rows = across[order], 100 * rows[:, order]
    figure, axes = new_figure(height=3.1, width=5.8)
    if len(rows) > 1:
        low, high = np.quantile(rows, [0.1, 0.9], axis=0)
        axes.fill_between(across, low, high, color=PALE, linewidth=0, label="middle 80 % of the designs", zorder=1)
        axes.plot(across, rows.min(axis=0), ":", color=GREY, linewidth=1.3, label="lowest at each effect")
    named = f"median of {len(rows)} designs" if len(rows) > 1 else "share supported"
    axes.plot(across, np.median(rows, axis=0), "-o", color=ACCENT, markersize=4.5, linewidth=1.5, label=named, zorder=4)
    axes.axhline(100 * aim, color=INK, linewidth=1, linestyle="--", label=f"{100 * aim:g} %")
    if across[0] <= 1 <= across[-1]:
        axes.axvline(1, color=INK, linewidth=0.8, label="the SESOI: support is false up to here")
    axes.set_ylim(-3, 103)
    axes.set_xlabel(wrapped(xlabel, width=70))
    axes.set_ylabel("samples that support the claim (%)")
    axes.set_title(wrapped(title, width=64))
    legend_below(axes, columns=2)
    return figure


@styled
def calibration(
    below: object,
    above: object,
    *,
    nominal: float = 0.025,
    allowed: float | None = None,
    title: str = "",
) -> Figure:
    """How often the lower and the upper bound miss the truth, over all conditions from the best to the worst.

    Args:
        below: of each condition the share of samples whose lower bound lies above the truth.
        above: of each condition the share of samples whose upper bound lies below it.
        nominal: the error that each bound is made for.
        allowed: the share up to which chance alone accounts for more, dashed.
        title: stands above.

    Raises:
        StoreError: a share outside 0 to 1.
    """
    figure, axes = new_figure(height=3.1, width=5.8)
    looks: dict[str, tuple[object, dict[str, Any]]] = {
        "lower bound above the truth": (below, {"linestyle": "-", "marker": "o", "color": ACCENT}),
        "upper bound below the truth": (above, {"linestyle": "--", "marker": "s", "color": GREY}),
    }
    counts = []
    for named, (given, look) in looks.items():
        shares = np.sort(finite_array(given, axes=1, what=f"calibration: {named}"))
        if shares[0] < 0 or shares[-1] > 1:
            raise StoreError(f"calibration: {named}: shares from {shares[0]:g} to {shares[-1]:g}, not from 0 to 1")
        counts.append(shares.size)
        place = 100 * (np.arange(shares.size) + 0.5) / shares.size
        every = max(1, shares.size // 12)
        axes.plot(place, 100 * shares, markersize=4, markevery=every, linewidth=1.5, label=named, **look)
    axes.axhline(100 * nominal, color=INK, linewidth=1, label=f"nominal: {100 * nominal:g} %")
    if allowed is not None:
        axes.axhline(100 * allowed, color=INK, linewidth=1, linestyle=":", label=f"most allowed: {100 * allowed:.2g} %")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, 100)
    sized = " and ".join(str(count) for count in dict.fromkeys(counts))
    axes.set_xlabel(f"conditions, from the fewest misses to the most (%); n = {sized}")
    axes.set_ylabel("samples that miss the truth (%)")
    axes.set_title(wrapped(title, width=64))
    legend_below(axes, columns=2)
    return figure
