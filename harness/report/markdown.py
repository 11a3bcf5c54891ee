"""The report as Markdown: EVIDENCE.md, a page for each mechanism, figures; from stored records alone, without a model.

What the last report wrote into the folder and this one does not is removed, and pictures of the report's claims that no
page links; a figure that shows the same as before is not drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.report import figure_files
from harness.report.figure_files import FigureFiles
from harness.report.holding import where_findings_hold
from harness.report.manifest import Manifest, read_manifest, remove_stale, write_manifest
from harness.report.mechanism_pages import FOLDER, mechanism_pages
from harness.report.not_run import not_run_page
from harness.report.provenance import provenance_page
from harness.report.reading import Entry
from harness.report.registration import registration_page
from harness.report.sanity import sanity_page
from harness.report.section import Combine, Settings
from harness.report.seeds import combine_trained
from harness.report.shares import with_sizes
from harness.report.summary import summary

NAME = "EVIDENCE.md"


@dataclass(frozen=True)
class Pages:
    """The report's text.

    Attributes:
        first: EVIDENCE.md.
        mechanisms: the other pages by their file names.
    """

    first: str
    mechanisms: Mapping[str, str]


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
    workers: int | None = None,
) -> Path:
    """The path of `EVIDENCE.md`, written into `out` with the mechanisms' pages in `evidence/` and with `figures/`.

    Args:
        records: plain JSON records, in any order.
        out: folder of the report; pages and figures that the last report wrote there and this one does not are removed.
        run: `run.json`: started, finished, commit, dirty, versions, machine, options, interrupted.
        papers: title, authors, year and url (or arxiv, doi) by key; missing ones are shown by their key.
        file_names: file name of each record, by its content hash.
        combine: combines the trained seeds of one claim on one model family into a table.
        formats: `"png"` is shown; add `"svg"` to have vector files beside it.
        figures: false for the tables alone, in seconds where there are thousands of records.
        command_prefix: stands before each record's command.
        lock: what is registered (`harness.looks.standing`); None where the project has no lock.
        workers: processes that draw figures; None for one per core.

    Raises:
        StoreError: no record, an unknown format, or a folder that cannot be written to.
    """
    _require(records, formats=formats)
    records = with_sizes(records)
    drawn = ("png", *(name for name in formats if name != "png")) if figures else ()
    files = FigureFiles(out, formats=drawn)
    settings = Settings(files, papers or {}, file_names or {}, combine, command_prefix, lock)
    try:
        out.mkdir(parents=True, exist_ok=True)  # said before the pages are made, which can take a while
        pages = _pages(records, run=run, settings=settings)
        _write(pages, out=out, files=files, claims={str(record["claim"]["id"]) for record in records}, workers=workers)
    except OSError as error:
        raise StoreError(f"{out / NAME}: the report cannot be written ({error.strerror or error})") from error
    return out / NAME


def _write(pages: Pages, *, out: Path, files: FigureFiles, claims: set[str], workers: int | None) -> None:
    from harness.store import write_atomically

    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    before = read_manifest(folder)
    written = files.write(before=before, workers=workers)
    for path, text in ((out / NAME, pages.first), *((folder / name, text) for name, text in pages.mechanisms.items())):
        shown = text
        for markdown, line in written.instead.items():
            shown = shown.replace(markdown, line)
        write_atomically(path, text=shown)
    now = Manifest(written.stamps, frozenset(pages.mechanisms))
    write_manifest(now, folder=folder)
    remove_stale(before, now=now, pages=folder, figures=out / figure_files.FOLDER, claims=claims)


def _require(records: Sequence[Entry], *, formats: Sequence[str]) -> None:
    if not records:
        raise StoreError("a report needs at least one record; run `pytest claims/` first")
    unknown = [name for name in formats if name not in ("png", "svg")]
    if unknown or "png" not in formats:
        raise StoreError(f"figure formats {list(formats)!r}: 'png' is needed, 'svg' may be added")


def _pages(records: Sequence[Entry], *, run: Mapping[str, Any], settings: Settings) -> Pages:
    confirmatory = [record for record in records if not record.get("exploratory")]
    within = settings.with_files(settings.files.seen_from(f"../{figure_files.FOLDER}"))
    pages = mechanism_pages(records, settings=within)
    parts = [summary(confirmatory, run=run, files=settings.files, lock=settings.lock, links=pages.links)]
    parts += [where_findings_hold(confirmatory, lock=settings.lock), not_run_page(confirmatory)]
    registered = registration_page(settings.lock)
    provenance = provenance_page(run, records=confirmatory, file_names=settings.file_names)
    parts += [f'<a id="registration"></a>\n\n{registered}' if registered else "", provenance]
    parts.append(sanity_page(run.get("sanity") or (), records=confirmatory))
    return Pages("\n\n".join(part for part in parts if part) + "\n", pages.texts)
