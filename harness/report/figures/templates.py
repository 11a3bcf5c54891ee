"""How faithful a circuit is, template by template, beside the zone in which the whole must lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHAPES = ("o", "s", "^", "D", "v", "P")
_FACES = (ACCENT, "white", GREY, ACCENT, "white", GREY)
_WIDTHS_SHOWN = 3.0
"""A ratio farther from the zone than this many of its widths is drawn as an arrow at the edge: a mean near zero makes
ratios of any size, and one of them would leave no room for the others."""


@styled
def faithfulness(
    templates: Sequence[object],
    ratios: Mapping[str, object],
    *,
    zone: Sequence[float] = (0.8, 1.25),
    unit: str = "circuit's behaviour as a share of the model's, F(C) / F(M)",
    title: str = "",
) -> Figure:
    """Every template's ratio of circuit to model, one mark per stratum, with the zone of equivalence in grey.

    Args:
        templates: one row each.
        ratios: per stratum (an order of the names, with or without BOS) one value per template; None where the
            model's own mean is too near zero.
        zone: where the ratio of means must lie.
        unit: what the ratio is.
        title: stands above.

    Raises:
        StoreError: a stratum has another number of values, there are too many strata, or the zone is no zone.
    """
    if not ratios or len(ratios) > len(_SHAPES):
        raise StoreError(f"faithfulness: {len(ratios)} strata; 1 to {len(_SHAPES)} can be told apart")
    if len(zone) != 2 or not zone[0] < zone[1]:
        raise StoreError(f"faithfulness: zone {list(zone)} is not (lower end, upper end)")
    low, high = float(zone[0]), float(zone[1])
    left, right = low - _WIDTHS_SHOWN * (high - low), high + _WIDTHS_SHOWN * (high - low)
    names = np.arange(len(templates), dtype=np.float64)
    figure, axes = new_figure(height=1.0 + 0.21 * len(templates))
    axes.axvspan(low, high, color=PALE, linewidth=0, zorder=1)
    axes.axvline(1, color=INK, linewidth=0.8, linestyle="--", zorder=2)
    inside = total = 0
    for place, (stratum, given) in enumerate(ratios.items()):
        values = finite_array(given, axes=1, what=f"faithfulness: {stratum}")
        require_equal_lengths(f"faithfulness: {stratum}", templates=names, values=values)
        rows = names + 0.36 * ((place + 0.5) / len(ratios) - 0.5)
        shown = np.clip(values, left, right)
        axes.plot(shown, rows, _SHAPES[place], color=ACCENT, markerfacecolor=_FACES[place], markersize=5, zorder=4,
                  label=wrapped(stratum, width=60))  # fmt: skip
        for outside, marker in ((values < left, "<"), (values > right, ">")):
            axes.plot(shown[outside], rows[outside], marker, color=INK, markersize=8, markerfacecolor="none", zorder=5)
        known = np.isfinite(values)
        inside, total = inside + int(((values >= low) & (values <= high))[known].sum()), total + int(known.sum())
    axes.set_yticks(names, [label(name, length=60) for name in templates])
    axes.set_ylim(len(templates) - 0.4, -0.6)
    axes.set_ylabel("template")
    grey = f"grey: [{low:g}, {high:g}], where the ratio of means must lie; {inside} of {total} marks do"
    missing = len(ratios) * len(templates) - total
    grey += (
        f"\nnot shown, since the ratio is not defined: {missing} of {len(ratios) * len(templates)}" if missing else ""
    )
    axes.set_xlabel(f"{wrapped(unit, width=80)}\n{grey}")
    axes.set_title(wrapped(title, width=84))
    legend_below(axes, columns=min(len(ratios), 4))
    return figure
