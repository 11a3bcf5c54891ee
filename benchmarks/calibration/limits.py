"""How many errors a calibration may show: exact binomial limits, so that what is required can also be met.

With R replicates the upper 95 % bound of the error's share must stay below a limit (review of statistics, finding 5).
"""

from __future__ import annotations

from functools import lru_cache

BOUNDARY_LIMIT = 0.035
"""Of a nominal 2.5 %, for verdicts and tails where the truth is planted: 120 of 4,000."""
DESIGN_LIMIT = 0.05
"""Of a nominal 2.5 %, for each claim's own design: 83 of 2,000."""
WORLDS_LIMIT = 0.05
"""Share of null worlds that may be supported: 1 of 93."""
EMPTY_LEG = 0.10
"""A control's condition that holds in more null worlds than this carries no evidence."""
LEAST_POWER = 0.8


def upper_bound(errors: int, replicates: int, *, error: float = 0.05) -> float:
    """The exact one-sided upper bound of a share (Clopper-Pearson)."""
    from scipy.special import betaincinv

    if errors >= replicates:
        return 1.0
    return float(betaincinv(errors + 1, replicates - errors, 1 - error))


def lower_bound(errors: int, replicates: int, *, error: float = 0.05) -> float:
    """The exact one-sided lower bound of a share."""
    return 1 - upper_bound(replicates - errors, replicates, error=error)


@lru_cache(maxsize=256)
def most_allowed(replicates: int, limit: float) -> int:
    """The most errors whose upper 95 % bound is at most `limit`; -1 where not even none would do."""
    allowed = -1
    while allowed < replicates and round(upper_bound(allowed + 1, replicates), 4) <= limit:
        allowed += 1
    return allowed


def too_many(errors: int, replicates: int, *, nominal: float = 0.025) -> bool:
    """Whether so many errors would show a procedure at its nominal level in fewer than one of a thousand trials."""
    return lower_bound(errors, replicates, error=0.001) > nominal


def agrees(found: int, replicates: int, *, predicted: float) -> bool:
    """Whether a count fits a predicted share within binomial error (two-sided, 1 in 100 honest counts does not)."""
    low = lower_bound(found, replicates, error=0.005)
    return low <= predicted <= upper_bound(found, replicates, error=0.005)
