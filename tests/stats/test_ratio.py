"""The ratio of means: closed form, hand-computed endpoints, inverses, planted effect, hostile input."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.ratio import InvalidDenominator, _fieller_endpoints, check_denominator, ratio_sampling


def ids(units: int, *, size: int = 1) -> tuple[str, ...]:
    return tuple(f"template {unit // size}" for unit in range(units))


def pairs(units: int = 24, *, ratio: float = 0.9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated logit differences of a circuit and of the whole model."""
    z = np.random.default_rng(seed).normal(size=(2, units))
    return ratio * 4 + 0.6 * z[0] + 0.8 * z[1], 4 + z[0]


def sampled(x, y, *, size=1, seed=0, resamples=999):
    return ratio_sampling(x, y, clusters=ids(len(x), size=size), rng=np.random.default_rng(seed), resamples=resamples)


def test_the_estimate_is_the_ratio_of_means_not_the_mean_of_ratios():
    ours = sampled([1.0, 2.0, 6.0], [2.0, 2.0, 3.0])
    # (1 + 2 + 6) / (2 + 2 + 3) = 9/7, where the mean of ratios is (.5 + 1 + 2) / 3 = 7/6.
    assert ours.estimate == pytest.approx(9 / 7)
    assert (ours.numerator_mean, ours.denominator_mean) == pytest.approx((3.0, 7 / 3))
    # The SD of 2, 2, 3 is sqrt(1/3); over sqrt(3): 1/3.
    assert ours.denominator_se == pytest.approx(1 / 3)


def test_an_endpoint_solves_fiellers_equation():
    x, y = pairs()
    for t in (-2.2, -0.3, 0.0, 1.7):
        ratio = float(_fieller_endpoints(x, y, np.array([t]))[0])
        difference = x - ratio * y
        assert difference.mean() / stats.sem(difference) == pytest.approx(t, abs=1e-9)


def test_a_constant_denominator_gives_the_bootstrap_t_of_the_numerator():
    from harness.stats.sampling import mean_sampling

    x, _ = pairs()
    ours = sampled(x, np.full(24, 4.0))
    plain = mean_sampling(x, clusters=ids(24), method="bootstrap-t", rng=np.random.default_rng(0), resamples=999)
    for side in ("lower", "upper"):
        assert ours.bound(0.025, side=side) == pytest.approx(plain.bound(0.025, side=side) / 4, abs=1e-12)


def test_many_normal_pairs_give_nearly_fiellers_closed_form():
    x, y = pairs(400)
    ours = sampled(x, y, resamples=9_999)
    t = stats.t.ppf(0.975, 399)
    low, high = _fieller_endpoints(x, y, np.array([t, -t]))
    # Within a tenth of the interval's standard error.
    tolerance = 0.1 * (high - low) / (2 * t)
    assert ours.bound(0.025, side="lower") == pytest.approx(low, abs=tolerance)
    assert ours.bound(0.025, side="upper") == pytest.approx(high, abs=tolerance)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-0.3, 0.3), alternative=st.sampled_from(["greater", "less"]))
def test_p_is_the_smallest_error_at_which_the_bound_reaches_the_threshold(seed, shift, alternative):
    sampling = sampled(*pairs(seed=seed), seed=seed)
    threshold = sampling.estimate + shift
    p = sampling.p_value(threshold, alternative=alternative)
    side, sign = ("lower", 1) if alternative == "greater" else ("upper", -1)
    if p < 1:
        assert sign * sampling.bound(p, side=side) >= sign * threshold
    assert sign * sampling.bound(p - 0.0005, side=side) < sign * threshold


def test_both_signs_turned_change_nothing():
    x, y = pairs()
    one, other = sampled(x, y), sampled(-x, -y)
    assert other.denominator_mean == -one.denominator_mean
    assert other.estimate == one.estimate
    for side in ("lower", "upper"):
        assert other.bound(0.025, side=side) == pytest.approx(one.bound(0.025, side=side), abs=1e-12)


