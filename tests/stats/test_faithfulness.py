"""Faithfulness: hand-computed ratios, strata, invalid denominators, an oracle for the intervals, hostile input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.errors import StatisticsError
from harness.stats.equivalence import tost_by_stratum
from harness.stats.faithfulness import Faithfulness, faithfulness
from harness.stats.ratio import ratio_sampling


def each_its_own(units: int) -> list[str]:
    return [f"template {unit}" for unit in range(units)]


def measured(model: Any, circuit: Any, empty: Any, **options: Any) -> Faithfulness:
    arguments: dict[str, Any] = {
        "clusters": each_its_own(len(model)),
        "rng": np.random.default_rng(0),
        "resamples": 999,
        **options,
    }
    return faithfulness(model, circuit, empty=empty, **arguments)


def planted(units: int = 40, *, share: float = 0.9, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a model near 4, of an empty circuit near 0.5, and of a circuit that recovers a share of the way."""
    noise = np.random.default_rng(seed).normal(size=(3, units))
    model, empty = 4 + noise[0], 0.5 + 0.3 * noise[1]
    return model, empty + share * (model - empty) + 0.3 * noise[2], empty


def test_both_ratios_are_ratios_of_means() -> None:
    model, circuit, empty = [2.0, 2.0, 4.0, 8.0], [1.0, 2.0, 3.0, 6.0], [0.0, 1.0, 0.0, -1.0]
    found = measured(model, circuit, empty).whole
    assert (found.units, found.model_mean, found.circuit_mean, found.empty_mean) == (4, 4.0, 3.0, 0.0)
    # F(C) - F(empty) = 3, F(M) - F(empty) = 4, but their differences 2, 1, 4, 9 have a standard error of 1.78.
    assert (found.recovered.numerator_mean, found.recovered.denominator_mean) == (3.0, 4.0)
    assert found.recovered.estimate is None
    far = measured(np.add(model, 100), np.add(circuit, 100), np.add(empty, 10)).whole
    assert far.kept.estimate == pytest.approx(103 / 104)
    assert far.recovered.estimate == pytest.approx(93 / 94)


def test_ratio_of_means_is_not_the_mean_of_ratios() -> None:
    model, circuit = np.tile([1.0, 3.0], 20), np.tile([0.1, 3.0], 20)
    found = measured(model, circuit, np.zeros(40)).whole
    assert found.kept.estimate == pytest.approx(1.55 / 2)  # the mean of ratios is (.1 + 1) / 2 = .55


def test_intervals_are_those_of_the_paired_ratio() -> None:
    model, circuit, empty = planted()
    found = measured(model, circuit, empty).whole
    rng = np.random.default_rng(0)
    for ratio, above, below in ((found.recovered, circuit - empty, model - empty), (found.kept, circuit, model)):
        oracle = ratio_sampling(above, below, clusters=each_its_own(40), rng=rng, resamples=999)
        assert (ratio.low, ratio.high) == (oracle.bound(0.025, side="lower"), oracle.bound(0.025, side="upper"))
        assert ratio.sampling is not None
        assert ratio.invalid is None


def test_a_planted_share_lies_in_the_interval_and_others_do_not() -> None:
    found = measured(*planted(share=0.6)).whole.recovered
    assert found.low is not None
    assert found.high is not None
    assert 0.5 < found.low < 0.6 < found.high < 0.7


def test_the_interval_of_the_recovered_share_misses_as_often_as_it_says() -> None:
    # 400 draws at 5 %: 20 misses expected, SD 4.4; 34 is 3.2 SD.
    missed = 0
    for seed in range(400):
        found = measured(*planted(24, share=0.8, seed=seed)).whole.recovered
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 0.8 <= found.high
    assert 6 <= missed <= 34


@pytest.mark.parametrize("share", [-0.5, 1.4])
def test_nothing_is_clamped(share: float) -> None:
    found = measured(*planted(share=share)).whole.recovered
    assert found.estimate == pytest.approx(share, abs=0.05)


