"""Probes, control tasks and their joint interval: oracles, nulls, planted directions and what they must refuse."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from harness.errors import StatisticsError
from harness.probe_intervals import Labelled, joint_interval, refit
from harness.probes import (
    GRID,
    ControlTask,
    choose_regularisation,
    fit_probe,
    permuted_within,
    score,
)


def planted(n, *, size, rng, gap=2.0, labels=None):
    """Labels and normal activations whose classes differ by `gap` along the first axis; types 0 to 9."""
    labels = rng.integers(0, 2, n) if labels is None else labels
    activations = rng.standard_normal((n, size))
    activations[:, 0] += gap * labels
    return Labelled(activations, labels, rng.integers(0, 10, n))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def data(rng):
    return planted(300, size=6, rng=rng)


# -- one probe -------------------------------------------------------------------------------------------------------


def test_a_probe_is_scikit_learns_logistic_regression_on_activations_of_mean_variance_one(data):
    from sklearn.linear_model import LogisticRegression

    probe = fit_probe(data.activations * 3 + 5, data.labels, inverse_penalty=0.1)
    values = data.activations - data.activations.mean(axis=0)
    scaled = values / np.sqrt(values.var(axis=0).mean())
    oracle = LogisticRegression(C=0.1, max_iter=5_000, tol=1e-8).fit(scaled, data.labels)
    assert probe.log_odds(data.activations * 3 + 5) == pytest.approx(oracle.decision_function(scaled), abs=1e-3)


def test_the_gradient_of_the_penalised_likelihood_vanishes_at_the_fit(data):
    # sum |w|^2 / 2 + C sum log(1 + exp(-y z)) has gradient w - C sum (y - p) x in w, and sum (y - p) in the offset.
    probe = fit_probe(data.activations, data.labels, inverse_penalty=0.1)
    values = data.activations - data.activations.mean(axis=0)
    scale = np.sqrt(values.var(axis=0).mean())
    left_over = data.labels - 1 / (1 + np.exp(-probe.log_odds(data.activations)))
    weights = probe.slope * scale * probe.direction
    assert weights == pytest.approx(0.1 * left_over @ (values / scale), abs=0.02)
    assert abs(left_over.mean()) < 1e-4


def test_a_planted_direction_is_recovered_with_the_step_between_its_classes(rng):
    data = planted(4_000, size=20, rng=rng, gap=3.0)
    rotation = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    probe = fit_probe(data.activations @ rotation.T + 4.0, data.labels, inverse_penalty=1.0)
    assert np.linalg.norm(probe.direction) == pytest.approx(1.0)
    assert probe.direction @ rotation[:, 0] > 0.98
    assert probe.step == pytest.approx(3.0, abs=0.15)  # the planted gap; its standard error is 2 / sqrt(4000) = 0.03


def test_labels_the_other_way_round_turn_the_direction_but_the_probe_stays(data):
    probe = fit_probe(data.activations, data.labels, inverse_penalty=0.1)
    turned = fit_probe(data.activations, 1 - data.labels, inverse_penalty=0.1)
    assert turned.direction == pytest.approx(-probe.direction, abs=1e-3)
    assert turned.step == pytest.approx(probe.step, abs=1e-3)


def test_accuracy_auc_and_balance_by_hand():
    # Log-odds rise with the only activation. Held out: 1 at -1 (wrong), 0 at -2, 1 at 2, 0 at 3 (wrong), 1 at 4.
    train = np.array([[-1.0], [-0.5], [0.5], [1.0]])
    probe = fit_probe(train, np.array([0, 0, 1, 1]), inverse_penalty=1.0)
    found = score(probe, np.array([[-1.0], [-2.0], [2.0], [3.0], [4.0]]), np.array([1, 0, 1, 0, 1]))
    assert (found.accuracy, found.ones, found.units) == (0.6, 0.6, 5)
    # Pairs (1 above 0): -1 > -2, 2 > -2, 4 > -2, 4 > 3; not -1 > 3, 2 > 3: 4 of 6.
    assert found.auc == pytest.approx(4 / 6)


def test_auc_is_the_share_of_pairs_in_order_with_ties_counted_half(rng):
    labels = rng.integers(0, 2, 80)
    activations = np.round(rng.standard_normal((80, 1)) + labels[:, None])  # ties
    probe = fit_probe(activations, labels, inverse_penalty=1.0)
    odds = probe.log_odds(activations)
    above = np.sign(odds[labels == 1][:, None] - odds[labels == 0][None])
    assert score(probe, activations, labels).auc == pytest.approx((above + 1).mean() / 2)


def test_classes_of_one_mean_give_no_direction_and_a_constant_guess():
    activations = np.array([[0.0], [1.0], [0.0], [1.0]])
    probe = fit_probe(activations, np.array([0, 0, 1, 1]), inverse_penalty=1.0)
    assert abs(probe.slope) < 1e-6
    assert probe.right(activations, np.array([0, 0, 1, 1])).sum() == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activations": np.zeros((4, 2))}, "do not vary"),
        ({"activations": np.full((4, 2), np.nan)}, "NaN or infinity"),
        ({"activations": np.zeros((3, 2))}, r"not \[unit, d\]"),
        ({"activations": np.zeros(4)}, r"not \[unit, d\]"),
        ({"activations": np.zeros((4, 0))}, "not empty"),
        ({"labels": np.array([0, 0, 0, 0])}, "needs units of both"),
        ({"labels": np.array([0, 1, 2, 1])}, "tells 0 from 1"),
        ({"inverse_penalty": 0.0}, "positive number"),
        ({"inverse_penalty": float("nan")}, "positive number"),
    ],
)
def test_what_cannot_be_probed_is_refused_by_name(change, message):
    given = {"activations": np.arange(8.0).reshape(4, 2), "labels": np.array([0, 1, 0, 1]), "inverse_penalty": 1.0}
    given |= change
    with pytest.raises(StatisticsError, match=message):
        fit_probe(given.pop("activations"), given.pop("labels"), **given)


def test_a_probe_refuses_activations_of_another_width_and_scores_of_one_class(data):
    probe = fit_probe(data.activations, data.labels, inverse_penalty=0.1)
    with pytest.raises(StatisticsError, match="the probe reads 6"):
        probe.log_odds(np.zeros((3, 5)))
    with pytest.raises(StatisticsError, match="needs units of both"):
        score(probe, np.zeros((3, 6)), np.ones(3, dtype=np.int64))


def test_a_fit_that_does_not_converge_is_an_error_and_no_number(data, monkeypatch):
    monkeypatch.setattr("harness.probes.MOST_ITERATIONS", 1)
    monkeypatch.setattr("harness.probes.TOLERANCE", 1e-12)
    with warnings.catch_warnings(), pytest.raises(StatisticsError, match="did not converge"):
        fit_probe(data.activations, data.labels, inverse_penalty=1e3)


# -- regularisation --------------------------------------------------------------------------------------------------


def test_the_penalty_is_that_of_the_grid_with_the_best_held_out_accuracy(rng):
    data = planted(120, size=80, rng=rng, gap=1.5)
    chosen = choose_regularisation(data.activations, data.labels, rng=np.random.default_rng(1))
    assert set(chosen.accuracies) == set(GRID)
    assert chosen.accuracies[chosen.inverse_penalty] == max(chosen.accuracies.values()) == chosen.right.mean()
    again = choose_regularisation(data.activations, data.labels, rng=np.random.default_rng(1))
    assert again.accuracies == chosen.accuracies


def test_units_are_held_out_when_they_are_scored(rng):
    # 60 units in 200 dimensions with labels that mean nothing: fitted to itself every unit is right, held out half are.
    labels = np.arange(60) % 2
    activations = rng.standard_normal((60, 200))
    assert fit_probe(activations, labels, inverse_penalty=1.0).right(activations, labels).all()
    # 60 fair coins: 0.5 +- 4 SD of 0.065
    assert 0.24 < choose_regularisation(activations, labels, rng=rng, grid=[1.0]).right.mean() < 0.76


@pytest.mark.parametrize(("folds", "grid"), [(1, GRID), (200, GRID), (4, ())])
def test_folds_and_grids_that_make_no_sense_are_refused(data, rng, folds, grid):
    with pytest.raises(StatisticsError, match=r"folds of|grid of"):
        choose_regularisation(data.activations, data.labels, rng=rng, folds=folds, grid=grid)


# -- control tasks ---------------------------------------------------------------------------------------------------


def test_control_labels_are_equal_for_equal_types_in_training_and_test(rng):
    task = ControlTask.draw(np.arange(100), rng=rng)
    train, test = rng.integers(0, 100, 500), rng.integers(0, 100, 300)
    by_type = dict(zip(train.tolist(), task.of(train).tolist(), strict=True))
    assert all(by_type.get(kind, label) == label for kind, label in zip(test, task.of(test), strict=True))
    assert task.labels.sum() == 50


def test_control_tasks_differ_between_draws_and_know_nothing_of_the_label(rng):
    draws = np.stack([ControlTask.draw(np.arange(40), rng=rng).labels for _ in range(400)])
    assert len({tuple(row) for row in draws.tolist()}) == 400
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 0.125  # SD 0.025 each; five of them
    odd = np.array([ControlTask.draw(np.arange(3), rng=rng).labels.sum() for _ in range(200)])
    assert set(odd.tolist()) == {1, 2}


def test_a_type_that_the_task_does_not_know_is_refused(rng):
    task = ControlTask.draw([2, 5, 9], rng=rng)
    with pytest.raises(StatisticsError, match="type 7 has no label"):
        task.of(np.array([2, 7]))
    with pytest.raises(StatisticsError, match="at least two"):
        ControlTask.draw([4, 4], rng=rng)


def test_permuted_labels_stay_in_their_stratum(rng):
    strata = rng.integers(0, 5, 200)
    labels = (strata > 2).astype(np.int64)  # constant within each stratum: nothing can change
    assert (permuted_within(labels, strata=strata, rng=rng) == labels).all()
    mixed = rng.integers(0, 2, 200)
    permuted = permuted_within(mixed, strata=strata, rng=rng)
    assert (np.bincount(strata, mixed) == np.bincount(strata, permuted)).all()
    assert (permuted != mixed).any()
    with pytest.raises(StatisticsError, match="one of each"):
        permuted_within(mixed, strata=strata[:5], rng=rng)


# -- the interval over refits and test units -------------------------------------------------------------------------


def test_the_joint_interval_by_hand():
    # Rows' means 0 and 1 lie -1/2 and 1/2 off: sample 1/4; their variance 1/2 over 2 refits: 1/4; columns' means agree.
    found = joint_interval(np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert found.estimate == 0.5
    assert found.train_error == pytest.approx(0.5**0.5)
    assert found.test_error == 0.0
    assert found.degrees == pytest.approx(2.0)  # (1/2)^2 / ((1/4)^2 / 1 + (1/4)^2 / 1)
    # t(0.975, 2) = 4.303 (tables)
    assert found.high - found.estimate == pytest.approx(4.303 * 0.5**0.5, rel=1e-3)
    assert found.estimate - found.low == pytest.approx(found.high - found.estimate)


def test_halves_that_move_together_add_nothing_to_the_error_of_the_training_sample():
    # Complementary halves that are off in the same direction are not what another sample would do: v_sample is 0.
    found = joint_interval(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]))
    assert found.train_error == pytest.approx((1 / 3 / 4) ** 0.5)  # variance of 0 0 1 1 is 1/3, over 4 refits


def test_without_differences_between_refits_the_joint_interval_is_the_t_interval_over_units(rng):
    from scipy import stats

    units = rng.standard_normal(40)
    found = joint_interval(np.tile(units, (6, 1)))
    oracle = stats.t.interval(0.95, 39, loc=units.mean(), scale=stats.sem(units))
    assert (found.low, found.high) == pytest.approx(oracle)


@pytest.mark.parametrize(
    ("differences", "level", "message"),
    [
        (np.zeros(4), 0.95, "at least two of each"),
        (np.zeros((1, 4)), 0.95, "at least two of each"),
        (np.zeros((3, 4)), 0.95, "refits in pairs"),
        (np.zeros((4, 4)), 0.95, "do not vary"),
        (np.full((4, 4), np.inf), 0.95, "NaN or infinity"),
        (np.eye(4), 1.0, "between 0 and 1"),
    ],
)
def test_differences_without_an_interval_are_refused(differences, level, message):
    with pytest.raises(StatisticsError, match=message):
        joint_interval(differences, level=level)


def test_refits_have_rows_for_refits_and_columns_for_test_units(rng):
    train, test = planted(80, size=5, rng=rng), planted(30, size=5, rng=rng)
    found = refit(train, test, inverse_penalty=0.1, control_penalty=0.1, rng=rng, refits=4)
    assert found.probe.shape == found.control.shape == found.differences.shape == (4, 30)
    assert set(np.unique(found.differences)) <= {-1.0, 0.0, 1.0}
    with pytest.raises(StatisticsError, match="no pairs of halves"):
        refit(train, test, inverse_penalty=0.1, control_penalty=0.1, rng=rng, refits=3)
    with pytest.raises(StatisticsError, match="lengths"):
        Labelled(train.activations, train.labels[:3], train.types)


def intervals_of(*, worlds, gap, refits=10):
    """Joint intervals of selectivity in fresh worlds of 80 training and 60 test units."""
    rng = np.random.default_rng(11)
    for _ in range(worlds):
        train, test = (planted(n, size=5, rng=rng, gap=gap) for n in (80, 60))
        made = refit(train, test, inverse_penalty=0.1, control_penalty=0.1, rng=rng, refits=refits)
        yield joint_interval(made.differences)


def test_meaningless_labels_have_no_selectivity_and_the_interval_says_so():
    # Probe and control probe both guess: the true selectivity is 0 exactly.
    found = list(intervals_of(worlds=100, gap=0.0))
    covered = np.mean([each.low <= 0 <= each.high for each in found])
    assert covered >= 0.88  # at least 0.95 less 3 SD of 0.022
    estimates = np.array([each.estimate for each in found])
    assert abs(estimates.mean()) < 4 * estimates.std(ddof=1) / 100**0.5


def test_the_joint_interval_covers_the_selectivity_of_a_planted_direction():
    # Truth: the same probes and control probes fitted to 40 units each of fresh worlds, on fresh test units.
    rng = np.random.default_rng(12)
    truth = []
    for _ in range(200):
        train, test = planted(40, size=5, rng=rng), planted(400, size=5, rng=rng)
        task = ControlTask.draw(np.arange(10), rng=rng)
        probe = fit_probe(train.activations, train.labels, inverse_penalty=0.1)
        fooled = fit_probe(train.activations, task.of(train.types), inverse_penalty=0.1)
        truth.append(
            probe.right(test.activations, test.labels).mean()
            - fooled.right(test.activations, task.of(test.types)).mean()
        )
    found = list(intervals_of(worlds=100, gap=2.0))
    covered = np.mean([each.low <= np.mean(truth) <= each.high for each in found])
    assert covered >= 0.88  # at least 0.95 less 3 SD of 0.022
    widths = np.array([each.high - each.low for each in found])
    spread = np.array([each.estimate for each in found]).std(ddof=1)
    assert widths.mean() < 1.6 * 2 * 1.96 * spread  # 1.24 times what is needed in 300 worlds of 20 refits
