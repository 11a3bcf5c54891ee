"""How effects changed between two records of the same units: paired, unit by unit, with the claim's own interval.

An effect is what the verdict rests on, treated minus control, once for every component and every control that it must
beat. All of them are compared, not the weakest alone: the claim says that *every* control is beaten, a head that loses
a third of its effect against one control may still be nearest to failing against another, and treated values alone
would not see a control that caught up. Margins are no effects; `outside-interval` and the verdict watch over them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.declaration import bootstrap_for
from harness.errors import StatisticsError
from harness.seeding import Streams

TOLERANCE = 1e-4
"""What another machine may move a mean by, in the metric's unit or as a share of it: fp32 by another exact route moves
logit differences by 4e-6 and raw logits by 7e-5. In a small unit the SESOI says what is little."""
OF_SESOI = 0.01
"""The largest share of the SESOI that is taken for rounding: no less than `TOLERANCE` from a SESOI of 0.01 on."""

_ERROR = 0.025
_RESAMPLES = 9_999
_PERCENTILE = ": 95th percentile ("
_MEMBER = re.compile(r"(: 95th percentile) \(.*\)$", re.DOTALL)

Entry = Mapping[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class EffectChange:
    """The change of one effect, in the metric's unit.

    Attributes:
        component: the head or other component.
        control: what the effect is measured against; for an exact claim the 95th percentile of the population.
        before: the baseline's effect.
        after: the run's effect.
        change: the mean over units of after minus before.
        low: lower end of its two-sided 95 % interval; None where nothing is sampled or none was asked for.
        high: upper end.
        limit: the loss beyond which it is a regression: the larger of the share of `before` and half the SESOI.
        weakening: the loss, positive where the claim became weaker.
        beyond: whether the whole interval lies beyond the limit, on the weaker side.
        tolerance: the change up to which it is taken for rounding.
    """

    component: str
    control: str
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    limit: float
    weakening: float
    beyond: bool
    tolerance: float

    @property
    def key(self) -> Key:
        """Component and control."""
        return self.component, self.control

    @property
    def rounding(self) -> bool:
        """Whether it is no more than another machine's rounding."""
        return abs(self.change) <= self.tolerance


def tolerance_of(value: float, *, sesoi: float) -> float:
    """The largest difference from this value that is taken for rounding.

    Args:
        value: of the baseline.
        sesoi: of its claim; of a margin, the bound.
    """
    return max(min(TOLERANCE, OF_SESOI * sesoi), TOLERANCE * abs(value))


def effect_changes(before: Entry, after: Entry, *, share: float, shown: bool = True) -> list[EffectChange]:
    """The changes of all effects that both records hold, the largest loss in proportion to its limit first.

    Intervals are computed where they decide, and for the first where it is `shown`.

    Args:
        before: the baseline's record, as plain values.
        after: the run's record of the same claim, subject and units.
        share: the part of the baseline's effect that may be lost.
        shown: whether somebody reads the first one; an interval takes ten times as long as all the rest.
    """
    if before.get("exact") and after.get("exact"):
        return [_exact_change(before, after, share=share)]
    sign = -1.0 if before["claim"]["alternative"] == "less" else 1.0
    sesoi = float(before["claim"]["sesoi"])
    old, new = _effects(before), _effects(after)
    found = []
    for key in old.keys() & new.keys():
        if old[key].units == new[key].units:
            mean, now = old[key].mean, new[key].mean
            limit = max(share * abs(mean), sesoi / 2)
            loss, tolerance = sign * (mean - now), tolerance_of(mean, sesoi=sesoi)
            found.append(
                EffectChange(*key, mean, now, now - mean, None, None, limit, loss, beyond=False, tolerance=tolerance)
            )
    found.sort(key=lambda entry: (-entry.weakening / entry.limit, entry.component, entry.control))
    wanted = {place for place, entry in enumerate(found) if entry.weakening > entry.limit} | ({0} if shown else set())
    return [
        _with_interval(entry, before, new[entry.key].values() - old[entry.key].values())
        if place in wanted and not entry.rounding
        else entry
        for place, entry in enumerate(found)
    ]


def lost_effects(before: Entry, after: Entry) -> list[Key]:
    """Effects of the baseline's record that the other record does not hold over as many units."""
    old, new = _counts(before), _counts(after)
    return [key for key, units in old.items() if new.get(key) != units]


@lru_cache(maxsize=4096)
def plain_control(name: str) -> str:
    """A control's name without the member that happened to be its 95th percentile."""
    return _MEMBER.sub(r"\1", name) if _PERCENTILE in name else name


