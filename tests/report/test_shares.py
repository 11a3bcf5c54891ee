"""Effects as shares of a behaviour: hand-computed, from every source of a size, and nowhere where there is none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.evidence import Record
from harness.report import record_text, write_report
from harness.report.effects import effects_of
from harness.report.html import write_html
from harness.report.shares import measuring_claims, share_of, share_text, with_sizes
from harness.store import write_record, write_run_info
from tests.report.hostile_records import HOSTILE, hostile
from tests.report.sample_records import RUN, claim, exact_record, judgement, not_run, outcome, record

LOGITS = {"name": "logit difference", "unit": "logits", "binary": False}
WHOLE = "ioi.behaviour"
MODEL = "induction-2l@0"


def named(name: str = "logit difference", **changes: Any) -> dict[str, Any]:
    """A behaviour as a record stores it."""
    empty = {"claim": None, "against": None, "precondition": None, "size": None}
    return {"name": name, **empty, **(changes or {"claim": WHOLE})}


def part(
    *,
    estimate: float = 0.4,
    half: float = 0.12,
    behaviour: Any = None,
    about: Any = None,
    model: str = MODEL,
    **changes: Any,
) -> dict[str, Any]:
    """A record with one effect that names a behaviour: by default 0.4 [0.28, 0.52] logits, SESOI 0.25."""
    declared = {"metric": LOGITS, "sesoi": 0.25, "behaviour": behaviour or named(), **(about or {})}
    sign = 1 if declared.get("alternative", "greater") == "greater" else -1
    one = outcome("1.0", "other heads", estimate=estimate, half=half, threshold=sign * declared["sesoi"])
    one["alternative"] = declared.get("alternative", "greater")
    outcomes = [one, *changes.pop("more", ())]
    return record(model, claim=claim("ioi.part", **declared), judgement=judgement("supported", outcomes), **changes)


def whole(values: list[list[float]] | None = None, *, about: Any = None, **changes: Any) -> dict[str, Any]:
    """The record of the behaviour; its subject's values have mean 4, against one control it is -8."""
    treated = {"components": ["model"], "values": values or [[3.0, 4.0, 5.0]]}
    outcomes = [outcome("model", "shuffled", estimate=-8.0), outcome("model", "fresh", estimate=-6.0)]
    sections = {
        "claim": claim(WHOLE, **{"metric": LOGITS, "sesoi": 1.0, "subject": None, **(about or {})}),
        "measured": {"treated": treated, "controls": {}},
        "judgement": judgement("supported", outcomes),
        "preconditions": [{"name": "gap", "value": 2.0, "at_least": 1.0, "holds": True}],
        "exploratory": False,
    }
    return record(changes.pop("model", MODEL), **{**sections, **changes})


def shown(one: dict[str, Any], *others: dict[str, Any]) -> str:
    """The share of the record's first effect, with these other records in the run."""
    sized = with_sizes([one, *others])[0]
    return share_text(effects_of(sized)[0], sized)


# -- by hand -----------------------------------------------------------------------------------------------------


def test_an_effect_and_its_bounds_are_divided_by_the_size() -> None:
    sized = with_sizes([part(), whole()])[0]
    share = share_of(effects_of(sized)[0], sized)
    assert share is not None
    # 0.4 / 4, 0.28 / 4, 0.52 / 4
    assert (share.estimate, share.low, share.high) == pytest.approx((0.1, 0.07, 0.13))
    assert shown(part(), whole()) == "10 % [7, 13] of the logit difference"


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (named(claim=WHOLE), "10 % [7, 13]"),  # of 4, the mean
        (named(claim=WHOLE, against="shuffled"), "5.0 % [3.5, 6.5]"),  # of |-8|
        (named(claim=WHOLE, precondition="gap"), "20 % [14, 26]"),  # of 2
        (named(size=0.8), "50 % [35, 65]"),
        (named(size=-0.8), "50 % [35, 65]"),
    ],
)
def test_a_size_comes_from_each_source_that_a_behaviour_may_name(behaviour: Any, expected: str) -> None:
    assert shown(part(behaviour=behaviour), whole()) == f"{expected} of the logit difference"


