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

from harness.judging import MarginInput
from harness.restoring import placed_margins

Array = NDArray[np.float64]
Entry = Mapping[str, Any]


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
        """Where a margin stands that costs nothing: 0, or the middle of an equivalence (of a ratio's logarithm).

        A margin at 0 (one value against a share of another) leaves nothing to tell how far below it that would be; it
        is put where it never fails.
        """
        if self.upper is None and self.threshold == 0:
            return -math.inf
        if self.upper is None:
            return min(0.0, self.threshold - abs(self.threshold))
        low, high = self.threshold, self.upper
        return math.sqrt(low * high) if low > 0 else (low + high) / 2


@dataclass(frozen=True, eq=False)
class Design:
    """All conditions of one claim on one model, as its record has them; `left_out` are margins on unknown clusters."""

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


def design_of(record: Entry) -> Design | None:
    """The design of a stored record (plain values); None where it sampled nothing, or was not measured."""
    judgement, units = record.get("judgement"), record.get("units")
    if not judgement or not units or not judgement["outcomes"]:
        return None
    clusters = dict(zip(units["ids"], units["clusters"], strict=True))
    claim, controls, margins = record["claim"], record["measured"]["controls"], placed_margins(record)
    asked = [
        (
            each["control"],
            _of_margin(each, margins.get(each["control"]), limits=_limits(each, claim))
            if each["kind"] == "margin"
            else _of_control(each, controls, clusters, limits=_limits(each, claim)),
        )
        for each in judgement["outcomes"]
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


def _limits(outcome: Entry, claim: Entry) -> tuple[float, float] | None:
    """Of the values of a condition: a margin's own, or those of a difference of two values of the metric."""
    if outcome["kind"] == "margin":
        limits = next((each.get("limits") for each in claim["margins"] if each["name"] == outcome["control"]), None)
        return None if limits is None else (float(limits[0]), float(limits[1]))
    limits = claim["metric"].get("limits")
    return None if limits is None else (float(limits[0] - limits[1]), float(limits[1] - limits[0]))


def _of_control(
    outcome: Entry, controls: Entry, clusters: Mapping[str, str], *, limits: tuple[float, float] | None
) -> Question:
    entry = controls[f"{outcome['component']} | {outcome['control']}"]
    difference = np.asarray(entry["treated"], dtype=np.float64) - np.asarray(entry["values"], dtype=np.float64)
    return _question(outcome, difference, [clusters[unit] for unit in entry["units"]], limits=limits)


def _of_margin(outcome: Entry, margin: MarginInput | None, *, limits: tuple[float, float] | None) -> Question | None:
    """None for a margin whose clusters the record does not give."""
    if margin is None:
        return None
    row, under = margin.values.components.index(outcome["component"]), margin.relative_to
    below = None if under is None else under.values[row if len(under.components) > 1 else 0]
    return _question(outcome, margin.values.values[row], margin.values.clusters, below=below, limits=limits)


def _question(
    outcome: Entry,
    values: Array,
    names: Sequence[str],
    *,
    below: Array | None = None,
    limits: tuple[float, float] | None,
) -> Question:
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
