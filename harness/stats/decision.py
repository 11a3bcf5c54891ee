"""From conditions to a verdict: what holds, at which level, and what may be said where it does not hold.

The hypothesis of a condition is about its threshold, never about zero. Within a component p is the largest of its
conditions' (an intersection-union test: all must hold, no correction); across the family Holm. Support is an
intersection and refutation a union, so refutation is corrected for every condition of every component of the family
(review, findings 2 and 3). What the numbers were measured on, and by which method, is not answered here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.declaration import ALPHA, MIN_CLUSTERS
from harness.errors import StatisticsError
from harness.stats.arguments import direction, finite_number, probability
from harness.stats.multiplicity import holm, holm_levels
from harness.stats.power import clusters_for_half_width, sd_from_half_width
from harness.stats.reading import Bar, Shortfall, bars_of, outcome_of, p_of
from harness.stats.records import ComponentVerdict, Condition, Judgement, Outcome, Verdict

_WORST_FIRST: tuple[Verdict, ...] = ("invalid", "refuted", "too small", "inconclusive")


@dataclass(frozen=True)
class _Rules:
    """What one component is judged by: the claim's settings and the component's own levels."""

    sesoi: float
    alpha: float
    holm_level: float
    refute_level: float
    p_adjusted: float
    min_clusters: int
    assay_shown: bool
    invalid: str | None


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
        rules = _Rules(sesoi, alpha, float(level), refute_level, float(p_adjusted), min_clusters, assay_shown, invalid)
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


def _component_verdict(group: Sequence[Condition], rules: _Rules) -> tuple[Verdict, str]:
    unusable = _why_invalid(group, rules)
    if unusable is not None:
        return "invalid", unusable
    bars = [bar for condition in group for bar in bars_of(condition)]
    for bar in bars:
        if math.isinf(bar.near(rules.alpha)) or math.isinf(bar.far(rules.alpha)):
            return "inconclusive", f"the interval against {bar.condition.control!r} is unbounded; add clusters"
    if rules.p_adjusted <= rules.alpha:
        wavering = [bar for bar in bars if bar.wavers(rules.holm_level, near=True)]
        if wavering:
            return "inconclusive", _monte_carlo(wavering, wanted="supported")
        return "supported", _describe_weakest(group, rules)
    found = [(bar, bar.shortfall(rules.refute_level, alpha=rules.alpha)) for bar in bars]
    short = [(bar, shortfall) for bar, shortfall in found if shortfall is not None]
    if not short:
        return "inconclusive", _describe_undecided(group, rules)
    verdict, reason = _contradicted(bars, short, rules)
    if verdict != "inconclusive" and not rules.assay_shown:
        return "inconclusive", f"assay not shown to work (otherwise {verdict}: {reason})"
    return verdict, reason


def _why_invalid(group: Sequence[Condition], rules: _Rules) -> str | None:
    if rules.invalid is not None:
        return rules.invalid
    for condition in group:
        sampling, against = condition.sampling, f"against {condition.control!r}"
        if sampling.clusters < rules.min_clusters:
            return f"{sampling.clusters} clusters {against}; at least {rules.min_clusters} are needed"
        slacks = [slack for bar in bars_of(condition) for slack in (bar.near(rules.alpha), bar.far(rules.alpha))]
        if not math.isfinite(sampling.estimate) or any(math.isnan(slack) for slack in slacks):
            return f"the effect {against} is not finite"
    return None


def _contradicted(bars: Sequence[Bar], short: Sequence[tuple[Bar, Shortfall]], rules: _Rules) -> tuple[Verdict, str]:
    """`refuted`, `too small`, or neither where the Monte Carlo error or another control leaves it open."""
    clear = [(bar, shortfall) for bar, shortfall in short if not bar.wavers(rules.refute_level, near=False)]
    if not clear:
        return "inconclusive", _monte_carlo([bar for bar, _ in short], wanted="refuted")
    against = [(bar, shortfall) for bar, shortfall in clear if shortfall != "small"]
    if against:
        return "refuted", "; ".join(_describe_shortfall(bar, shortfall, rules) for bar, shortfall in against)
    described = "; ".join(_describe_shortfall(bar, shortfall, rules) for bar, shortfall in clear)
    absent = [bar for bar in bars if bar.condition.rule == "superiority" and not bar.present(rules.alpha)]
    if absent:
        names = ", ".join(repr(bar.condition.control) for bar in absent)
        return "inconclusive", f"{described}; whether there is any effect against {names} is open"
    return "too small", described


def _claim_verdict(
    verdicts: tuple[ComponentVerdict, ...], *, outcomes: tuple[Outcome, ...], invalid: str | None
) -> Judgement:
    reached = {entry.verdict for entry in verdicts}
    verdict: Verdict = next((worst for worst in _WORST_FIRST if worst in reached), "supported")
    if invalid is not None:
        return Judgement("invalid", invalid, verdicts, outcomes)
    reason = " | ".join(f"{entry.component} {entry.verdict}: {entry.reason}" for entry in verdicts)
    return Judgement(verdict, reason, verdicts, outcomes)


def _describe_weakest(group: Sequence[Condition], rules: _Rules) -> str:
    def nearness(condition: Condition) -> tuple[float, float]:
        # Where p has reached the least that the resamples allow, the distance in half-widths still tells them apart.
        slack = min(bar.near(rules.alpha) for bar in bars_of(condition))
        half = _half_width(condition, rules.alpha)
        return p_of(condition), -slack / half if half > 0 else -slack

    weakest = max(group, key=nearness)
    count = "its one condition holds" if len(group) == 1 else f"all {len(group)} conditions hold, the weakest"
    return f"{count} against {weakest.control!r}: {_interval(weakest, rules.holm_level)} {_asked(weakest)}"


def _describe_shortfall(bar: Bar, shortfall: Shortfall, rules: _Rules) -> str:
    condition = bar.condition
    # presence is read at alpha; the bound at alpha is below the SESOI too where the one at the refuting level is
    numbers = _interval(condition, rules.alpha if shortfall == "small" else rules.refute_level)
    if shortfall == "beaten":
        name, _, part = condition.control.partition(": ")
        return f"beaten by {f'the {part} of {name!r}' if part else repr(name)}: {numbers}"
    if shortfall == "small":
        return f"present but below {condition.threshold:.4g} against {condition.control!r}: {numbers}"
    if shortfall == "margin exceeded":
        return f"margin exceeded, {condition.control!r}: {numbers} {_asked(condition)}"
    return f"{shortfall} against {condition.control!r}: {numbers} {_asked(condition)}"


def _describe_undecided(group: Sequence[Condition], rules: _Rules) -> str:
    """Which conditions are open, the half-width reached, and the clusters that would halve the SESOI."""
    level = rules.alpha if all(p_of(condition) <= rules.holm_level for condition in group) else rules.holm_level
    # a component can pass its own step and still fall with an earlier one of the family; then all are open
    still = [condition for condition in group if p_of(condition) > level] or list(group)
    widest = max(still, key=lambda condition: _half_width(condition, rules.alpha) / _target(condition, rules.sesoi))
    reached, target = _half_width(widest, rules.alpha), _target(widest, rules.sesoi)
    text = f"open against {', '.join(repr(condition.control) for condition in still)}: {_interval(widest, level)} "
    text += f"{_asked(widest)}; half-width {reached:.3g} at {widest.sampling.clusters} clusters"
    if reached <= target:
        return f"{text}, narrow enough ({target:.3g}): the effect lies near its threshold"
    if widest.sampling.clusters < 2:
        return text
    sd = sd_from_half_width(reached, clusters=widest.sampling.clusters, alpha=rules.alpha)
    try:
        needed = clusters_for_half_width(sd, half_width=target, clusters=widest.sampling.clusters, alpha=rules.alpha)
    except StatisticsError:
        return f"{text}; no affordable number of clusters brings it to {target:.3g}"
    return f"{text}; {needed.clusters} clusters (80 % interval {needed.low} to {needed.high}) bring it to {target:.3g}"


def _monte_carlo(bars: Sequence[Bar], *, wanted: str) -> str:
    names = ", ".join(repr(bar.condition.control) for bar in bars)
    return f"would be {wanted}, but the bound against {names} is within 2 Monte Carlo errors of it; draw more resamples"


def _half_width(condition: Condition, alpha: float) -> float:
    return (condition.sampling.bound(alpha, side="upper") - condition.sampling.bound(alpha, side="lower")) / 2


def _target(condition: Condition, sesoi: float) -> float:
    """Half the SESOI; for a margin half of its own size, since it may have another unit."""
    if condition.rule == "superiority":
        return sesoi / 2
    if condition.upper is not None:
        return (condition.upper - condition.threshold) / 4
    return abs(condition.threshold) / 2 or sesoi / 2


def _interval(condition: Condition, error: float) -> str:
    low, high = (condition.sampling.bound(error, side=side) for side in ("lower", "upper"))
    return f"{condition.sampling.estimate:.4g}, {100 * (1 - 2 * error):.4g} % interval [{low:.4g}, {high:.4g}]"


def _asked(condition: Condition) -> str:
    if condition.rule == "equivalence":
        return f"(asked: within [{condition.threshold:.4g}, {condition.upper:.4g}])"
    return f"(asked: {'above' if condition.alternative == 'greater' else 'below'} {condition.threshold:.4g})"
