"""What the report reads from a record."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.report.effects import deciding_effect, effect_of, effects_of, nearest_to_failing
from harness.report.reading import (
    as_expected,
    family_of,
    first_data_seeds,
    grouped,
    model_label,
    training_seed,
    verdict_of,
)
from tests.report.sample_records import claim, exact_record, judgement, not_run, outcome, record


def test_the_zone_of_a_superiority_condition_is_open_beyond_its_threshold() -> None:
    effect = effect_of(outcome("1.0", "x", estimate=0.5, half=0.1, threshold=0.2))
    assert (effect.zone_low, effect.zone_high) == (0.2, math.inf)
    assert effect.slack == pytest.approx(0.2)  # 0.5 - 0.1 - 0.2


def test_the_zone_of_a_lower_effect_lies_below_its_threshold() -> None:
    effect = effect_of(outcome("1.0", "x", estimate=-0.5, half=0.1, threshold=-0.2, alternative="less"))
    assert (effect.zone_low, effect.zone_high) == (-math.inf, -0.2)
    assert effect.slack == pytest.approx(0.2)  # -0.2 - (-0.5 + 0.1)


def test_the_zone_of_an_equivalence_has_two_ends() -> None:
    effect = effect_of(outcome("1.0", "x", estimate=1.0, half=0.1, threshold=0.8, upper=1.25, rule="equivalence"))
    assert (effect.zone_low, effect.zone_high) == (0.8, 1.25)
    assert effect.slack == pytest.approx(0.1)  # the lower end, 0.9, is 0.1 inside; the upper 0.15


def test_infinite_bounds_are_read_from_their_json_spelling() -> None:
    effect = effect_of(outcome("1.0", "x", estimate=0.5, low="-inf", high="inf"))
    assert (effect.low, effect.high) == (-math.inf, math.inf)


MARGIN = {"name": "gain", "unit": "ratio", "reason": "r", "at_most": 0.05, "at_least": -0.05}
"""An equivalence margin in a unit of its own."""


def gain(estimate: float, half: float) -> dict[str, Any]:
    """Its outcome."""
    return outcome(
        "1.0", "gain", estimate=estimate, half=half, threshold=-0.05, upper=0.05, rule="equivalence", kind="margin"
    )


def with_margin(*outcomes: dict[str, Any]) -> dict[str, Any]:
    """A record of a claim with that margin; the SESOI is 0.2."""
    return record(claim=claim(margins=[MARGIN]), judgement=judgement("supported", list(outcomes)))


def test_an_effect_beyond_its_threshold_is_told_in_sesois_and_turned_in_its_direction() -> None:
    less = outcome("1.0", "x", estimate=-0.5, half=0.1, threshold=-0.2, alternative="less")
    best = outcome("1.0", "y: 95th percentile", estimate=0.1, half=0.2, threshold=0.0)
    far, near, margin = (effect.beyond() for effect in effects_of(with_margin(less, best, gain(0.03, 0.01))))
    # (0.5 - 0.2) / 0.2 with 0.1 / 0.2 on either side
    assert (far.estimate, far.low, far.high) == pytest.approx((1.5, 1.0, 2.0))
    # 0.1 / 0.2: its own threshold is 0
    assert (near.estimate, near.low, near.high) == pytest.approx((0.5, -0.5, 1.5))
    # the upper end is the nearer one: (0.05 - 0.03) / 0.05
    assert (margin.estimate, margin.low, margin.high) == pytest.approx((0.4, 0.2, 0.6))
    assert [effect.zone_low for effect in (far, near, margin)] == [0.0] * 3
    assert [effect.zone_high for effect in (far, near)] == [math.inf] * 2
    assert margin.zone_high == pytest.approx(2.0)  # the margin is twice its half-width wide


def test_the_deciding_effect_is_nearest_to_failing_among_all_conditions_each_by_its_own_threshold() -> None:
    by_sesoi = [outcome("1.0", "a", estimate=0.6), outcome("1.0", "b", estimate=0.4)]  # half-widths of 0.08
    best = outcome("1.0", "c: 95th percentile", estimate=0.1, threshold=0.0)
    effect = deciding_effect(with_margin(*by_sesoi, best, gain(0.0, 0.01)))
    assert effect is not None
    assert effect.control == "c: 95th percentile"  # (0.02 - 0) / 0.08 half-widths; b has (0.32 - 0.2) / 0.08
    assert (effect.zone_low, effect.p, effect.p_adjusted) == (0.0, best["p"], 0.0002)
    effect = deciding_effect(with_margin(*by_sesoi, gain(0.038, 0.01)))
    assert effect is not None
    assert (effect.control, effect.unit, effect.foreign) == ("gain", "ratio", True)  # 0.002 / 0.01 half-widths


def test_of_conditions_that_fail_the_farthest_is_nearest_to_failing_and_an_unbounded_one_fails_first() -> None:
    fails, worse = outcome("1.0", "a", estimate=0.2), outcome("1.0", "b", estimate=0.1)
    holds = outcome("1.0", "c", estimate=0.6)
    found = nearest_to_failing(map(effect_of, (holds, fails, worse)))
    assert found is not None
    assert found.control == "b"
    unbounded = {**outcome("1.0", "d", estimate=0.5), "low": "-inf"}
    found = nearest_to_failing(map(effect_of, (worse, unbounded)))
    assert found is not None
    assert found.control == "d"
    assert nearest_to_failing([]) is None


def test_a_margin_alone_decides_a_replication() -> None:
    effect = deciding_effect(with_margin(gain(0.01, 0.01)))
    assert effect is not None
    assert effect.control == "gain"


def test_an_exact_claim_is_its_distance_to_the_population_without_an_interval() -> None:
    effect = deciding_effect(exact_record())
    assert effect is not None
    assert (effect.estimate, effect.zone_low, effect.sampled) == (0.27, 0.05, False)


def test_a_claim_that_was_not_run_has_no_effect_and_keeps_its_registration() -> None:
    missing = not_run()
    assert verdict_of(missing) == "not run"
    assert (deciding_effect(missing), effects_of(missing)) == (None, [])
    assert as_expected(missing)


def test_a_verdict_other_than_the_registered_one_is_noticed() -> None:
    assert as_expected(record(verdict="refuted", expectation={"verdict": "refuted", "reason": "known"}))
    assert not as_expected(record(verdict="refuted"))
    assert as_expected(record(verdict="refuted", expectation=None))


@pytest.mark.parametrize(
    ("model", "family", "seed"),
    [("induction-2l@3", "induction-2l", 3), ("gpt2-small", "gpt2-small", None), ("path:a@b", "path:a@b", None)],
)
def test_the_training_seed_is_the_number_after_the_at_sign(model: str, family: str, seed: int | None) -> None:
    made = record(model)
    assert (family_of(made), training_seed(made)) == (family, seed)


def test_groups_come_in_the_same_order_whatever_the_order_of_records() -> None:
    records = [record(f"induction-2l@{seed}") for seed in (10, 2, 0)] + [record(claim=claim("a.b"))]
    for some_order in (records, records[::-1]):
        groups = grouped(some_order, by="claim")
        assert list(groups) == ["a.b", "induction.prefix-matching"]
        assert [training_seed(one) for one in groups["induction.prefix-matching"]] == [0, 2, 10]


def test_of_several_data_seeds_the_lowest_counts() -> None:
    records = [record(seeds={"data_seed": seed, "split": "confirmation"}) for seed in (3, 1, 2)]
    (first,) = first_data_seeds(records)
    assert first["seeds"]["data_seed"] == 1
    assert model_label(first) == "smollm2-135m-q4, data seed 1"
