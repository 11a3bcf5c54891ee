"""Numbers on a paper's own prompts, where nothing is sampled: each lies within its tolerance or not.

There is no interval, no p and no family here; what may be said of fresh prompts is not answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.stats.reading import outcome_of
from harness.stats.reasons import of_many
from harness.stats.records import Condition, Side


@dataclass(frozen=True)
class Enumerated:
    """A number where nothing is sampled: every bound is the number itself."""

    estimate: float
    clusters: int
    method: str = "enumerated"

    def bound(self, error: float, *, side: Side) -> float:
        """The number, at any error and on either side."""
        return self.estimate

    def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
        """0 where the number reaches the threshold, else 1: what `outcome_of` needs, and never a p of the record."""
        reached = self.estimate >= threshold if alternative == "greater" else self.estimate <= threshold
        return 0.0 if reached else 1.0


def judge_enumerated(conditions: Sequence[Condition], *, alpha: float, invalid: str | None) -> dict[str, Any]:
    """The `judgement` section: refuted where a number lies outside its tolerance.

    Args:
        conditions: one equivalence per number, with `Enumerated` for its distribution.
        alpha: the claim's error, at which every bound is the number.
        invalid: why the claim is invalid whatever the numbers say.
    """
    no_p = {"p": None, "p_zero": None, "hedges_g": None}
    judged = [asdict(outcome_of(each, alpha=alpha, level=alpha)) | no_p for each in conditions]
    apart = [outcome for outcome in judged if not outcome["holds"]]
    said = "{component}: {control} is {estimate:.4g} (asked: within [{threshold:.4g}, {upper:.4g}])"
    reason = of_many([said.format(**each) for each in apart], what="apart")
    verdict = "invalid" if invalid else "refuted" if apart else "supported"
    told = invalid or reason or f"all {len(judged)} numbers are the published ones"
    return {"verdict": verdict, "reason": told, "components": (), "outcomes": tuple(judged)}
