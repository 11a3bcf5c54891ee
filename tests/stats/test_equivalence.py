from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student
from statsmodels.stats.weightstats import ttost_paired

from harness.errors import StatisticsError
from harness.stats.equivalence import non_inferiority, tost, tost_by_stratum
from harness.stats.records import Side


@dataclass(frozen=True)
class TSampling:
    """Exact for normal values: the t distribution of a mean."""

    values: NDArray[np.float64]
    method: str = "t"

    @property
    def estimate(self) -> float:
        return float(self.values.mean())

    @property
    def clusters(self) -> int:
        return len(self.values)

    def bound(self, error: float, *, side: Side) -> float:
        reach = float(student.ppf(1 - error, self.clusters - 1)) * self._error
        return self.estimate + (reach if side == "upper" else -reach)

    def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
        t = (self.estimate - threshold) / self._error
        return float(student.cdf(-t if alternative == "greater" else t, self.clusters - 1))

    @property
    def _error(self) -> float:
        return float(self.values.std(ddof=1)) / math.sqrt(self.clusters)


def sample(mean: float, *, number: int = 30, seed: int = 0) -> TSampling:
    return TSampling(np.random.default_rng(seed).normal(mean, 1, number))


def test_tost_is_that_of_statsmodels() -> None:
    sampling = sample(0.1)
    p, above, below = ttost_paired(sampling.values, np.zeros(30), -0.5, 0.5)
    result = tost(sampling, low=-0.5, high=0.5)
    assert (result.p, result.p_above_low, result.p_below_high) == pytest.approx((p, above[1], below[1]))


def test_tost_holds_exactly_where_the_95_percent_interval_lies_inside() -> None:
    for seed in range(50):
        sampling = sample(0.2, seed=seed)
        inside = sampling.bound(0.025, side="lower") >= -0.6 and sampling.bound(0.025, side="upper") <= 0.6
        assert (tost(sampling, low=-0.6, high=0.6).p <= 0.025) == inside


def test_opposite_errors_that_cancel_in_the_mean_fail_by_stratum() -> None:
    # the published pattern: ABBA at 0.86 and BABA at 1.26 average to 1.06
    rng = np.random.default_rng(1)
    strata = {
        "ABBA": TSampling(rng.normal(0.86, 0.08, 20)),
        "BABA": TSampling(rng.normal(1.26, 0.14, 20)),
    }
    pooled = TSampling(np.concatenate([sampling.values for sampling in strata.values()]))
    assert tost(pooled, low=0.8, high=1.25).p <= 0.025
    result = tost_by_stratum(strata, low=0.8, high=1.25)
    assert result.p > 0.025
    assert result.worst == "BABA"
    assert result.p == max(entry.p for entry in result.strata.values())


def test_an_effect_on_the_edge_is_called_equivalent_no_more_than_its_level() -> None:
    rejected = sum(tost(sample(0.5, number=40, seed=seed), low=-0.5, high=0.5).p <= 0.025 for seed in range(2_000))
    # 2,000 at 2.5 %: 50, three binomial errors are 21
    assert rejected <= 71


def test_non_inferiority_asks_for_less_than_the_margin() -> None:
    assert non_inferiority(sample(0.0), 1.0) < 0.025
    assert non_inferiority(sample(0.9), 1.0) > 0.025
    assert non_inferiority(sample(0.0), 1.0) == tost(sample(0.0), low=-9.0, high=1.0).p_below_high


def test_a_margin_that_is_none_is_refused() -> None:
    with pytest.raises(StatisticsError, match=r"margin \[1, -1\] is empty"):
        tost(sample(0), low=1, high=-1)
    with pytest.raises(StatisticsError, match="upper end of the margin is inf"):
        tost(sample(0), low=1, high=np.inf)
    with pytest.raises(StatisticsError, match="margin is nan"):
        non_inferiority(sample(0), np.nan)
    with pytest.raises(StatisticsError, match="no strata"):
        tost_by_stratum({}, low=0, high=1)
