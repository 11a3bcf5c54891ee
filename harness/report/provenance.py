"""Where records were measured: commit, machine, versions and options, as the run or the baseline wrote them down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from harness.report.reading import Entry, verdict_of
from harness.report.text import code, inline, plural, table

UNKNOWN = "not recorded"


def provenance_page(run: Mapping[str, Any], *, records: Sequence[Entry], file_names: Mapping[str, str]) -> str:
    """What `run.json` says, and at which commits the records were measured.

    Args:
        run: `run.json`.
        records: what the report shows.
        file_names: file name of each record, by its content hash.
    """
    rows = [[name, inline(run[name])] for name in ("started", "finished", "commit") if run.get(name)]
    rows += _commits(run, records=records, file_names=file_names)
    rows.append(["uncommitted changes", "yes" if run.get("dirty") else "no"])
    rows.append(["interrupted", "yes" if run.get("interrupted") else "no"])
    several = merged(run)
    rows += _options_of(records) if several else _rows("options", run.get("options"))
    for group in ("machine", "versions"):
        rows += _rows(f"{group} of the last run" if several else group, run.get(group))
    return "## Where this was measured\n\n" + table(["", ""], rows=rows)


def merged(run: Mapping[str, Any]) -> bool:
    """Whether records of several runs stand together, of which `run.json` repeats the last one's options."""
    return len(run.get("measured_at") or run.get("commits") or ()) > 1


def when_measured(run: Mapping[str, Any]) -> str:
    """`from ... to ...` where that took more than a day, or several runs; else when it was started."""
    started, finished = run.get("started"), run.get("finished")
    if not started:
        return "at an unknown time"
    if finished and (merged(run) or _days(str(started), str(finished)) > 1):
        return f"from {inline(started)} to {inline(finished)}"
    return inline(started)


def _days(started: str, finished: str) -> float:
    """Days between two times; 0 where one of them is none."""
    try:
        return (datetime.fromisoformat(finished) - datetime.fromisoformat(started)) / timedelta(days=1)
    except (ValueError, TypeError):
        return 0.0


def _options_of(records: Sequence[Entry]) -> list[list[str]]:
    """What the records themselves say of their options: those of the last run are not those of all."""
    found = [record.get("options") or {} for record in records if verdict_of(record) != "not run"]
    rows = []
    for name in ("profile", "dtype", "device"):
        values = Counter(str(options[name]) for options in found if options.get(name))
        counted = [f"{inline(value)} ({plural(count, 'record')})" for value, count in values.most_common()]
        rows += [[f"options: {name}", ", ".join(counted)]] if counted else []
    return rows


def _rows(group: str, entries: Mapping[str, Any] | None) -> list[list[str]]:
    return [[inline(f"{group}: {name}"), inline(value)] for name, value in sorted((entries or {}).items())]


def _commits(run: Mapping[str, Any], *, records: Sequence[Entry], file_names: Mapping[str, str]) -> list[list[str]]:
    """A row for every commit with the number of records that were measured there."""
    listed = [str(commit) for commit in run.get("commits") or ()]
    known = {str(name): str(commit) for commit, names in (run.get("measured_at") or {}).items() for name in names}
    if not listed and not known:
        return []
    measured = [record for record in records if verdict_of(record) != "not run"]
    found = Counter(known.get(file_names.get(str(record.get("content_hash")), ""), "") for record in measured)
    rows = []
    for commit in dict.fromkeys([*listed, *found]):
        if commit and (found[commit] or not known):
            said = plural(found[commit], "record") if known else f"number of records {UNKNOWN}"
            rows.append([f"measured at {code(commit[:12])}", said])
    rest = found[""] if known else 0
    return [*rows, *([[f"measured at a commit that is {UNKNOWN}", plural(rest, "record")]] if rest else [])]
