"""The Markdown report as a reader gets it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StoreError
from harness.report import record_text, summary_text, write_report
from harness.report.details import details
from harness.report.families import family_label, verdict_counts
from harness.report.figure_files import claim_forest, summary_forest
from tests.report.sample_pictures import pictures
from tests.report.sample_records import (
    PAPERS,
    RUN,
    claim,
    exact_record,
    judgement,
    not_run,
    outcome,
    record,
)
from tests.report.test_text import HOSTILE, MARKDOWN

OUR_ADDRESSES = ("#claim-", "https://", "evidence/induction.md", "../EVIDENCE.md")


def small() -> list[dict[str, Any]]:
    """Every verdict, tier and kind of claim, few figures."""
    seeds = [record(f"induction-2l@{seed}", pictures=pictures()[:1]) for seed in range(3)]
    others = [
        record("smollm2-135m-q4", claim=claim(f"induction.{verdict.replace(' ', '-')}"), verdict=verdict)
        for verdict in ("too small", "refuted", "inconclusive", "invalid")
    ]
    tiers = [record(claim=claim(f"induction.{tier}", tier=tier)) for tier in ("reliability", "replication")]
    return [*seeds, not_run(), *others, *tiers, exact_record(), record("smollm2-135m-q4", heads=1, exploratory=True)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = {small()[0]["content_hash"]: "first__record.json"}
    return write_report(
        small(), out=tmp_path_factory.mktemp("report"), run=RUN, papers=PAPERS, file_names=names, command_prefix="env "
    )


@pytest.fixture(scope="module")
def text(report: Path) -> str:
    return report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def in_full(report: Path) -> str:
    """The page of the only mechanism."""
    return (report.parent / "evidence" / "induction.md").read_text(encoding="utf-8")


def whole(report: Path) -> str:
    """EVIDENCE.md and the mechanisms' pages."""
    return "".join(path.read_text("utf-8") for path in (report, *sorted((report.parent / "evidence").glob("*.md"))))


def section_of(text: str, *, claim_id: str) -> str:
    """The section of one claim."""
    return text.split(f"### {claim_id}\n")[1].split("\n<a id=")[0]


def test_all_six_verdicts_are_counted_and_shown_with_a_sign_and_a_word(text: str) -> None:
    first_page = text.split("\n## ")[0]
    for cell in ("✓ supported", "≈ too small", "✗ refuted", "? inconclusive", "! invalid", "□ not run"):
        assert cell in first_page
    # three seeds and the exact claim; one each; tiers in columns of their own
    assert "| ✓ supported | 4 | 1 | 1 |" in first_page
    assert "| □ not run | 1 | 0 | 0 |" in first_page


def test_the_expected_number_of_false_supports_counts_sampled_inference_verdicts(text: str) -> None:
    # three seeds and four other verdicts; not the exact claim, not the one that was not run, not exploratory: M = 7
    assert "M = 7 inference verdicts" in text
    assert "0.025 M = 0.175" in text


def test_the_seeds_of_one_model_share_a_column_and_are_combined(text: str, in_full: str) -> None:
    assert "✓ 3 of 3 supported" in text.split("\n## ")[0]
    of_claim = section_of(in_full, claim_id="induction.prefix-matching")
    assert "<code>induction-2l@0..2</code>: ✓ 3 of 3 supported" in of_claim
    assert "Combined over 3 training seeds: 3 of 3 supported" in of_claim
    assert of_claim.count("<details>") == of_claim.count("</details>") == 2


def test_verdicts_other_than_the_registered_are_named_on_the_first_page(text: str) -> None:
    first_page = text.split("\n## ")[0]
    assert "**not as expected:** ✗ refuted" in first_page
    assert "Verdicts that were not expected when they were measured" in first_page


