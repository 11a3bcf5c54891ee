"""Bars of a stored picture as what they are: raw means, each with the interval of the values that it is the mean of.

A claim's threshold applies to differences from a control, never to a raw mean; the forest plot shows it where it
belongs, so no bar is drawn against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.report.reading import Entry, to_float

_ERROR = 0.025
"""One-sided error of each end of an interval."""


def as_measured(picture: Entry, record: Entry) -> Entry:
    """The picture to draw: bars lose a threshold that is the claim's SESOI and gain the intervals they lack."""
    if picture.get("kind") != "bars":
        return picture
    made: dict[str, Any] = dict(picture)
    threshold = made.get("threshold")
    if threshold is not None and math.isclose(abs(to_float(threshold)), to_float(record["claim"]["sesoi"])):
        del made["threshold"]
    if made.get("low") is None and made.get("high") is None:
        bounds = [_interval(row) for row in _rows(made, record)]
        if any(bounds):
            made["low"], made["high"] = ([None if ends is None else ends[side] for ends in bounds] for side in (0, 1))
    return made


def _rows(picture: Entry, record: Entry) -> Iterator[Sequence[float] | None]:
    """For every bar the stored values per unit of which it is the mean, or None where the record has none."""
    if len(set(clusters := (record.get("units") or {}).get("clusters") or ())) < len(clusters):
        yield from (None for _ in picture.get("values", ()))  # units that share a cluster are no independent values
        return
    stored = _stored(record.get("measured") or {})
    for name, value in zip(picture.get("labels", ()), picture.get("values", ()), strict=False):
        named = (row for owner, row in stored if owner in (name, None))
        yield next((row for row in named if math.isclose(float(np.mean(row)), to_float(value), rel_tol=1e-6)), None)


def _stored(measured: Entry) -> list[tuple[str | None, Sequence[float]]]:
    """Rows of values per unit with the component that they belong to; None for a control's own."""
    treated: Entry = measured.get("treated") or {}
    rows: list[tuple[str | None, Sequence[float]]] = list(
        zip(treated.get("components", ()), treated.get("values", ()), strict=False)
    )
    controls: Mapping[str, Entry] = measured.get("controls") or {}
    for key, entry in controls.items():
        if entry.get("treated"):
            rows.append((key.partition(" | ")[0], entry["treated"]))
        rows.append((None, entry["values"]))
    return rows


def _interval(row: Sequence[float] | None) -> tuple[float, float] | None:
    """The two-sided 95 % t interval of the mean of these values, one per unit; None where they do not vary."""
    if row is None or len(row) < 2 or np.ptp(row) == 0:
        return None
    from scipy.stats import t

    values = np.asarray(row, dtype=np.float64)
    half = float(t.ppf(1 - _ERROR, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half
