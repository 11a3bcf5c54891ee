from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta, chi2, ttest_1samp
from statsmodels.stats.meta_analysis import combine_effects

from harness.errors import StatisticsError
from harness.stats.combine import combine_seeds, k_of_k_lower_bound

EFFECTS = [0.3, 0.5, 0.4, 0.6, 0.2]
VARIANCES = [0.01, 0.02, 0.01, 0.015, 0.01]

# BCG vaccine, 13 trials, log relative risks (Colditz et al. 1994), as printed by metafor's escalc for `dat.bcg`
# fmt: off
BCG = [-0.8893, -1.5854, -1.3481, -1.4416, -0.2175, -0.7861, -1.6209, 0.0120, -0.4694, -1.3713, -0.3394, 0.4459,
       -0.0173]
BCG_VARIANCES = [0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230, 0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714]
# fmt: on


def test_the_mean_has_the_t_interval_of_scipy() -> None:
    oracle = ttest_1samp(EFFECTS, 0).confidence_interval(0.95)
    combined = combine_seeds(EFFECTS, variances=VARIANCES)
    assert combined.mean == pytest.approx(0.4)
    assert (combined.low, combined.high) == pytest.approx((oracle.low, oracle.high))


def test_tau_is_paule_mandel_of_statsmodels() -> None:
    # effects further apart than their errors, so that tau is not 0
    effects = np.array(EFFECTS) * 3
    oracle = combine_effects(effects, np.array(VARIANCES), method_re="iterated", atol=1e-12)
    assert combine_seeds(effects, variances=VARIANCES).tau == pytest.approx(math.sqrt(oracle.tau2), rel=1e-6)


def test_the_q_profile_interval_is_that_of_metafor() -> None:
    combined = combine_seeds(BCG, variances=BCG_VARIANCES)
    assert combined.tau_low is not None
    assert combined.tau_high is not None
    # confint(rma(yi, vi, data=dat.bcg)) prints tau^2 in [0.1197, 1.1115]; the profile does not depend on the estimator
    assert combined.tau_low**2 == pytest.approx(0.1197, abs=1e-4)
    assert combined.tau_high**2 == pytest.approx(1.1115, abs=3e-4)


def test_hksj_is_the_row_of_statsmodels() -> None:
    oracle = combine_effects(np.array(BCG), np.array(BCG_VARIANCES), method_re="iterated", use_t=True)
    with pytest.warns(match="nobs"):
        frame = oracle.summary_frame()
    row = frame.loc["random effect wls"]
    combined = combine_seeds(BCG, variances=BCG_VARIANCES)
    check = (combined.check_mean, combined.check_low, combined.check_high)
    assert check == pytest.approx((row["eff"], row["ci_low"], row["ci_upp"]))


def test_exact_seeds_have_the_sample_sd_as_tau() -> None:
    combined = combine_seeds([1.0, 2.0, 3.0, 4.0, 5.0], variances=[0.0] * 5)
    assert combined.tau == pytest.approx(math.sqrt(2.5))
    # chi-square quantiles with 4 degrees of freedom .4844 and 11.1433: sqrt(10 / q)
    assert (combined.tau_low, combined.tau_high) == pytest.approx((0.94731, 4.54349), abs=1e-4)
    assert combined.check_mean is None


def test_the_prediction_interval_needs_five_seeds() -> None:
    assert combine_seeds(EFFECTS[:4], variances=VARIANCES[:4]).prediction_low is None
    combined = combine_seeds([1.0, 2.0, 3.0, 4.0, 5.0], variances=[0.1] * 5)
    # t_4 = 2.7764 times sqrt(s2 + s2 / 5) = sqrt(2.5 + 0.5)
    reach = 2.7764 * math.sqrt(3)
    assert combined.prediction_low == pytest.approx(3 - reach, abs=1e-4)
    assert combined.prediction_high == pytest.approx(3 + reach, abs=1e-4)


def test_seeds_no_further_apart_than_their_errors_have_no_tau() -> None:
    # Q(0) = 0.0413 / 0.0166 = 2.49: below k - 1 = 4, above the lower chi-square quantile of 4 degrees of freedom, 0.484
    combined = combine_seeds([0.3, 0.5, 0.3, 0.5, 0.44], variances=[0.0166] * 5)
    assert (combined.tau, combined.tau_low) == (0, 0)
    assert combined.tau_high is not None
    assert combined.tau_high > 0


def test_seeds_nearer_together_than_any_tau_explains_have_an_empty_interval() -> None:
    # Q(0) = 0.00052 / 0.01 = 0.052 lies below the lower chi-square quantile too: no tau2 is in the set
    combined = combine_seeds([0.40, 0.41, 0.39, 0.40, 0.42], variances=[0.01] * 5)
    assert (combined.tau, combined.tau_low, combined.tau_high) == (0, None, None)


