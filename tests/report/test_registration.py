"""What the report says of a lock, from plain values."""

from __future__ import annotations

from typing import Any

from harness.report.registration import (
    claim_registration,
    registration_of,
    registration_page,
    registration_summary,
    standing_marks,
)
from tests.report import sample_records

STAMP = {"date": "2026-01-01T00:00:00Z", "commit": "0123456789abcdef", "uncommitted": False}
ID = "induction.prefix-matching"
HEADS = {"induction": " ".join(sample_records.record("induction-2l@0")["subject"]["components"])}


def lock(*, before: int = 0, **changes: Any) -> dict[str, Any]:
    """A lock of one claim on one model, declared as the sample record is."""
    claim = {
        "version": 1, "declaration_hash": record()["claim"]["declaration_hash"], "body_sha256": "b" * 64,
        "registered": STAMP, "models": {"induction-2l@0": {"before": before, "subjects": HEADS}}, "before": before,
        "amendments": [], "withdrawn": False,
    }  # fmt: skip
    return {"lock": "registry.lock", "claims": {ID: {**claim, **changes}}}


def record(model: str = "induction-2l@0", **claim: Any) -> dict[str, Any]:
    made = sample_records.record(model)
    return {**made, "claim": {**made["claim"], **claim}}


def test_a_record_is_registered_amended_since_or_not_registered() -> None:
    assert registration_of(record(), lock()) == "registered"
    assert registration_of(record(declaration_hash="0"), lock()) == "amended since"
    assert registration_of(record("induction-2l@1"), lock()) == "not registered"
    assert registration_of(record(), None) == "not registered"


def test_a_record_about_other_heads_is_not_as_registered() -> None:
    about = {**record(), "subject": {**record()["subject"], "components": ["0.7"]}}
    assert registration_of(about, lock()) == "other heads"
    assert standing_marks([about], lock()) == "other heads"
    text = registration_summary([record(), about], lock())
    assert "1 of 2 verdicts are of claims as they are registered. 1 about **other heads** than registered." in text
    assert "about **other heads** than registered on <code>induction-2l@0</code>" in claim_registration([about], lock())
    settings = lock(
        models={"induction-2l@0": {"before": 0, "subjects": {"induction": f"{HEADS['induction']}; layer = 3"}}}
    )
    assert registration_of(record(), settings) == "registered"
    assert registration_of(about, settings) == "other heads"


def test_the_first_page_counts_what_is_not_registered_and_what_was_set_after_looking() -> None:
    text = registration_summary([record(), record("induction-2l@1")], lock(before=3))
    assert "1 of 2 verdicts are of claims as they are registered. 1 **not registered**." in text
    assert "Of 1 registered claim here 1 **set after looking**" in text
    assert "set after looking" not in registration_summary([record()], lock())
    assert "No claim is registered" in registration_summary([record()], None)
    assert registration_summary([sample_records.not_run()], lock()) == ""


def test_a_list_of_claims_says_what_to_bear_in_mind_of_each() -> None:
    assert standing_marks([record()], lock()) == ""
    assert standing_marks([record()], lock(before=2)) == "set after looking"
    assert standing_marks([record("induction-2l@1")], lock()) == "not registered"
    assert standing_marks([sample_records.not_run()], lock(before=2)) == ""
    assert standing_marks([record()], None) == ""


def test_a_claims_section_says_when_it_was_fixed_and_by_which_code_it_was_measured() -> None:
    said = claim_registration([record(), record("induction-2l@1")], lock())
    assert said.startswith("2026-01-01T00:00:00Z at <code>0123456789ab</code>, version 1; no confirmation record")
    assert "**not registered** on <code>induction-2l@1</code>" in said
    assert "other code" not in said
    changed = claim_registration([record(body_sha256="c" * 64)], lock(before=1))
    assert "1 confirmation record precedes it: **set after looking**" in changed
    assert "measured by other code than was registered on <code>induction-2l@0</code>" in changed
    assert claim_registration([record(body_sha256="b" * 64)], None) == ""


def test_every_amendment_stands_on_the_page_with_its_reason() -> None:
    change = {"stamp": {**STAMP, "commit": "", "uncommitted": True}, "changes": ["sesoi: registered 1, now 2"]}
    amendments = [
        {**change, "reason": "the paper | says so", "from_version": 1, "to_version": 2},
        {**change, "reason": "faster", "from_version": 2, "to_version": 2},
        {**change, "reason": "it asked nothing", "from_version": 2, "to_version": None},
    ]
    text = registration_page(lock(before=2, amendments=amendments, withdrawn=True))
    assert "version 1 to 2 (2026-01-01T00:00:00Z without a commit with uncommitted changes): The paper" in text
    assert "version 2, its code alone" in text
    assert "version 2 withdrawn" in text
    assert "**set after looking**, withdrawn" in text
    assert "**Amendments.** None." in registration_page(lock())
    assert registration_page(None) == ""


def test_claims_with_too_little_power_are_named_wherever_their_registration_is() -> None:
    weak = {ID: [{"model": "induction-2l@0", "line": "power 46% with 16 clusters, about 25 would do"}]}
    known = {**lock(), "underpowered": weak}
    assert "1 of claims that are **underpowered** on that model" in registration_summary([record()], known)
    assert "**underpowered** at twice the SESOI on <code>induction-2l@0</code>" in claim_registration([record()], known)
    page = registration_page(known)
    assert "**underpowered** on <code>induction-2l@0</code>" in page
    assert "none could be registered now" in page
    for quiet in (lock(), {**lock(), "underpowered": {}}):
        assert "underpowered" not in registration_page(quiet) + claim_registration([record()], quiet)
        assert "underpowered" not in registration_summary([record()], quiet)


def test_the_first_page_counts_what_was_measured_by_other_code_in_the_words_of_the_sections() -> None:
    known = lock(earlier_code=["e" * 12])
    early, other = record(body_sha256="e" * 64), record(body_sha256="c" * 64)
    text = registration_summary([record(), early, early, other], known)
    assert "as they are registered. 2 of them measured by code that was amended since; the decl" in text
    assert "1 of them measured by other code than was registered." in text
    said = claim_registration([early], known)
    assert "measured by code that was amended since on <code>induction-2l@0</code>" in said
    assert "other code" not in said
    quiet = registration_summary([record(body_sha256="b" * 64), record(body_sha256=None)], known)
    assert "measured by" not in quiet


def test_one_verdict_is_spoken_of_in_the_singular() -> None:
    assert "1 of 1 verdict is of a claim as it is registered." in registration_summary([record()], lock())
    assert "0 of 1 verdict is of a claim" in registration_summary([record("induction-2l@1")], lock())
