from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, nct
from scipy.stats import t as student

from harness.errors import StatisticsError
from harness.stats.bounded import gaffke
from harness.stats.clusters import ClusterMeans
from harness.stats.power import (
    Hurdle,
    bounded_half_width,
    clusters_for_half_width,
    clusters_for_hurdles,
    clusters_for_power,
    half_width_of,
    sd_from_half_width,
)


# clusters for 90 % power at twice the SESOI, one control / three independent ones: review-statistics, finding 7
@pytest.mark.parametrize(("sd", "one", "three"), [(0.5, 5, 6), (1, 13, 17), (2, 44, 60), (3, 97, 131), (5, 265, 359)])
def test_the_numbers_of_the_review(sd: float, one: int, three: int) -> None:
    assert clusters_for_power(sd, sesoi=1.0, power=0.9) == one
    assert clusters_for_power(sd, sesoi=1.0, power=0.9, controls=3) == three


def test_power_is_reached_and_one_cluster_fewer_does_not_reach_it() -> None:
    number = clusters_for_power(0.7, sesoi=0.2, effect=0.5, alpha=0.01, power=0.85, controls=2)

    def power(clusters: int) -> float:
        noncentrality = 0.3 * math.sqrt(clusters) / 0.7
        return float(nct.sf(student.ppf(0.99, clusters - 1), clusters - 1, noncentrality)) ** 2

    assert power(number) >= 0.85 > power(number - 1)


def test_simulated_power_is_what_was_asked_for() -> None:
    number = clusters_for_power(1.0, sesoi=0.5)
    values = np.random.default_rng(0).normal(1.0, 1.0, size=(4_000, number))
    t = (values.mean(axis=1) - 0.5) / (values.std(axis=1, ddof=1) / math.sqrt(number))
    # three binomial errors at 80 % are 1.9 points; the whole number of clusters may give a little more
    assert 0.78 <= (t >= student.ppf(0.975, number - 1)).mean() <= 0.84


def test_half_width_is_reached_at_the_number_given() -> None:
    needed = clusters_for_half_width(1.3, half_width=0.25, clusters=20)
    assert student.ppf(0.975, needed.clusters - 1) * 1.3 / math.sqrt(needed.clusters) <= 0.25
    assert student.ppf(0.975, needed.clusters - 2) * 1.3 / math.sqrt(needed.clusters - 1) > 0.25


def test_its_interval_follows_from_the_chi_distribution_of_the_sd() -> None:
    needed = clusters_for_half_width(1.3, half_width=0.25, clusters=20)
    least, most = (1.3 * math.sqrt(19 / chi2.ppf(level, 19)) for level in (0.9, 0.1))
    assert needed.low == clusters_for_half_width(least, half_width=0.25, clusters=20).clusters
    assert needed.high == clusters_for_half_width(most, half_width=0.25, clusters=20).clusters
    assert needed.low < needed.clusters < needed.high


def test_the_true_number_lies_in_the_interval_four_times_in_five() -> None:
    rng = np.random.default_rng(1)
    true = clusters_for_half_width(1.0, half_width=0.3, clusters=20).clusters
    inside = 0
    for _ in range(1_000):
        needed = clusters_for_half_width(float(rng.normal(size=20).std(ddof=1)), half_width=0.3, clusters=20)
        inside += needed.low <= true <= needed.high
    assert 760 <= inside <= 850  # 80 % and what whole numbers add


