from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from harness.errors import StatisticsError
from harness.stats.effect_size import hedges_g_av


def own(number: int) -> list[str]:
    return [str(unit) for unit in range(number)]


def test_by_hand() -> None:
    # means 5 and 2, difference 3; SDs sqrt(10/3) = 1.8257 and sqrt(2/3) = 0.8165, average 1.3211; d_av = 2.2708
    # four clusters: correction 1 - 3 / (4 * 3 - 1) = 8 / 11
    result = hedges_g_av([3.0, 4.0, 6.0, 7.0], [1.0, 2.0, 2.0, 3.0], clusters=own(4))
    assert result.d_av == pytest.approx(2.270802, abs=1e-5)
    assert result.g == pytest.approx(2.270802 * 8 / 11, abs=1e-5)
    assert result.clusters == 4


def test_the_spread_is_of_raw_units_not_of_differences() -> None:
    # prompts that behave almost alike: d_z would be about 100
    control = np.linspace(0, 3, 20)
    treated = control + 1 + np.tile([0.01, -0.01], 10)
    assert hedges_g_av(treated, control, clusters=own(20)).d_av == pytest.approx(1 / control.std(ddof=1), rel=1e-3)


def test_it_does_not_depend_on_the_unit() -> None:
    rng = np.random.default_rng(0)
    treated, control = rng.normal(1, 1, 16), rng.normal(0, 1, 16)
    first = hedges_g_av(treated, control, clusters=own(16))
    second = hedges_g_av(1000 * treated + 7, 1000 * control + 7, clusters=own(16))
    assert (second.g, second.low, second.high) == pytest.approx((first.g, first.low, first.high))


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    shared = np.repeat(rng.normal(size=40), 8)
    treated, control = 1 + shared + rng.normal(size=320), rng.normal(size=320)
    clustered = hedges_g_av(treated, control, clusters=[str(unit // 8) for unit in range(320)])
    apart = hedges_g_av(treated, control, clusters=own(320))
    # variance of a mean difference (1 + 2 / 8) / 40 against 3 / 320: the error is 1.8 times as large
    assert clustered.high - clustered.low > 1.4 * (apart.high - apart.low)
    assert clustered.d_av == apart.d_av


def test_the_interval_covers_the_truth() -> None:
    # normal values with SDs 1 and 1, true g 0.5, correlated pairs
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(600):
        shared = rng.normal(size=40) * np.sqrt(0.5)
        treated = 0.5 + shared + rng.normal(size=40) * np.sqrt(0.5)
        control = shared + rng.normal(size=40) * np.sqrt(0.5)
        result = hedges_g_av(treated, control, clusters=own(40))
        covered += result.low <= 0.5 <= result.high
    assert 551 <= covered <= 589  # 95 % of 600, 3.6 binomial errors


def test_its_interval_nears_the_t_interval_of_the_standardised_mean_for_known_spread() -> None:
    # with 4,000 units the spread is known, and the jackknife is the error of the mean difference
    rng = np.random.default_rng(3)
    treated, control = rng.normal(0, 1, 4_000), rng.normal(0, 1, 4_000)
    result = hedges_g_av(treated, control, clusters=[str(unit % 400) for unit in range(4_000)])
    error = (treated - control).reshape(10, 400).mean(axis=0).std(ddof=1) / np.sqrt(400)
    assert (result.high - result.low) / 2 == pytest.approx(student.ppf(0.975, 399) * error, rel=0.03)


@pytest.mark.parametrize(
    ("treated", "control", "clusters", "message"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0], own(3), "3 treated and 2 control"),
        ([0.1, 0.1, 0.1], [0.3, 0.3, 0.3], own(3), "no variation"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], ["a", "a", "b"], "over 2 clusters"),
        ([1.0, np.nan, 3.0], [1.0, 2.0, 4.0], own(3), "treated values: value 1 is nan"),
        ([], [], [], "0 given"),
    ],
)
def test_what_has_no_standardised_effect_is_refused(
    treated: list[float], control: list[float], clusters: list[str], message: str
) -> None:
    with pytest.raises(StatisticsError, match=message):
        hedges_g_av(treated, control, clusters=clusters)
