"""Tables for the terminal and the notebook."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from harness.report import record_html, record_panel, record_text, summary_table, summary_text
from tests.report.sample_records import claim, exact_record, judgement, not_run, outcome, record
from tests.report.test_text import HOSTILE


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_summary_fits_the_terminal(width: int) -> None:
    shown = summary_text([record(), not_run(), exact_record(), record(verdict="refuted")], width=width)
    assert all(len(line) <= width for line in shown.splitlines())
    for word in ("supported", "not run", "refuted"):
        assert word in shown


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_id_of_a_model_is_never_broken(width: int) -> None:
    long = "path:/home/somebody/models/checkpoints of today/" + "a-long-name-" * 6 + "7.safetensors"
    seeded = record(model=long, seeds={"data_seed": 3})
    shown = summary_text([record(model="gpt2-small"), record(model=long), seeded, record()], width=width)
    lines = shown.splitlines()
    assert [line.strip() for line in lines if long in line][-1].startswith(f"{long}, data seed 3")
    assert "\ue000" not in shown
    (at,) = (number for number, line in enumerate(lines) if line.strip() == long) if width < 200 else (None,)
    assert at is None or "supported" in lines[at + 1]
    assert all(len(line) <= width or line.strip().startswith(long) for line in lines)


def test_a_failing_record_shows_everything_that_decides() -> None:
    shown = record_text(record(verdict="refuted", expectation={"verdict": "supported", "reason": ""}), width=80)
    for part in (
        "Induction heads attend to the token",
        "verdict   refuted",
        "expected  supported: NOT what was found",
        "SESOI     0.2 attention probability (greater): a third of the published",
        "other heads:",
        "above 0.2",
        "NO",
        "Reproduce:\n  pytest claims/induction --model smollm2-135m-q4 -k prefix-matching",
    ):
        assert part in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_the_command_is_never_wrapped() -> None:
    command = "pytest " + "claims/induction/" * 10
    assert command in record_text(record(command=command), width=60)


def test_what_was_not_run_says_how_to_run_it() -> None:
    shown = record_text(not_run(), width=80)
    assert "to run it  mechclaims models --fetch gpt2-small" in shown
    assert "against" not in shown


def test_exact_equivalence_and_lower_effects_are_worded() -> None:
    assert "0.42; rank 1 of 60" in record_text(exact_record(), width=80)
    inside = outcome("model", "gain", estimate=1.0, threshold=0.8, upper=1.25, rule="equivalence", kind="margin")
    below = outcome("model", "cost", estimate=-0.5, threshold=-0.2, alternative="less", low="-inf")
    shown = record_text(
        record(claim=claim(alternative="less"), judgement=judgement("supported", [inside, below])), width=160
    )
    assert "within [0.8, 1.25]" in shown
    assert "below -0.2" in shown
    assert "-0.5 [-inf" in shown
    assert "SESOI     -0.2" in shown


def test_plain_text_in_a_pipe_without_colour_codes() -> None:
    assert "\x1b" not in record_text(record()) + summary_text([record()])


def test_the_panel_prints_where_the_terminal_knows_only_ascii() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii"), width=80)
    console.print(summary_table([record()]))
    console.print(record_panel(record()))
    console.file.flush()
    assert b"supported" in raw.getvalue()


@pytest.mark.parametrize("hostile", [*HOSTILE, "[bold]x[/bold]", "[/]", ":smile:"])
def test_hostile_text_is_printed_as_it_is(hostile: str) -> None:
    bad = record(hostile, judgement=judgement("supported", [outcome(hostile, hostile, estimate=0.6)]), notes=[hostile])
    shown = summary_text([bad], width=100) + record_text(bad, width=100)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    if hostile.startswith("["):
        assert hostile in shown


def test_the_notebook_view_escapes_its_text() -> None:
    bad = record("<script>", claim=claim(statement="<b>&"), command="a & b")
    shown = record_html(bad)
    assert "<script>" not in shown
    assert "&lt;b&gt;&amp;" in shown
    assert shown.count("<tr>") == 1 + 6  # a head, two heads of three controls each
    assert "<table>" not in record_html(not_run())


def test_a_reason_that_many_claims_share_is_said_once_with_their_number() -> None:
    def unasked(claim_id: str, reason: str) -> dict[str, Any]:
        judged = {"verdict": "invalid", "reason": reason, "components": [], "outcomes": []}
        nothing = {"units": None, "prompts": None, "subject": None, "measured": {}, "ranks": [], "shares": []}
        return record("path:mine", claim=claim(claim_id), judgement=judged, expectation=None, **nothing)

    records = [unasked(f"toy.claim-{number}", "no names") for number in range(30)]
    text = summary_text([*records, unasked("toy.other", "no head")], width=120)
    assert text.count("no names") == 1
    assert "invalid, 30 claims: no names" in text
    assert re.search(r"invalid +no head\n", text), "a reason of one claim stays beside it"
