"""What a verdict means for its test."""

from __future__ import annotations

import pytest

from harness.evidence import Record
from harness.outcomes import outcome_of


def record(verdict="supported", *, expected=None, exploratory=False, not_run=None):
    return Record(
        claim={"id": "toy.larger"}, model={"id": "tiny"}, seeds={}, options={}, command="pytest",
        judgement=None if not_run else {"verdict": verdict, "reason": "the numbers"},
        expectation=None if expected is None else {"verdict": expected, "reason": ""},
        exploratory=exploratory, not_run=not_run,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "expected", "status"),
    [
        ("supported", "supported", "passed"),
        ("refuted", "supported", "failed"),
        ("invalid", "supported", "failed"),
        ("refuted", "refuted", "passed"),
        ("supported", "refuted", "failed"),
        ("inconclusive", "refuted", "failed"),
    ],
)
def test_the_registered_verdict_passes_and_any_other_fails(verdict, expected, status):
    outcome = outcome_of(record(verdict, expected=expected))
    assert outcome.status == status
    assert outcome.reason == f"{verdict}: the numbers (expected: {expected})"


@pytest.mark.parametrize("verdict", ["supported", "refuted", "inconclusive", "invalid", "too small"])
def test_without_registration_every_verdict_passes_and_says_so(verdict):
    outcome = outcome_of(record(verdict))
    assert outcome.status == "passed"
    assert "no verdict expected" in outcome.reason


def test_a_required_verdict_must_be_reached_where_none_is_registered():
    assert outcome_of(record("supported"), require="supported").status == "passed"
    failed = outcome_of(record("inconclusive"), require="supported")
    assert failed.status == "failed"
    assert "required: supported" in failed.reason


def test_a_registered_verdict_stands_over_the_required_one():
    assert outcome_of(record("refuted", expected="refuted"), require="supported").status == "passed"


def test_another_number_of_units_is_exploratory_and_passes_whatever_comes_out():
    outcome = outcome_of(record("refuted", exploratory=True))
    assert (outcome.status, "exploratory" in outcome.reason) == ("passed", True)


def test_given_heads_are_asked_to_be_supported():
    assert outcome_of(record("refuted", exploratory=True), subjects_given=True).status == "failed"
    assert outcome_of(record("supported", exploratory=True), subjects_given=True).status == "passed"
    assert outcome_of(record("refuted", exploratory=True), require="refuted", subjects_given=True).status == "passed"


def test_a_claim_that_was_not_run_is_skipped_with_the_command_that_brings_the_model():
    outcome = outcome_of(record(not_run={"reason": "gpt2-small is not here.", "remedy": "hf download gpt2"}))
    assert outcome.status == "skipped"
    assert outcome.reason == "not run: gpt2-small is not here. To bring it: hf download gpt2"
