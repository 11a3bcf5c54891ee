"""Where records were measured: commit, machine, versions and options, as the run or the baseline wrote them down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
    for group in ("options", "machine", "versions"):
        entries = run.get(group) or {}
        rows += [[inline(f"{group}: {name}"), inline(value)] for name, value in sorted(entries.items())]
    return "## Where this was measured\n\n" + table(["", ""], rows=rows)


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