def test_swapping_numerator_and_denominator_inverts_the_interval():
    x, y = pairs(30, ratio=1.0)
    one, other = sampled(x, y, resamples=9_999), sampled(y, x, resamples=9_999)
    # Fieller's endpoints invert exactly; the t* of the two linearisations mirror each other.
    assert other.bound(0.025, side="lower") == pytest.approx(1 / one.bound(0.025, side="upper"), abs=1e-3)


def test_the_unit_of_measurement_does_not_matter():
    x, y = pairs()
    large, small = sampled(1e6 * x, 1e6 * y), sampled(x, y)
    assert large.bound(0.025, side="lower") == pytest.approx(small.bound(0.025, side="lower"))


def test_clusters_are_resampled_not_units():
    x, y = pairs()
    once, repeated = sampled(x, y), sampled(np.repeat(x, 5), np.repeat(y, 5), size=5)
    assert repeated.clusters == 24
    assert repeated.bound(0.025, side="lower") == pytest.approx(once.bound(0.025, side="lower"), abs=1e-12)


def test_a_ratio_above_one_is_not_clamped():
    ours = sampled(*pairs(64, ratio=1.25))
    assert ours.estimate > 1.1
    assert ours.bound(0.025, side="lower") > 1.0


def test_a_planted_ratio_is_found_and_the_true_one_is_not_rejected():
    x, y = pairs(64, ratio=0.9)
    x = x - x.mean() + 3.6
    y = y - y.mean() + 4.0
    ours = sampled(x, y)
    assert ours.p_value(0.8, alternative="greater") <= 0.025
    assert ours.p_value(0.9, alternative="greater") == pytest.approx(0.5, abs=0.1)


def test_a_studentised_value_beyond_the_denominators_own_has_no_endpoint():
    x, y = pairs()
    t = 1.01 * y.mean() / stats.sem(y)
    assert _fieller_endpoints(x, y, np.array([t, -t, math.inf, -math.inf])).tolist() == [-math.inf, math.inf] * 2


@pytest.mark.parametrize("sign", [1, -1])
def test_a_denominator_near_zero_is_refused_by_name(sign):
    y = np.array([1.0, -1.0] * 12) + sign * 0.5
    with pytest.raises(InvalidDenominator, match=re.escape("within 5 standard errors of zero")):
        sampled(pairs()[0], y)


def test_a_denominator_just_far_enough_from_zero_is_taken():
    y = pairs()[1]
    y = y - y.mean()
    taken = sampled(pairs()[0], y + 5.001 * stats.sem(y))
    assert math.isfinite(taken.bound(0.025, side="lower"))
    with pytest.raises(InvalidDenominator) as of_ratio:
        sampled(pairs()[0], y + 4.999 * stats.sem(y))
    check_denominator(y + 5.001 * stats.sem(y), clusters=ids(len(y)))
    with pytest.raises(InvalidDenominator) as of_itself:
        check_denominator(y + 4.999 * stats.sem(y), clusters=ids(len(y)))
    assert str(of_itself.value) == str(of_ratio.value)


def test_a_denominator_of_zeros_is_refused():
    with pytest.raises(InvalidDenominator, match="mean is 0"):
        sampled(pairs()[0], np.zeros(24))


@pytest.mark.parametrize("factor", [1.0, 0.7, -3.0])
def test_a_numerator_that_is_a_multiple_of_the_denominator_has_no_variation(factor):
    _, y = pairs()
    with pytest.raises(StatisticsError, match="no variation"):
        sampled(factor * y, y)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0], "numerator has shape (3,) and denominator (2,)"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "shape (1, 2)"),
        ([1.0, math.nan], [1.0, 2.0], "value 1 is nan"),
        ([1.0, 2.0], [1.0, math.inf], "value 1 is inf"),
        ([], [], "empty"),
        ([1.0], [1.0], "single value"),
    ],
)
def test_values_without_a_ratio_are_refused_by_name(x, y, message):
    with pytest.raises(StatisticsError, match=re.escape(message)):
        sampled(x, y)


def test_too_few_resamples_are_refused():
    with pytest.raises(StatisticsError, match="resamples is 99"):
        sampled(*pairs(), resamples=99)