def test_a_section_holds_what_a_sceptic_asks(in_full: str) -> None:
    of_claim = section_of(in_full, claim_id="induction.prefix-matching")
    for asked in (
        "> Induction heads attend to the token",
        "Catherine Olsson et al., 2022, [In-context Learning and Induction Heads](<https://",
        "**What would have refuted it:** An effect against “other heads” or “shuffled second half” whose upper bound",
        "0.025/3",  # the mean of the others, their 95th percentile, the shuffled half
        "It would be refuted as well by upper bounds below 0 against the 95th-percentile member of “other heads”.",
        "**Nearest rival:** A head that attends at a fixed offset. It would be exposed by: Shuffled second half.",
        "at least 0.2 attention probability. A third of the published score.",
        "24 sequences in 24 clusters",
        "bootstrap-t over clusters",
        "selected by prefix-matching score on the discovery split",
        "| p | p against 0 | Hedges g | holds |",
        "other heads: 95th percentile (1.7) (component)",
        "1 of 14",
        "**passenger**: the interval includes 0",
        "the model predicts the second copy",
        "Heads 1.0 and 1.1 share a key-value head.",
        "this one checkpoint (training seed 0)",
        "12.3 s, 16,384 token-forwards, peak memory of the process so far 812 MiB",
        "<code>first\\_\\_record.json</code>",
        "```sh\nenv pytest claims/induction --model induction-2l@0",
        "By length of the block",
    ):
        assert asked in of_claim or asked.replace("\\_", "_") in of_claim, asked


@pytest.mark.parametrize(
    ("heads", "shares", "said"),
    [
        (1, [1.0], "discovery split; selected in 20 of 20 half-samples"),
        (2, [0.95, 0.95], "; each selected in 19 of 20 half-samples"),
        (2, [1.0, 0.35], "; selected: 1.0 in 20 of 20, 1.1 in 7 of 20 half-samples"),
    ],
)
def test_the_line_of_the_subject_says_how_stable_its_selection_is(heads: int, shares: list[float], said: str) -> None:
    plain = record(heads=heads)
    counted = {**plain["subject"], "selection_frequency": shares, "half_samples": 20}
    assert said in details(record(heads=heads, subject=counted), files=None, file_names={})
    assert "half-sample" not in details(plain, files=None, file_names={})


def test_what_was_not_run_names_the_command_that_brings_it(in_full: str) -> None:
    assert "To run it: <code>mechclaims models --fetch gpt2-small</code>" in in_full


def test_the_note_of_a_model_stands_with_its_name(text: str) -> None:
    assert "<code>smollm2-135m-q4</code>: weights dequantised from Q4\\_1" in text.replace("Q4_1", "Q4\\_1")


def test_tiers_and_exploratory_records_stand_apart(text: str, in_full: str) -> None:
    assert re.findall(r"^## (\w+)", text, flags=re.MULTILINE) == ["Where"]
    headings = re.findall(r"^## (\w+)", in_full, flags=re.MULTILINE)
    assert headings == ["Inference", "Reliability", "Replication", "Exploratory"]
    assert "1.0" in in_full.split("## Exploratory")[1]


def test_exact_claims_have_rank_and_distance_and_no_interval(in_full: str) -> None:
    of_claim = section_of(in_full, claim_id="induction.k-composition")
    assert "| distance to it | 0.27 |" in of_claim
    assert "[" not in of_claim.split("| model | verdict |")[1].split("![")[0]
    assert "A number below the population's 95th percentile" in of_claim