class _Effect(NamedTuple):
    """Treated and control values of one effect, on the same units; sums of lists are quick, arrays are made late."""

    treated: Sequence[float]
    control: Sequence[float]

    @property
    def units(self) -> int:
        return len(self.control)

    @property
    def mean(self) -> float:
        return (math.fsum(self.treated) - math.fsum(self.control)) / len(self.control)

    def values(self) -> NDArray[np.float64]:
        """Treated minus control, [unit]."""
        return np.asarray(self.treated, dtype=np.float64) - np.asarray(self.control, dtype=np.float64)


def _effects(record: Entry) -> dict[Key, _Effect]:
    """Treated and control values of every component and control."""
    measured: Entry = record.get("measured") or {}
    treated: Entry = measured.get("treated") or {"components": (), "values": ()}
    rows = dict(zip(treated["components"], treated["values"], strict=True))
    place: dict[str, int] = {}
    found = {}
    for name, entry in (measured.get("controls") or {}).items():
        key = _key(name)
        own = entry["treated"] if "treated" in entry else rows[key[0]]
        if len(own) != len(entry["values"]):  # a population measured on some of the units
            place = place or {unit: column for column, unit in enumerate(record["units"]["ids"])}
            own = [own[place[unit]] for unit in entry["units"]]
        found[key] = _Effect(own, entry["values"])
    return found


def _counts(record: Entry) -> dict[Key, int]:
    """How many units every component and control was compared over."""
    controls: Mapping[str, Entry] = (record.get("measured") or {}).get("controls") or {}
    return {_key(name): len(entry["values"]) for name, entry in controls.items()}


def _with_interval(entry: EffectChange, before: Entry, change: NDArray[np.float64]) -> EffectChange:
    low, high = _interval(change, entry, before)
    beyond = low > entry.limit if entry.change > 0 else high < -entry.limit
    return replace(entry, low=low, high=high, beyond=beyond and entry.weakening > entry.limit)


def _interval(change: NDArray[np.float64], entry: EffectChange, before: Entry) -> tuple[float, float]:
    """The two-sided 95 % interval of the mean change over clusters.

    The point itself where every unit changed alike; without ends where it is not defined, so that it decides nothing.
    """
    from harness.stats.sampling import mean_sampling

    clusters = _clusters(before, entry, units=len(change))
    if np.ptp(change) <= TOLERANCE * max(float(np.abs(change).max()), TOLERANCE):
        return entry.change, entry.change
    claim = before["claim"]
    streams = Streams(("compare", str(claim["id"]), str(before["model"]["id"]), entry.component, entry.control))
    method = bootstrap_for(len(set(clusters)))
    try:
        sampling = mean_sampling(
            change, clusters=clusters, method=method, rng=streams.for_("bootstrap"), resamples=_RESAMPLES
        )
    except StatisticsError:
        return -math.inf, math.inf
    return sampling.bound(_ERROR, side="lower"), sampling.bound(_ERROR, side="upper")


def _clusters(record: Entry, entry: EffectChange, *, units: int) -> list[str]:
    """The cluster of every unit of an effect, [unit]."""
    ids, clusters = record["units"]["ids"], record["units"]["clusters"]
    if len(ids) == units:
        return list(clusters)
    of_unit = dict(zip(ids, clusters, strict=True))
    controls: Mapping[str, Entry] = record["measured"]["controls"]
    wanted = (entry.component, entry.control)
    named = (one for name, one in controls.items() if _key(name) == wanted)
    return [of_unit[unit] for unit in next(named)["units"]]


@lru_cache(maxsize=4096)
def _key(name: str) -> Key:
    """Component and control of an entry of `measured.controls`."""
    component, _, control = name.partition(" | ")
    return component, plain_control(control)


def _exact_change(before: Entry, after: Entry, *, share: float) -> EffectChange:
    """Of a claim about weights alone: the distance to the population's 95th percentile, in the claimed direction."""
    old, new = float(before["exact"]["distance"]), float(after["exact"]["distance"])
    sesoi = float(before["claim"]["sesoi"])
    limit = max(share * abs(old), sesoi / 2)
    loss, tolerance = old - new, tolerance_of(old, sesoi=sesoi)
    name = "the others' 95th percentile"
    return EffectChange(
        "subject", name, old, new, new - old, None, None, limit, loss, beyond=loss > limit, tolerance=tolerance
    )
