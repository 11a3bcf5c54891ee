"""`mechclaims verify`: the numbers of stored records computed again from their values. No model is needed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from harness.commands.options import json_option, reports_option
from harness.commands.runs import named_run, say_unfinished
from harness.errors import StoreError
from harness.store import BASELINE, Run
from harness.verifying import ABSOLUTE, RELATIVE, Difference, State, Verification, manifest_problem, verify_run

MOST_DIFFERENCES = 12
"""Differences of one record that are printed; the others are counted, and --json has them all."""
MOST_CHARACTERS = 160
"""Of a stored or recomputed text, such as a reason."""

_IN_ORDER: tuple[State, ...] = ("agrees", "not recomputed", "differs", "damaged")


@click.command()
@click.argument("run", required=False)
@json_option
@reports_option
@click.pass_context
def verify(context: click.Context, run: str | None, as_json: bool, reports: Path) -> None:  # noqa: FBT001 (click)
    """Check the hashes of RUN's records, and compute intervals, p and verdicts again from their values.

    RUN is a run's folder or name, or `baseline`; without it the newest run. Nothing is loaded or downloaded. Exit 1
    where a record is damaged or differs from what follows from its values.
    """
    opened = named_run(run, reports=reports)
    baseline = reports / BASELINE
    other = baseline.is_dir() and baseline.resolve() != opened.path.resolve()
    found = verify_run(opened, baseline=baseline if other else None)
    if not found:
        raise StoreError(f"{opened.path}: there are no records to verify; `pytest claims/` makes some")
    problem = manifest_problem(opened)
    if as_json:
        click.echo(json.dumps(_as_plain(opened, found, problem), indent=1, allow_nan=False))
    else:
        click.echo("\n".join(_lines(opened, found, problem)))
    say_unfinished(opened)
    if problem or any(entry.failed for entry in found):
        context.exit(1)


def _as_plain(run: Run, found: Sequence[Verification], problem: str) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "tolerance": {"relative": RELATIVE, "absolute": ABSOLUTE},
        "counts": Counter(entry.state for entry in found),
        "manifest": problem or None,
        "records": [asdict(entry) for entry in found],
    }


def _lines(run: Run, found: Sequence[Verification], problem: str) -> Iterator[str]:
    """A line for each record, those that failed last and with what differs, then how it ended."""
    from harness.report.text import plain, plural

    for entry in sorted(found, key=lambda one: _IN_ORDER.index(one.state)):
        yield from _record_lines(entry)
    counted = Counter(entry.state for entry in found)
    told = ", ".join(f"{counted[state]} {_verb(state, counted[state])}" for state in _IN_ORDER if counted[state])
    yield f"{plain(run.path)}: {plural(len(found), 'record')}: {told}"
    parts = Counter(part for entry in found for part in entry.unchecked)
    yield from (f"  in {plural(count, 'record')} not computed again: {plain(part)}" for part, count in parts.items())
    if problem:
        yield f"manifest: {plain(problem)}"


def _record_lines(entry: Verification) -> Iterator[str]:
    from harness.report.text import plain, plural

    measured = entry.claim and f"{entry.claim} on {entry.model}, data seed {entry.data_seed}: {entry.verdict}"
    name = f"{measured} ({entry.file})" if entry.failed and measured else measured or entry.file
    reason = f"; {entry.reason}" if entry.reason and entry.claim else f": {entry.reason}" if entry.reason else ""
    yield f"{entry.state:<14} {plain(name + reason)}"
    yield from (f"  {_difference(each)}" for each in entry.differences[:MOST_DIFFERENCES])
    if len(entry.differences) > MOST_DIFFERENCES:
        yield f"  and {plural(len(entry.differences) - MOST_DIFFERENCES, 'more difference')}; --json lists them"


def _difference(found: Difference) -> str:
    from harness.report.text import plain

    stored, again = (_cut(json.dumps(value, ensure_ascii=False)) for value in (found.stored, found.recomputed))
    return plain(f"{found.field}: stored {stored}, recomputed {again}")


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."


def _verb(state: State, count: int) -> str:
    plural_: dict[State, str] = {"agrees": "agree", "differs": "differ"}
    return state if count == 1 else plural_.get(state, state)
