"""Bars of a stored picture as what they are: raw means, each with the interval of the values that it is the mean of.

A claim's threshold applies to differences from a control, never to a raw mean; the forest plot shows it where it
belongs, so no bar is drawn against it. Intervals are the record's own where it stores them for a share, and follow from
its values per unit otherwise; a bar of which it stores neither has none, and the caption says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.report.reading import Entry, to_float

_ERROR = 0.025
"""One-sided error of each end of an interval."""

Ends = tuple[float, float]


def as_measured(picture: Entry, record: Entry) -> Entry:
    """The picture to draw: bars lose a threshold that is the claim's SESOI and gain the intervals they lack."""
    if picture.get("kind") != "bars":
        return picture
    made: dict[str, Any] = dict(picture)
    threshold = made.get("threshold")
    if threshold is not None and math.isclose(abs(to_float(threshold)), to_float(record["claim"]["sesoi"])):
        del made["threshold"]
    if made.get("low") is None and made.get("high") is None:
        bounds = [
            _interval_of(str(name), to_float(value), record)
            for name, value in zip(made.get("labels", ()), made.get("values", ()), strict=False)
        ]
        if any(bounds):
            made["low"], made["high"] = ([None if ends is None else ends[side] for ends in bounds] for side in (0, 1))
    return made


def without_interval(picture: Entry, record: Entry) -> str:
    """What a caption says of bars that have no interval; empty for other pictures and where every bar has one."""
    if picture.get("kind") != "bars":
        return ""
    labels = [str(name) for name in picture.get("labels", ())]
    low = picture.get("low")
    bare = labels if low is None else [name for name, end in zip(labels, low, strict=False) if end is None]
    if not bare:
        return ""
    if record["claim"].get("units") is None:
        return "exact, nothing is sampled: no interval"
    if len(bare) == len(labels):
        return "no interval stored"
    return f"no interval stored for {', '.join(bare)}" if len(bare) <= 4 else f"no interval stored for {len(bare)} bars"


def _interval_of(name: str, value: float, record: Entry) -> Ends | None:
    """The interval of the bar with this name and mean, or None where the record stores none."""
    for share in record.get("shares") or ():
        if share["component"] == name and math.isclose(to_float(share["share"]), value, rel_tol=1e-6):
            return to_float(share["low"]), to_float(share["high"])
    clusters = (record.get("units") or {}).get("clusters") or ()
    rows = [(owner, row) for owner, row in _stored(record.get("measured") or {}) if _is_mean(value, row)]
    named = [row for owner, row in rows if owner in (name, None)] or [row for _, row in rows]
    if not named or any(list(row) != list(named[0]) for row in named):
        return None  # no values of which this is the mean, or several: nobody knows whose it is
    return _interval(named[0], clusters=clusters)


def _is_mean(value: float, row: Sequence[float]) -> bool:
    return math.isclose(float(np.mean(row)), value, rel_tol=1e-6)


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


def _interval(row: Sequence[float], *, clusters: Sequence[str]) -> Ends | None:
    """The two-sided 95 % t interval of the mean of these values, one per unit; None where they do not vary.

    The variance is the cluster-robust one of a mean, G / (G - 1) times the sum over the G clusters of their squared
    summed residuals, over n squared (Cameron and Miller 2015, eq. 11, for an intercept alone), with G - 1 degrees of
    freedom. Where every unit is a cluster of its own this is the usual interval of a mean.
    """
    if clusters and len(clusters) != len(row):
        return None  # values of other units, whose clusters are not stored
    values = np.asarray(row, dtype=np.float64)
    sums = _cluster_sums(values - values.mean(), clusters)
    if len(sums) < 2 or np.ptp(values) == 0:
        return None
    from scipy.stats import t

    count = len(sums)
    error = math.sqrt(count / (count - 1) * float((sums**2).sum())) / len(values)
    half = float(t.ppf(1 - _ERROR, count - 1)) * error
    return float(values.mean()) - half, float(values.mean()) + half


def _cluster_sums(residuals: NDArray[np.float64], clusters: Sequence[str]) -> NDArray[np.float64]:
    if not clusters:
        return residuals
    _, code = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return np.asarray(np.bincount(code, weights=residuals), dtype=np.float64)
