"""Quantiles of Student's t, without the overhead of `scipy.stats` objects: verdicts are simulated by the thousand."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=65_536)
def t_quantile(level: float, *, freedom: int) -> float:
    """The value below which a t variable with these degrees of freedom lies with probability `level`."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, level))
