"""Two draws of prompts compared: with the standard errors of their clusters, and where neither varies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_ind_from_stats

from harness.errors import StatisticsError
from harness.stats.bounded import gaffke
from harness.stats.clusters import cluster_means
from harness.stats.data_seeds import Draw, seed_difference
from harness.stats.standard_error import standard_error


def draw(values: np.ndarray) -> Draw:
    """Values within 0 and 1 with Gaffke's bounds and the standard error of their mean."""
    names = [f"pair {number}" for number in range(len(values))]
    sample = cluster_means(values, clusters=names)
    sampling = gaffke(sample, limits=(0.0, 1.0), rng=np.random.default_rng(0), resamples=999)
    low, high = sampling.bound(0.025, side="lower"), sampling.bound(0.025, side="upper")
    return Draw(sampling.estimate, low, high, len(values), error=standard_error(values, clusters=names))


def test_draws_with_gaffkes_bounds_are_compared_by_welchs_test() -> None:
    rng = np.random.default_rng(3)
    first, second = (np.where(rng.random(400) < share, 1.0, 1e-6) for share in (0.01, 0.03))
    found = seed_difference(draw(first), draw(second))
    moments = [(np.mean(x), np.std(x, ddof=1), len(x)) for x in (second, first)]
    oracle = ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False)  # its degrees of freedom are not rounded
    assert found.p == pytest.approx(oracle.pvalue, rel=0.01)


@pytest.mark.parametrize("count", [5, 6])
def test_draws_that_both_show_no_spread_have_no_interval_and_the_p_of_exchanging_clusters(count: int) -> None:
    first, second = Draw(0.0, 0.0, 0.5, 5, error=0.0), Draw(1.0, 0.5, 1.0, count, error=0.0)
    found = seed_difference(first, second)
    oracle = permutation_test(
        (np.zeros(5), np.ones(count)),
        lambda x, y: abs(np.mean(y) - np.mean(x)),
        n_resamples=np.inf,
        alternative="greater",
    )
    assert (found.difference, found.low, found.high) == (1.0, None, None)
    assert found.p == pytest.approx(oracle.pvalue)


def test_draws_that_show_no_spread_and_agree_do_not_differ() -> None:
    same = Draw(0.1 + 0.2, 0.0, 1.0, 30, error=0.0)
    assert seed_difference(same, Draw(0.3, 0.0, 1.0, 30, error=0.0)).p == 1.0


def test_where_one_draw_shows_no_spread_the_other_alone_says_how_exact_the_difference_is() -> None:
    ones, some = np.ones(50), np.r_[np.ones(45), np.zeros(5)]
    found = seed_difference(draw(ones), draw(some))
    pooled = ttest_ind_from_stats(some.mean(), some.std(ddof=1), 50, 1.0, 0.0, 50)
    assert found.difference / pooled.statistic == pytest.approx(some.std(ddof=1) / math.sqrt(50))
    assert found.p == pytest.approx(pooled.pvalue, rel=0.3)  # 49 degrees of freedom and not 98
    assert found.p > pooled.pvalue


def test_a_standard_error_that_is_none_is_refused() -> None:
    honest = Draw(0.5, 0.4, 0.6, 30)
    for error in (-0.1, math.inf):
        with pytest.raises(StatisticsError, match="standard error"):
            seed_difference(honest, Draw(0.5, 0.4, 0.6, 30, error=error))


def test_an_infinite_bound_is_no_obstacle_where_the_standard_error_is_known() -> None:
    assert seed_difference(Draw(0.5, -math.inf, 0.6, 30, error=0.05), Draw(0.5, 0.4, 0.6, 30)).p == 1.0
