"""Control directions and placements: covariance, labels that tell nothing, and the AUC against its oracles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InterventionError, StatisticsError
from harness.steering import (
    Activations,
    Direction,
    PairActivations,
    Place,
    mean_difference,
    permuted_directions,
    placements,
    random_directions,
)
from harness.steering.controls import half_of

AT = Place("resid_pre", 1, 10.0)


def direction(d: int = 6) -> Direction:
    return Direction(np.eye(d)[0], "resid_pre", 1, 10.0, "mean difference", 4)


def pairs(*, n: int = 60, d: int = 6, layers: int = 2, step: float = 2.0, seed: int = 0) -> PairActivations:
    """Noise in every layer; in the last one the classes differ along the first axis."""
    values = np.random.default_rng(seed).standard_normal((2, layers, n, d))
    values[0, -1, :, 0] += step
    numbers = tuple(range(layers))
    one, other = (Activations(half, numbers, "resid_pre", (10.0,) * layers) for half in values)
    return PairActivations(one, other)


def best_layer(found: PairActivations) -> Direction:
    """A pipeline that chooses its layer: where the classes' means are farthest apart."""
    gaps = [
        float(np.linalg.norm(np.subtract(*(side.mean(axis=0) for side in found.at(each))))) for each in found.layers
    ]
    layer = found.layers[int(np.argmax(gaps))]
    return mean_difference(*found.at(layer), at=found.place(layer))


def test_random_directions_have_the_covariance_of_the_scaled_activations():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((400, 6)) * [5.0, 3.0, 1.0, 1.0, 0.5, 0.0] + 2.0
    drawn = random_directions(values, like=direction(), draws=4000, rng=rng)
    found = np.array([each.vector for each in drawn.directions])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-9)
    # Oracle: numpy's covariance of the rows at length 1, drawn with its own multivariate normal, taken to length 1.
    scaled = values / np.linalg.norm(values, axis=1, keepdims=True)
    oracle = rng.multivariate_normal(np.zeros(6), np.cov(scaled, rowvar=False), size=4000)
    oracle /= np.linalg.norm(oracle, axis=1, keepdims=True)
    np.testing.assert_allclose(found.T @ found / 4000, oracle.T @ oracle / 4000, atol=0.03)  # 4000 draws: SE 0.008
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=0.05)


def test_random_directions_keep_place_and_record_their_cosines():
    drawn = random_directions(np.random.default_rng(1).standard_normal((9, 6)), like=direction(), draws=5,
                              rng=np.random.default_rng(2))  # fmt: skip
    assert [each.place for each in drawn.directions] == [AT] * 5
    assert drawn.cosines.tolist() == [each.vector[0] for each in drawn.directions]
    assert list(drawn.named("random")) == [f"random {number}" for number in range(5)]


def test_one_massive_activation_is_not_all_of_the_covariance():
    rng = np.random.default_rng(3)
    values = rng.standard_normal((100, 6))
    values[0] = [0.0, 1e6, 0.0, 0.0, 0.0, 0.0]
    drawn = random_directions(values, like=direction(), draws=200, rng=rng)
    assert np.mean([each.vector[1] ** 2 for each in drawn.directions]) < 0.3  # 1/6 without it, 1 if it were all


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones((1, 6)), "no covariance"),
        (np.ones((4, 5)), "no covariance"),
        (np.ones((4, 6)), "zero norm"),
        (np.full((4, 6), np.nan), "NaN or infinity"),
    ],
)
def test_activations_without_a_covariance_are_refused(values, said):
    with pytest.raises(StatisticsError, match=said):
        random_directions(values, like=direction(), draws=2, rng=np.random.default_rng(0))


def test_permuted_labels_leave_nothing_of_a_planted_contrast():
    found = pairs(step=10.0)
    true = best_layer(found)
    assert true.layer == 1
    assert true.vector[0] > 0.95
    drawn = permuted_directions(found, pipeline=best_layer, like=true, draws=99, rng=np.random.default_rng(0))
    # With a coin for every pair the mean label would be off by 1/sqrt(60) = 0.13 of a step of 10, against noise of
    # sqrt(2/60) = 0.18 an axis: cosines near 1. With half of them the contrast cancels: 1/sqrt(6) = 0.41 by chance.
    assert np.sqrt((drawn.cosines**2).mean()) < 0.55
    assert set(drawn.layers) == {0, 1}, "the layer is chosen anew for every permutation"


def test_the_same_generator_gives_the_same_controls():
    found = pairs()
    twice = [
        permuted_directions(found, pipeline=best_layer, like=best_layer(found), draws=3, rng=np.random.default_rng(4))
        for _ in range(2)
    ]
    assert twice[0].cosines.tolist() == twice[1].cosines.tolist()


