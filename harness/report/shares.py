"""What part of a behaviour an effect is: `10 % [7, 13] of the logit difference`. Nothing is measured or judged here.

A claim may name the whole of which its effect is a part (`harness.declaration.Behaviour`); another claim's record on
the same model says how large that whole is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.report.effects import Effect
from harness.report.reading import Entry, outcomes_of, to_float, verdict_of
from harness.report.text import plain

LEAST_SIZE = 2.0
"""In SESOIs of the claim whose effect is told: a share of a behaviour that is smaller means nothing."""


@dataclass(frozen=True)
class Share:
    """An effect divided by the size of a behaviour; 1.0 is all of it, in the direction that the claim names.

    The size is taken as a fixed number: the behaviour's own sampling error is not in the interval.

    Attributes:
        estimate: negative where the effect goes against the claim.
        low: lower end of the effect's 95 % interval, divided; may be -inf.
        high: upper end; may be inf.
        whole: the name of the behaviour.
        sampled: False where the effect has no interval.
    """

    estimate: float
    low: float
    high: float
    whole: str
    sampled: bool = True

    @property
    def text(self) -> str:
        """`10 % [7, 13]`: whole per cents, with one decimal where all of them are below 10."""
        numbers = [100 * value for value in (self.estimate, self.low, self.high)]
        decimals = 1 if max(abs(value) for value in numbers if math.isfinite(value)) < 9.95 else 0
        estimate, low, high = (f"{round(value, decimals) + 0.0:.{decimals}f}" for value in numbers)  # no "-0"
        return f"{estimate} % [{low}, {high}]" if self.sampled else f"{estimate} %"


def with_sizes(records: Sequence[Entry], *, among: Iterable[Entry] = ()) -> list[Entry]:
    """The same records, the behaviours that they name with the size that was measured, or None where there is none.

    A size comes from a record of the same model (its training seed is part of its id) and of the same weights: of the
    same data seed where there is one, else of the lowest. It is None where the behaviour was not run or is `invalid`,
    where it is in another unit, and where it is not clearly away from 0: smaller than `LEAST_SIZE` times the SESOI of
    the claim that names it. A size that the declaration gives stands as it is.

    Args:
        records: all records of a run, or some of them.
        among: records in which sizes are looked up beside these.
    """
    by_claim: dict[str, list[Entry]] = {}
    for record in (*records, *among):
        by_claim.setdefault(str(record["claim"]["id"]), []).append(record)
    return [_with_size(record, by_claim) for record in records]


def measuring_claims(records: Iterable[Entry], *, by_values: bool = False) -> set[str]:
    """The ids of the claims that measure these records' behaviours; `by_values`: those of which a mean is taken."""
    found = [behaviour for record in records if (behaviour := _behaviour(record)).get("claim") is not None]
    return {str(one["claim"]) for one in found if not by_values or not (one.get("against") or one.get("precondition"))}


def share_of(effect: Effect, record: Entry) -> Share | None:
    """The effect as a share of the behaviour that its claim names; None of a margin, and where no size is known."""
    behaviour = _behaviour(record)
    size = math.nan if behaviour.get("size") is None else abs(to_float(behaviour["size"]))
    if effect.margin or not 0 < size < math.inf or not math.isfinite(effect.estimate):
        return None
    ends = (effect.estimate, effect.low, effect.high)
    # The zone, not `alternative`: the distance of an exact claim is positive where it goes the claim's way.
    if math.isinf(effect.zone_low):
        ends = (-effect.estimate, -effect.high, -effect.low)
    estimate, low, high = (value / size for value in ends)
    return Share(estimate, low, high, whole=plain(behaviour["name"]), sampled=effect.sampled)


def share_text(effect: Effect, record: Entry) -> str:
    """`10 % [7, 13] of the logit difference`; empty where there is no share."""
    share = share_of(effect, record)
    return "" if share is None else f"{share.text} of the {share.whole}"


def _behaviour(record: Entry) -> Entry:
    """The behaviour that a record's claim names; empty where it names none, as all older records."""
    found: Entry = record["claim"].get("behaviour") or {}
    return found


def _with_size(record: Entry, by_claim: Mapping[str, Sequence[Entry]]) -> Entry:
    behaviour = _behaviour(record)
    if behaviour.get("claim") is None:
        return record
    measuring = _measuring(record, by_claim.get(str(behaviour["claim"]), ()))
    size = None if measuring is None else _size(behaviour, record=record, measuring=measuring)
    return {**record, "claim": {**record["claim"], "behaviour": {**behaviour, "size": size}}}


def _measuring(record: Entry, others: Sequence[Entry]) -> Entry | None:
    """The record that says how large the behaviour is where `record` was measured."""

    def rank(other: Entry) -> tuple[object, ...]:
        seed = other["seeds"].get("data_seed", 0)
        of_other_seed = seed != record["seeds"].get("data_seed", 0)
        return (bool(other.get("exploratory")), of_other_seed, seed, -int(other["claim"].get("version", 1)))

    found = [
        other
        for other in others
        if all(other["model"].get(name) == record["model"].get(name) for name in ("id", "fingerprint"))
        and verdict_of(other) not in ("not run", "invalid")
        and (record.get("exploratory") or not other.get("exploratory"))
    ]
    return min(found, key=rank, default=None)


def _size(behaviour: Entry, *, record: Entry, measuring: Entry) -> float | None:
    claim = record["claim"]
    values = list(map(to_float, _values(behaviour, measuring)))
    same_unit = behaviour.get("precondition") or measuring["claim"]["metric"]["unit"] == claim["metric"]["unit"]
    if not values or not same_unit or not all(map(math.isfinite, values)):
        return None
    size = fmean(values)
    return size if abs(size) >= LEAST_SIZE * abs(to_float(claim["sesoi"])) else None


def _values(behaviour: Entry, measuring: Entry) -> list[object]:
    """What the size is the mean of: a precondition's value, effects against a control, or all treated values."""
    if behaviour.get("precondition"):
        found = measuring.get("preconditions") or ()
        return [one["value"] for one in found if one["name"] == behaviour["precondition"] and one["holds"]]
    if behaviour.get("against"):
        names = (behaviour["against"], f"{behaviour['against']}: mean")  # the mean of a population of components
        return [one["estimate"] for one in outcomes_of(measuring) if one["control"] in names]
    rows = ((measuring.get("measured") or {}).get("treated") or {}).get("values") or ()
    return [value for row in rows for value in row]
