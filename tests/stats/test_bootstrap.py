"""Bootstrap-t and BCa of a mean over clusters: oracles, inverses, planted effects, hostile input."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bca import BcaSampling, bca, bca_intervals
from harness.stats.bootstrap import EndpointSampling, studentised
from harness.stats.clusters import cluster_means
from harness.stats.sampling import mean_sampling

BOOTSTRAPS = ("bootstrap-t", "bca")


def ids(units: int, *, size: int = 1) -> tuple[str, ...]:
    return tuple(f"template {unit // size}" for unit in range(units))


def sampled(values, *, method="bootstrap-t", size=1, seed=0, resamples=999):
    clusters = ids(len(values), size=size)
    rng = np.random.default_rng(seed)
    return mean_sampling(values, clusters=clusters, method=method, rng=rng, resamples=resamples)


def skewed(units: int, *, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).beta(5, 1, units)


# --- oracles -------------------------------------------------------------------------------------------------------


def scipy_bca(values, *, seed, level=0.95, resamples=999):
    """The interval of `scipy.stats.bootstrap` for the mean of values [..., unit]."""
    return stats.bootstrap(
        (values,),
        np.mean,
        axis=-1,
        confidence_level=level,
        n_resamples=resamples,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval


def expanded_level(level, *, clusters):
    """The level at which scipy gives Hesterberg's expanded interval: z = sqrt(n / (n - 1)) t_{n-1}."""
    z = np.sqrt(clusters / (clusters - 1)) * stats.t.ppf((1 + level) / 2, clusters - 1)
    return 2 * stats.norm.cdf(z) - 1


@pytest.mark.parametrize(("units", "level"), [(12, 0.95), (64, 0.95), (64, 0.99)])
@pytest.mark.parametrize("expanded", [True, False])
def test_bca_equals_scipy_on_the_same_resamples(units, level, expanded):
    values = skewed(units)
    sample = cluster_means(values, clusters=ids(units))
    ours = bca(sample, rng=np.random.default_rng(7), resamples=9_999, expanded=expanded)
    scipy_level = expanded_level(level, clusters=units) if expanded else level
    scipy = scipy_bca(values, seed=7, level=scipy_level, resamples=9_999)
    error = (1 - level) / 2
    assert ours.bound(error, side="lower") == pytest.approx(scipy.low, abs=1e-12)
    assert ours.bound(error, side="upper") == pytest.approx(scipy.high, abs=1e-12)


def test_bca_of_clusters_equals_scipy_on_their_means():
    values = skewed(60 * 4)
    ours = sampled(values, method="bca", size=4, seed=5)
    scipy = scipy_bca(values.reshape(60, 4).mean(axis=1), seed=5, level=expanded_level(0.95, clusters=60))
    assert (ours.bound(0.025, side="lower"), ours.bound(0.025, side="upper")) == pytest.approx(scipy, abs=1e-12)


@pytest.mark.parametrize("expanded", [True, False])
def test_many_components_at_once_equal_scipy_row_by_row(expanded):
    values = np.random.default_rng(2).gamma(2.0, size=(20, 64))
    rng = np.random.default_rng(11)
    low, high = bca_intervals(values, clusters=ids(64), rng=rng, resamples=2_000, expanded=expanded)
    level = expanded_level(0.95, clusters=64) if expanded else 0.95
    for row, one in enumerate(values):
        assert (low[row], high[row]) == pytest.approx(scipy_bca(one, seed=11, level=level, resamples=2_000), abs=1e-12)


def test_many_components_in_blocks_equal_one_by_one(monkeypatch):
    monkeypatch.setattr("harness.stats.bca._COMPONENTS_AT_ONCE", 3)
    values = np.random.default_rng(2).normal(size=(7, 60))
    low, high = bca_intervals(values, clusters=ids(60, size=2), rng=np.random.default_rng(1), resamples=999)
    for row, one in enumerate(values):
        alone = sampled(one, method="bca", size=2, seed=1)
        assert low[row] == pytest.approx(alone.bound(0.025, side="lower"), abs=1e-12)
        assert high[row] == pytest.approx(alone.bound(0.025, side="upper"), abs=1e-12)


