"""What the report asks of a stored record: its verdict, its deciding effect, its place among the others.

Records are the plain JSON dicts of `harness.evidence.Record.as_dict`. Nothing here measures or judges anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]
"""A record, or a part of one: plain JSON values."""

VERDICTS = ("supported", "too small", "refuted", "inconclusive", "invalid", "not run")
SYMBOLS = {"supported": "✓", "too small": "≈", "refuted": "✗", "inconclusive": "?", "invalid": "!", "not run": "□"}
"""One sign per verdict, told apart without colour; the word always stands beside it."""
TIERS = ("inference", "reliability", "replication")

_TRAINED_SEED = re.compile(r"(?P<family>.+)@(?P<seed>\d+)")


@dataclass(frozen=True)
class Effect:
    """One effect with its interval and the zone in which the interval must lie for the condition to hold.

    Attributes:
        estimate: in the metric's unit, as are all numbers here.
        low: lower end of the 95 % interval; may be -inf, and equals the estimate where nothing is sampled.
        high: upper end; may be inf.
        zone_low: lower end of the zone (the SESOI for a superiority condition); -inf where it is open.
        zone_high: upper end of the zone; inf where it is open.
        holds: whether the condition holds.
        component: the component it is about.
        control: what it is measured against.
        sampled: False for an exact claim, which has no interval.
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

    def scaled(self, factor: float) -> Effect:
        """The same effect in another unit; a negative factor turns it round."""

        def span(low: float, high: float) -> tuple[float, float]:
            ends = (low * factor, high * factor)
            return (min(ends), max(ends))

        low, high = span(self.low, self.high)
        zone_low, zone_high = span(self.zone_low, self.zone_high)
        return Effect(
            self.estimate * factor,
            low,
            high,
            zone_low,
            zone_high,
            self.holds,
            self.component,
            self.control,
            self.sampled,
        )

    @property
    def slack(self) -> float:
        """How far the interval's nearer end lies inside the zone, in the metric's unit; negative outside."""
        above = math.inf if math.isinf(self.zone_low) else self.low - self.zone_low
        below = math.inf if math.isinf(self.zone_high) else self.zone_high - self.high
        return min(above, below)


def to_float(value: object) -> float:
    """The number, with the strings "inf" and "-inf" of the record's JSON read as infinities."""
    return float(value)  # type: ignore[arg-type]


def verdict_of(record: Entry) -> str:
    """One of the six verdicts."""
    judgement = record.get("judgement")
    return "not run" if record.get("not_run") or not judgement else str(judgement["verdict"])


def reason_of(record: Entry) -> str:
    """Why this verdict, in the words of the record."""
    if verdict_of(record) == "not run":
        return str((record.get("not_run") or {}).get("reason", ""))
    return str(record["judgement"].get("reason", ""))


def as_registered(record: Entry) -> bool:
    """True where the verdict is the registered one, where none is registered, or where nothing ran."""
    expected = record.get("expectation")
    return not expected or verdict_of(record) in (expected["verdict"], "not run")


def outcomes_of(record: Entry) -> Sequence[Entry]:
    """Everything that was judged: one entry per component and control."""
    return (record.get("judgement") or {}).get("outcomes") or ()


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
    )


def effects_of(record: Entry) -> list[Effect]:
    """All effects of a record, in its order; for an exact claim its distance to the population."""
    found = [effect_of(outcome) for outcome in outcomes_of(record)]
    return found or [effect for effect in (_exact_effect(record),) if effect is not None]


def carrying_effects(record: Entry) -> list[Effect]:
    """The effects that carry the claim: superiority by the SESOI; all of them where there is none."""
    outcomes = outcomes_of(record)
    carrying = [one for one in outcomes if one["rule"] == "superiority" and to_float(one["threshold"]) != 0]
    return [effect_of(one) for one in carrying or outcomes]


def deciding_effect(record: Entry) -> Effect | None:
    """The effect nearest to failing among those that carry the claim; None where nothing was measured."""
    return min(carrying_effects(record), key=lambda effect: effect.slack, default=None) or _exact_effect(record)


def family_of(record: Entry) -> str:
    """The model without its training seed: `induction-2l` for `induction-2l@3`; other ids as they are."""
    found = _TRAINED_SEED.fullmatch(str(record["model"]["id"]))
    return found["family"] if found else str(record["model"]["id"])


def training_seed(record: Entry) -> int | None:
    """The training seed in the model's id, or None."""
    found = _TRAINED_SEED.fullmatch(str(record["model"]["id"]))
    return int(found["seed"]) if found else None


def model_label(record: Entry) -> str:
    """The model's id, with the data seed where it is not 0."""
    data_seed = record["seeds"].get("data_seed", 0)
    return str(record["model"]["id"]) + (f", data seed {data_seed}" if data_seed else "")


def grouped(records: Iterable[Entry], *, by: str) -> dict[str, list[Entry]]:
    """Records by `"claim"`, `"family"` or `"mechanism"`, groups and members in a fixed order."""
    groups: dict[str, list[Entry]] = {}
    for record in sorted(records, key=_order):
        key = family_of(record) if by == "family" else str(record["claim"]["id" if by == "claim" else by])
        groups.setdefault(key, []).append(record)
    return dict(sorted(groups.items()))


def first_data_seeds(records: Iterable[Entry]) -> list[Entry]:
    """One record per claim and model, of its lowest data seed: the one whose verdict counts."""
    found: dict[tuple[str, str], Entry] = {}
    for record in sorted(records, key=_order):
        found.setdefault((str(record["claim"]["id"]), str(record["model"]["id"])), record)
    return list(found.values())


def _order(record: Entry) -> tuple[object, ...]:
    claim = record["claim"]
    tier = TIERS.index(claim["tier"]) if claim["tier"] in TIERS else len(TIERS)
    seed = training_seed(record)
    about_model = (family_of(record), -1 if seed is None else seed, record["model"]["id"])
    newest_first = -int(claim.get("version", 1))
    data_seed = record["seeds"].get("data_seed", 0)
    return (tier, claim["id"], *about_model, newest_first, data_seed, record.get("content_hash", ""))


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
    )
