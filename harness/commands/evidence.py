"""`mechclaims show` and `mechclaims report`: stored evidence on the terminal, as Markdown, as one HTML page.

No model is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from harness.commands.options import claims_option, reports_option
from harness.commands.runs import named_run, say_unfinished
from harness.errors import StoreError, did_you_mean
from harness.evidence import Record
from harness.lock import NAME as LOCK
from harness.miscalibrated import standing_of
from harness.papers import NAME, read_papers
from harness.record_text import some_sections
from harness.store import RUNS, Run, read_record


@click.command()
@click.argument("record")
@click.option("--model", metavar="ID", help="With a claim's id: only its record on this model.")
@click.option("--run", "named", metavar="RUN", help="With a claim's id: of this run, or `baseline` (default: newest).")
@reports_option
def show(record: str, model: str | None, named: str | None, reports: Path) -> None:
    """Show one record: RECORD is a record's JSON file, or the id of a claim in the newest run."""
    from harness.report import record_text
    from harness.report.shares import measuring_claims, with_sizes

    found, folder = _records(record, model=model, named=named, reports=reports)
    shown = [each.as_dict() for each in found]
    measuring = tuple(f"{claim_id}__" for claim_id in measuring_claims(shown))
    beside = [path for path in Run(folder, {}).record_files() if path.name.startswith(measuring)]
    sized = with_sizes(shown, among=[read_record(path).as_dict() for path in beside])
    click.echo("\n\n".join(map(record_text, sized)))


@click.command()
@click.argument("run", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The folder to write into, or with --html the file (default: the folder of --reports).",
)
@click.option("--html", "as_html", is_flag=True, help="Write one HTML file, EVIDENCE.html, that needs nothing else.")
@click.option("--svg", is_flag=True, help="Write every figure as a vector file too, beside its PNG.")
@click.option("--no-figures", is_flag=True, help="Write the tables alone: seconds, also for thousands of records.")
@claims_option
@reports_option
def report(
    run: str | None, out: Path | None, *, as_html: bool, svg: bool, no_figures: bool, claims: Path, reports: Path
) -> None:
    """Write EVIDENCE.md with its figures from stored records: of RUN, a run's folder or name, or of the newest run."""
    from harness.report import write_report
    from harness.report.html import write_html
    from harness.report.reading import verdict_of
    from harness.report.text import plural

    if as_html and no_figures:
        raise click.UsageError("--no-figures is for Markdown; leave out --html")
    if svg and (as_html or no_figures):
        raise click.UsageError("--svg is for the figures beside Markdown; leave out --html and --no-figures")
    opened = named_run(run, reports=reports)
    records, names = _plain_records(opened, lean=no_figures)
    formats = ("png", "svg") if svg else ("png",)
    write = write_html if as_html else partial(write_report, figures=not no_figures, formats=formats)
    path = write(
        records,
        out=out or reports,
        run=opened.info,
        papers=_papers(claims / NAME),
        file_names=names,
        lock=standing_of(claims / LOCK, reports=reports, also=(opened.path,)),
    )
    counted = Counter("exploratory" if record.get("exploratory") else verdict_of(record) for record in records)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counted.most_common())
    click.echo(f"{path}: {plural(len(records), 'record')} of {opened.path.name} ({verdicts})")
    say_unfinished(opened)


def _records(wanted: str, *, model: str | None, named: str | None, reports: Path) -> tuple[list[Record], Path]:
    """The records that are wanted, and the folder in which they and the others of their run lie."""
    path = Path(wanted)
    if path.is_file():
        return [read_record(path)], path.parent
    if path.suffix == ".json" or path.is_dir():
        place = reports / RUNS
        raise StoreError(f"{wanted}: no record file here; name one of the .json files in a run folder below {place}.")
    opened = named_run(named, reports=reports)
    say_unfinished(opened)
    records = opened.records()
    of_claim = [record for record in records if record.claim["id"] == wanted]
    if not of_claim:
        ids = dict.fromkeys(str(record.claim["id"]) for record in records)
        listed = ", ".join(ids) or "none"
        raise StoreError(f"no claim {wanted!r} in {opened.path}; there are: {listed}.{did_you_mean(wanted, ids)}")
    found = [record for record in of_claim if model in (None, record.model["id"])]
    if not found:
        listed = ", ".join(dict.fromkeys(str(record.model["id"]) for record in of_claim))
        raise StoreError(f"claim {wanted!r} has no record on model {model!r} in {opened.path}; it has: {listed}.")
    return found, opened.path


def _papers(path: Path) -> Mapping[str, Any]:
    """The bibliography beside the claims; none where a report is made far from them."""
    return read_papers(path) if path.is_file() else {}


def _plain_records(run: Run, *, lean: bool) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
    """A run's records in the order of claim, model and seed, and the name of each one's file by its content hash."""
    from harness.compare.manifest import read_records
    from harness.report import for_tables
    from harness.report.shares import measuring_claims
    from harness.report.standard_errors import asked_of_values

    records: list[Mapping[str, Any]] = []
    names = {}
    for path, record in read_records(run, lean=lean):
        records.append(for_tables(record) if lean else record)
        names[str(record["content_hash"])] = path.name
    if lean:
        means = measuring_claims(records, by_values=True)
        asked = {str(each["content_hash"]) for each in asked_of_values(records)}
        records = [_with_errors(run, names, each) if each["content_hash"] in asked else each for each in records]
        records = [_whole(run, names, each) if each["claim"]["id"] in means else each for each in records]
    records.sort(key=lambda record: (record["claim"]["id"], record["model"]["id"], record["seeds"]["data_seed"]))
    return records, names


def _with_errors(run: Run, names: Mapping[str, str], record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record with the standard errors of its conditions beside it; its file was verified as it was read."""
    from harness.report.standard_errors import standard_errors

    path = run.path / names[str(record["content_hash"])]
    sections = ("measured", "units", "judgement")
    found = some_sections(path.read_text(encoding="utf-8"), wanted=sections, where=str(path))
    return {**record, "standard_errors": standard_errors(found)}


def _whole(run: Run, names: Mapping[str, str], record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record with the values of its units, of which the size of a behaviour is the mean; without its pictures."""
    found = read_record(run.path / names[str(record["content_hash"])]).as_dict()
    return {**record, "measured": {"treated": found["measured"].get("treated") or {}}}