def test_opposite_errors_cancel_in_the_whole_and_show_in_strata_and_per_unit() -> None:
    # The published pattern: ABBA keeps 86 %, BABA 125 %.
    model = 4 + np.random.default_rng(1).normal(scale=0.2, size=48)
    order = ["ABBA", "BABA"] * 24
    share = np.where(np.array(order) == "ABBA", 0.75, 1.25) + np.random.default_rng(2).normal(scale=0.01, size=48)
    templates = [f"template {unit // 2}" for unit in range(48)]
    found = measured(model, share * model, np.zeros(48), clusters=templates, strata=order)
    assert found.whole.kept.estimate == pytest.approx(1.0, abs=0.02)
    assert found.whole.mean_discrepancy == pytest.approx(1.0, abs=0.1)
    assert list(found.strata) == ["ABBA", "BABA"]
    assert found.strata["ABBA"].kept.estimate == pytest.approx(0.75, abs=0.02)
    assert found.strata["BABA"].kept.estimate == pytest.approx(1.25, abs=0.02)
    assert [part.units for part in found.strata.values()] == [24, 24]
    samplings = {name: part.kept.sampling for name, part in found.strata.items()}
    assert all(sampling is not None for sampling in samplings.values())
    assert tost_by_stratum(samplings, low=0.8, high=1.25).p > 0.025  # type: ignore[arg-type]


def test_discrepancy_is_per_unit_in_the_order_of_the_scores() -> None:
    model, circuit, empty = planted(12)
    found = measured(model, circuit, empty)
    np.testing.assert_array_equal(found.discrepancy, abs(circuit - model))
    assert found.whole.mean_discrepancy == pytest.approx(found.discrepancy.mean())


def test_clusters_are_resampled_and_their_means_kept() -> None:
    model, circuit, empty = planted(20)
    once = measured(model, circuit, empty).whole
    twice = measured(*(np.repeat(row, 3) for row in (model, circuit, empty)), clusters=[str(u // 3) for u in range(60)])
    assert twice.whole.recovered.low == pytest.approx(once.recovered.low)
    assert twice.whole.units == 60
    np.testing.assert_allclose(twice.whole.by_cluster.means, [model, circuit, empty])


def test_strata_change_no_number_of_the_whole() -> None:
    scores = planted(24)
    plain, split = measured(*scores), measured(*scores, strata=["a", "b"] * 12)
    assert (plain.whole.recovered.low, plain.whole.kept.high) == (split.whole.recovered.low, split.whole.kept.high)
    assert plain.strata == {}


def test_a_model_no_better_than_the_empty_circuit_is_invalid_with_its_means() -> None:
    noise = np.random.default_rng(3).normal(size=(3, 30))
    found = measured(4 + noise[0], 4 + noise[1], 4 + noise[2]).whole
    assert (found.recovered.estimate, found.recovered.low, found.recovered.sampling) == (None, None, None)
    assert "within 5 standard errors of zero" in str(found.recovered.invalid)
    assert found.recovered.denominator_mean == pytest.approx((noise[0] - noise[2]).mean())
    assert found.kept.invalid is None


def test_a_circuit_that_is_the_model_has_the_ratio_one_and_no_interval() -> None:
    model, _, empty = planted()
    found = measured(model, model, empty)
    for ratio in (found.whole.recovered, found.whole.kept):
        assert ratio.estimate == 1.0
        assert (ratio.low, ratio.high, ratio.sampling) == (None, None, None)
        assert "no variation" in str(ratio.invalid)
    assert found.whole.mean_discrepancy == 0.0


def test_an_empty_circuit_recovers_nothing() -> None:
    model, _, empty = planted()
    assert measured(model, empty, empty).whole.recovered.estimate == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"circuit": [1.0, 2.0]}, r"circuit \(2,\)"),
        ({"circuit": [1.0, math.nan, 3.0, 4.0]}, "score 1 of the circuit is nan"),
        ({"empty": [1.0, 2.0, 3.0, math.inf]}, "score 3 of the empty is inf"),
        ({"model": [[1.0, 2.0, 3.0, 4.0]]}, r"model \(1, 4\)"),
        ({"clusters": ["a", "a", "a", "a"]}, "only one cluster"),
        ({"clusters": ["a", "a", "a", "b"]}, "unequal clusters"),
        ({"clusters": ["a", "b"]}, "2 cluster ids for 4 units"),
        ({"strata": ["a", "b"]}, "2 strata for 4 units"),
        ({"strata": ["a", "a", "a", "b"]}, "stratum 'b': a single value"),
        ({"resamples": 99}, "resamples is 99"),
        ({"rng": 7}, "rng is 7"),
    ],
)
def test_scores_without_a_faithfulness_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "model": [4.0, 5.0, 6.0, 7.0],
        "circuit": [3.0, 5.0, 5.0, 6.0],
        "empty": [0.0, 0.1, 0.0, 0.2],
        "clusters": ["a", "b", "c", "d"],
        "rng": np.random.default_rng(0),
        **changes,
    }
    model, circuit = arguments.pop("model"), arguments.pop("circuit")
    with pytest.raises(StatisticsError, match=message):
        faithfulness(model, circuit, **arguments)