def test_sd_and_half_width_are_inverse() -> None:
    assert sd_from_half_width(half_width_of(0.8, clusters=17), clusters=17) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("sd", "options", "message"),
    [
        (0.0, {"sesoi": 1.0}, "sd is 0.0"),
        (1.0, {"sesoi": -1.0}, "sesoi is -1.0"),
        (1.0, {"sesoi": 1.0, "effect": 0.9}, "does not exceed the SESOI"),
        (1.0, {"sesoi": 1.0, "power": 1.0}, "power is 1.0"),
        (1.0, {"sesoi": 1.0, "alpha": 0.0}, "alpha is 0.0"),
        (1.0, {"sesoi": 1.0, "controls": 0}, "controls is 0"),
        (1.0, {"sesoi": 1e-6}, "nobody can measure that"),
    ],
)
def test_a_design_without_an_answer_is_refused(sd: float, options: dict[str, float], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        clusters_for_power(sd, **options)  # type: ignore[arg-type]


def test_an_sd_of_one_cluster_is_refused() -> None:
    with pytest.raises(StatisticsError, match="between 1 clusters"):
        clusters_for_half_width(1.0, half_width=0.1, clusters=1)
    with pytest.raises(StatisticsError, match=r"half_width is 0\.0"):
        clusters_for_half_width(1.0, half_width=0.0, clusters=9)


# In the first the sum of both quantiles said 122 clusters, and t alone 52; then a small reach, few clusters, and a wide
# reach against a narrow spread.
@pytest.mark.parametrize(
    ("mean", "sd", "beyond", "limits", "expected"),
    [
        (0.2, 0.25, 0.1, (-1.0, 1.0), 82),
        (0.6, 0.3, 0.1, (0.0, 1.0), 84),
        (0.8, 0.3, 0.4, (-1.0, 1.0), 20),
        (0.6, 0.05, 0.3, (-4.0, 4.0), 56),
    ],
)
def test_the_number_for_gaffkes_bounds_has_the_power_that_they_have(
    mean: float, sd: float, beyond: float, limits: tuple[float, float], expected: int
) -> None:
    # expected: clusters with 80 % power in simulation, by halving, 1,500 samples with 1,999 resamples each
    number = clusters_for_hurdles([Hurdle(beyond, sd, 1.0, reach=mean - limits[0])])
    assert number == pytest.approx(expected, rel=0.1)
    rng = np.random.default_rng(0)
    low, width = limits[0], limits[1] - limits[0]
    share = (mean - low) / width
    size = share * (1 - share) * (width / sd) ** 2 - 1
    names, passed = tuple(map(str, range(number))), 0
    for _ in range(300):
        values = low + width * rng.beta(share * size, (1 - share) * size, size=(1, number))
        found = gaffke(ClusterMeans(values, names, 1), limits=limits, rng=rng, resamples=9_999)
        passed += found.bound(0.025, side="lower") >= mean - beyond
    # three binomial errors at 80 % are 6.9 points
    assert 0.75 <= passed / 300 <= 0.87


@pytest.mark.parametrize(
    ("clusters", "mean", "sd", "limits"),
    [(32, 0.56, 0.03, (-1, 1)), (32, 0.56, 0.2, (-1, 1)), (64, 0.1, 0.1, (0, 1)), (16, 0.5, 0.05, (0, 1))],
)
def test_half_widths_between_limits_are_those_of_gaffkes_bounds(
    clusters: int, mean: float, sd: float, limits: tuple[float, float]
) -> None:
    rng, names, halves = np.random.default_rng(0), tuple(map(str, range(clusters))), []
    for _ in range(20):
        values = np.clip(rng.normal(mean, sd, (1, clusters)), *limits)
        found = gaffke(ClusterMeans(values, names, 1), limits=limits, rng=rng, resamples=9_999)
        halves.append((found.bound(0.025, side="upper") - found.bound(0.025, side="lower")) / 2)
    told = bounded_half_width(sd, clusters=clusters, reaches=(mean - limits[0], limits[1] - mean))
    assert told == pytest.approx(float(np.mean(halves)), rel=0.12)  # clipped values spread less than sd


def test_without_reach_the_number_is_that_of_the_t_interval() -> None:
    for reach in (0.0, 1e-9):
        assert clusters_for_hurdles([Hurdle(0.1, 0.25, 1.0, reach)]) == clusters_for_power(0.25, sesoi=0.1)


def test_a_margin_that_never_fails_costs_no_clusters() -> None:
    # `Question.ideal` puts a margin at 0 infinitely far below it; the power of that is 1.
    alone, never = Hurdle(0.1, 0.25, 1.0), Hurdle(math.inf, 0.3, 1.0, reach=math.inf)
    assert clusters_for_hurdles([alone, never]) == clusters_for_hurdles([alone])


def test_a_farther_limit_costs_clusters_and_never_saves_any() -> None:
    found = [clusters_for_hurdles([Hurdle(0.1, 0.25, 1.0, reach)]) for reach in (0.0, 0.3, 0.6, 1.2, 2.4, 100.0)]
    assert found == sorted(set(found))


def test_gaffkes_reach_is_what_a_narrow_spread_cannot_buy_back():
    # An effect of 0.6 against 0.3, within (-4, 4) as a difference: 60 clusters have 90 % power in simulation, 40 none.
    hurdles = [Hurdle(0.3, 0.05, 1.0, reach=4.6)]
    assert clusters_for_hurdles([Hurdle(0.3, 0.05, 1.0)]) < 10
    assert 50 <= clusters_for_hurdles(hurdles) <= 65
    # a family of ten is asked at a tenth of the level, where what was not seen may be more
    assert clusters_for_hurdles(hurdles, alpha=0.0025) > 1.4 * clusters_for_hurdles(hurdles)
    assert clusters_for_hurdles([*hurdles, Hurdle(0.3, 0.05, 0.5, reach=4.6)]) > 100
