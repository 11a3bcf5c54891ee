"""Figures of evidence, from plain arrays or from a stored record; each function returns a matplotlib Figure.

In a notebook: `from harness.report import figures`, then `figures.head_map(values, marked=["5.1"], unit="nats")`.
matplotlib is imported when a figure is drawn, never when this package is.
"""

from __future__ import annotations

from harness.report.figures.curves import bars, curve, distribution
from harness.report.figures.doses import dose_response, trade_off
from harness.report.figures.forest import BEYOND, ForestRow, beyond_row, draw_forest, forest
from harness.report.figures.graphs import circuit
from harness.report.figures.maps import head_map, matrix, pattern
from harness.report.figures.pictures import KINDS, draw
from harness.report.figures.rates import calibration, power
from harness.report.figures.style import encoded, save
from harness.report.figures.templates import faithfulness

__all__ = [
    "BEYOND",
    "KINDS",
    "ForestRow",
    "bars",
    "beyond_row",
    "calibration",
    "circuit",
    "curve",
    "distribution",
    "dose_response",
    "draw",
    "draw_forest",
    "encoded",
    "faithfulness",
    "forest",
    "head_map",
    "matrix",
    "pattern",
    "power",
    "save",
    "trade_off",
]
