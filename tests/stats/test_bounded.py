"""Gaffke's bounds: Clopper-Pearson at the limits, closed forms, the tails where a bootstrap fails, and what is refused.

Lower and upper bounds that miss in 1,000 samples (nominal 25; 4,000 samples of each), and BCa's on the same samples:

    values                                     n    gaffke     bca
    1, but 0.2 once in 200                   240    0,  9      0, 9, and no interval at all in 306
    1 once in 300, else uniform below 0.001  300   19,  0     22, 364
    Beta(5, 1)                                64    0, 13     29, 22
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bounded import gaffke, spacings
from harness.stats.clusters import cluster_means
from harness.stats.sampling import mean_sampling

UNIT = (0.0, 1.0)


def sampled(values, *, limits=UNIT, seed=0, resamples=20_000):
    clusters = [str(place) for place in range(len(values))]
    rng = np.random.default_rng(seed)
    return mean_sampling(values, clusters=clusters, method="gaffke", rng=rng, resamples=resamples, limits=limits)


@pytest.mark.parametrize("successes", [0, 3, 17, 20])
@pytest.mark.parametrize("error", [0.025, 0.1])
def test_at_the_limits_the_bounds_are_clopper_pearsons(successes, error):
    found = sampled([1.0] * successes + [0.0] * (20 - successes), resamples=100_000)
    exact = stats.binomtest(successes, 20).proportion_ci(1 - 2 * error, method="exact")
    assert found.bound(error, side="lower") == pytest.approx(exact.low, abs=0.004)
    assert found.bound(error, side="upper") == pytest.approx(exact.high, abs=0.004)
    assert found.estimate == successes / 20


@pytest.mark.parametrize("limits", [(-1.0, 1.0), (0.0, 2.0)])
def test_equal_values_leave_a_share_that_may_be_at_the_limit(limits):
    # Beta(n, 1): with n equal values at most 1 - error^(1 / n) of the distribution lies elsewhere.
    found, unseen = sampled([0.75] * 50, limits=limits, resamples=100_000), 1 - 0.025 ** (1 / 50)
    assert found.bound(0.025, side="lower") == pytest.approx(0.75 - unseen * (0.75 - limits[0]), abs=0.002)
    assert found.bound(0.025, side="upper") == pytest.approx(0.75 + unseen * (limits[1] - 0.75), abs=0.002)


def test_the_p_is_the_bounds_inverse():
    found = sampled(np.random.default_rng(3).beta(3, 2, 80))
    threshold = found.estimate - 0.05
    p = found.p_value(threshold, alternative="greater")
    assert 0.01 < p < 0.1
    assert found.bound(p, side="lower") >= threshold > found.bound(p - 2e-4, side="lower")


def test_values_that_vary_well_inside_get_nearly_students_bounds():
    values = 0.5 + 0.1 * np.random.default_rng(5).normal(size=2_000)
    student = stats.t.interval(0.95, 1_999, values.mean(), stats.sem(values))
    found = sampled(values)
    assert found.bound(0.025, side="lower") == pytest.approx(student[0], abs=0.0015)
    assert found.bound(0.025, side="upper") == pytest.approx(student[1], abs=0.0015)


def test_spacings_are_those_of_uniform_numbers():
    weights = spacings(np.random.default_rng(0), count=4, resamples=20_000)
    assert weights.sum(axis=1) == pytest.approx(1)
    for column in weights.T:  # each is Beta(1, n)
        assert stats.kstest(column, stats.beta(1, 4).cdf).pvalue > 1e-3


def nearly_all_alike(rng):
    return np.where(rng.random(240) < 1 / 200, 0.2, 1.0), 1 - 0.8 / 200


def nearly_nothing(rng):
    return np.where(rng.random(300) < 1 / 300, 1.0, 0.001 * rng.random(300)), 1 / 300 + 299 / 300 * 0.0005


def near_ceiling(rng):
    return rng.beta(5, 1, 64), 5 / 6


@pytest.mark.parametrize("draw", [nearly_all_alike, nearly_nothing, near_ceiling])
def test_neither_tail_misses_more_often_than_nominal(draw):
    rng, low, high, replicates = np.random.default_rng(0), 0, 0, 1_500
    for _ in range(replicates):
        values, truth = draw(rng)
        sample = cluster_means(values, clusters=[str(place) for place in range(len(values))])
        found = gaffke(sample, limits=UNIT, rng=rng, resamples=999)
        low += found.bound(0.025, side="lower") > truth
        high += found.bound(0.025, side="upper") < truth
    # 51 of 1,500 come up in one of a hundred honest procedures at 2.5 %; BCa has hundreds on the first two
    assert max(low, high) <= 51


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (None, "limits are None; give the smallest and the largest"),
        ((1.0, 0.0), "limits are"),
        ((0.0, float("inf")), "limits are"),
        ((0.0, 0.9), r"'2' has 0.95, outside the declared limits \[0, 0.9\]"),
    ],
)
def test_limits_that_are_none_are_refused(limits, message):
    with pytest.raises(StatisticsError, match=message):
        sampled([0.1, 0.5, 0.95], limits=limits)


def test_rounding_beyond_a_limit_is_accepted():
    assert sampled([1.0 + 5e-7, 0.5, 1.0]).estimate == pytest.approx(2.5 / 3, abs=1e-6)
