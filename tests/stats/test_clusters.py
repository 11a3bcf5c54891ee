"""What counts as no variation: of measured values the noise of float32, of resamples the rounding of float64."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contrasts import Contrast
from harness.declaration import Margin
from harness.errors import StatisticsError
from harness.filling import check_limits
from harness.stats.clusters import FLOAT32_NOISE, ROUNDING, is_constant
from harness.stats.ratio import ratio_sampling
from harness.stats.sampling import mean_sampling
from harness.values import UnitValues

UNITS = 24
IDS = tuple(f"u{place}" for place in range(UNITS))


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=UNITS)


def row(values: np.ndarray) -> UnitValues:
    return UnitValues(np.atleast_2d(values), ("5.1",), IDS, IDS)


@pytest.mark.parametrize("method", ["bootstrap-t", "bca"])
@pytest.mark.parametrize("value", [0.3, -4e-7, 12.0])
def test_values_that_differ_by_float32_noise_do_not_vary(method, value):
    # 0.3 and 1e-8 of noise had an interval and a p of .0001.
    values = value * (1 + 3e-8 * noise())
    with pytest.raises(StatisticsError, match="no variation"):
        mean_sampling(values, clusters=IDS, method=method, rng=np.random.default_rng(0))


def test_the_same_sum_in_another_order_in_float32_does_not_vary():
    values = np.random.default_rng(1).random(512).astype(np.float32)
    shuffled = [np.random.default_rng(seed).permutation(values).sum() for seed in range(UNITS)]
    assert np.ptp(shuffled) > 0
    assert is_constant(np.array(shuffled, dtype=np.float64)[None], within=FLOAT32_NOISE)[0]


@pytest.mark.parametrize("method", ["bootstrap-t", "bca"])
def test_small_effects_with_a_spread_of_their_own_size_vary(method):
    values = 1e-7 * (2 + noise())
    found = mean_sampling(values, clusters=IDS, method=method, rng=np.random.default_rng(0))
    assert found.bound(0.025, side="lower") < values.mean() < found.bound(0.025, side="upper")


def test_a_spread_of_a_hundred_thousandth_varies():
    values = 0.3 * (1 + 1e-5 * noise())
    assert not is_constant(values[None], within=FLOAT32_NOISE)[0]
    assert mean_sampling(values, clusters=IDS, method="bca", rng=np.random.default_rng(0)).estimate == values.mean()


def test_a_numerator_that_is_a_multiple_but_for_float32_noise_has_no_ratio():
    below = 4 + noise()
    with pytest.raises(StatisticsError, match="no variation"):
        ratio_sampling(0.9 * below * (1 + 3e-8 * noise(1)), below, clusters=IDS, rng=np.random.default_rng(0))


def test_resamples_are_constant_only_within_the_rounding_of_float64():
    close = np.array([[1.0, 1.0 + 1e-9], [1.0, 1.0 + 1e-13]])
    assert ROUNDING == 1e-12
    assert is_constant(close).tolist() == [False, True]
    assert is_constant(close, within=FLOAT32_NOISE).all()


def test_a_margin_with_limits_that_varies_by_float32_noise_is_refused():
    margin = Margin("cost", unit="probability", reason="", at_most=0.1, limits=(-1.0, 1.0))
    with pytest.raises(StatisticsError, match="no variation"):
        check_limits(margin, 0.3 * (1 + 3e-8 * noise()))
    check_limits(margin, 0.3 * (1 + 1e-3 * noise()))


def test_a_contrast_varies_where_one_of_its_sides_does_beyond_float32_noise():
    flat, varied = row(0.3 * (1 + 3e-8 * noise())), row(0.3 + 0.1 * noise())
    assert not Contrast("5.1", "none", "input", 0.1, flat, flat).varies()
    assert Contrast("5.1", "none", "input", 0.1, varied, flat).varies()
    assert Contrast("5.1", "none", "input", 0.1, flat, varied).varies()
