"""The effects of a record, each with the zone of its own condition, and the one that is nearest to failing.

A verdict needs every condition: effects against controls by the SESOI, the 95th-percentile component by 0, margins.
They have different thresholds and some have units of their own, so that "nearest" is asked of each against its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from harness.report.reading import Entry, outcomes_of, to_float, verdict_of
from harness.stats.reading import nearness


@dataclass(frozen=True)
class Effect:
    """One effect with its interval and the zone in which the interval must lie for the condition to hold.

    Attributes:
        estimate: in `unit`, as are all numbers here but `p` and `p_adjusted`.
        low: lower end of the 95 % interval; may be -inf, and equals the estimate where nothing is sampled.
        high: upper end; may be inf.
        zone_low: lower end of the zone (the SESOI for a superiority condition); -inf where it is open.
        zone_high: upper end of the zone; inf where it is open.
        holds: whether the condition holds.
        component: the component it is about.
        control: what it is measured against.
        sampled: False for an exact claim and on a paper's own prompts, which have no interval.
        unit: the metric's, or the margin's own.
        foreign: True for a margin whose unit is not the metric's, so that it fits no axis of effects.
        margin: True for every margin: it qualifies the effect and is none itself.
        scale: what its distance from the threshold is told in: the claim's SESOI, or the size of the margin.
        p: of this condition against its threshold; None where nothing is sampled.
        p_adjusted: of its component, after Holm.
    """

    estimate: float
    low: float
    high: float
    zone_low: float
    zone_high: float
    holds: bool
    component: str
    control: str
    sampled: bool = True
    unit: str = ""
    foreign: bool = False
    margin: bool = False
    scale: float = 1.0
    p: float | None = None
    p_adjusted: float | None = None

    @property
    def slack(self) -> float:
        """How far the interval's nearer end lies inside the zone, in its unit; negative outside."""
        return min(self._slacks())

    @property
    def nearness(self) -> tuple[float, float]:
        """The larger, the nearer to failing, by the rule that reasons go by: `harness.stats.reading.nearness`."""
        return nearness(low=self.low, high=self.high, slack=self.slack, p=self.p)

    def beyond(self) -> Effect:
        """The same effect as its distance beyond its own threshold, in `scale`: it holds to the right of 0.

        Of the two ends of an equivalence margin the nearer one is told.
        """
        above, below = self._slacks()
        width = (self.zone_high - self.zone_low) / self.scale
        if above <= below:
            ends = [(value - self.zone_low) / self.scale for value in (self.estimate, self.low, self.high)]
        else:
            ends = [(self.zone_high - value) / self.scale for value in (self.estimate, self.high, self.low)]
        return replace(self, estimate=ends[0], low=ends[1], high=ends[2], zone_low=0.0, zone_high=width)

    def _slacks(self) -> tuple[float, float]:
        """Room to the lower and to the upper end of the zone."""
        above = math.inf if math.isinf(self.zone_low) else self.low - self.zone_low
        below = math.inf if math.isinf(self.zone_high) else self.zone_high - self.high
        return above, below


def effect_of(outcome: Entry) -> Effect:
    """The effect of one outcome, with its zone made from rule, direction and threshold."""
    threshold = to_float(outcome["threshold"])
    zone = (threshold, math.inf) if outcome["alternative"] == "greater" else (-math.inf, threshold)
    if outcome["rule"] == "equivalence":
        zone = (threshold, to_float(outcome["upper"]))
    return Effect(
        estimate=to_float(outcome["estimate"]),
        low=to_float(outcome["low"]),
        high=to_float(outcome["high"]),
        zone_low=zone[0],
        zone_high=zone[1],
        holds=bool(outcome["holds"]),
        component=str(outcome["component"]),
        control=str(outcome["control"]),
        sampled=outcome.get("method") != "enumerated",
        p=None if outcome.get("p") is None else to_float(outcome["p"]),
    )


def effects_of(record: Entry) -> list[Effect]:
    """All effects of a record, in its order; for an exact claim its distance to the population."""
    outcomes = outcomes_of(record)
    if not outcomes:
        exact = _exact_effect(record)
        return [] if exact is None else [exact]
    claim = record["claim"]
    unit, sesoi = str(claim["metric"]["unit"]), to_float(claim["sesoi"])
    margins = {one["name"]: str(one["unit"]) for one in claim.get("margins", ())}
    adjusted = {
        one["component"]: to_float(one["p_adjusted"])
        for one in record["judgement"].get("components") or ()
        if one.get("p_adjusted") is not None
    }
    found = []
    for outcome in outcomes:
        effect, own = effect_of(outcome), margins.get(outcome["control"], unit)
        told = {"unit": own, "foreign": own != unit, "margin": outcome["rule"] != "superiority"}
        told |= {"scale": _scale(outcome, sesoi), "p_adjusted": adjusted.get(outcome["component"])}
        found.append(Effect(**{**vars(effect), **told}))  # `replace` takes four times as long
    return found


def deciding_effect(record: Entry) -> Effect | None:
    """The effect nearest to failing among all that the verdict needs; None where nothing was measured."""
    return nearest_to_failing(effects_of(record))


def nearest_to_failing(effects: Iterable[Effect]) -> Effect | None:
    """The effect with the least slack to its own threshold, in half-widths of its interval; None of none."""
    return max(effects, key=lambda effect: effect.nearness, default=None)


def _scale(outcome: Entry, sesoi: float) -> float:
    """What the distance from a condition's threshold is told in: the SESOI, of a margin half of its width."""
    if outcome["rule"] == "superiority":
        return sesoi
    threshold, upper = to_float(outcome["threshold"]), outcome.get("upper")
    return abs(threshold if upper is None else (to_float(upper) - threshold) / 2) or sesoi


def _exact_effect(record: Entry) -> Effect | None:
    exact = record.get("exact")
    if not exact:
        return None
    distance, sesoi = to_float(exact["distance"]), to_float(record["claim"]["sesoi"])
    subject = record.get("subject") or {}
    return Effect(
        estimate=distance,
        low=distance,
        high=distance,
        zone_low=sesoi,
        zone_high=math.inf,
        holds=verdict_of(record) == "supported",
        component=" ".join(subject.get("components", ())) or "subject",
        control="95th percentile of the population",
        sampled=False,
        unit=str(record["claim"]["metric"]["unit"]),
        scale=sesoi,
    )
