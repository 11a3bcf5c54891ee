"""A claim's design as its record has it: which conditions it had, over which clusters, and their values per cluster.

From stored records alone, for calibration and power. What the values say about the claim is in the record's judgement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Question:
    """One condition of a claim: what was asked, and the values from which it was answered.

    Attributes:
        component: of the subject.
        control: the control's or margin's name.
        rule: superiority, non-inferiority or equivalence.
        alternative: the direction in which the condition holds.
        threshold: to be passed; for equivalence the lower end.
        upper: the upper end of an equivalence.
        method: of the interval.
        clusters: the clusters' ids; conditions on the same clusters are resampled together.
        values: [cluster, unit], the paired difference, or what the margin bounds.
        below: [cluster, unit], the denominator where the margin is on a ratio.
        limits: of the values, where the method needs them.
    """

    component: str
    control: str
    rule: str
    alternative: str
    threshold: float
    upper: float | None
    method: str
    clusters: tuple[str, ...]
    values: Array
    below: Array | None = None
    limits: tuple[float, float] | None = None

    def truth(self) -> float:
        """The mean, or the ratio of means."""
        return float(self.values.mean() / (1.0 if self.below is None else self.below.mean()))

    def sd(self) -> float:
        """Between clusters, of the mean, or of the linearised ratio (x - r y) / mean(y)."""
        means = self.values.mean(axis=1)
        if self.below is not None:
            means = (means - self.truth() * self.below.mean(axis=1)) / self.below.mean()
        return float(means.std(ddof=1))

    def ideal(self) -> float:
        """Where a margin stands that costs nothing: 0, or the middle of an equivalence (of a ratio's logarithm)."""
        if self.upper is None:
            return min(0.0, self.threshold - abs(self.threshold))
        low, high = self.threshold, self.upper
        return math.sqrt(low * high) if low > 0 else (low + high) / 2


@dataclass(frozen=True, eq=False)
class Design:
    """All conditions of one claim on one model, as its record has them; `left_out` are margins on unknown units."""

    claim_id: str
    model_id: str
    sesoi: float
    alternative: str
    alpha: float
    content_hash: str
    verdict: str
    questions: tuple[Question, ...]
    left_out: tuple[str, ...] = ()

    @property
    def components(self) -> tuple[str, ...]:
        """The subject's, in order."""
        return tuple(dict.fromkeys(question.component for question in self.questions))


def moves(questions: Sequence[Question], *, sesoi: float, alternative: str, times: float = 2.0) -> list[float]:
    """How far each question's values are moved, were the effect `times` the SESOI against every control.

    The comparison with a 95th-percentile member moves as far as the one with the mean of the same control: how far
    that member lies from the others' mean is theirs and not the subject's. Margins move to where they cost nothing.
    """
    wanted = (1 if alternative == "greater" else -1) * times * sesoi
    of_mean = {
        control_of(each): wanted - each.truth()
        for each in questions
        if each.rule == "superiority" and each.threshold != 0
    }
    return [
        of_mean.get(control_of(each), wanted - each.truth())
        if each.rule == "superiority"
        else each.ideal() - each.truth()
        for each in questions
    ]


def control_of(question: Question) -> tuple[str, str]:
    """The component, and the control's name without `: mean` or `: 95th percentile (5.1)`."""
    return question.component, question.control.split(": mean")[0].split(": 95th percentile")[0]


def design_of(record: Mapping[str, Any]) -> Design | None:
    """The design of a stored record (plain values); None where it sampled nothing, or was not measured."""
    judgement, units = record.get("judgement"), record.get("units")
    if not judgement or not units or not judgement["outcomes"]:
        return None
    clusters = dict(zip(units["ids"], units["clusters"], strict=True))
    claim, measured = record["claim"], record["measured"]
    asked = [
        (each["control"], _question(each, measured, clusters, _limits(each, claim))) for each in judgement["outcomes"]
    ]
    return Design(
        claim_id=claim["id"],
        model_id=record["model"]["id"],
        sesoi=float(claim["sesoi"]),
        alternative=claim["alternative"],
        alpha=float(claim["alpha"]),
        content_hash=str(record.get("content_hash", "")),
        verdict=judgement["verdict"],
        questions=tuple(question for _, question in asked if question is not None),
        left_out=tuple(control for control, question in asked if question is None),
    )


def _limits(outcome: Mapping[str, Any], claim: Mapping[str, Any]) -> tuple[float, float] | None:
    """Of the values of a condition: a margin's own, or those of a difference of two values of the metric."""
    if outcome["kind"] == "margin":
        limits = next((each.get("limits") for each in claim["margins"] if each["name"] == outcome["control"]), None)
        return None if limits is None else (float(limits[0]), float(limits[1]))
    limits = claim["metric"].get("limits")
    return None if limits is None else (float(limits[0] - limits[1]), float(limits[1] - limits[0]))


def _question(
    outcome: Mapping[str, Any],
    measured: Mapping[str, Any],
    clusters: Mapping[str, str],
    limits: tuple[float, float] | None,
) -> Question | None:
    """None for a margin on other units than the subject's: a record does not say which those were."""
    below = None
    if outcome["kind"] == "margin":
        margin = measured["margins"][outcome["control"]]
        row = margin["components"].index(outcome["component"])
        ids, values = tuple(clusters), np.asarray(margin["values"][row], dtype=np.float64)
        if len(values) != len(ids):
            return None
        if margin["relative_to"] is not None:
            under = margin["relative_to"]
            below = np.asarray(under[row if len(under) > 1 else 0], dtype=np.float64)
    else:
        entry = measured["controls"][f"{outcome['component']} | {outcome['control']}"]
        ids = tuple(entry["units"])
        values = np.asarray(entry["treated"], dtype=np.float64) - np.asarray(entry["values"], dtype=np.float64)
    names = [clusters[unit] for unit in ids]
    return Question(
        component=outcome["component"],
        control=outcome["control"],
        rule=outcome["rule"],
        alternative=outcome["alternative"],
        threshold=float(outcome["threshold"]),
        upper=None if outcome["upper"] is None else float(outcome["upper"]),
        method="ratio" if below is not None else outcome["method"],
        clusters=tuple(dict.fromkeys(names)),
        values=_by_cluster(values, names),
        below=None if below is None else _by_cluster(below, names),
        limits=limits,
    )


def _by_cluster(values: Array, names: Sequence[str]) -> Array:
    """[cluster, unit], in order of first appearance; clusters hold equally many units."""
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    sorted_units = np.argsort([order[name] for name in names], kind="stable")
    return np.asarray(values[sorted_units].reshape(len(order), -1))
