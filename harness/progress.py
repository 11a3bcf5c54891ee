"""What a run says on pytest's terminal: progress in one line that is written over, and the verdicts at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.evidence import Record


def announcer(config: pytest.Config) -> Callable[[str], None] | None:
    """Progress lines on a terminal; nothing where output is captured to a file or comes from a worker."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None or not reporter.isatty:
        return None

    def announce(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.rewrite(f"\r{line}", erase=True)

    return announce


def closing_lines(records: Sequence[Record], *, require: str | None, folder: Path) -> Iterator[str]:
    """The verdicts, whom `--require` was not asked of, what would bring missing models, where the evidence lies."""
    from harness.report.terminal import summary_text

    yield summary_text([record.as_dict() for record in records])
    kept = sum(record.expectation is not None and not record.exploratory for record in records)
    if require is not None and kept:
        yield f"--require {require}: not asked of the {kept} of which a verdict is expected"
    yield from _registration_lines(records)
    missing = sorted({str(record.not_run["remedy"]) for record in records if record.not_run})
    if missing:
        yield "not run, and what would bring the model:"
        yield from (f"  {remedy}" for remedy in missing)
    yield f"evidence: {folder}; `mechclaims report` writes it as Markdown"


def _registration_lines(records: Sequence[Record]) -> Iterator[str]:
    """How many verdicts nobody registered, and which were measured by other code than was registered."""
    ran = [record for record in records if not record.not_run]
    said = [(record, record.claim.get("registration") or {}) for record in ran]
    free = sum(registration.get("state") == "not registered" for _, registration in said)
    if free:
        yield f"not registered: {free} of {len(ran)} verdicts; `mechclaims register` fixes claims before measuring"
    other = sorted({str(record.claim["id"]) for record, registration in said if registration.get("same_body") is False})
    if other:
        yield f"measured by other code than was registered: {', '.join(other)}"