def test_the_expanded_interval_of_few_units_is_wider():
    sample = cluster_means(skewed(12), clusters=ids(12))
    plain, expanded = (bca(sample, rng=np.random.default_rng(0), resamples=999, expanded=e) for e in (False, True))
    assert expanded.bound(0.025, side="lower") < plain.bound(0.025, side="lower")
    assert expanded.bound(0.025, side="upper") > plain.bound(0.025, side="upper")
    assert expanded.p_value(0.7, alternative="greater") > plain.p_value(0.7, alternative="greater")


def test_bootstrap_t_equals_a_loop_over_resamples():
    values = skewed(16)
    drawn = np.random.default_rng(9).integers(0, 16, (999, 16))
    endpoints = []
    for index in drawn:
        resample = values[index]
        t = (resample.mean() - values.mean()) / stats.sem(resample)
        endpoints.append(values.mean() - stats.sem(values) * t)
    ours = sampled(values, seed=9)
    # With 999 resamples the 2.5 % bounds are the 25th endpoints from either end: 0.025 * (999 + 1).
    assert ours.bound(0.025, side="lower") == pytest.approx(sorted(endpoints)[24], abs=1e-12)
    assert ours.bound(0.025, side="upper") == pytest.approx(sorted(endpoints)[-25], abs=1e-12)


@pytest.mark.parametrize("method", BOOTSTRAPS)
def test_normal_values_give_nearly_the_t_interval(method):
    values = np.random.default_rng(4).normal(size=200)
    low, high = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    ours = sampled(values, method=method, resamples=9_999)
    # Within a tenth of the standard error (0.07): two Monte Carlo errors of the bound, and this sample's slight skew.
    assert ours.bound(0.025, side="lower") == pytest.approx(low, abs=0.1 * stats.sem(values))
    assert ours.bound(0.025, side="upper") == pytest.approx(high, abs=0.1 * stats.sem(values))


# --- bound and p are inverses --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    method=st.sampled_from(BOOTSTRAPS),
    shift=st.floats(-4, 4),
    alternative=st.sampled_from(["greater", "less"]),
)
def test_p_is_the_smallest_error_at_which_the_bound_reaches_the_threshold(seed, method, shift, alternative):
    values = skewed(20, seed=seed)
    sampling = sampled(values, method=method, seed=seed)
    threshold = values.mean() + shift * stats.sem(values)
    p = sampling.p_value(threshold, alternative=alternative)
    side, sign = ("lower", 1) if alternative == "greater" else ("upper", -1)
    if p < 0.999:
        assert sign * (sampling.bound(min(p * (1 + 1e-6), 0.9999), side=side) - threshold) >= -1e-12
    smaller = p * (1 - 1e-6)
    assert sign * (sampling.bound(smaller, side=side) - threshold) < 1e-12


@pytest.mark.parametrize("method", BOOTSTRAPS)
def test_bounds_and_p_values_are_monotone(method):
    sampling = sampled(skewed(16), method=method)
    errors = np.linspace(0.0005, 0.9995, 400)
    assert (np.diff([sampling.bound(e, side="lower") for e in errors[2:]]) >= 0).all()
    assert (np.diff([sampling.bound(e, side="upper") for e in errors[2:]]) <= 0).all()
    thresholds = np.linspace(0.5, 1.2, 400)
    assert (np.diff([sampling.p_value(t, alternative="greater") for t in thresholds]) >= 0).all()
    assert (np.diff([sampling.p_value(t, alternative="less") for t in thresholds]) <= 0).all()


@pytest.mark.parametrize("method", BOOTSTRAPS)
def test_mirrored_values_mirror_bounds_and_p(method):
    values = skewed(20)
    one, other = sampled(values, method=method), sampled(-values, method=method)
    assert one.bound(0.025, side="lower") == pytest.approx(-other.bound(0.025, side="upper"), abs=1e-12)
    assert one.p_value(0.7, alternative="greater") == pytest.approx(other.p_value(-0.7, alternative="less"), abs=1e-12)