@pytest.mark.parametrize("share", [0.999, 1.001])
def test_the_interval_is_empty_from_the_lower_chi_square_quantile_downwards(share: float) -> None:
    # equal variances v: Q(0) = sum of squares / v, here `share` of chi-square's 2.5 % quantile
    effects = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    variance = 10 / (share * chi2.ppf(0.025, 4))
    combined = combine_seeds(effects, variances=[variance] * 5)
    assert (combined.tau_high is None) == (share < 1)


def test_of_homogeneous_seeds_the_interval_misses_0_as_often_as_promised() -> None:
    # null: tau = 0. The set is empty, or begins above 0, in 2.5 % each.
    rng = np.random.default_rng(2)
    made = [combine_seeds(rng.normal(1.0, 0.1, 5), variances=[0.01] * 5) for _ in range(2_000)]
    empty = sum(combined.tau_high is None for combined in made) / 2_000
    above = sum(combined.tau_low is not None and combined.tau_low > 0 for combined in made) / 2_000
    assert abs(empty - 0.025) < 0.0105  # three binomial errors
    assert abs(above - 0.025) < 0.0105


def test_without_the_seeds_variances_there_is_a_mean_and_no_tau() -> None:
    known, unknown = combine_seeds(EFFECTS, variances=VARIANCES), combine_seeds(EFFECTS, variances=None)
    names = ("mean", "low", "high", "prediction_low", "prediction_high")
    assert [getattr(unknown, name) for name in names] == [getattr(known, name) for name in names]
    assert (unknown.tau, unknown.tau_low, unknown.tau_high) == (None, None, None)
    assert (unknown.check_mean, unknown.check_low, unknown.check_high) == (None, None, None)


def test_hksj_holds_where_some_variances_are_nearly_0() -> None:
    # statsmodels' iteration, asked for enough steps, is the oracle; 50 steps, as it takes by itself, do not get there
    effects, variances = np.array([0.01, 0.02, 0.015, 0.05, 0.03]), np.array([1e-22, 1e-6, 1e-5, 3e-22, 1e-7])
    oracle = combine_effects(effects, variances, method_re="iterated", use_t=True, maxiter=500, atol=1e-12)
    combined = combine_seeds(effects, variances=variances)
    assert combined.check_mean == pytest.approx(oracle.mean_effect_re, rel=1e-6)
    assert combined.check_high is not None
    reach = 2.7764451 * oracle.sd_eff_w_re_hksj  # t_4
    assert combined.check_high - combined.check_mean == pytest.approx(reach, rel=1e-6)


def test_mean_tau_and_prediction_cover_what_they_should() -> None:
    rng = np.random.default_rng(0)
    covered = np.zeros(4)
    for _ in range(1_500):
        combined = combine_seeds(rng.normal(rng.normal(1.0, 0.1, 5), 0.1), variances=[0.01] * 5)
        new = rng.normal(1.0, 0.1)
        assert combined.prediction_low is not None
        assert combined.prediction_high is not None
        covered += [
            combined.low <= 1.0 <= combined.high,
            combined.tau_low is not None and combined.tau_low <= 0.1 <= (combined.tau_high or 0),
            combined.prediction_low <= rng.normal(new, 0.1) <= combined.prediction_high,
            combined.prediction_low <= new <= combined.prediction_high,
        ]
    mean, tau, measured, true = covered / 1_500
    assert abs(mean - 0.95) < 0.017  # three binomial errors
    assert abs(tau - 0.95) < 0.017
    assert abs(measured - 0.95) < 0.017
    assert true > 0.95  # the true effect lies nearer than a measured one; the plug-in of tau covers it in 88 % only


@pytest.mark.parametrize("k", [1, 3, 5, 20])
def test_k_of_k_is_clopper_pearson_at_k_of_k(k: int) -> None:
    assert k_of_k_lower_bound(k) == pytest.approx(beta.ppf(0.05, k, 1))


def test_five_of_five_is_55_percent() -> None:
    # review-statistics, finding 11: 5 of 5 is 55 %, 3 of 3 is 37 %
    assert k_of_k_lower_bound(5) == pytest.approx(0.549, abs=5e-4)
    assert k_of_k_lower_bound(3) == pytest.approx(0.368, abs=5e-4)


@pytest.mark.parametrize(
    ("effects", "variances", "message"),
    [
        ([1.0], [0.1], "1 given, at least 2"),
        ([1.0, 2.0], [0.1, 0.1, 0.1], "2 effects and 3 variances"),
        ([1.0, 2.0], [0.1, -0.1], "variance >= 0"),
        ([1.0, 1.0, 1.0], [0.1] * 3, "all seeds have the same effect"),
        ([1.0, math.nan], [0.1, 0.1], "value 1 is nan"),
    ],
)
def test_seeds_that_cannot_be_combined_are_refused(effects: list[float], variances: list[float], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        combine_seeds(effects, variances=variances)


def test_k_of_no_seeds_is_refused() -> None:
    with pytest.raises(StatisticsError, match="k is 0"):
        k_of_k_lower_bound(0)
