"""Training seeds of one model combined into a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.report.figure_files import FigureFiles
from harness.report.holding import where_findings_hold
from harness.report.section import Settings, section
from harness.report.seeds import combine_trained
from tests.report.sample_records import claim, judgement, not_run, outcome, record


def seeds(estimates: list[float], *, verdict: str = "supported", **changes: Any) -> list[dict[str, Any]]:
    """One record per estimate, against a control and against another 95th-percentile head on every seed."""
    return [
        record(
            f"induction-2l@{seed}",
            judgement=judgement(
                verdict,
                [
                    outcome("1.0", "shuffled", estimate=estimate + 0.2),
                    outcome("1.1", "shuffled", estimate=estimate, **changes),
                    outcome("1.0", f"other heads: 95th percentile (1.{seed})", estimate=estimate, threshold=0.0),
                ],
            ),
        )
        for seed, estimate in enumerate(estimates)
    ]


def test_each_seed_contributes_its_smallest_effect_and_the_mean_has_a_t_interval() -> None:
    made = combine_trained(seeds([0.5, 0.6, 0.7]))
    assert made is not None
    # mean 0.6, sd 0.1, standard error 0.1 / sqrt(3); t(0.975, 2) = 4.3027; 0.6 -+ 0.2484
    assert made["rows"][0][:3] == ["shuffled", "0.6", "[0.352, 0.848]"]
    assert made["rows"][0][5] == 3
    assert made["rows"][1][0] == "other heads: 95th percentile"


def test_a_prediction_interval_needs_five_seeds() -> None:
    three, five = combine_trained(seeds([0.5, 0.6, 0.7])), combine_trained(seeds([0.5, 0.55, 0.6, 0.65, 0.7]))
    assert three is not None
    assert five is not None
    assert three["rows"][0][4] == "-"
    assert five["rows"][0][4].startswith("[")


def test_all_of_five_supported_is_worth_54_per_cent_of_trainings_rounded_down() -> None:
    made = combine_trained(seeds([0.5, 0.55, 0.6, 0.65, 0.7]))
    assert made is not None
    assert "5 of 5 supported (with 95 % confidence more than 54 %" in made["name"]  # 0.05 ** (1 / 5) = 0.5493
    three = combine_trained(seeds([0.5, 0.6, 0.7]))
    assert three is not None
    assert "more than 36 %" in three["name"]  # 0.05 ** (1 / 3) = 0.3684


def test_controls_that_differ_in_parentheses_are_two_rows() -> None:
    def judged(seed: int) -> dict[str, Any]:
        names = ("shuffled (first half)", "shuffled (second half)", f"other (deep) heads: 95th percentile (1.{seed})")
        outcomes = [outcome("1.0", name, estimate=0.5 + seed / 10 + place) for place, name in enumerate(names)]
        return record(f"induction-2l@{seed}", judgement=judgement("supported", outcomes))

    made = combine_trained([judged(seed) for seed in range(3)])
    assert made is not None
    assert [row[:2] for row in made["rows"]] == [
        ["shuffled (first half)", "0.6"],
        ["shuffled (second half)", "1.6"],
        ["other (deep) heads: 95th percentile", "2.6"],
    ]


def test_a_seed_on_which_the_claim_was_set_is_no_evidence_of_other_trainings() -> None:
    records = [
        {**each, "claim": {**each["claim"], "set_on": ["induction-2l@0"]}}
        for each in seeds([0.5, 0.55, 0.6, 0.65, 0.7])
    ]
    made, alone = combine_trained(records), combine_trained(records[:2])
    assert made is not None
    assert alone is not None
    assert "5 of 5 supported (with 95 % confidence more than 47 %" in made["name"]  # 0.05 ** (1 / 4) = 0.473
    assert "by the other 4: the claim was set on induction-2l@0" in made["name"]
    assert "more than 5 %" in alone["name"]


def test_a_seed_that_failed_takes_the_bound_away() -> None:
    made = combine_trained(seeds([0.5, 0.6]) + seeds([0.1, 0.2, 0.3], verdict="refuted")[2:])
    assert made is not None
    assert made["name"] == "Combined over 3 training seeds: 2 of 3 supported"


@pytest.mark.parametrize("changes", [{"low": "-inf"}, {"high": "inf"}])
def test_infinite_intervals_are_not_combined(changes: dict[str, Any]) -> None:
    made = combine_trained(seeds([0.5, 0.6, 0.7], **changes))
    assert made is not None
    row = next(row for row in made["rows"] if row[0] == "shuffled")
    if "low" in changes:
        assert "infinite" in str(row[2])


def test_equal_seeds_say_why_they_are_not_combined() -> None:
    made = combine_trained(seeds([0.5, 0.5]))
    assert made is not None
    assert "not combined: no variation" in str(made["rows"][0][2])


def test_one_seed_or_seeds_that_did_not_run_are_not_combined() -> None:
    assert combine_trained(seeds([0.5])) is None
    assert combine_trained([not_run("induction-2l@0"), not_run("induction-2l@1")]) is None


def test_hartung_knapp_stands_beside_the_mean_as_a_check() -> None:
    made = combine_trained(seeds([0.5, 0.6, 0.7]))
    assert made is not None
    assert made["columns"][6] == "check: Hartung-Knapp"
    # Equal variances weigh seeds equally, and where tau is above 0 the interval is then the t interval itself.
    spread = combine_trained(seeds([0.2, 0.6, 1.0]))
    assert spread is not None
    assert spread["rows"][0][6] == f"{spread['rows'][0][1]} {spread['rows'][0][2]}"


def test_an_invalid_seed_takes_the_combination_away_and_is_named() -> None:
    five = seeds([0.5, 0.55, 0.6, 0.65, 0.7])
    five[3] = record("induction-2l@3", judgement=judgement("invalid", [], reason="a precondition fails"))
    made = combine_trained(five)
    assert made is not None
    assert made["name"] == "Not combined over 5 training seeds: induction-2l@3 is invalid"
    assert made["rows"] == []


def test_the_section_of_a_claim_does_not_pass_over_a_seed_without_effects(tmp_path: Path) -> None:
    five = seeds([0.5, 0.55, 0.6, 0.65, 0.7])
    five[3] = record("induction-2l@3", judgement=judgement("invalid", [], reason="a precondition fails"))
    text = section(five, settings=Settings(FigureFiles(tmp_path)))
    assert "**Not combined over 5 training seeds: induction-2l@3 is invalid**" in text
    assert "4 of 4 supported" not in text


def test_findings_are_tabulated_by_model_with_a_count_over_training_seeds() -> None:
    made = [*seeds([0.5, 0.6, 0.7]), record("smollm2-135m-q4", verdict="refuted"), not_run("gpt2-small")]
    made[1]["judgement"]["verdict"] = "inconclusive"
    text = where_findings_hold(made)
    rows = [line for line in text.splitlines() if line.startswith("| induction")]
    assert "| claim | <code>gpt2-small</code> | <code>induction-2l@0..2</code> | <code>smollm2-135m-q4</code> |" in text
    assert rows == ["| induction.prefix-matching | □ | ✓ 2/3 ? 1/3 | ✗ |"]
    assert where_findings_hold([record(claim=claim(tier="replication"))]) == ""


@pytest.mark.parametrize(
    ("part", "changed", "said"),
    [
        ("claim", {"declaration_hash": "another"}, "under different declarations"),
        ("model", {"fingerprint": None}, "the same weights under two names"),
    ],
)
def test_seeds_of_other_declarations_or_of_equal_weights_are_not_combined(
    part: str, changed: dict[str, Any], said: str
) -> None:
    three = seeds([0.5, 0.6, 0.7])
    for one in three[: 1 if part == "claim" else 2]:
        one[part] = {**one[part], **changed}
    made = combine_trained(three)
    assert made is not None
    assert said in made["name"]
    assert made["rows"] == []


def test_a_control_that_some_seeds_lack_is_shown_as_not_combined() -> None:
    three = seeds([0.5, 0.6, 0.7])
    kept = [one for one in three[2]["judgement"]["outcomes"] if one["control"] == "shuffled"]
    three[2] = record("induction-2l@2", judgement=judgement("supported", kept))
    made = combine_trained(three)
    assert made is not None
    assert made["rows"][1][2] == "not combined: 2 of 3 seeds have it"
