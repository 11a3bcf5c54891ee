"""One condition read against its thresholds: how far each bound lies beyond them. Verdicts are drawn in `decision`.

Every rule comes down to one-sided bars, turned so that more is better: superiority has one, non-inferiority one that
points down, equivalence two. The *near* bound must pass the bar for the condition to hold; where the *far* bound falls
short of it, the condition is contradicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.errors import StatisticsError
from harness.stats.arguments import direction
from harness.stats.records import Condition, Outcome, Side

MONTE_CARLO_ERRORS = 2.0
"""A verdict whose deciding bound lies within this many Monte Carlo standard errors of its threshold is none."""

Shortfall = Literal["margin exceeded", "beaten", "reversed", "absent", "small"]


@dataclass(frozen=True)
class Bar:
    """One threshold of a condition, to be passed in the direction of `alternative`."""

    condition: Condition
    threshold: float
    alternative: Literal["greater", "less"]

    def p(self) -> float:
        """The p-value of the hypothesis that the effect does not pass this threshold."""
        p_value = float(self.condition.sampling.p_value(self.threshold, alternative=self.alternative))
        if not 0 <= p_value <= 1:
            raise StatisticsError(
                f"p of component {self.condition.component!r} against {self.condition.control!r} is {p_value}; "
                f"the sampling distribution ({self.condition.sampling.method}) is damaged"
            )
        return p_value

    def near(self, error: float) -> float:
        """How far the bound that must pass lies beyond the threshold, at this one-sided error; negative: short."""
        return self._sign * (self._bound(error, near=True) - self.threshold)

    def far(self, error: float) -> float:
        """How far the opposite bound lies beyond the threshold; negative: even the best case falls short."""
        return self._sign * (self._bound(error, near=False) - self.threshold)

    def wavers(self, error: float, *, near: bool) -> bool:
        """Whether this bound lies within two Monte Carlo standard errors of the threshold, where it has any."""
        standard_error: Callable[..., float] | None = getattr(self.condition.sampling, "bound_monte_carlo_se", None)
        if standard_error is None:
            return False
        slack = self.near(error) if near else self.far(error)
        return abs(slack) <= MONTE_CARLO_ERRORS * standard_error(error, side=self._side(near=near))

    def shortfall(self, error: float, *, alpha: float) -> Shortfall | None:
        """How this bar is contradicted at level `error`, or None where it is not.

        "small" says that the effect is present, its near bound at `alpha` being above 0, and yet below the threshold.
        """
        if not self.far(error) < 0:
            return None
        if self.condition.rule != "superiority":
            return "margin exceeded"
        if self.threshold == 0:
            return "beaten"
        if self._sign * self._bound(error, near=False) < 0:
            return "reversed"
        return "small" if self.present(alpha) else "absent"

    def present(self, alpha: float) -> bool:
        """Whether the near bound at `alpha` lies beyond 0."""
        return self._sign * self._bound(alpha, near=True) > 0

    @property
    def _sign(self) -> int:
        return direction(self.alternative)

    def _side(self, *, near: bool) -> Side:
        return "lower" if near == (self._sign > 0) else "upper"

    def _bound(self, error: float, *, near: bool) -> float:
        return float(self.condition.sampling.bound(error, side=self._side(near=near)))


def bars_of(condition: Condition) -> tuple[Bar, ...]:
    """The one-sided bars that a condition must pass: two for equivalence, else one."""
    if condition.rule != "equivalence":
        return (Bar(condition, condition.threshold, condition.alternative),)
    if condition.upper is None:
        raise StatisticsError(f"equivalence condition {condition.control!r} has no upper end")
    return (Bar(condition, condition.threshold, "greater"), Bar(condition, condition.upper, "less"))


def nearness(*, low: float, high: float, slack: float, p: float | None) -> tuple[float, float]:
    """How near to failing a condition is, the larger the nearer: of all conditions the largest is told first.

    The slack is counted in half-widths of the interval: these compare conditions of different units and thresholds,
    and tell apart what p no longer does where it has reached the least value that the resamples allow. Among equal
    ones p decides. A condition that fails is nearer than any that holds.

    Args:
        low: lower end of the 95 % interval.
        high: its upper end.
        slack: how far the interval's nearer end lies inside the zone that the condition asks for; negative outside.
        p: of the condition against its threshold; None where nothing is sampled.
    """
    half = (high - low) / 2
    scaled = slack / half if 0 < half < math.inf else slack
    return -scaled, 0.0 if p is None else p


def p_of(condition: Condition) -> float:
    """The p-value of one condition: the largest over its bars."""
    return max(bar.p() for bar in bars_of(condition))


def outcome_of(condition: Condition, *, alpha: float, level: float) -> Outcome:
    """The record of one condition: its estimate, both intervals, and p against its threshold and against 0.

    Args:
        condition: what was asked.
        alpha: one-sided error of the plain interval.
        level: one-sided error of the adjusted interval, the component's level in Holm's procedure.
    """
    sampling = condition.sampling
    p_value = p_of(condition)
    return Outcome(
        component=condition.component,
        control=condition.control,
        kind=condition.kind,
        rule=condition.rule,
        alternative=condition.alternative,
        threshold=condition.threshold,
        upper=condition.upper,
        estimate=float(sampling.estimate),
        low=float(sampling.bound(alpha, side="lower")),
        high=float(sampling.bound(alpha, side="upper")),
        low_adjusted=float(sampling.bound(level, side="lower")),
        high_adjusted=float(sampling.bound(level, side="upper")),
        method=sampling.method,
        clusters=sampling.clusters,
        p=p_value,
        p_zero=float(sampling.p_value(0.0, alternative=condition.alternative)),
        holds=p_value <= alpha,
    )