def test_hostile_names_break_neither_tables_nor_html(tmp_path: Path) -> None:
    hostile = " ".join(HOSTILE)
    outcomes = [outcome(hostile, hostile, estimate=0.6), outcome("1.1", hostile, estimate=0.6)]
    bad = record(
        hostile,
        claim=claim(statement=hostile, rival=hostile, sesoi_reason=hostile, paper=hostile, source=hostile),
        judgement=judgement("supported", outcomes, reason=hostile),
        notes=[hostile],
        tables=[{"name": hostile, "columns": [hostile, "b"], "rows": [[hostile, True], [None, 1.5]]}],
        pictures=[{"kind": hostile, "name": hostile, "caption": hostile}, {**pictures()[1], "name": hostile}],
        command=hostile,
        preconditions=[{"name": hostile, "value": 1.0, "at_least": 0.5, "holds": False}],
    )
    run = {**RUN, "versions": {hostile: hostile}}
    path = write_report([bad, record()], out=tmp_path, run=run, papers={}, file_names={bad["content_hash"]: hostile})
    tokens = MARKDOWN.parse(whole(path))
    html = [child.content for token in tokens for child in token.children or () if child.type == "html_inline"]
    html += [token.content for token in tokens if token.type == "html_block"]
    allowed = r'</?code>|<br>|<a id="claim-[a-z0-9-]+">|</a>|<details>\n<summary>.*</summary>|</details>'
    assert all(re.fullmatch(allowed, tag) for tag in html)
    links = [child for token in tokens for child in token.children or () if child.type == "link_open"]
    assert all(str(link.attrs["href"]).startswith(OUR_ADDRESSES) for link in links)
    assert rows_are_as_wide_as_their_heads(tokens)


def rows_are_as_wide_as_their_heads(tokens: list[Any]) -> bool:
    """No cell of a table was split or swallowed."""
    width, cells = 0, 0
    for token in tokens:
        if token.type == "tr_open":
            cells = 0
        cells += token.type in ("th_open", "td_open")
        if token.type == "thead_close":
            width = cells
        if token.type == "tr_close" and width and cells not in (width, 0) and token.level > 1:
            return False
        if token.type == "table_close":
            width = 0
    return True


def test_no_table_of_the_report_has_a_row_of_another_width(text: str) -> None:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines
    assert rows_are_as_wide_as_their_heads(MARKDOWN.parse(text))


def test_a_paper_link_that_is_no_web_address_is_not_linked(tmp_path: Path) -> None:
    papers = {"olsson2022": {"title": "T", "authors": "A", "year": 2022, "url": "javascript:alert(1)"}}
    assert "javascript" not in whole(write_report([not_run()], out=tmp_path, run=RUN, papers=papers))


def test_an_interrupted_run_says_so_first(tmp_path: Path) -> None:
    text = write_report([not_run()], out=tmp_path, run={**RUN, "interrupted": True}).read_text("utf-8")
    assert "This run was not finished" in text.split("\n\n")[1]
    matrix = {**RUN, "interrupted": True, "options": {"unfinished cells": 3}}
    text = write_report([not_run()], out=tmp_path, run=matrix).read_text("utf-8")
    assert "**3 cells of this matrix still lack records; what follows is what there was.**" in text


def test_a_picture_that_cannot_be_drawn_leaves_a_line_that_says_why(tmp_path: Path) -> None:
    broken = record(pictures=[{"kind": "curve", "name": "dose", "caption": "c", "x": [1]}])
    text = whole(write_report([broken, record()], out=tmp_path, run=RUN))
    assert text.count("_No picture: picture 'dose' of kind 'curve' has no 'y'_") == 1
    assert "--dose" not in text


def test_other_data_seeds_are_counted_beside_the_first(tmp_path: Path) -> None:
    records = [
        record(verdict=verdict, heads=1, seeds={"data_seed": seed, "split": "confirmation"})
        for seed, verdict in enumerate(("supported", "supported", "inconclusive"))
    ]
    text = write_report(records, out=tmp_path, run=RUN).read_text("utf-8")
    assert "2 of 3 supported" in text
    assert "M = 1 inference" in text


def test_amended_claims_show_the_newest_declaration(tmp_path: Path) -> None:
    records = [record(claim=claim(version=2, sesoi=0.3)), record("gpt2-small")]
    text = whole(write_report(records, out=tmp_path, run=RUN))
    assert "**Amended:** records of versions 1, 2" in text
    assert "at least 0.3 attention probability" in text