def test_ablating_a_quarter_of_a_negative_gain_reads_as_plus_a_quarter() -> None:
    rise = part(estimate=2.0, half=0.4, behaviour=named("gain", claim=WHOLE, against="shuffled"))
    assert shown(rise, whole()) == "25 % [20, 30] of the gain"  # 2, 1.6 and 2.4 nats of -8


def test_a_fall_that_the_claim_predicts_is_positive_and_its_bounds_change_places() -> None:
    less = {"alternative": "less"}
    assert shown(part(estimate=-0.4, half=0.12, about=less), whole()) == "10 % [7, 13] of the logit difference"
    # [-0.2, 0.4] of 4 is [-5, 10] %, turned round [-10, 5]
    assert shown(part(estimate=0.1, half=0.3, about=less), whole()) == "-2 % [-10, 5] of the logit difference"
    # part of the gain where both are negative: -0.4 of -8
    negative = named("gain", claim=WHOLE, against="shuffled")
    assert shown(part(estimate=-0.4, about=less, behaviour=negative), whole()) == "5.0 % [3.5, 6.5] of the gain"


def test_an_effect_against_the_claim_has_a_negative_share() -> None:
    assert shown(part(estimate=-0.4), whole()) == "-10 % [-13, -7] of the logit difference"


def test_an_infinite_bound_stays_infinite_and_zero_has_no_minus() -> None:
    open_above = part()
    open_above["judgement"]["outcomes"][0]["high"] = "inf"
    assert shown(open_above, whole()) == "10 % [7, inf] of the logit difference"
    open_above["judgement"]["outcomes"][0].update(alternative="less", estimate=0.001)
    assert shown(open_above, whole()) == "0.0 % [-inf, -7.0] of the logit difference"


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_the_distance_of_an_exact_claim_counts_as_its_record_tells_it(alternative: str) -> None:
    one = exact_record()
    one["claim"] |= {"alternative": alternative, "behaviour": named("guess", size=0.54)}
    assert shown(one) == "50 % of the guess"  # 0.27, already in the claim's direction, of 0.54; nothing sampled
    assert "share" in record_text(one)


def test_several_components_effects_against_a_population_are_averaged() -> None:
    outcomes = [outcome(head, "other heads: mean", estimate=size) for head, size in (("1.0", 3.0), ("1.1", 5.0))]
    outcomes.append(outcome("1.0", "other heads: 95th percentile (1.7)", estimate=100.0, threshold=0.0))
    population = whole(judgement=judgement("supported", outcomes))
    behaviour = named(claim=WHOLE, against="other heads")
    assert shown(part(behaviour=behaviour), population) == "10 % [7, 13] of the logit difference"  # of 4


# -- where there is none -----------------------------------------------------------------------------------------


def test_margins_have_no_share() -> None:
    bound = outcome(
        "1.0", "cost", estimate=0.4, threshold=1.0, rule="non-inferiority", alternative="less", kind="margin"
    )
    ratio = {**bound, "control": "ratio", "rule": "equivalence", "upper": 2.0}
    one = part(more=[bound, ratio])
    sized = with_sizes([one, whole()])[0]
    assert [share_of(effect, sized) is not None for effect in effects_of(sized)] == [True, False, False]


@pytest.mark.parametrize(
    "others",
    [
        [],
        [whole(model="induction-2l@1")],  # another training seed is another model
        [not_run(MODEL, claim=claim(WHOLE, metric=LOGITS))],
        [whole(judgement=judgement("invalid", []))],
        [whole([[math.inf, 1.0]])],
        [whole([[0.4, 0.5]])],  # 0.45 is less than twice the SESOI of 0.25
        [whole([[-0.4, -0.5]])],
        [whole(measured={})],
        [whole(about={"metric": {**LOGITS, "unit": "nats"}})],
        [whole(exploratory=True)],
        [{**whole(), "model": {**whole()["model"], "fingerprint": "other weights"}}],
    ],
)
def test_no_share_without_a_size_that_was_measured_on_the_same_model(others: list[dict[str, Any]]) -> None:
    assert shown(part(), *others) == ""