@pytest.mark.parametrize("method", BOOTSTRAPS)
def test_what_the_resamples_cannot_resolve_is_infinite_and_p_has_a_floor(method):
    sampling = sampled(skewed(30), method=method)
    assert sampling.bound(0.0009, side="lower") == -math.inf
    assert sampling.bound(0.0009, side="upper") == math.inf
    # 1 / (999 + 1); BCa's skewness correction may put its own floor above it.
    assert 0.001 <= sampling.p_value(-100.0, alternative="greater") < 0.01
    assert sampling.p_value(100.0, alternative="greater") == 1.0


# --- null, planted effect, clusters --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", BOOTSTRAPS)
def test_a_planted_effect_is_found_and_no_effect_is_not(method):
    noise = np.random.default_rng(6).normal(scale=0.1, size=64)
    planted = sampled(noise - noise.mean() + 0.3, method=method)
    assert planted.p_value(0.2, alternative="greater") <= 0.025
    assert planted.bound(0.025, side="lower") > 0.2
    null = sampled(noise - noise.mean() + 0.2, method=method)
    assert null.p_value(0.2, alternative="greater") == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("method", BOOTSTRAPS)
def test_repeating_every_unit_inside_its_cluster_changes_nothing(method):
    values = skewed(24)
    once, four_times = sampled(values, method=method), sampled(np.repeat(values, 4), method=method, size=4)
    assert four_times.clusters == once.clusters == 24
    assert four_times.bound(0.025, side="lower") == pytest.approx(once.bound(0.025, side="lower"), abs=1e-12)


def test_cluster_means_follow_the_ids_whatever_the_order_of_units():
    values = np.arange(12.0)
    clusters = ["b", "a", "c"] * 4
    sample = cluster_means(values, clusters=clusters)
    assert sample.names == ("b", "a", "c")
    # b holds 0, 3, 6, 9: mean 4.5; a one more each; c two more.
    assert sample.means.tolist() == [[4.5, 5.5, 6.5]]


def test_the_same_generator_gives_the_same_bounds():
    assert sampled(skewed(20)).bound(0.025, side="lower") == sampled(skewed(20)).bound(0.025, side="lower")


# --- resamples of zero spread --------------------------------------------------------------------------------------


def test_resamples_of_zero_spread_stand_as_infinities():
    # 14 of 15 clusters are right: a third of all resamples, (14/15)^15 = 0.355, hold only ones.
    values = np.array([1.0] * 14 + [0.8])
    sampling = sampled(values, resamples=9_999)
    assert np.mean(np.isneginf(sampling.lower_points)) == pytest.approx(0.355, abs=0.02)
    assert sampling.bound(0.025, side="lower") == -math.inf
    assert math.isfinite(sampling.bound(0.025, side="upper"))
    assert sampling.p_value(0.5, alternative="greater") > 0.3


def test_spread_that_is_only_rounding_counts_as_none():
    centred = np.array([0.1 + 0.2, 0.3, 0.3, -0.9])
    t, _ = studentised(centred, np.array([[0, 1, 2, 0], [0, 1, 2, 3]]))
    assert t[0] == math.inf
    assert math.isfinite(t[1])


def test_a_resample_without_spread_and_deviation_tightens_neither_bound():
    centred = np.array([-1.0, 0.0, 1.0])
    lower, upper = studentised(centred, np.array([[1, 1, 1]]))
    assert lower.tolist() == [math.inf]
    assert upper.tolist() == [-math.inf]


# --- Monte Carlo error ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", BOOTSTRAPS)
@pytest.mark.parametrize("side", ["lower", "upper"])
def test_the_monte_carlo_error_is_the_spread_of_bounds_over_generators(method, side):
    values = skewed(60)
    repeated = [sampled(values, method=method, seed=seed, resamples=1_999) for seed in range(200)]
    spread = np.std([one.bound(0.025, side=side) for one in repeated], ddof=1)
    # 200 repetitions know their SD to 5 %; the rest is what order statistics leave to a local slope.
    reported = np.median([one.bound_monte_carlo_se(0.025, side=side) for one in repeated])
    assert reported == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize("method", BOOTSTRAPS)
def test_the_monte_carlo_error_of_an_infinite_bound_is_infinite(method):
    assert sampled(skewed(30), method=method).bound_monte_carlo_se(0.0009, side="lower") == math.inf


