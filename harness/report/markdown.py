"""The report as one Markdown file with its figures, from stored records alone: no model is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.report.figure_files import FigureFiles
from harness.report.holding import where_findings_hold
from harness.report.reading import TIERS, Entry, grouped
from harness.report.registration import registration_page
from harness.report.sanity import sanity_page
from harness.report.section import Combine, Settings, section
from harness.report.seeds import combine_trained
from harness.report.summary import summary
from harness.report.text import inline, table

NAME = "EVIDENCE.md"

_TIER_HEADINGS = {
    "inference": "Inference: evidence on fresh prompts",
    "reliability": "Reliability: what selected the subject, measured again",
    "replication": "Replication: the papers' own numbers",
}


def write_report(
    records: Sequence[Entry],
    *,
    out: Path,
    run: Mapping[str, Any],
    papers: Mapping[str, Entry] | None = None,
    file_names: Mapping[str, str] | None = None,
    combine: Combine | None = combine_trained,
    formats: Sequence[str] = ("png",),
    figures: bool = True,
    command_prefix: str = "",
    lock: Entry | None = None,
) -> Path:
    """The path of `EVIDENCE.md`, written into `out` with `figures/` beside it.

    Args:
        records: plain JSON records, in any order.
        out: folder of the report; figures that the last report there showed and this one does not are removed.
        run: `run.json`: started, finished, commit, dirty, versions, machine, options, interrupted.
        papers: title, authors, year and url (or arxiv, doi) by key; missing ones are shown by their key.
        file_names: file name of each record, by its content hash.
        combine: combines the trained seeds of one claim on one model family into a table.
        formats: `"png"` is shown; add `"svg"` to have vector files beside it.
        figures: false for the tables alone, in seconds where there are thousands of records.
        command_prefix: stands before each record's command.
        lock: what is registered (`harness.looks.standing`); None where the project has no lock.

    Raises:
        StoreError: no record, an unknown format, or a folder that cannot be written to.
    """
    _require(records, formats=formats)
    path = out / NAME
    try:
        out.mkdir(parents=True, exist_ok=True)
        previous = path.read_text(encoding="utf-8") if path.exists() else ""
        drawn = ("png", *(name for name in formats if name != "png")) if figures else ()
        files = FigureFiles(out, formats=drawn)
        settings = Settings(files, papers or {}, file_names or {}, combine, command_prefix, lock)
        text = _document(records, run=run, settings=settings)
        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        unfinished.replace(path)
        files.remove_stale(previous)
    except OSError as error:
        raise StoreError(f"{path}: the report cannot be written ({error.strerror or error})") from error
    return path


def _require(records: Sequence[Entry], *, formats: Sequence[str]) -> None:
    if not records:
        raise StoreError("a report needs at least one record; run `pytest claims/` first")
    unknown = [name for name in formats if name not in ("png", "svg")]
    if unknown or "png" not in formats:
        raise StoreError(f"figure formats {list(formats)!r}: 'png' is needed, 'svg' may be added")


def _document(records: Sequence[Entry], *, run: Mapping[str, Any], settings: Settings) -> str:
    confirmatory = [record for record in records if not record.get("exploratory")]
    exploratory = [record for record in records if record.get("exploratory")]
    parts = [summary(confirmatory, run=run, files=settings.files, lock=settings.lock)]
    parts.append(where_findings_hold(confirmatory))
    for tier in TIERS:
        of_tier = [record for record in confirmatory if record["claim"]["tier"] == tier]
        parts += _sections(of_tier, title=_TIER_HEADINGS[tier], settings=settings)
    parts += _sections(
        exploratory,
        title="Exploratory: other heads, other sample sizes, second looks; shown, never a verdict",
        settings=settings,
    )
    sanity = sanity_page(run.get("sanity") or (), records=confirmatory)
    parts += [registration_page(settings.lock), _provenance(run), sanity]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(records: Sequence[Entry], *, title: str, settings: Settings) -> list[str]:
    groups = grouped(records, by="claim").values()
    return [f"## {title}", *(section(members, settings=settings) for members in groups)] if records else []


def _provenance(run: Mapping[str, Any]) -> str:
    rows = [[name, inline(run[name])] for name in ("started", "finished", "commit") if run.get(name)]
    rows.append(["uncommitted changes", "yes" if run.get("dirty") else "no"])
    rows.append(["interrupted", "yes" if run.get("interrupted") else "no"])
    for group in ("options", "machine", "versions"):
        entries = run.get(group) or {}
        rows += [[inline(f"{group}: {name}"), inline(value)] for name, value in sorted(entries.items())]
    return "## Where this was measured\n\n" + table(["", ""], rows=rows)
