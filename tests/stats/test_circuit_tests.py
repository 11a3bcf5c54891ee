"""The tests of Shi et al.: exact error rates, oracles, planted effects, the published code's slips, hostile input.

Error rates of equivalence, sufficiency, necessity and minimality are sums over the binomial and so exact; those of HSIC
and of clustered equivalence are simulated.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from harness.errors import StatisticsError
from harness.stats.circuit_tests import CircuitTest, equivalence_test, independence_test
from harness.stats.hsic import hsic_permutation
from harness.stats.random_circuits import minimality_test, partial_necessity_test, sufficiency_test

ALPHA = 0.025


def each_its_own(units: int) -> list[str]:
    return [str(unit) for unit in range(units)]


def equivalence(above: int, *, of: int, ties: int = 0, epsilon: float = 0.1) -> CircuitTest:
    """The circuit scores higher on `above` units, the same on `ties`, lower on the rest, by unequal amounts."""
    difference = np.repeat([0.01, 0.0, -3.0], [above, ties, of - above - ties])
    return equivalence_test(np.zeros(of), difference, clusters=each_its_own(of), epsilon=epsilon)


def published_equivalence_p(model: np.ndarray, circuit: np.ndarray, *, epsilon: float) -> float:
    """The published code: lower scores are better there, and phat is the mean of s(M) - s(C)."""
    n, t = len(model), abs(float((model - circuit).mean()) - 0.5)
    return sum(binom.pmf(k, n, 0.5 + epsilon) for k in range(n + 1) if abs(k / n - 0.5) >= t)


# --- equivalence


@pytest.mark.parametrize(("above", "of", "epsilon"), [(10, 20, 0.1), (13, 30, 0.2), (30, 50, 0.1), (0, 12, 0.3)])
def test_support_is_two_one_sided_binomial_tests(above: int, of: int, epsilon: float) -> None:
    found = equivalence(above, of=of, epsilon=epsilon).support
    low = binomtest(above, of, 0.5 - epsilon, alternative="greater").pvalue
    high = binomtest(above, of, 0.5 + epsilon, alternative="less").pvalue
    assert found is not None
    assert found.p_value == pytest.approx(max(low, high))


@pytest.mark.parametrize(
    ("above", "of", "epsilon"), [(10, 20, 0.1), (35, 50, 0.1), (15, 50, 0.1), (0, 12, 0.3), (7, 9, 0.05)]
)
def test_refutation_is_the_published_sum_over_both_tails(above: int, of: int, epsilon: float) -> None:
    found = equivalence(above, of=of, epsilon=epsilon).refutation.p_value
    brute = sum(
        math.comb(of, k) * (0.5 + epsilon) ** k * (0.5 - epsilon) ** (of - k)
        for k in range(of + 1)
        if abs(k / of - 0.5) >= abs(above / of - 0.5) - 1e-12
    )
    assert found == pytest.approx(brute)


@pytest.mark.parametrize("of", [20, 51, 200, 400])
@pytest.mark.parametrize("epsilon", [0.1, 0.2])
def test_each_null_is_rejected_at_its_boundary_no_more_often_than_alpha(of: int, epsilon: float) -> None:
    found = [equivalence(above, of=of, epsilon=epsilon) for above in range(of + 1)]
    for boundary in (0.5 - epsilon, 0.5 + epsilon):
        chance = binom.pmf(np.arange(of + 1), of, boundary)
        assert chance @ [each.supports for each in found] <= ALPHA
        assert chance @ [each.refutes for each in found] <= ALPHA
    assert not any(each.supports and each.refutes for each in found)


def test_a_circuit_that_mostly_beats_the_model_passes_the_published_null_and_gets_no_support() -> None:
    # Review, finding 10: at n = 50, eps = .1 and P(D > 0) = .7 the published test passes 67 % (n = 20: 89 %) at 5 %.
    for of, passes in ((50, 0.67), (20, 0.89)):
        found = [equivalence(above, of=of) for above in range(of + 1)]
        chance = binom.pmf(np.arange(of + 1), of, 0.7)
        assert chance @ [each.refutation.p_value > 0.05 for each in found] == pytest.approx(passes, abs=0.005)
        assert chance @ [each.supports for each in found] < 1e-3


def test_few_units_support_nothing_and_the_record_says_that_they_cannot() -> None:
    found = [equivalence(above, of=50) for above in range(51)]
    assert not any(each.supports for each in found)
    reached = [each.support for each in found if each.support is not None]
    assert min(each.p_value for each in reached) == pytest.approx(reached[0].smallest_p)
    assert reached[0].smallest_p > ALPHA
    assert min(each.refutation.p_value for each in found) == pytest.approx(found[0].refutation.smallest_p)


def test_planted_equivalence_is_supported_and_planted_superiority_refuted() -> None:
    rng = np.random.default_rng(0)
    model = rng.normal(4, 1, 400)
    even = equivalence_test(model, model + rng.normal(0, 1, 400), clusters=each_its_own(400))
    assert (even.supports, even.refutes) == (True, False)
    assert even.statistic == pytest.approx(0.5, abs=0.06)
    better = equivalence_test(model, model + rng.normal(1, 1, 400), clusters=each_its_own(400))
    assert (better.supports, better.refutes) == (False, True)
    worse = equivalence_test(model, model - rng.normal(1, 1, 400), clusters=each_its_own(400))
    assert (worse.supports, worse.refutes) == (False, True)


def test_circuit_and_model_can_be_exchanged() -> None:
    rng = np.random.default_rng(1)
    model, circuit = rng.normal(size=(2, 60))
    one = equivalence_test(model, circuit, clusters=each_its_own(60))
    other = equivalence_test(circuit, model, clusters=each_its_own(60))
    assert other.statistic == pytest.approx(1 - one.statistic)
    assert (other.support.p_value, other.refutation.p_value) == pytest.approx(  # type: ignore[union-attr]
        (one.support.p_value, one.refutation.p_value)  # type: ignore[union-attr]
    )


def test_ties_count_against_either_conclusion() -> None:
    tied = equivalence(200, of=400, ties=60)
    assert tied.ties == 60
    # 200 above, 140 below: P(D < 0) > .4 is what must be shown.
    assert tied.support is not None
    assert tied.support.p_value == pytest.approx(binomtest(140, 400, 0.4, alternative="greater").pvalue)
    assert tied.refutation.p_value == equivalence(200, of=400).refutation.p_value


def test_nothing_is_known_of_a_circuit_whose_scores_are_the_models() -> None:
    found = equivalence(0, of=400, ties=400)
    assert (found.supports, found.refutes, found.ties) == (False, False, 400)
    assert found.refutation.p_value == 1.0


def test_the_published_formula_gives_another_number() -> None:
    model = np.random.default_rng(2).normal(4, 1, 50)
    circuit = model - 0.3 * np.linspace(0.9, 1.1, 50)  # one of the two scores higher on every unit
    ours = equivalence_test(model, circuit, clusters=each_its_own(50))
    # P(share 0 or 1 of 50 at 1/2 + eps) = .6^50 + .4^50
    assert ours.refutation.p_value == pytest.approx(0.6**50 + 0.4**50)
    # Its phat is the mean .3 of s(M) - s(C), 15 of 50 as it were: P(X <= 15 or X >= 35), X ~ Bin(50, .6).
    published = published_equivalence_p(model, circuit, epsilon=0.1)
    assert published == pytest.approx(binom.cdf(15, 50, 0.6) + binom.sf(34, 50, 0.6))
    assert published > 0.05
    # In another unit the same scores have another p there, and the same one here.
    assert published_equivalence_p(3 * model, 3 * circuit, epsilon=0.1) < 1e-4
    scaled = equivalence_test(3 * model, 3 * circuit, clusters=each_its_own(50))
    assert scaled.refutation.p_value == ours.refutation.p_value


def test_a_perfectly_even_circuit_is_refuted_by_the_published_formula() -> None:
    # phat of D = +-1 in equal parts is 0 there, as far from 1/2 as can be.
    model, circuit = np.zeros(400), np.tile([1.0, -1.0], 200)
    assert published_equivalence_p(model, circuit, epsilon=0.1) < 1e-9
    assert equivalence_test(model, circuit, clusters=each_its_own(400)).supports


def test_clustered_units_are_worth_less_than_independent_ones() -> None:
    rng = np.random.default_rng(3)
    model = rng.normal(size=400)
    circuit = model + np.repeat(rng.choice([-1.0, 1.0], size=40), 10)
    alone = equivalence_test(model, circuit, clusters=each_its_own(400))
    together = equivalence_test(model, circuit, clusters=[str(unit // 10) for unit in range(400)])
    assert (together.n, together.n_of, alone.n_of) == (40, "clusters", "units")
    assert together.support.p_value > alone.support.p_value  # type: ignore[union-attr]


def test_clustered_support_at_the_boundary_is_as_rare_as_alpha() -> None:
    # P(D > 0) of a template is Beta(.4 k, .6 k), k = 9: intraclass correlation .1; the mean is 1/2 - eps, eps = .1.
    # 600 draws at 2.5 %: 15 expected, SD 3.8; 27 is 3 SD.
    rng = np.random.default_rng(4)
    clusters = [str(unit // 8) for unit in range(480)]
    supported = refuted = 0
    for _ in range(600):
        share = np.repeat(rng.beta(3.6, 5.4, 60), 8)
        found = equivalence_test(np.zeros(480), np.where(rng.random(480) < share, 1.0, -1.0), clusters=clusters)
        supported += found.supports
        refuted += found.refutes
    assert supported <= 27
    assert refuted <= 27


# --- independence


def test_hsic_is_its_definition() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 9))
    kernels = []
    for row in (x, y):
        distance = np.array([[abs(a - b) for b in row] for a in row])
        sigma = np.median([abs(a - b) for a, b in itertools.combinations(row, 2)])
        kernels.append(np.exp(-(distance**2) / (2 * sigma**2)))
    centre = np.eye(9) - 1 / 9
    by_hand = np.trace(centre @ kernels[0] @ centre @ centre @ kernels[1] @ centre) / 64
    found = hsic_permutation(x, y, clusters=each_its_own(9), rng=rng, permutations=999)
    assert found.statistic == pytest.approx(by_hand)


def test_p_of_hsic_is_that_of_all_permutations() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=6)
    y = x + rng.normal(size=6)
    options: dict[str, Any] = {"clusters": each_its_own(6), "permutations": 999}
    every = [
        hsic_permutation(x, y[list(order)], rng=np.random.default_rng(0), **options).statistic
        for order in itertools.permutations(range(6))
    ]
    exact = np.mean(np.array(every) >= every[0] - 1e-12)
    found = hsic_permutation(x, y, rng=rng, clusters=each_its_own(6), permutations=9_999)
    # a Monte Carlo estimate of the exact p, within 5 standard errors
    assert found.p == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 9_999))


def test_clusters_are_permuted_whole() -> None:
    # Three clusters have 6 arrangements; the identity and no other reaches the observed statistic.
    x = np.array([0.0, 1.0, 5.0, 6.0, 20.0, 30.0])
    clusters = ["a", "a", "b", "b", "c", "c"]
    found = hsic_permutation(x, x, clusters=clusters, rng=np.random.default_rng(7), permutations=5_999)
    assert (found.clusters, found.units) == (3, 6)
    # 1/6 with a standard error of .0048
    assert found.p == pytest.approx(1 / 6, abs=0.02)
    shuffled = np.array([3, 0, 4, 1, 5, 2])
    again = hsic_permutation(
        x[shuffled], x[shuffled], clusters=[clusters[place] for place in shuffled],
        rng=np.random.default_rng(7), permutations=5_999,
    )  # fmt: skip
    assert again.statistic == pytest.approx(found.statistic)


def test_independence_is_rejected_as_often_as_alpha_where_it_holds() -> None:
    # Templates of 3 units with a shared part in both scores; permuting units would reject far more often.
    # 600 draws at 2.5 %: 15 expected, SD 3.8; 27 is 3 SD.
    rng = np.random.default_rng(8)
    clusters = [str(unit // 3) for unit in range(36)]
    rejected = 0
    for _ in range(600):
        x, y = np.repeat(rng.normal(size=(2, 12)), 3, axis=1) + 0.3 * rng.normal(size=(2, 36))
        rejected += independence_test(x, y, clusters=clusters, rng=rng, permutations=999).refutes
    assert 4 <= rejected <= 27


def test_dependence_without_correlation_is_found_and_refutes() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(size=80)
    found = independence_test(x, x**2 + 0.1 * rng.normal(size=80), clusters=each_its_own(80), rng=rng, permutations=999)
    assert found.refutes
    assert found.refutation.p_value == found.refutation.smallest_p == 1 / 1_000


def test_adding_a_constant_changes_no_p() -> None:
    x, y = np.random.default_rng(10).normal(size=(2, 30))
    options: dict[str, Any] = {"clusters": each_its_own(30), "permutations": 999}
    one = hsic_permutation(x, y, rng=np.random.default_rng(0), **options)
    other = hsic_permutation(x, y + 50, rng=np.random.default_rng(0), **options)
    assert (other.p, other.statistic) == pytest.approx((one.p, one.statistic))


def test_blocks_of_permutations_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.random.default_rng(11).normal(size=(2, 20))
    options: dict[str, Any] = {"clusters": each_its_own(20), "permutations": 999}
    whole = hsic_permutation(x, y, rng=np.random.default_rng(0), **options)
    monkeypatch.setattr("harness.stats.hsic._BLOCK_VALUES", 400 * 70)
    assert hsic_permutation(x, y, rng=np.random.default_rng(0), **options) == whole


# --- against random circuits


def beating(won: int, *, of: int, ties: int = 0, test: Any = sufficiency_test) -> CircuitTest:
    """The circuit is ahead of `won` of `of` random circuits, level with `ties` of them."""
    model = np.array([4.0, -4.0])
    beaten, ahead = (2.0, 0.5) if test is sufficiency_test else (0.5, 2.0)
    lags = np.repeat([beaten, 1.0, ahead], [won, ties, of - won - ties])
    named = "random" if test is sufficiency_test else "without_random"
    return test(model, model - 1.0, **{named: model - lags[:, None]})


@pytest.mark.parametrize("test", [sufficiency_test, partial_necessity_test])
@pytest.mark.parametrize(("won", "p"), [(95, 0.058), (96, 0.024)])
def test_support_against_100_random_circuits_needs_96(test: Any, won: int, p: float) -> None:
    # References A.1: with n = 100 and q = .9, T >= 95 has p = .058 and T >= 96 p = .024.
    found = beating(won, of=100, test=test)
    assert (found.statistic, found.n, found.n_of) == (won, 100, "random circuits")
    assert found.support is not None
    assert found.support.p_value == pytest.approx(p, abs=0.0005)
    assert found.support.p_value == pytest.approx(binomtest(won, 100, 0.9, alternative="greater").pvalue)
    assert found.refutation.p_value == pytest.approx(binomtest(won, 100, 0.9, alternative="less").pvalue)
    assert found.supports == (won == 96)


@pytest.mark.parametrize("test", [sufficiency_test, partial_necessity_test])
@pytest.mark.parametrize("of", [20, 36, 99])
def test_a_circuit_at_the_quantile_is_supported_or_refuted_no_more_often_than_alpha(test: Any, of: int) -> None:
    found = [beating(won, of=of, test=test) for won in range(of + 1)]
    chance = binom.pmf(np.arange(of + 1), of, 0.9)
    assert chance @ [each.supports for each in found] <= ALPHA
    assert chance @ [each.refutes for each in found] <= ALPHA
    assert any(each.supports for each in found) == (of >= 36)  # .9^36 = .0225, .9^35 = .02503
    assert found[-1].support is not None
    assert found[-1].support.p_value == pytest.approx(found[-1].support.smallest_p)


@pytest.mark.parametrize("test", [sufficiency_test, partial_necessity_test])
def test_ties_with_random_circuits_count_against_either_conclusion(test: Any) -> None:
    tied = beating(40, of=100, ties=60, test=test)
    assert (tied.ties, tied.supports, tied.refutes) == (60, False, False)
    # The published code counts ties as won in the sufficiency test, and would support at 100 of 100.
    assert binomtest(100, 100, 0.9, alternative="greater").pvalue < 1e-4


def test_rounding_makes_no_random_circuit_better() -> None:
    model = np.array([4.0, -4.0])
    close = model + 1e-8 * np.random.default_rng(12).normal(size=(50, 2))
    found = sufficiency_test(model, model, random=close)
    assert (found.ties, found.supports) == (50, False)


@pytest.mark.parametrize("test", [sufficiency_test, partial_necessity_test])
def test_p_is_that_of_simulated_draws_of_random_circuits(test: Any) -> None:
    # The circuit's delta lies at the .9 quantile of exponential deltas: 2,000 draws of 100 random circuits.
    rng = np.random.default_rng(13)
    quantile = -math.log(0.9) if test is sufficiency_test else -math.log(0.1)
    named = "random" if test is sufficiency_test else "without_random"
    model = np.zeros(3)
    supported = 0
    for _ in range(2_000):
        lags = np.sqrt(rng.exponential(size=(100, 1)))
        supported += test(model, model + math.sqrt(quantile), **{named: model + lags}).supports
    # P(Bin(100, .9) >= 96) = .0237: 47 expected, SD 6.8
    assert supported == pytest.approx(47, abs=21)


def minimality(effects: list[float], *, additions: list[float], **options: Any) -> Any:
    """Components with these deltas, and random additions with those."""
    circuit = np.array([3.0, 3.0])
    inflated = np.tile([5.0, 1.0], (len(additions), 1))
    return minimality_test(
        circuit,
        {f"0.{place}": circuit - math.sqrt(effect) for place, effect in enumerate(effects)},
        inflated=inflated,
        inflated_without=inflated + np.sqrt(additions)[:, None],
        **options,
    )


def test_a_component_that_beats_few_additions_is_redundant_and_refutes_minimality() -> None:
    additions = [place + 0.5 for place in range(100)]
    found = minimality([200.0, 80.0, 95.0], additions=additions)
    expected = [binomtest(won, 100, 0.9, alternative="less").pvalue for won in (100, 80, 95)]
    assert list(found.p_values.values()) == pytest.approx(expected)
    # Holm over three components: the smallest counts three times.
    assert found.p_adjusted["0.1"] == pytest.approx(3 * expected[1])
    assert found.refutation.p_value == pytest.approx(3 * expected[1])
    assert (found.redundant, found.refutes) == (("0.1",), True)
    assert (found.statistic, found.n) == (80, 100)


def test_minimality_never_supports() -> None:
    found = minimality([200.0, 300.0], additions=[1.0] * 100)
    assert found.support is None
    assert (found.supports, found.refutes, found.redundant) == (False, False, ())
    assert found.refutation.p_value == 1.0


def test_a_component_without_effect_is_redundant_even_where_additions_have_none() -> None:
    found = minimality([0.0, 9.0], additions=[0.0] * 50)
    assert (found.redundant, found.ties) == (("0.0",), 50)


def test_minimality_of_components_at_the_quantile_is_refuted_no_more_often_than_alpha() -> None:
    # Ten components at the .9 quantile of the additions' deltas share 100 additions: p is one and the same binomial.
    additions = [place + 0.5 for place in range(100)]
    rejected = [minimality([float(won)] * 10, additions=additions).refutes for won in range(101)]
    assert binom.pmf(np.arange(101), 100, 0.9) @ rejected <= ALPHA


def test_independence_never_supports_however_large_its_p() -> None:
    rng = np.random.default_rng(14)
    x, y = rng.normal(size=(2, 40))
    found = independence_test(x, y, clusters=each_its_own(40), rng=rng, permutations=999)
    assert found.refutation.p_value > 0.05
    assert found.support is None
    assert (found.supports, found.refutes) == (False, False)


# --- hostile input


SCORES = np.array([1.0, 2.0, 4.0, 3.0])


@pytest.mark.parametrize(
    ("model", "circuit", "options", "message"),
    [
        (SCORES, SCORES[:3], {}, "3 and 4 scores"),
        (SCORES, [1.0, math.nan, 2.0, 3.0], {}, "value 1 is nan"),
        (SCORES[:1], SCORES[:1], {}, "1 given, at least 2"),
        (SCORES, SCORES, {"epsilon": 0.5}, "epsilon is 0.5"),
        (SCORES, SCORES, {"epsilon": 0.0}, "epsilon is 0.0"),
        (SCORES, SCORES, {"clusters": ["a"] * 4}, "only one cluster"),
        (SCORES, SCORES, {"clusters": ["a", "a", "a", "b"]}, "unequal clusters"),
        (SCORES, SCORES, {"clusters": ["a"]}, "1 cluster ids for 4"),
    ],
)
def test_equivalence_refuses_by_name(model: Any, circuit: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        equivalence_test(model, circuit, **{"clusters": ["a", "b", "c", "d"], **options})


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        (SCORES, SCORES[:3], {}, r"shapes \(4,\) and \(3,\)"),
        (SCORES, np.ones(4), {}, "no variation: all 4 scores equal"),
        (SCORES, [1.0, 2.0, math.inf, 3.0], {}, "must be finite"),
        (SCORES, SCORES, {"permutations": 99}, "resamples is 99"),
        (SCORES, SCORES, {"rng": 3}, "rng is 3"),
        (SCORES, SCORES, {"clusters": ["a", "a", "a", "b"]}, "unequal clusters"),
    ],
)
def test_independence_refuses_by_name(first: Any, second: Any, options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"clusters": ["a", "b", "c", "d"], "rng": np.random.default_rng(0), **options}
    with pytest.raises(StatisticsError, match=message):
        independence_test(first, second, **arguments)


@pytest.mark.parametrize(
    ("random", "options", "message"),
    [
        (np.empty((0, 4)), {}, r"shape \(0, 4\)"),
        (SCORES, {}, r"shape \(4,\); give \[set, unit\] with 4 units"),
        (np.ones((5, 3)), {}, r"shape \(5, 3\)"),
        (np.full((5, 4), math.nan), {}, "value 0 is nan"),
        (np.ones((5, 4)), {"quantile": 1.0}, "quantile is 1.0"),
    ],
)
def test_random_circuits_are_refused_by_name(random: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        sufficiency_test(SCORES, SCORES, random=random, **options)
    with pytest.raises(StatisticsError, match=message):
        partial_necessity_test(SCORES, SCORES, without_random=random, **options)


def test_minimality_refuses_by_name() -> None:
    rows = np.ones((5, 4))
    with pytest.raises(StatisticsError, match="no component given"):
        minimality_test(SCORES, {}, inflated=rows, inflated_without=rows)
    with pytest.raises(StatisticsError, match="5 inflated circuits, but 4 of them"):
        minimality_test(SCORES, {"0.0": SCORES}, inflated=rows, inflated_without=rows[:4])
    with pytest.raises(StatisticsError, match="3 and 4 scores"):
        minimality_test(SCORES, {"0.0": SCORES[:3]}, inflated=rows, inflated_without=rows)
