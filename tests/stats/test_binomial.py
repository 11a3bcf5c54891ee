"""Clopper-Pearson at the effective sample size: oracles, edges, inverses, hostile input."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.errors import StatisticsError
from harness.stats.sampling import mean_sampling


def clustered(successes: list[int], *, size: int):
    """Clusters of `size` units with these numbers of successes."""
    values = [float(unit < count) for count in successes for unit in range(size)]
    clusters = [f"template {number}" for number in range(len(successes)) for _ in range(size)]
    return mean_sampling(values, clusters=clusters, method="clopper-pearson", rng=np.random.default_rng(0))


def independent(successes: int, units: int):
    return clustered([1] * successes + [0] * (units - successes), size=1)


@pytest.mark.parametrize(("successes", "units"), [(0, 16), (1, 16), (58, 64), (63, 64), (64, 64)])
@pytest.mark.parametrize("level", [0.95, 0.999])
def test_independent_units_give_the_exact_interval(successes, units, level):
    ours = independent(successes, units)
    exact = stats.binomtest(successes, units).proportion_ci(level, method="exact")
    error = (1 - level) / 2
    assert ours.bound(error, side="lower") == pytest.approx(exact.low, abs=1e-12)
    assert ours.bound(error, side="upper") == pytest.approx(exact.high, abs=1e-12)


@pytest.mark.parametrize("alternative", ["greater", "less"])
@pytest.mark.parametrize(("successes", "threshold"), [(0, 0.1), (9, 0.5), (16, 0.8), (14, 0.999)])
def test_independent_units_give_the_exact_p(successes, threshold, alternative):
    exact = stats.binomtest(successes, 16, threshold, alternative=alternative).pvalue
    assert independent(successes, 16).p_value(threshold, alternative=alternative) == pytest.approx(exact, rel=1e-9)


def test_sixteen_of_sixteen_support_only_079():
    # .025 ** (1 / 16) = .7941 (review of statistics, finding 18).
    assert independent(16, 16).bound(0.025, side="lower") == pytest.approx(0.7941, abs=5e-5)


def test_clusters_give_korn_and_graubards_interval():
    successes = [4, 4, 4, 2, 4, 3, 4, 4, 0, 4, 4, 2, 3, 1, 4, 0, 1, 3, 4, 2]
    ours = clustered(successes, size=4)
    # By hand: 57 of 80. Counts have squares 201, 201 - 20 * 2.85^2 = 38.55; the mean's variance is 38.55 / 19 / 16 / 20
    # = .0063405, and .7125 * .2875 / .0063405 = 32.31. t quantiles at 79 and 19 degrees of freedom.
    share = 57 / 80
    size = share * (1 - share) / (np.var(np.array(successes) / 4, ddof=1) / 20)
    assert size == pytest.approx(32.31, abs=0.005)
    assert ours.effective == pytest.approx(size)
    for error in (0.025, 0.001):
        scaled = size * (stats.t.ppf(error, 79) / stats.t.ppf(error, 19)) ** 2
        assert ours.effective_size(error) == pytest.approx(scaled)
        low, high = proportion_confint(share * scaled, scaled, alpha=2 * error, method="beta")
        assert ours.bound(error, side="lower") == pytest.approx(low, abs=1e-9)
        assert ours.bound(error, side="upper") == pytest.approx(high, abs=1e-9)


def test_units_that_agree_inside_clusters_are_worth_about_one_each():
    ours = clustered([4] * 15 + [0] * 5, size=4)
    # p (1 - p) / (p (1 - p) / (G - 1)) = G - 1: Korn and Graubard's own size for 20 wholly dependent clusters.
    assert ours.effective == pytest.approx(19)


def test_the_effective_size_never_exceeds_the_units():
    # Every cluster holds 3 of 4: the cluster means do not vary and the formula's size is infinite.
    ours = clustered([3] * 20, size=4)
    assert ours.effective == 80
    assert ours.effective_size(0.025) < 80


@pytest.mark.parametrize(("count", "side", "edge"), [(0, "lower", 0.0), (4, "upper", 1.0)])
def test_without_a_failure_or_a_success_each_cluster_counts_once(count, side, edge):
    ours = clustered([count] * 20, size=4)
    exact = stats.binomtest(20 if count else 0, 20).proportion_ci(0.95, method="exact")
    assert ours.effective_size(0.025) == 20
    assert (ours.bound(0.025, side="lower"), ours.bound(0.025, side="upper")) == pytest.approx(exact)
    assert ours.bound(0.025, side=side) == edge


def test_clusters_never_narrow_the_interval_of_independent_units():
    wide, narrow = clustered([4] * 17 + [2] * 3, size=4), independent(74, 80)
    assert wide.bound(0.025, side="lower") < narrow.bound(0.025, side="lower")
    assert wide.p_value(0.8, alternative="greater") > narrow.p_value(0.8, alternative="greater")


def test_one_failure_does_not_raise_the_lower_bound():
    # 20 templates, each counted once, give .025 ** (1 / 20) = .832; from the spread of 79 of 80 it would be .927.
    bounds = [clustered([3] * ones + [4] * (20 - ones), size=4).bound(0.025, side="lower") for ones in range(5)]
    assert bounds[0] == pytest.approx(0.025 ** (1 / 20))
    assert bounds[1] < 0.82
    # Below five templates with a failure the size is 20 at most: 78 of 80 is worth 19.5 of 20.
    assert clustered([3, 3] + [4] * 18, size=4).effective_size(0.025) == 20
    assert bounds[2] == pytest.approx(proportion_confint(19.5, 20, alpha=0.05, method="beta")[0])


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 24), size=st.integers(2, 6), error=st.sampled_from([0.001, 0.025, 0.1]), data=st.data())
def test_failures_added_one_by_one_never_raise_a_bound(count, size, error, data):
    held = np.full(count, size)
    found = []
    # Where the next failure falls: often into a template that has one.
    for last in data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=40)):
        held[last] = max(held[last] - 1, 0)
        sampling = clustered(held.tolist(), size=size)
        found.append([sampling.bound(error, side=side) for side in ("lower", "upper")])
    assert (np.diff(found, axis=0) <= 1e-12).all()


@pytest.mark.parametrize(
    ("templates", "size", "whole", "single"),
    [(20, 4, 0.10, 0.01), (40, 4, 0.05, 0.02), (20, 8, 0.10, 0.02), (40, 8, 0.0, 0.05), (64, 1, 0.0, 0.1)],
)
def test_either_tail_misses_at_most_nominally_where_whole_templates_fail(templates, size, whole, single):
    # As published the lower bound misses 7 to 10 % of the first three, 3.5 % is what calibration allows.
    rng = np.random.default_rng(0)
    truth, lower, upper = (1 - whole) * (1 - single), 0, 0
    for _ in range(1_000):
        failed = (rng.random((templates, 1)) < whole) | (rng.random((templates, size)) < single)
        sampling = clustered((size - failed.sum(axis=1)).tolist(), size=size)
        lower += sampling.bound(0.025, side="lower") > truth
        upper += sampling.bound(0.025, side="upper") < truth
    assert max(lower, upper) <= 35


def test_bounds_of_successes_and_failures_mirror_each_other():
    successes = [4, 4, 4, 2, 4, 3, 4, 4, 0, 4, 4, 4]
    ours, mirrored = clustered(successes, size=4), clustered([4 - count for count in successes], size=4)
    assert ours.bound(0.025, side="lower") == pytest.approx(1 - mirrored.bound(0.025, side="upper"))
    assert ours.p_value(0.6, alternative="greater") == pytest.approx(mirrored.p_value(0.4, alternative="less"))


@settings(max_examples=100, deadline=None)
@given(
    successes=st.lists(st.integers(0, 4), min_size=12, max_size=40),
    threshold=st.floats(0.02, 0.98),
    alternative=st.sampled_from(["greater", "less"]),
)
def test_p_is_the_smallest_error_at_which_the_bound_reaches_the_threshold(successes, threshold, alternative):
    sampling = clustered(successes, size=4)
    p = sampling.p_value(threshold, alternative=alternative)
    side, sign = ("lower", 1) if alternative == "greater" else ("upper", -1)
    if 1e-12 < p < 0.999:
        assert sign * (sampling.bound(p * (1 + 1e-6), side=side) - threshold) >= -1e-9
        assert sign * (sampling.bound(p * (1 - 1e-6), side=side) - threshold) <= 1e-9


@settings(max_examples=50, deadline=None)
@given(successes=st.lists(st.integers(0, 4), min_size=12, max_size=40))
def test_bounds_are_monotone_in_the_error_and_enclose_the_share(successes):
    sampling = clustered(successes, size=4)
    errors = np.concatenate([np.logspace(-9, -1, 60), np.linspace(0.11, 0.99, 60)])
    lower = np.array([sampling.bound(e, side="lower") for e in errors])
    upper = np.array([sampling.bound(e, side="upper") for e in errors])
    assert (np.diff(lower) >= -1e-12).all()
    assert (np.diff(upper) <= 1e-12).all()
    assert lower[40] <= sampling.estimate <= upper[40]


@pytest.mark.parametrize(
    ("successes", "threshold", "alternative", "p"),
    [
        (0, 0.0, "greater", 1.0),  # the bound stands at 0 for every error: no evidence
        (3, 0.0, "greater", 0.0),  # a success is impossible under a share of 0
        (16, 1.0, "less", 1.0),
        (13, 1.0, "less", 0.0),
        (16, 1.0, "greater", 1.0),
        (8, 1.5, "greater", 1.0),
        (8, -0.1, "greater", 0.0),
        (8, 1.5, "less", 0.0),
    ],
)
@pytest.mark.parametrize("size", [1, 2])
def test_thresholds_at_and_beyond_the_edge_have_the_obvious_p(successes, threshold, alternative, p, size):
    sampling = clustered([size] * successes + [0] * (16 - successes), size=size)
    assert sampling.p_value(threshold, alternative=alternative) == p


def test_p_of_clustered_units_stays_above_the_smallest_error():
    # A share of .95 against .001: far beyond what 1e-15 resolves.
    assert clustered([4] * 150 + [0] * 8, size=4).p_value(1e-9, alternative="greater") == pytest.approx(1e-15)


def test_nothing_is_resampled_so_the_monte_carlo_error_is_zero():
    assert independent(14, 16).bound_monte_carlo_se(0.025, side="lower") == 0.0


def test_the_record_names_method_clusters_and_units():
    ours = clustered([4] * 10 + [1] * 10, size=4)
    assert (ours.method, ours.clusters, ours.units, ours.estimate) == ("clopper-pearson", 20, 80, 0.625)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0, 1.0, 0.5], "value 2 is"),
        ([0.0, 1.0, -1.0], "Differences of binary values"),
        ([0.0, 1.0, float("nan")], "value 2 is nan"),
        ([], "empty"),
        ([1.0], "single value"),
    ],
)
def test_values_that_are_not_binary_are_refused_by_name(values, message):
    clusters = [str(unit) for unit in range(len(values))]
    with pytest.raises(StatisticsError, match=re.escape(message)):
        mean_sampling(values, clusters=clusters, method="clopper-pearson", rng=np.random.default_rng(0))
