"""What the report reads from a record."""

from __future__ import annotations

import math

import pytest

from harness.report.reading import (
    as_registered,
    deciding_effect,
    effect_of,
    effects_of,
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


def test_turning_an_effect_round_swaps_its_ends() -> None:
    turned = effect_of(outcome("1.0", "x", estimate=-0.5, half=0.1, threshold=-0.2, alternative="less")).scaled(-5)
    assert (turned.low, turned.high) == pytest.approx((2.0, 3.0))
    assert (turned.zone_low, turned.zone_high) == (1.0, math.inf)


def test_the_deciding_effect_is_the_one_nearest_to_failing_by_the_sesoi() -> None:
    outcomes = [
        outcome("1.0", "a", estimate=0.6),
        outcome("1.0", "b", estimate=0.4),
        # Nearer to its own threshold of 0, but that threshold is not the claim's SESOI.
        outcome("1.0", "c: 95th percentile", estimate=0.1, threshold=0.0),
    ]
    effect = deciding_effect(record(judgement=judgement("supported", outcomes)))
    assert effect is not None
    assert effect.control == "b"


def test_margins_decide_only_where_nothing_else_carries_the_claim() -> None:
    margin = outcome("model", "gain", estimate=0.01, threshold=-0.05, upper=0.05, rule="equivalence", kind="margin")
    effect = deciding_effect(record(judgement=judgement("supported", [margin])))
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
    assert as_registered(missing)


def test_a_verdict_other_than_the_registered_one_is_noticed() -> None:
    assert as_registered(record(verdict="refuted", expectation={"verdict": "refuted", "reason": "known"}))
    assert not as_registered(record(verdict="refuted"))
    assert as_registered(record(verdict="refuted", expectation=None))


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
