"""Why a verdict was reached, in words: which condition is nearest to failing, what falls short, what is still open.

Nothing is decided here. Where a claim has many conditions the weakest few are told and the others counted; every one
of them stands with its numbers in the record's outcomes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import StatisticsError
from harness.stats.power import clusters_for_half_width, sd_from_half_width
from harness.stats.reading import Bar, Shortfall, bars_of, nearness, p_of
from harness.stats.records import ComponentVerdict, Condition, Verdict

SHOWN = 3
"""How many conditions or components a reason tells where there are more than `TELL_ALL`; the others are counted."""
TELL_ALL = 4

_WORST_FIRST: tuple[Verdict, ...] = ("invalid", "refuted", "too small", "inconclusive", "supported")
_WEAKEST = re.compile(r", the weakest against “.*?”: \S+, \S+ % interval \[[^]]*\] \(asked: [^)]*\)")
_BELOW = re.compile(r"present but below(?= \S+ against “)")
_NEAREST = re.compile(r", nearest to failing the one against “.*?”: \S+, \S+ % interval \[[^]]*\] \(asked: [^)]*\)")


@dataclass(frozen=True)
class Rules:
    """What one component is judged by: the claim's settings and the component's own levels."""

    sesoi: float
    alpha: float
    holm_level: float
    refute_level: float
    p_adjusted: float
    min_clusters: int
    assay_shown: bool
    invalid: str | None
    shared_by: str = ""


def of_weakest(group: Sequence[Condition], rules: Rules) -> str:
    """How near the condition nearest to failing comes, where all hold."""

    def near(condition: Condition) -> tuple[float, float]:
        low, high = (condition.sampling.bound(rules.alpha, side=side) for side in ("lower", "upper"))
        slack = min(bar.near(rules.alpha) for bar in bars_of(condition))
        return nearness(low=low, high=high, slack=slack, p=p_of(condition))

    nearest = max(group, key=near)
    said = f"{_interval(nearest, rules.holm_level)} {_asked(nearest)}"
    return f"{holding(len(group))} against {named(nearest.control)}: {said}"


def holding(count: int) -> str:
    """How a reason begins that names the condition nearest to failing of so many that hold."""
    return "its one condition holds" if count == 1 else f"all {count} conditions hold, nearest to failing the one"


def named(name: str) -> str:
    """A name as reasons quote it; not as Python does, whose backslashes are markup elsewhere."""
    return f"“{name}”"


def in_todays_words(reason: str, *, names: Iterable[str]) -> str:
    """A stored reason as it is worded now.

    Older versions quoted names as Python does, and called an effect that is too small "below" its threshold also where
    it had to be below it.
    """
    for name in sorted(set(names), key=len, reverse=True):
        reason = reason.replace(repr(name), named(name))
    return _BELOW.sub("present but short of", reason)


def same_reason(stored: str, again: str, *, names: Sequence[str]) -> bool:
    """Whether a stored reason is the one made again, or what an older version said in its place.

    Older versions quoted names otherwise, and chose the condition nearest to failing by p first ("the weakest"): of
    such a reason that condition, whose numbers stand in the outcomes, is not compared.
    """
    if stored == again:
        return True
    worded = in_todays_words(stored, names=names)
    return worded == again or (_WEAKEST.search(worded) is not None and _of_all(worded) == _of_all(again))


def of_shortfalls(short: Sequence[tuple[Bar, Shortfall]], rules: Rules) -> str:
    """How each condition that is contradicted falls short; of many the three that fall farthest, in half-widths."""

    def farthest_first(entry: tuple[Bar, Shortfall]) -> float:
        bar, _ = entry
        half = _half_width(bar.condition, rules.alpha)
        return bar.far(rules.refute_level) / half if half > 0 else bar.far(rules.refute_level)

    told = list(short) if len(short) <= TELL_ALL else sorted(short, key=farthest_first)[:SHOWN]
    said = [_of_shortfall(bar, shortfall, rules) for bar, shortfall in told]
    return "; ".join([*said, *_and_more(len(short) - len(told), "contradicted")])


def of_undecided(group: Sequence[Condition], rules: Rules) -> str:
    """Which conditions are open, the half-width reached, and what would bring it to half the SESOI."""
    level = rules.alpha if all(p_of(condition) <= rules.holm_level for condition in group) else rules.holm_level
    # a component can pass its own step and still fall with an earlier one of the family; then all are open
    still = [condition for condition in group if p_of(condition) > level] or list(group)
    widest = max(still, key=lambda condition: _half_width(condition, rules.alpha) / _target(condition, rules.sesoi))
    reached, target = _half_width(widest, rules.alpha), _target(widest, rules.sesoi)
    text = f"open against {names_of(still, first=widest)}: {_interval(widest, level)} "
    text += f"{_asked(widest)}; half-width {reached:.3g} at {widest.sampling.clusters} clusters"
    if reached <= target:
        return f"{text}, narrow enough ({target:.3g}): the effect lies near its threshold"
    return f"{text}{_what_narrows(widest, rules, target=target)}"


def of_monte_carlo(bars: Sequence[Bar], *, wanted: str) -> str:
    """Why a verdict is withheld that the Monte Carlo error of its bounds could turn."""
    names = names_of([bar.condition for bar in bars])
    return f"would be {wanted}, but the bound against {names} is within 2 Monte Carlo errors of it; draw more resamples"


def of_components(verdicts: Sequence[ComponentVerdict]) -> str:
    """The reason of each component; of many the three worst, and how the others were judged."""
    told = list(verdicts)
    if len(verdicts) > TELL_ALL:
        told.sort(key=lambda entry: (_WORST_FIRST.index(entry.verdict), -entry.p))
        told = told[:SHOWN]
    said = [f"{entry.component} {entry.verdict}: {entry.reason}" for entry in told]
    others = Counter(entry.verdict for entry in verdicts if entry not in told)
    if others:
        counts = ", ".join(f"{others[verdict]} {verdict}" for verdict in _WORST_FIRST if verdict in others)
        said.append(f"and {others.total()} more components: {counts}")
    return " | ".join(said)


def of_many(said: Sequence[str], *, what: str) -> str:
    """Sentences joined, the first three of many and a count of the others."""
    told = said if len(said) <= TELL_ALL else said[:SHOWN]
    return "; ".join([*told, *_and_more(len(said) - len(told), what)])


def names_of(conditions: Sequence[Condition], *, first: Condition | None = None) -> str:
    """The names of conditions; of many the one whose numbers follow and those with the largest p, and a count."""
    told = list(conditions)
    if len(conditions) > TELL_ALL:
        told = sorted(conditions, key=lambda condition: (condition is not first, -p_of(condition)))[:SHOWN]
    return ", ".join([*(named(condition.control) for condition in told), *_and_more(len(conditions) - len(told))])


def _of_shortfall(bar: Bar, shortfall: Shortfall, rules: Rules) -> str:
    condition = bar.condition
    # presence is read at alpha; the bound at alpha is below the SESOI too where the one at the refuting level is
    numbers = _interval(condition, rules.alpha if shortfall == "small" else rules.refute_level)
    if shortfall == "beaten":
        name, _, part = condition.control.partition(": ")
        return f"beaten by {f'the {part} of {named(name)}' if part else named(name)}: {numbers}"
    if shortfall == "small":
        return f"present but short of {condition.threshold:.4g} against {named(condition.control)}: {numbers}"
    if shortfall == "margin exceeded":
        return f"margin exceeded, {named(condition.control)}: {numbers} {_asked(condition)}"
    return f"{shortfall} against {named(condition.control)}: {numbers} {_asked(condition)}"


def _what_narrows(widest: Condition, rules: Rules, *, target: float) -> str:
    """How many clusters would do; where clusters are shared by several units, that it may be more units as well."""
    clusters = widest.sampling.clusters
    if clusters < 2:
        return ""
    if rules.shared_by:
        return (
            f"; {target:.3g} takes new clusters (such as templates), or more {rules.shared_by}s in each as far as "
            f"{rules.shared_by}s of one cluster differ"
        )
    sd = sd_from_half_width(_half_width(widest, rules.alpha), clusters=clusters, alpha=rules.alpha)
    try:
        needed = clusters_for_half_width(sd, half_width=target, clusters=clusters, alpha=rules.alpha)
    except StatisticsError:
        return f"; no affordable number of clusters brings it to {target:.3g}"
    return f"; {needed.clusters} clusters (80 % interval {needed.low} to {needed.high}) bring it to {target:.3g}"


def _of_all(reason: str) -> str:
    """A reason without the condition that it singles out of those that hold."""
    return _NEAREST.sub("", _WEAKEST.sub("", reason))


def _and_more(count: int, what: str = "") -> list[str]:
    return [f"and {count} more {what}".rstrip()] if count else []


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