@pytest.mark.parametrize("behaviour", [None, named(size=0.0), named(size="inf"), named(claim=WHOLE, against="nobody")])
def test_no_share_of_nothing(behaviour: Any) -> None:
    one = part()
    one["claim"]["behaviour"] = behaviour
    assert shown(one, whole()) == ""


def test_no_share_of_a_precondition_that_fails() -> None:
    failed = whole(preconditions=[{"name": "gap", "value": 2.0, "at_least": 3.0, "holds": False}])
    assert shown(part(behaviour=named(claim=WHOLE, precondition="gap")), failed) == ""


def test_an_older_record_has_no_such_field_and_stays_as_it_is() -> None:
    older = record()
    assert "behaviour" not in older["claim"]
    assert with_sizes([older])[0] is older
    assert share_text(effects_of(older)[0], older) == ""


def test_a_size_at_twice_the_sesoi_is_there_and_a_given_size_needs_no_such_distance() -> None:
    assert shown(part(), whole([[0.5]])) == "80 % [56, 104] of the logit difference"
    assert shown(part(behaviour=named(size=0.4)), whole()) == "100 % [70, 130] of the logit difference"


# -- which record ------------------------------------------------------------------------------------------------


def test_each_training_seed_has_the_size_of_its_own_model() -> None:
    records = [
        part(model="induction-2l@0"),
        part(model="induction-2l@1"),
        whole(),
        whole([[8.0]], model="induction-2l@1"),
    ]
    sizes = [one["claim"]["behaviour"]["size"] for one in with_sizes(records)[:2]]
    assert sizes == [4.0, 8.0]


def test_the_same_data_seed_goes_before_the_lowest_and_the_newest_version_before_older_ones() -> None:
    seeds = [whole([[4.0 + seed]], seeds={"data_seed": seed}) for seed in (2, 1, 0)]
    assert with_sizes([part(seeds={"data_seed": 1}), *seeds])[0]["claim"]["behaviour"]["size"] == 5.0
    assert with_sizes([part(seeds={"data_seed": 7}), *seeds])[0]["claim"]["behaviour"]["size"] == 4.0
    versions = [whole([[4.0 + version]], about={"version": version}) for version in (1, 3, 2)]
    assert with_sizes([part(), *versions])[0]["claim"]["behaviour"]["size"] == 7.0


def test_an_exploratory_effect_may_take_its_size_from_either_kind_of_record() -> None:
    second_look = whole([[8.0]], exploratory=True)
    assert with_sizes([part(exploratory=True), second_look])[0]["claim"]["behaviour"]["size"] == 8.0
    assert with_sizes([part(exploratory=True), second_look, whole()])[0]["claim"]["behaviour"]["size"] == 4.0


def test_sizes_are_looked_up_among_others_and_no_record_is_changed() -> None:
    one = part()
    sized = with_sizes([one], among=[whole()])
    assert len(sized) == 1
    assert sized[0]["claim"]["behaviour"]["size"] == 4.0
    assert one["claim"]["behaviour"]["size"] is None
    assert with_sizes(sized, among=[whole()]) == sized


def test_the_claims_that_measure_behaviours_are_named() -> None:
    records = [part(), part(behaviour=named(claim="a.b", against="x")), part(behaviour=named(size=1.0)), record()]
    assert measuring_claims(records) == {WHOLE, "a.b"}
    assert measuring_claims(records, by_values=True) == {WHOLE}


# -- where it is shown -------------------------------------------------------------------------------------------


def pages(records: list[dict[str, Any]], folder: Path) -> tuple[str, str]:
    """EVIDENCE.md and the page of the only mechanism."""
    path = write_report(records, out=folder, run=RUN, figures=False)
    return path.read_text("utf-8"), (folder / "evidence" / f"{records[0]['claim']['mechanism']}.md").read_text("utf-8")


