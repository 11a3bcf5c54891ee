"""What statistics return: a sampling distribution to ask, and conditions with their verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Side = Literal["lower", "upper"]
Rule = Literal["superiority", "non-inferiority", "equivalence"]
Verdict = Literal["supported", "too small", "refuted", "inconclusive", "invalid", "not run"]


class Sampling(Protocol):
    """The sampling distribution of one estimate, by whichever method the declaration fixed."""

    @property
    def estimate(self) -> float:
        """The estimate in the metric's unit."""
        ...

    @property
    def method(self) -> str:
        """Name of the method: `bootstrap-t`, `bca`, `clopper-pearson`, ..."""
        ...

    @property
    def clusters(self) -> int:
        """How many clusters were resampled."""
        ...

    def bound(self, error: float, *, side: Side) -> float:
        """One-sided confidence bound at this error (0.025 for a two-sided 95 % interval); may be +-inf."""
        ...

    def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
        """P of H0: effect <= threshold (>= for "less"): the smallest error at which the bound reaches it."""
        ...


@dataclass(frozen=True)
class Condition:
    """One thing that must hold for one component: its effect against one control or margin beats a threshold.

    Attributes:
        component: `"5.1"`, `"joint"` or `"model"`.
        control: the control's or margin's declared name, with the part of it (`"other heads: mean"`).
        kind: the control's kind, or `"margin"`.
        rule: superiority (beyond threshold), non-inferiority (below a margin), equivalence (inside both).
        alternative: the direction in which the condition holds; `"less"` for non-inferiority.
        threshold: the SESOI, 0, or the margin; for equivalence the lower end.
        upper: the upper end, for equivalence only.
        sampling: distribution of the effect.
    """

    component: str
    control: str
    kind: str
    rule: Rule
    alternative: Literal["greater", "less"]
    threshold: float
    sampling: Sampling
    upper: float | None = None


@dataclass(frozen=True)
class Outcome:
    """One condition judged. Bounds may be +-inf; `low_adjusted, high_adjusted` are at the component's Holm level."""

    component: str
    control: str
    kind: str
    rule: Rule
    alternative: str
    threshold: float
    upper: float | None
    estimate: float
    low: float
    high: float
    low_adjusted: float
    high_adjusted: float
    method: str
    clusters: int
    p: float
    p_zero: float
    holds: bool


@dataclass(frozen=True)
class ComponentVerdict:
    """The verdict of one component: all its conditions must hold, at the Holm level of the family."""

    component: str
    verdict: Verdict
    reason: str
    p: float
    p_adjusted: float


@dataclass(frozen=True)
class Judgement:
    """The verdict of a claim, why, and everything that it rests on."""

    verdict: Verdict
    reason: str
    components: tuple[ComponentVerdict, ...]
    outcomes: tuple[Outcome, ...]