# --- hostile input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", BOOTSTRAPS)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "empty"),
        ([0.5], "single value"),
        ([0.1, math.nan, 0.3], "value 1 is nan"),
        ([0.1, math.inf, 0.3], "value 1 is inf"),
        ([0.7] * 20, "no variation: all 20 cluster means equal 0.7; a"),
        ([1.0] * 20, "Binary values (0 and 1) take method 'clopper-pearson'"),
        ([0.1 + 0.2, 0.3, 0.3], "no variation"),
        (["a", "b"], "not numbers"),
        ([[0.1, 0.2], [0.3, 0.4]], "shape (2, 2)"),
    ],
)
def test_values_without_an_interval_are_refused_by_name(method, values, message):
    with pytest.raises(StatisticsError, match=re.escape(message)):
        sampled(values, method=method)


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (("a", "b"), "2 cluster ids for 4 values"),
        (("a",) * 4, "only one cluster ('a')"),
        (("a", "a", "a", "b"), "unequal clusters: 'a' has 3 units and 'b' has 1"),
    ],
)
@pytest.mark.parametrize("method", [*BOOTSTRAPS, "clopper-pearson"])
def test_clusters_that_do_not_fit_are_refused_by_name(method, clusters, message):
    with pytest.raises(StatisticsError, match=re.escape(message)):
        mean_sampling([0.0, 1.0, 1.0, 0.0], clusters=clusters, method=method, rng=np.random.default_rng(0))


def test_values_that_vary_only_inside_clusters_are_refused():
    with pytest.raises(StatisticsError, match="no variation: all 10 cluster means"):
        sampled(np.tile([0.2, 0.4], 10), size=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "bootstrap-T"}, "Did you mean 'bootstrap-t'?"),
        ({"method": "percentile"}, "one of bootstrap-t, bca, clopper-pearson"),
        ({"resamples": 998}, "resamples is 998"),
        ({"resamples": True}, "resamples is True"),
        ({"rng": 3}, "rng is 3"),
    ],
)
def test_arguments_are_refused_by_name(arguments, message):
    given = {"method": "bca", "rng": np.random.default_rng(0), "resamples": 999} | arguments
    with pytest.raises(StatisticsError, match=re.escape(message)):
        mean_sampling(skewed(20), clusters=ids(20), **given)


@pytest.mark.parametrize("method", [*BOOTSTRAPS, "clopper-pearson"])
def test_questions_without_an_answer_are_refused_by_name(method):
    sampling = sampled([0.0, 1.0] * 20, method=method)
    with pytest.raises(StatisticsError, match="error is 0"):
        sampling.bound(0, side="lower")
    with pytest.raises(StatisticsError, match="error is 97"):
        sampling.bound_monte_carlo_se(97.5, side="upper")
    with pytest.raises(StatisticsError, match="side is 'two-sided'"):
        sampling.bound(0.025, side="two-sided")
    with pytest.raises(StatisticsError, match="alternative is 'two-sided'"):
        sampling.p_value(0.5, alternative="two-sided")
    with pytest.raises(StatisticsError, match="threshold is nan"):
        sampling.p_value(math.nan, alternative="greater")


def test_a_component_that_does_not_vary_is_named_by_its_row():
    values = np.random.default_rng(0).normal(size=(3, 20))
    values[2] = 0.5
    with pytest.raises(StatisticsError, match="in row 2 equal"):
        bca_intervals(values, clusters=ids(20), rng=np.random.default_rng(0))


def test_a_level_beyond_the_resamples_is_refused():
    message = "999 resamples cannot bound at level 0.9999; take at least 20000"
    with pytest.raises(StatisticsError, match=re.escape(message)):
        bca_intervals(np.eye(20), clusters=ids(20), rng=np.random.default_rng(0), resamples=999, level=0.9999)


def test_the_methods_are_what_they_are_called():
    values = [0.0, 1.0] * 20
    assert isinstance(sampled(values, method="bootstrap-t"), EndpointSampling)
    assert isinstance(sampled(values, method="bca"), BcaSampling)
    assert [sampled(values, method=m).method for m in BOOTSTRAPS] == list(BOOTSTRAPS)
