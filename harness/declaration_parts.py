"""The parts of a declaration: metric, controls, margins, units, what they cost and of what they are a share.

`harness.declaration` puts them together; plain values, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Alternative = Literal["greater", "less"]
ControlKind = Literal["component", "same-dose", "input", "label", "model"]
Tier = Literal["inference", "reliability", "replication"]
Profile = Literal["quick", "default", "full"]


@dataclass(frozen=True)
class Metric:
    """What is measured per unit, and in which unit; `binary` metrics take only 0 and 1.

    Attributes:
        limits: the smallest and the largest value that a unit can have at all, such as (0, 1) of a probability. With
            them intervals are Gaffke's, which allow for values that were not seen: for values that hardly vary, which
            a bootstrap gets wrong. They cost about 4 / n of the distance to the limit, so that n should be 100 or more.
    """

    name: str
    unit: str
    binary: bool = False
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Control:
    """What the effect is measured against, declared here and filled in the test's body under this name."""

    name: str
    kind: ControlKind


@dataclass(frozen=True)
class Margin:
    """A bound that must hold beside the effect: a value within [at_least, at_most], in `unit`.

    With `at_most` alone this is non-inferiority ("costs the first copy no more than"); with both, equivalence. It is
    never evaluated alone, only joined to the effect that it qualifies. `limits` are those of its values, as a metric's.
    """

    name: str
    unit: str
    reason: str
    at_most: float
    at_least: float | None = None
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Units:
    """How many units each profile samples, what one unit is, and why this many."""

    default: int
    quick: int
    reason: str
    of: str = "sequence"
    full: int | None = None

    def for_profile(self, profile: Profile) -> int:
        """The registered number of units of a profile; `full` is `default` where it is not given."""
        return {"quick": self.quick, "default": self.default, "full": self.full or self.default}[profile]


@dataclass(frozen=True)
class Cost:
    """What a claim costs: `draws` forward passes over each unit of `tokens` tokens."""

    draws: float
    tokens: float


@dataclass(frozen=True)
class Behaviour:
    """The whole of which the report shows an effect as a share; decides nothing and is not hashed.

    Another claim of the same run, on the same model, measures it: as the mean of its subject, as its effect against one
    of its controls, or as one of its preconditions. Or it is a number that follows from the task.

    Attributes:
        name: what it is, as it stands behind "of the": `logit difference`.
        claim: the id of the claim that measures it, in the unit of this claim's metric.
        against: the control of that claim against which its effect is the behaviour.
        precondition: the precondition of that claim whose value is the behaviour.
        size: the behaviour itself, where no claim measures it.
    """

    name: str
    claim: str | None = None
    against: str | None = None
    precondition: str | None = None
    size: float | None = None
