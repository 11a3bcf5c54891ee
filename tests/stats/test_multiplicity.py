from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from harness.errors import StatisticsError
from harness.stats.multiplicity import benjamini_hochberg, holm, holm_levels

# Subnormal numbers have no twelve digits in which two orders of multiplying could agree.
p_lists = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=30)


def statsmodels_holm(p_values: list[float]) -> NDArray[np.float64]:
    with mock.patch("gc.collect"):  # it collects all garbage on every call: a third of a second each
        return np.asarray(multipletests(p_values, method="holm")[1])


@given(p_lists)
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    np.testing.assert_allclose(holm(p_values), statsmodels_holm(p_values), rtol=1e-12)


@given(p_lists)
def test_benjamini_hochberg_agrees_with_scipy(p_values: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p_values), false_discovery_control(p_values), rtol=1e-12)


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, running maximum .04 .06 .06 .06
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])


@given(p_lists, st.lists(st.floats(0, 1), max_size=10))
def test_absent_members_never_lower_what_the_whole_family_would_give(given_p: list[float], absent: list[float]) -> None:
    complete = statsmodels_holm(given_p + absent)[: len(given_p)]
    assert (holm(given_p, family=len(given_p) + len(absent)) >= complete - 1e-12).all()


def test_absent_members_count_as_p_of_one() -> None:
    np.testing.assert_allclose(holm([0.01, 0.004], family=5), holm([0.01, 0.004, 1, 1, 1])[:2])


def test_levels_are_alpha_over_what_is_left() -> None:
    # ranks 2 0 1 of three: 0.03 / 1, 0.03 / 3, 0.03 / 2
    np.testing.assert_allclose(holm_levels([0.5, 0.001, 0.02], 0.03), [0.03, 0.01, 0.015])
    np.testing.assert_allclose(holm_levels([0.5, 0.001, 0.02], 0.03, family=6), [0.0075, 0.005, 0.006])


def test_equal_p_values_share_the_stricter_level() -> None:
    np.testing.assert_allclose(holm_levels([0.2, 0.2], 0.025), [0.0125, 0.0125])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_a_rejected_hypothesis_meets_its_own_level(p_values: list[float]) -> None:
    rejected = holm(p_values) <= 0.025
    assert (np.asarray(p_values)[rejected] <= holm_levels(p_values, 0.025)[rejected] * (1 + 1e-12)).all()


@pytest.mark.parametrize("function", [holm, benjamini_hochberg])
@pytest.mark.parametrize(
    ("p_values", "message"),
    [
        ([], "0 given, at least 1"),
        ([0.1, float("nan")], "value 1 is nan"),
        ([0.1, 1.2], "p-value 1 is 1.2"),
        ([-0.1], "p-value 0 is -0.1"),
        ([[0.1]], "shape"),
    ],
)
def test_what_is_no_p_value_is_refused(function: object, p_values: object, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        function(p_values)  # type: ignore[operator]


def test_a_family_smaller_than_its_members_is_refused() -> None:
    with pytest.raises(StatisticsError, match="family has 1 members but 2"):
        holm([0.1, 0.2], family=1)
    with pytest.raises(StatisticsError, match="alpha is 0"):
        holm_levels([0.1], 0.0)