def test_the_matrix_the_tables_and_the_page_show_it(tmp_path: Path) -> None:
    margin = outcome(
        "1.0", "cost", estimate=0.1, threshold=9.0, rule="non-inferiority", alternative="less", kind="margin"
    )
    first, in_full = pages([part(more=[margin]), whole()], tmp_path)
    assert "p &lt; 0.0001<br>10 % \\[7, 13\\] of the logit difference<br>1.0 against other heads" in first
    assert "“10 % [7, 13] of the …” is the same effect and interval divided by" in first
    assert "| 0.4 \\[0.28, 0.52\\] (10 % \\[7, 13\\] of the logit difference) |" in in_full
    assert "| 95 % interval | share of the logit difference | must be |" in in_full
    assert "| [0.28, 0.52] | 10 % [7, 13] | above 0.25 |" in in_full
    assert "| [0.02, 0.18] | - | below 9 |" in in_full
    html = write_html([part(), whole()], out=tmp_path, run=RUN).read_text("utf-8")
    assert html.count("10 % [7, 13] of the logit difference") >= 2


def test_the_exact_number_has_a_row_with_its_share(tmp_path: Path) -> None:
    one = exact_record()
    one["claim"] |= {"behaviour": named("guess", size=0.54)}
    first, in_full = pages([one], tmp_path)
    assert "50 % of the guess" in first
    assert "| distance as a share of the guess | 50 % |" in in_full


def test_nothing_is_said_of_shares_where_no_record_names_a_behaviour(tmp_path: Path) -> None:
    bare = part()
    without = {**bare, "claim": {name: value for name, value in bare["claim"].items() if name != "behaviour"}}
    unmeasured = pages([bare], tmp_path / "unmeasured")
    assert unmeasured == pages([without], tmp_path / "older")
    assert not any("share of" in text or "10 %" in text for text in unmeasured)


def test_a_hostile_name_stays_text(tmp_path: Path) -> None:
    one = hostile()
    one["claim"]["behaviour"] = named(HOSTILE, size=4.0)
    path = write_report([one], out=tmp_path, run=RUN, figures=False)
    text = path.read_text("utf-8") + "".join(page.read_text("utf-8") for page in (tmp_path / "evidence").glob("*.md"))
    assert "15 % \\[13, 17\\] of the &lt;/script&gt;" in text  # 0.6 [0.52, 0.68] of 4
    lines = text.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("| component") and "share of the" in line)
    assert lines[head].count("|") == lines[head + 1].count("|")  # nothing in the name makes another column
    told = [lines[head], *(line for line in lines if "15 %" in line)]
    assert not any(markup in line for line in told for markup in ("<img", "<svg", "</script", "[x](", "`code`"))
    html = write_html([one], out=tmp_path, run=RUN).read_text("utf-8")
    assert "<img src=x" not in html
    shown_in_terminal = record_text(one, width=100)
    assert "\u202e" not in shown_in_terminal
    assert "15 % [13, 17] of the </script>" in shown_in_terminal


# -- commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A reports folder with a run of the part and of the whole."""
    folder = tmp_path / "reports" / "runs" / "one"
    for one in (part(), whole()):
        write_record(Record(**{name: value for name, value in one.items() if name != "content_hash"}), folder=folder)
    write_run_info(RUN, folder=folder)
    return tmp_path / "reports"


def test_show_says_the_share_of_a_claim_and_of_a_file(reports: Path) -> None:
    file = next(reports.rglob("ioi.part__*.json"))
    for arguments in (["ioi.part", "--reports", str(reports)], [str(file)]):
        result = CliRunner().invoke(main, ["show", *arguments])
        assert result.exit_code == 0, result.output
        assert "share     10 % [7, 13] of the logit difference" in result.output


@pytest.mark.parametrize("options", [[], ["--no-figures"]])
def test_a_report_has_shares_with_and_without_figures(reports: Path, tmp_path: Path, options: list[str]) -> None:
    result = CliRunner().invoke(main, ["report", "--reports", str(reports), "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    assert "10 % \\[7, 13\\] of the logit difference" in (tmp_path / "out" / "EVIDENCE.md").read_text("utf-8")