def test_half_of_every_stratum_is_exchanged():
    strata = np.array(["a"] * 4 + ["b"] * 6 + ["c"] * 3)
    for seed in range(20):
        chosen = half_of(strata, rng=np.random.default_rng(seed))
        assert [int(chosen[strata == name].sum()) for name in "ab"] == [2, 3]
        assert chosen[strata == "c"].sum() in (1, 2)


def test_swapped_pairs_change_sides():
    found = pairs(n=3)
    swapped = found.swapped(np.array([True, False, True]))
    assert (swapped.at(1)[0][[0, 2]] == found.at(1)[1][[0, 2]]).all()
    assert (swapped.at(1)[0][1] == found.at(1)[0][1]).all()
    assert swapped.both(0).sum(axis=0) == pytest.approx(found.both(0).sum(axis=0))
    with pytest.raises(InterventionError, match="does not say of 3 pairs"):
        found.swapped(np.array([1, 0, 1]))
    assert len(found.rows(np.array([0, 2]))) == 2


def test_controls_refuse_no_draws_and_strata_of_other_pairs():
    found = pairs(n=4)
    given = {"pipeline": best_layer, "like": direction(), "rng": np.random.default_rng(0)}
    with pytest.raises(StatisticsError, match="at least one direction"):
        permuted_directions(found, draws=0, **given)
    with pytest.raises(StatisticsError, match="3 strata for 4 pairs"):
        permuted_directions(found, draws=2, strata=["a", "b", "c"], **given)


def test_placements_by_hand():
    # 3 beats 1, ties with nothing: 1/2 ... positives 3 and 1, negatives 1 and 2.
    found = placements(np.array([3.0, 1.0]), np.array([1.0, 2.0]))
    assert found.positive.tolist() == [1.0, 0.25]  # 3 above both; 1 ties with one of two
    assert found.negative.tolist() == [0.75, 0.5]  # above 1: 3 and half of a tie; above 2: 3 of two
    assert found.auc == 0.625
    assert found.by_pair().tolist() == [1.125, 0.125]  # 1 + 0.75 - 0.625 and 0.25 + 0.5 - 0.625


@settings(deadline=None)  # the first example imports scikit-learn
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_both_means_are_the_auc_of_scikit_learn_and_scipy(ones, zeros):
    from scipy.stats import mannwhitneyu
    from sklearn.metrics import roc_auc_score

    found = placements(np.array(ones, dtype=float), np.array(zeros, dtype=float))
    oracle = roc_auc_score([1] * len(ones) + [0] * len(zeros), [*ones, *zeros])
    assert found.positive.mean() == pytest.approx(oracle)
    assert found.negative.mean() == pytest.approx(oracle)
    assert mannwhitneyu(ones, zeros).statistic / (len(ones) * len(zeros)) == pytest.approx(oracle)


def test_placements_of_many_directions_are_those_of_each():
    rng = np.random.default_rng(0)
    ones, zeros = rng.standard_normal((3, 2, 8)), rng.standard_normal((3, 2, 5))
    found = placements(ones, zeros)
    assert found.auc.shape == (3, 2)
    assert (found.negative[2, 1] == placements(ones[2, 1], zeros[2, 1]).negative).all()
    with pytest.raises(StatisticsError, match="are not pairs"):
        found.by_pair()


def test_variance_of_paired_placements_is_that_of_the_auc():
    # Simulation: the variance of the AUC over 2,000 samples of 50 pairs, against the mean of var(by_pair) / n. What the
    # two sides of a pair share (half of the variance here) narrows it.
    rng = np.random.default_rng(7)
    ones, zeros = rng.standard_normal((2, 2000, 50)) + rng.standard_normal((2000, 50))
    ones += 1.0
    found = placements(ones, zeros)
    estimated = (found.by_pair().var(axis=-1, ddof=1) / 50).mean()
    assert estimated == pytest.approx(found.auc.var(), rel=0.12)  # 4 SE of a variance of 2,000 values


def test_without_pairs_the_variance_is_delongs():
    rng = np.random.default_rng(8)
    found = placements(rng.standard_normal(40) + 1, rng.standard_normal(40))
    # DeLong et al. 1988, eq. 5, for independent classes; pairs add twice the covariance of the placements.
    oracle = found.positive.var(ddof=1) / 40 + found.negative.var(ddof=1) / 40
    shared = 2 * np.cov(found.positive, found.negative)[0, 1] / 40
    assert found.by_pair().var(ddof=1) / 40 == pytest.approx(oracle + shared)
    assert found.by_pair().mean() == pytest.approx(float(found.auc))


def test_hostile_scores_are_refused_by_name():
    with pytest.raises(StatisticsError, match="the negative class is empty"):
        placements(np.ones(3), np.ones(0))
    with pytest.raises(StatisticsError, match="positive scores hold NaN"):
        placements(np.array([np.nan]), np.ones(2))
    with pytest.raises(StatisticsError, match="differ in more than the number of units"):
        placements(np.ones((2, 3)), np.ones(3))
