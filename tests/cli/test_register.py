"""`mechclaims register` and `amend`: what a user reads and which exit code tells a script."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.store import write_record, write_run_info
from tests.cli.calling import call, refused
from tests.test_registration import record_at


def change(toy: Path, old: str, new: str, *, file: str = "test_toy.py") -> None:
    path = toy / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    forget(toy)


def forget(toy: Path) -> None:
    """Its test file is imported again, as a new process would."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == str((toy / "test_toy.py").resolve()):
            del sys.modules[name]


def test_register_says_what_it_wrote_and_that_nothing_is_left(toy: Path) -> None:
    done = call("register")
    assert done.exit_code == 0
    assert "registered: 3" in done.stdout
    assert "toy.copies on induction-2l@0..2" in done.stdout
    assert "every claim with a verdict on record is registered" in call("register").stdout


def test_register_takes_claims_and_models(toy: Path) -> None:
    done = call("register", "toy.copies", "--model", "induction-2l@1")
    assert "toy.copies on induction-2l@1\n" in done.stdout
    assert "Did you mean 'toy.copies'" in refused("register", "toy.copeis")
    assert "no verdict is on record" in refused("register", "--model", "gpt2-small")


def test_check_writes_nothing_and_fails_until_all_is_registered(toy: Path) -> None:
    done = call("register", "--check")
    assert done.exit_code == 1
    assert "not registered yet: 3" in done.stdout
    assert not (toy.parent / "registry.lock").exists()
    call("register")
    assert call("register", "--check").exit_code == 0


@pytest.mark.parametrize("check", [True, False])
def test_a_changed_claim_is_shown_and_its_entry_stays(toy: Path, *, check: bool) -> None:
    call("register")
    lock = (toy.parent / "registry.lock").read_bytes()
    change(toy, "sesoi=0.25", "sesoi=0.1")
    done = call("register", *(["--check"] if check else []))
    assert done.exit_code == 1
    assert "sesoi: registered 0.25, now 0.1" in done.stdout
    assert "mechclaims amend toy.copies" in done.stdout
    assert (toy.parent / "registry.lock").read_bytes() == lock


def test_check_reports_a_deleted_claim(toy: Path) -> None:
    call("register")
    change(toy, (toy / "test_toy.py").read_text(encoding="utf-8"), "")
    done = call("register", "--check")
    assert done.exit_code == 1
    assert "toy.copies: in claims/registry.lock, and no longer among the claims" in done.stdout
    assert "toy.copies is withdrawn" in call("amend", "toy.copies", "--reason", "it asked nothing").stdout
    assert call("register", "--check").exit_code == 0


def test_amend_shows_the_line_of_the_source_and_the_fields(toy: Path) -> None:
    call("register")
    assert "there is nothing to amend" in refused("amend", "toy.copies", "--reason", "none")
    change(toy, 'heads = ["1.0"]', 'heads = ["1.1"]', file="subjects.toml")
    done = call("amend", "toy.copies", "--reason", "discovery with more prompts")
    assert done.exit_code == 0
    assert "version=2" in done.stdout
    assert "heads.copier (induction-2l@0): registered '1.0', now '1.1'" in done.stdout
    assert "version 1 became 2" in done.stdout
    forget(toy)
    assert call("register", "--check").exit_code == 0
    assert "toy.copies: as it was registered, but measured by other code" not in call("register").stdout


def test_other_code_is_said_and_accepted_with_a_reason(toy: Path) -> None:
    call("register")
    change(toy, "    evidence.decide()", "    evidence.note('n')\n    evidence.decide()")
    done = call("register", "--check")
    assert (done.exit_code, "but measured by other code" in done.stdout) == (0, True)
    assert "version 1 stays" in call("amend", "toy.copies", "--reason", "a note", "--code-only").stdout
    assert "other code" not in call("register").stdout


def test_a_damaged_lock_is_refused_by_name(toy: Path) -> None:
    (toy.parent / "registry.lock").write_text("{", encoding="utf-8")
    for command in (("register",), ("register", "--check"), ("amend", "toy.copies", "--reason", "r")):
        assert "claims/registry.lock: not readable as a lock" in refused(*command)


def test_report_counts_what_precedes_a_registration_and_prints_every_reason(toy: Path, folder: Path) -> None:
    run = folder / "reports" / "runs" / "20260131T120000Z_abc"
    from tests.report import sample_records

    plain = sample_records.record("induction-2l@0")
    plain["claim"] = {**plain["claim"], "id": "toy.copies", "mechanism": "toy"}
    write_record(type(record_at(""))(**{k: v for k, v in plain.items() if k != "content_hash"}), folder=run)
    write_run_info({"started": "2026-01-31T12:00:00Z"}, folder=run)
    call("report")
    assert "No claim is registered" in (folder / "reports" / "EVIDENCE.md").read_text(encoding="utf-8")
    call("register")
    change(toy, "sesoi=0.25", "sesoi=0.1")
    call("amend", "toy.copies", "--reason", "the paper says 0.1")
    assert call("report").exit_code == 0
    pages = [folder / "reports" / "EVIDENCE.md", *sorted((folder / "reports" / "evidence").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages).replace("\\", "")
    assert "Of 1 registered claim here 1 **set after looking**" in text
    assert "1 confirmation record precedes it: **set after looking**" in text
    assert text.count("The paper says 0.1. Changed: sesoi: registered 0.25, now 0.1; version: registered 1, now 2") == 2
    assert "| toy.copies |" in text.split("## Registration")[1]
