"""From conditions to a verdict: what holds, at which level, and what may be said where it does not hold.

The hypothesis of a condition is about its threshold, never about zero. Within a component p is the largest of its
conditions' (an intersection-union test: all must hold, no correction); across the family Holm. Support is an
intersection and refutation a union, so refutation is corrected for every condition of every component of the family
(review, findings 2 and 3). What the numbers were measured on, and by which method, is not answered here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.declaration import ALPHA, MIN_CLUSTERS
from harness.errors import StatisticsError
from harness.stats.arguments import direction, finite_number, probability
from harness.stats.multiplicity import holm, holm_levels
from harness.stats.reading import Bar, Shortfall, bars_of, outcome_of, p_of
from harness.stats.reasons import (
    Rules,
    named,
    names_of,
    of_components,
    of_monte_carlo,
    of_shortfalls,
    of_undecided,
    of_weakest,
)
from harness.stats.records import ComponentVerdict, Condition, Judgement, Outcome, Verdict

_WORST_FIRST: tuple[Verdict, ...] = ("invalid", "refuted", "too small", "inconclusive")


def judge(
    conditions: Sequence[Condition],
    *,
    sesoi: float,
    family: int | None = None,
    alpha: float = ALPHA,
    min_clusters: int = MIN_CLUSTERS,
    assay_shown: bool = True,
    invalid: str | None = None,
    margins_alone: bool = False,
    shared_by: str = "",
) -> Judgement:
    """The verdict of a claim and of each component, with every condition's interval and p.

    A claim is supported where all its components are; otherwise its verdict is the worst of theirs, in the order
    invalid, refuted, too small, inconclusive.

    Args:
        conditions: what must hold; thresholds of superiority carry the sign of their direction.
        sesoi: the smallest effect of interest, for the number of clusters that would decide.
        family: hypotheses corrected together where they are more than the components given; absent ones count as
            p = 1, which bounds from above what Holm over the whole family would give.
        alpha: one-sided error of every decision.
        min_clusters: fewer than this are `invalid`.
        assay_shown: whether the same test is supported somewhere; without it nothing is refuted or too small.
        invalid: why the claim is invalid whatever the numbers say (a precondition failed); conditions may be empty.
        margins_alone: allow margins that qualify no effect. Only the tolerance of a replication is such a claim.
        shared_by: what several of lie in each cluster ("prompt" where clusters are templates), for the advice alone;
            empty where every unit is a cluster of its own.

    Raises:
        StatisticsError: the conditions make no claim, or a sampling distribution returns a p that is none.
    """
    finite_number(sesoi, what="sesoi", positive=True)
    probability(alpha, what="alpha")
    if not conditions and invalid is not None:
        return Judgement("invalid", invalid, (), ())
    _check_claim(conditions, margins_alone=margins_alone)
    groups = _by_component(conditions)
    p_values = [max(p_of(condition) for condition in group) for group in groups.values()]
    adjusted = holm(p_values, family=family)
    levels = holm_levels(p_values, alpha, family=family)
    outcomes: list[Outcome] = []
    verdicts: list[ComponentVerdict] = []
    for p, p_adjusted, level, (component, group) in zip(p_values, adjusted, levels, groups.items(), strict=True):
        refute_level = alpha / (len(group) * (family or len(groups)))
        rules = Rules(
            sesoi, alpha, float(level), refute_level, float(p_adjusted), min_clusters, assay_shown, invalid, shared_by
        )
        verdict, reason = _component_verdict(group, rules)
        verdicts.append(ComponentVerdict(component, verdict, reason, p, float(p_adjusted)))
        outcomes += [outcome_of(condition, alpha=alpha, level=float(level)) for condition in group]
    return _claim_verdict(tuple(verdicts), outcomes=tuple(outcomes), invalid=invalid)


def _check_claim(conditions: Sequence[Condition], *, margins_alone: bool) -> None:
    if not conditions:
        raise StatisticsError("no conditions to judge; fill every declared control before deciding")
    if not margins_alone and all(condition.rule != "superiority" for condition in conditions):
        raise StatisticsError(
            f"{conditions[0].control!r} is a margin without the effect that it qualifies; it would hold on an "
            "untrained model: add a superiority condition"
        )
    seen: set[tuple[str, str]] = set()
    for condition in conditions:
        name = (condition.component, condition.control)
        if name in seen:
            raise StatisticsError(f"component {name[0]!r} has two conditions named {name[1]!r}; give each its own name")
        seen.add(name)
        _check_condition(condition)


def _check_condition(condition: Condition) -> None:
    where = f"component {condition.component!r}, {condition.control!r}"
    finite_number(condition.threshold, what=f"threshold of {where}")
    sign = direction(condition.alternative)
    if condition.rule not in ("superiority", "non-inferiority", "equivalence"):
        raise StatisticsError(f"{where}: rule {condition.rule!r} is not superiority, non-inferiority or equivalence")
    if condition.rule == "superiority" and sign * condition.threshold < 0:
        raise StatisticsError(
            f"{where}: threshold {condition.threshold} lies against its direction {condition.alternative!r}; "
            f"mirror it to {-condition.threshold}"
        )
    if condition.rule == "non-inferiority" and sign > 0:
        raise StatisticsError(f"{where}: non-inferiority is 'less' than a margin, not {condition.alternative!r}")
    if condition.rule == "equivalence" and (condition.upper is None or not condition.threshold < condition.upper):
        raise StatisticsError(f"{where}: the margin [{condition.threshold}, {condition.upper}] is empty or half open")


def _by_component(conditions: Sequence[Condition]) -> dict[str, list[Condition]]:
    groups: dict[str, list[Condition]] = {}
    for condition in conditions:
        groups.setdefault(condition.component, []).append(condition)
    return groups


def _component_verdict(group: Sequence[Condition], rules: Rules) -> tuple[Verdict, str]:
    unusable = _why_invalid(group, rules)
    if unusable is not None:
        return "invalid", unusable
    bars = [bar for condition in group for bar in bars_of(condition)]
    for bar in bars:
        if math.isinf(bar.near(rules.alpha)) or math.isinf(bar.far(rules.alpha)):
            return "inconclusive", f"the interval against {named(bar.condition.control)} is unbounded; add clusters"
    if rules.p_adjusted <= rules.alpha:
        wavering = [bar for bar in bars if bar.wavers(rules.holm_level, near=True)]
        if wavering:
            return "inconclusive", of_monte_carlo(wavering, wanted="supported")
        return "supported", of_weakest(group, rules)
    found = [(bar, bar.shortfall(rules.refute_level, alpha=rules.alpha)) for bar in bars]
    short = [(bar, shortfall) for bar, shortfall in found if shortfall is not None]
    if not short:
        return "inconclusive", of_undecided(group, rules)
    verdict, reason = _contradicted(bars, short, rules)
    if verdict != "inconclusive" and not rules.assay_shown:
        return "inconclusive", f"assay not shown to work (otherwise {verdict}: {reason})"
    return verdict, reason


def _why_invalid(group: Sequence[Condition], rules: Rules) -> str | None:
    if rules.invalid is not None:
        return rules.invalid
    for condition in group:
        sampling, against = condition.sampling, f"against {named(condition.control)}"
        if sampling.clusters < rules.min_clusters:
            return f"{sampling.clusters} clusters {against}; at least {rules.min_clusters} are needed"
        slacks = [slack for bar in bars_of(condition) for slack in (bar.near(rules.alpha), bar.far(rules.alpha))]
        if not math.isfinite(sampling.estimate) or any(math.isnan(slack) for slack in slacks):
            return f"the effect {against} is not finite"
    return None


def _contradicted(bars: Sequence[Bar], short: Sequence[tuple[Bar, Shortfall]], rules: Rules) -> tuple[Verdict, str]:
    """`refuted`, `too small`, or neither where the Monte Carlo error or another control leaves it open."""
    clear = [(bar, shortfall) for bar, shortfall in short if not bar.wavers(rules.refute_level, near=False)]
    if not clear:
        return "inconclusive", of_monte_carlo([bar for bar, _ in short], wanted="refuted")
    against = [(bar, shortfall) for bar, shortfall in clear if shortfall != "small"]
    if against:
        return "refuted", of_shortfalls(against, rules)
    described = of_shortfalls(clear, rules)
    absent = [bar for bar in bars if bar.condition.rule == "superiority" and not bar.present(rules.alpha)]
    if absent:
        names = names_of([bar.condition for bar in absent])
        return "inconclusive", f"{described}; whether there is any effect against {names} is open"
    return "too small", described


def _claim_verdict(
    verdicts: tuple[ComponentVerdict, ...], *, outcomes: tuple[Outcome, ...], invalid: str | None
) -> Judgement:
    reached = {entry.verdict for entry in verdicts}
    verdict: Verdict = next((worst for worst in _WORST_FIRST if worst in reached), "supported")
    if invalid is not None:
        return Judgement("invalid", invalid, verdicts, outcomes)
    return Judgement(verdict, of_components(verdicts), verdicts, outcomes)
