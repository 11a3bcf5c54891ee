"""What a verdict means for a test: pass, fail or skip, and the text that a person reads. No torch, no pytest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.evidence import Record


@dataclass(frozen=True)
class TestOutcome:
    """Whether the test passes, and the reason in one line."""

    __test__ = False  # not a pytest class, whatever its name looks like

    status: Literal["passed", "failed", "skipped"]
    reason: str


def outcome_of(record: Record, *, require: str | None = None, subjects_given: bool = False) -> TestOutcome:
    """How a record ends its test.

    The verdict that `subjects.toml` expects passes and any other fails. Where none is expected (a user's own model)
    every verdict is printed and passes, unless `require` names the one that must be reached. Heads given with
    `--subjects` are judged as the question that was asked: anything but `supported` fails.
    """
    if record.not_run is not None:
        return TestOutcome("skipped", f"not run: {record.not_run['reason']} To bring it: {record.not_run['remedy']}")
    verdict = record.verdict
    judgement = record.judgement or {}
    said = f"{verdict}: {judgement.get('reason', '')}".rstrip(": ")
    if require is None and subjects_given:
        require = "supported"
    if require is not None and (record.exploratory or record.expectation is None):
        return TestOutcome("passed" if verdict == require else "failed", f"{said} (required: {require})")
    if record.exploratory or record.expectation is None:
        return TestOutcome("passed", f"{said} ({'exploratory' if record.exploratory else 'no verdict expected'})")
    expected = record.expectation["verdict"]
    return TestOutcome("passed" if verdict == expected else "failed", f"{said} (expected: {expected})")


def properties_of(record: Record) -> list[tuple[str, str]]:
    """What JUnit XML and other reports of pytest say of a claim's test, as names and values."""
    expected = None if record.exploratory or record.expectation is None else record.expectation["verdict"]
    return [
        ("claim", str(record.claim["id"])),
        ("model", str(record.model["id"])),
        ("verdict", record.verdict),
        ("expected", "none" if expected is None else str(expected)),
    ]
