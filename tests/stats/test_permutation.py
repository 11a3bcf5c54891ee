from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import permutation_test

from harness.errors import StatisticsError
from harness.stats.permutation import SignFlip, sign_flip

ALTERNATIVES: tuple[Literal["greater"], Literal["less"]] = ("greater", "less")


def each_its_own(number: int) -> list[str]:
    return [str(unit) for unit in range(number)]


def flips(differences: NDArray[np.float64], clusters: list[str] | None = None, **options: Any) -> SignFlip:
    arguments: dict[str, Any] = {"rng": np.random.default_rng(0), "alternative": "greater", **options}
    return sign_flip(differences, clusters=clusters or each_its_own(len(differences)), **arguments)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("number", [2, 5, 10, 13])
def test_enumerated_p_is_that_of_scipy(number: int, alternative: Literal["greater", "less"]) -> None:
    differences = np.random.default_rng(number).normal(0.3, 1, number)
    oracle = permutation_test(
        (differences, np.zeros(number)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        alternative=alternative,
        n_resamples=10_000,
    )
    result = flips(differences, alternative=alternative)
    assert result.enumerated
    assert result.patterns == 2**number
    assert result.p == pytest.approx(oracle.pvalue, abs=1e-12)


def test_ties_are_counted_as_scipy_counts_them() -> None:
    differences = np.array([0.1, 0.2, -0.3, 0.1, 0.0, 0.3])
    oracle = permutation_test(
        (differences, np.zeros(6)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        alternative="greater",
    )
    assert flips(differences).p == pytest.approx(oracle.pvalue, abs=1e-12)


def test_random_patterns_agree_with_scipy_and_count_the_observed_one() -> None:
    differences = np.random.default_rng(3).normal(0.25, 1, 40)
    oracle = permutation_test(
        (differences, np.zeros(40)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        alternative="greater",
        n_resamples=9_999,
        rng=np.random.default_rng(4),
    )
    result = flips(differences)
    assert not result.enumerated
    # two Monte Carlo estimates of one p: within 5 standard errors of their difference
    assert result.p == pytest.approx(oracle.pvalue, abs=5 * np.sqrt(2 * oracle.pvalue / 9_999))
    assert result.smallest_p == 1 / 10_000
    assert result.p >= result.smallest_p


def test_clusters_are_flipped_whole() -> None:
    rng = np.random.default_rng(5)
    differences = rng.normal(0.2, 1, 24)
    clusters = [f"template {unit % 8}" for unit in range(24)]
    sums = differences.reshape(3, 8).sum(axis=0)
    result = flips(differences, clusters)
    assert result.clusters == 8
    assert result.p == flips(sums).p


def test_a_planted_effect_reaches_the_smallest_p() -> None:
    result = flips(np.full(10, 0.4) + np.random.default_rng(1).normal(0, 0.01, 10))
    assert result.p == result.smallest_p == 1 / 1024


def test_p_is_uniform_where_x_and_its_shuffle_are_exchangeable() -> None:
    # clusters of 3 with a shared part: flipping units instead of clusters would reject about 17 %
    rng = np.random.default_rng(6)
    clusters = [str(unit // 3) for unit in range(36)]
    p_values = [
        flips(np.repeat(rng.normal(size=12), 3) + rng.normal(scale=0.3, size=36), clusters).p for _ in range(2_000)
    ]
    # exact test: 2,000 draws at 5 % have 3 binomial errors of 1.5 points
    assert abs(np.mean(np.asarray(p_values) <= 0.05) - 0.05) < 0.015


def test_differences_that_are_all_zero_are_no_evidence() -> None:
    assert flips(np.zeros(6)).p == 1
    assert flips(np.zeros(40)).p == 1


def test_the_same_generator_gives_the_same_p_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(7).normal(0.2, 1, 32)
    whole = flips(differences)
    monkeypatch.setattr("harness.stats.permutation._BLOCK_VALUES", 32 * 1_000)
    assert flips(differences) == whole


@pytest.mark.parametrize(
    ("differences", "options", "message"),
    [
        (np.array([]), {}, "0 given, at least 2"),
        (np.array([1.0]), {}, "1 given, at least 2"),
        (np.array([1.0, np.inf]), {}, "value 1 is inf"),
        (np.array([1.0, 2.0]), {"clusters": ["a", "a"]}, "share one cluster"),
        (np.array([1.0, 2.0]), {"clusters": ["a"]}, "1 cluster ids for 2 units"),
        (np.array([1.0, 2.0]), {"draws": 99}, "draws is 99"),
        (np.array([1.0, 2.0]), {"alternative": "two-sided"}, "name the direction"),
    ],
)
def test_what_has_no_p_is_refused(differences: NDArray[np.float64], options: dict[str, Any], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        flips(differences, **options)
