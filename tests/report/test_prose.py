"""What the report says in sentences: reasons, methods, captions, commands, versions, commits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.report import record_text
from harness.report.captions import shown_pictures
from harness.report.details import details
from harness.report.figure_files import FigureFiles
from harness.report.not_run import not_run_page
from harness.report.provenance import provenance_page, when_measured
from harness.report.reasons import reason_of
from harness.report.registration import measured_as, signs, signs_read
from harness.report.sanity import sanity_page
from harness.report.summary import summary
from harness.report.wording import method
from tests.report.sample_pictures import pictures
from tests.report.sample_records import RUN, claim, judgement, not_run, outcome, record

NEAR = "a control, \\ and 'its' name"
FAR = "the others"
OLDER = f"all 2 conditions hold, the weakest against {FAR!r}: 0.9, 95 % interval [0.8, 1.0] (asked: above 0.2)"


def of_older_version(**changes: Any) -> dict[str, Any]:
    """A supported record whose stored sentence names another condition than its tables do, quoted as Python does."""
    outcomes = [outcome("1.0", NEAR, estimate=0.5), outcome("1.0", FAR, estimate=0.9, p=0.01)]
    judged = judgement("supported", outcomes, reason=OLDER)
    return record(judgement={**judged, "reason": f"1.0 supported: {OLDER}"}, heads=1, **changes)


def in_full(one: dict[str, Any], **options: Any) -> str:
    return details(one, files=None, file_names={}, **options)


# -- reasons -----------------------------------------------------------------------------------------------------


def test_a_verdicts_sentence_names_the_condition_that_the_tables_name_also_of_older_records() -> None:
    said = reason_of(of_older_version())
    # slack over half-width: (0.42 - 0.2) / 0.08 against (0.82 - 0.2) / 0.08
    nearest = f"nearest to failing the one against “{NEAR}”: 0.5 [0.42, 0.58], must be above 0.2, p < 0.0001"
    assert said == f"1.0 supported: all 2 conditions hold, {nearest}"
    assert nearest in " ".join(record_text(of_older_version(), width=400).split())


def test_names_in_a_reason_have_no_backslashes_but_their_own() -> None:
    reason = f"1.0 inconclusive: open against {NEAR!r}: 0.1; beaten by the 95th percentile (1.7) of {FAR!r}"
    outcomes = [outcome("1.0", NEAR, estimate=0.1), outcome("1.0", f"{FAR}: mean", estimate=0.9)]
    open_one = record(judgement=judgement("inconclusive", outcomes, reason=reason), heads=1)
    assert f"open against “{NEAR}”: 0.1; beaten by the 95th percentile (1.7) of “{FAR}”" in reason_of(open_one)
    assert "\\\\'" not in in_full(open_one)


def test_a_reason_that_says_nothing_of_conditions_stays_as_it_is_stored() -> None:
    assert reason_of(record()) == "every control is beaten"
    assert reason_of(not_run()) == not_run()["not_run"]["reason"]


# -- method, p, captions -----------------------------------------------------------------------------------------


def test_the_method_of_the_declaration_stands_before_the_generated_sentences_and_is_escaped() -> None:
    generated = method(record())
    assert generated.startswith("One value per sequence: ")
    declared = method(record(claim=claim(method="attention is read at *every* head | <b>")))
    assert declared == f"Attention is read at \\*every\\* head &#124; &lt;b&gt;. {generated}"
    assert method(record(claim=claim(method=""))) == generated


def test_the_adjusted_p_is_shown_once_for_each_component_and_said_to_be_its() -> None:
    one, two = in_full(of_older_version()), in_full(record(heads=2))
    said = (
        "p of 1.0: 0.0001, the largest of its conditions', since all must hold; adjusted (Holm, one component): 0.0002"
    )
    assert said in one
    assert one.count("0.0002") == 1
    assert "| component | verdict | p | p adjusted (Holm) | reason |" in two
    assert "since all must hold; adjusted over the 2 components." in two
    assert "p adjusted |" not in two


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        ({"n": "120 pairs | of the *discovery* split"}, "; n = 120 pairs &#124; of the \\*discovery\\* split_"),
        ({}, "; n = 24 sequences in 24 clusters_"),
        ({"caption": "Means; n = 3 heads"}, "Means; n = 3 heads (smollm2-135m-q4)_"),
    ],
)
def test_the_n_of_a_caption_is_the_pictures_own_and_else_the_claims(
    tmp_path: Path, picture: dict[str, str], said: str
) -> None:
    (shown,) = shown_pictures(record(pictures=[{**pictures()[0], **picture}]), FigureFiles(tmp_path))
    assert shown.endswith(said)


# -- what was not run, where it was measured ---------------------------------------------------------------------


def test_what_file_is_in_a_command_is_said_with_the_command_and_once_where_nothing_ran() -> None:
    with_file = record(command="pytest claims/x.py --model gpt2-small --weights gpt2-small=FILE")
    assert "<code>FILE</code> stands for the path, on your machine, of the model's weights" in in_full(with_file)
    assert "FILE" not in in_full(record())
    page = not_run_page([not_run(), not_run(claim=claim("induction.other")), record()])
    assert page.count("<code>FILE</code> stands for") == 1
    assert "- <code>gpt2-small</code>, 2 claims: " in page
    assert not_run_page([record()]) == ""


def test_each_commit_of_a_baseline_is_listed_with_its_number_of_records() -> None:
    some = [record(f"induction-2l@{seed}") for seed in range(3)]
    names = {one["content_hash"]: f"r{number}.json" for number, one in enumerate(some)}
    run = {**RUN, "commits": ["a" * 40, "b" * 40]}
    known = {**run, "measured_at": {"a" * 40: ["r0.json", "gone.json"], "b" * 40: ["r1.json"]}}
    page = provenance_page(known, records=[*some, not_run()], file_names=names)
    assert f"| measured at <code>{'a' * 12}</code> | 1 record |" in page
    assert f"| measured at <code>{'b' * 12}</code> | 1 record |" in page
    assert "| measured at a commit that is not recorded | 1 record |" in page
    older = provenance_page(run, records=some, file_names=names)
    assert f"| measured at <code>{'b' * 12}</code> | number of records not recorded |" in older
    assert "measured at" not in provenance_page(RUN, records=some, file_names=names)


def test_of_a_baseline_of_several_runs_the_time_and_the_options_are_those_of_all(tmp_path: Path) -> None:
    first, last = "2026-11-21T10:37:00Z", "2026-11-21T12:00:00Z"
    options = {"model": ["toy@0"], "profile": "default"}
    run = {**RUN, "started": first, "finished": last, "options": options}
    several = {**run, "measured_at": {"a" * 40: ["r0.json"], "b" * 40: ["r1.json"]}}
    page = provenance_page(several, records=[record(), record("induction-2l@1"), not_run()], file_names={})
    assert "| options: profile | default (2 records) |" in page
    assert "options: model" not in page
    assert "| versions of the last run: python |" in page
    assert "| options: model |" in provenance_page(run, records=[record()], file_names={})
    assert when_measured(several) == f"from {first} to {last}"
    assert when_measured(run) == first
    assert when_measured({**run, "finished": "2026-11-22T10:38:00Z"}) == f"from {first} to 2026-11-22T10:38:00Z"
    assert when_measured({**run, "finished": None}) == when_measured({**run, "finished": "soon"}) == first
    assert when_measured({}) == "at an unknown time"
    text = summary([record()], run=several, files=FigureFiles(tmp_path, formats=()))
    assert f"Measured from {first} to {last} at " in text


def test_intervals_of_a_stored_table_are_told_apart_from_those_that_decide() -> None:
    table = {"name": "by stratum", "columns": ["stratum", "95 % interval"], "rows": [["all", "0.9 to 1.2"]]}
    outcomes = [outcome("1.0", FAR, estimate=0.9)]
    drawn = {**judgement("supported", outcomes), "outcomes": [{**outcomes[0], "method": "bootstrap-t"}]}
    said = "from resamples of their own"
    assert said in in_full(record(tables=[table], judgement=drawn, heads=1))
    assert said not in in_full(record(tables=[{**table, "columns": ["stratum", "range"]}], judgement=drawn, heads=1))


def test_every_model_with_records_has_a_row_of_sanity() -> None:
    battery = {"model": "smollm2-135m-q4", "checks": [{"name": "ablation", "holds": True, "said": "fine"}]}
    page = sanity_page([battery], records=[record(), record("induction-2l@1"), not_run()])
    assert "| <code>smollm2-135m-q4</code> | holds: fine |" in page
    assert "| <code>induction-2l@1</code> | not recorded |" in page
    assert "| <code>gpt2-small</code> | not run |" in page


# -- versions ----------------------------------------------------------------------------------------------------


def lock(version: int, *amendments: tuple[int, int | None]) -> dict[str, Any]:
    """A lock of the sample claim at a version, amended from and to these."""
    stamp = {"date": "2026-01-01T00:00:00Z", "commit": "0123456789abcdef", "uncommitted": False}
    made: list[dict[str, Any]] = [
        {"from_version": before, "to_version": after, "stamp": stamp, "reason": "r", "changes": []}
        for before, after in amendments
    ]
    entry = {
        "version": version, "declaration_hash": "0", "body_sha256": "b", "registered": stamp, "before": 0,
        "models": {"smollm2-135m-q4": {"before": 0}}, "amendments": made, "withdrawn": False,
    }  # fmt: skip
    return {"lock": "registry.lock", "claims": {"induction.prefix-matching": entry}}


def test_a_claim_declared_anew_has_a_sign_in_its_cells_that_the_first_page_explains(tmp_path: Path) -> None:
    anew, code_alone = lock(2, (1, 2)), lock(1, (1, 1))
    other = record(claim=claim(id="induction.other"))
    assert signs([record()], anew) == "†"
    assert signs([record()], code_alone) == ""
    assert signs([record()], None) == signs([other], anew) == ""
    page = summary([record()], run=RUN, files=FigureFiles(tmp_path, formats=()), lock=anew)
    assert "✓ supported †<br>" in page
    assert "† behind a verdict: the claim was declared anew after it had been registered" in page
    assert "measured as version 1 |" in page
    assert signs_read([record()], code_alone) == ""
    assert "†" not in summary([record()], run=RUN, files=FigureFiles(tmp_path, formats=()), lock=code_alone)


def test_a_record_of_an_earlier_version_than_the_registered_one_says_so() -> None:
    second = record("induction-2l@1", claim=claim(version=2))
    assert measured_as([record()], lock(2)) == "measured as version 1"
    assert measured_as([record(), second], lock(2)) == "1 of 2 measured as version 1"
    assert measured_as([record(), second], lock(3)) == "2 of 2 measured as versions 1 and 2"
    assert measured_as([second, not_run()], lock(2)) == measured_as([record()], None) == ""
    assert "It was measured as version 1; the version" in in_full(record(), version="measured as version 1")