def test_cells_tables_and_forest_agree_on_the_effect_nearest_to_failing(tmp_path: Path) -> None:
    def of_seed(seed: int, percentile: float) -> dict[str, Any]:
        best = outcome("1.4", "other heads: 95th percentile (0.5)", estimate=percentile, threshold=0.0, p=0.2208)
        outcomes = [outcome("1.4", "same dose", estimate=0.7, p=0.1438), best]
        return record(f"induction-2l@{seed}", judgement=judgement("supported", outcomes))

    records = [of_seed(0, 0.9), of_seed(1, 0.07)]
    text = whole(write_report(records, out=tmp_path, run=RUN)).replace("\\", "")
    nearest = "0.07 [-0.01, 0.15], must be above 0, p 0.2208"
    assert f"{nearest}<br>induction-2l@1: 1.4 against other heads: 95th percentile (0.5)" in text.split("\n## ")[0]
    of_claim = section_of(text, claim_id="induction.prefix-matching")
    shared = "0.07 [-0.01, 0.15] | above 0 | 0.2208 |"
    assert f"| {shared} induction-2l@1: 1.4 against other heads: 95th percentile (0.5) |" in of_claim
    assert f"{shared} 0.0002 | 1.4 against other heads: 95th percentile (0.5) |" in of_claim
    assert nearest in " ".join(summary_text(records, width=200).split())
    assert f"to failing: {nearest}; 1.4 against other heads: 95th" in (record_text(records[1], width=200))
    lines = {line.get_marker(): line.get_xdata()[0] for line in summary_forest(records).axes[0].lines}
    # each from its own threshold in SESOIs of 0.2: (0.07 - 0) / 0.2, and as a tick the better seed: (0.7 - 0.2) / 0.2
    assert (lines["o"], lines["|"]) == pytest.approx((0.35, 2.5))


def test_where_seed_0_was_not_measured_the_first_page_names_the_seeds_that_count(tmp_path: Path) -> None:
    def of(model: str, *seeds: int) -> list[dict[str, Any]]:
        return [record(model, heads=1, seeds={"data_seed": seed, "split": "confirmation"}) for seed in seeds]

    def first_page(records: list[dict[str, Any]]) -> str:
        return write_report(records, out=tmp_path, run=RUN).read_text("utf-8").split("\n## ")[0]

    assert "**Counted here: data seed 3**" in first_page(of("gpt2-small", 5, 3))
    mixed = first_page([*of("gpt2-small", 0, 1), *of("smollm2-135m-q4", 2)])
    assert "data seeds 0 and 2** (<code>gpt2-small</code>: 0; <code>smollm2-135m-q4</code>: 2)" in mixed
    assert "Counted here" not in first_page(of("gpt2-small", 0, 1))


def test_a_claim_that_had_nothing_to_ask_about_is_invalid_with_its_reason(tmp_path: Path) -> None:
    judged = {"verdict": "invalid", "reason": "discovery found no head", "components": [], "outcomes": []}
    nothing = dict.fromkeys(("units", "prompts", "subject"))
    nothing |= {"measured": {}, "ranks": [], "shares": []}
    empty = record("path:mine", judgement=judged, expectation=None, **nothing)
    text = whole(write_report([empty], out=tmp_path, run=RUN))
    assert "**Invalid.** Discovery found no head." in text
    assert "1 invalid" in text.split("\n## ")[0]
    assert "discovery found no head" in summary_text([empty], width=120)


def test_an_effect_in_the_other_direction_is_drawn_to_the_right_in_the_summary() -> None:
    outcomes = [outcome("1.0", "x", estimate=-0.5, threshold=-0.2, alternative="less", holds=True)]
    less = record(claim=claim(alternative="less"), judgement=judgement("supported", outcomes))
    marks = [line.get_xdata()[0] for line in summary_forest([less]).axes[0].lines if line.get_marker() == "o"]
    assert marks == [pytest.approx(1.5)]  # (0.5 - 0.2) / 0.2 beyond the threshold


def test_a_long_forest_falls_back_to_one_row_per_record() -> None:
    records = [record(f"induction-2l@{seed}", heads=8) for seed in range(3)]  # 3 x (8 x 3 + 1) = 75 rows
    assert len(claim_forest(records).axes[0].get_yticklabels()) == 3


def test_labels_of_families() -> None:
    seeds = [record(f"induction-2l@{seed}") for seed in (0, 2, 3)]
    assert family_label(seeds) == "induction-2l@0,2,3"
    assert family_label(seeds[:1]) == "induction-2l@0"
    mixed = [record("a@0"), record("a@1", verdict="refuted")]
    assert verdict_counts(mixed) == "✓ 1 of 2 supported, ✗ 1 of 2 refuted"


def test_records_are_plain_json() -> None:
    assert json.loads(json.dumps(small(), allow_nan=False)) == small()


def test_a_report_of_nothing_and_a_folder_that_is_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="at least one record"):
        write_report([], out=tmp_path, run=RUN)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report([not_run()], out=tmp_path / "file", run=RUN)


@pytest.mark.parametrize(
    ("treated", "title"),
    [(["1.4", "1.5"], "Effect head by head"), (["joint"], "Head by head, beside the joint effect of 0.5")],
)
def test_effects_of_single_heads_are_called_parts_of_a_joint_effect_only_where_one_was_measured(
    treated: list[str], title: str
) -> None:
    share = {"share": 0.5, "low": 0.4, "high": 0.6, "passenger": False}
    shares = [{"component": head, **share} for head in ("1.4", "1.5")]
    measured = {"treated": {"components": treated, "values": [[0.5]] * len(treated)}, "controls": {}, "margins": {}}
    assert f"**{title}**" in details(record(shares=shares, measured=measured), files=None, file_names={})


@pytest.mark.parametrize(("version", "said"), [(1, False), (3, True)])
def test_a_claim_that_was_declared_again_says_so(tmp_path: Path, version: int, said: bool) -> None:  # noqa: FBT001
    text = whole(write_report([record(claim=claim(version=version))], out=tmp_path, run=RUN))
    line = "version 3: declared again after results of earlier versions had been seen"
    assert (line in text) is said


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.05, "takes part"),
        (0.049, "takes no part: under 5 % of the joint effect"),
        (-0.049, "takes no part: under 5 % of the joint effect"),
        (-0.2, "works against the joint effect"),
    ],
)
def test_a_head_takes_part_where_its_effect_is_at_least_a_twentieth_of_the_joint_one(share: float, said: str) -> None:
    shares = [{"component": "0.1", "share": share, "low": share - 0.01, "high": share + 0.01, "passenger": False}]
    measured = {"treated": {"components": ["joint"], "values": [[0.5, 1.5]]}, "controls": {}, "margins": {}}
    assert f"| {said} |" in details(record(shares=shares, measured=measured), files=None, file_names={})
    passenger = [{**shares[0], "passenger": True}]
    assert "**passenger**" in details(record(shares=passenger, measured=measured), files=None, file_names={})


def test_the_seed_on_which_a_finding_fails_is_shown_in_full_beside_the_first(tmp_path: Path) -> None:
    verdicts = ("supported", "supported", "inconclusive", "refuted", "refuted")
    seeds = [record(f"induction-2l@{seed}", verdict=verdict) for seed, verdict in enumerate(verdicts)]
    write_report(seeds, out=tmp_path, run=RUN, figures=False)
    text = (tmp_path / "evidence" / "induction.md").read_text(encoding="utf-8")
    assert [seed for seed in range(5) if f"#### <code>induction-2l@{seed}</code>" in text] == [0, 3]
    assert text.count("<details>") == 3


def test_margins_of_the_same_bounds_and_reason_are_said_once(tmp_path: Path) -> None:
    margins = [
        {"name": f"F(C) - F(M), set {number}", "unit": "logits", "at_most": 0.8, "at_least": -0.8, "reason": "a half"}
        for number in range(8)
    ]
    one = record(claim=claim(margins=margins))
    write_report([one], out=tmp_path, run=RUN, figures=False)
    text = (tmp_path / "evidence" / "induction.md").read_text(encoding="utf-8").replace("\\", "")
    assert text.count("“F(C) - F(M), set 0” to “F(C) - F(M), set 7” (8 margins)") == 2
    assert "So would any one of “F(C) - F(M), set 0” to" in text
