"""`mechclaims cite`: BibTeX of a claim's paper and of its evidence records. No model is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import click

from harness.bibtex import BibEntry, paper_entry, record_entry
from harness.commands.options import claims_option, reports_option
from harness.commands.runs import named_run, say_unfinished
from harness.errors import StoreError, did_you_mean
from harness.papers import NAME, read_papers
from harness.store import BASELINE, Run, open_run

Entry = Mapping[str, Any]

_MOST_IDS = 20
"""More claims are not listed in an error."""
_UNKNOWN = "not installed"
"""What a run says of the version of mechclaims where it ran from a clone."""


@click.command()
@click.argument("claim", metavar="ID")
@click.option("--model", metavar="ID", help="Only the claim's record on this model.")
@click.option(
    "--run", "named", metavar="RUN", help="The run that holds the records (default: the baseline, else the newest)."
)
@claims_option
@reports_option
def cite(claim: str, model: str | None, named: str | None, claims: Path, reports: Path) -> None:
    """Print BibTeX of the paper behind the claim ID, and of its evidence: one entry for each model."""
    run = _run_of(claim, named=named, reports=reports)
    records = _records(run, claim, model=model)
    entries = [*_papers(records[0][1], path=claims / NAME), *_evidence(records, run=run)]
    click.echo("\n\n".join(entry.text() for entry in entries))
    say_unfinished(run)


def _run_of(claim: str, *, named: str | None, reports: Path) -> Run:
    """The run that was named; else the baseline, or the newest run where that alone holds the claim."""
    if named is not None or not (reports / BASELINE).is_dir():
        return named_run(named, reports=reports)
    baseline = open_run(reports / BASELINE)
    if not _holds(baseline, claim):
        try:
            newest = named_run(None, reports=reports)
        except StoreError:
            return baseline
        return newest if _holds(newest, claim) else baseline
    return baseline


def _holds(run: Run, claim: str) -> bool:
    return any(record["claim"]["id"] == claim for _, record in run.plain_records())


def _records(run: Run, claim: str, *, model: str | None) -> list[tuple[str, Entry]]:
    """The claim's records of a run by file name, in the order of its models; StoreError where there are none."""
    records = [(path.name, record) for path, record in run.plain_records()]
    of_claim = [(name, record) for name, record in records if record["claim"]["id"] == claim]
    if not of_claim:
        ids = sorted({str(record["claim"]["id"]) for _, record in records})
        hint = did_you_mean(claim, ids)
        own = [one for one in ids if one.partition(".")[0] == claim.partition(".")[0]]
        there = f"there are: {', '.join(own or ids) or 'none'}" if own or len(ids) <= _MOST_IDS else "`mechclaims list`"
        raise StoreError(f"no claim {claim!r} in {run.path}.{hint} {there}; --run RUN names another run")
    found = [(name, record) for name, record in of_claim if model in (None, record["model"]["id"])]
    if not found:
        known = sorted({str(record["model"]["id"]) for _, record in of_claim})
        raise StoreError(
            f"claim {claim!r} has no record on model {model!r} in {run.path}; it has: {', '.join(known)}."
            f"{did_you_mean(str(model), known)}"
        )
    return sorted(found, key=lambda one: (str(one[1]["model"]["id"]), int(one[1]["seeds"]["data_seed"])))


def _papers(record: Entry, *, path: Path) -> Iterator[BibEntry]:
    """The paper behind the claim, where the bibliography beside the claims has it; else a note on stderr."""
    key = str(record["claim"]["paper"])
    papers = read_papers(path) if path.is_file() else {}
    if key in papers:
        yield paper_entry(key, papers[key])
        return
    lacks = "has no such paper" if path.is_file() else "is not there; name the folder with --claims DIR"
    click.echo(f"note: the paper {key!r} is not cited: {path} {lacks}", err=True)


def _evidence(records: list[tuple[str, Entry]], *, run: Run) -> Iterator[BibEntry]:
    """An entry for each measured record; what was not run is no evidence, and named on stderr."""
    for name, record in records:
        if record["judgement"] is None:
            click.echo(f"note: nothing to cite on {record['model']['id']!r}, which was not run", err=True)
            continue
        finished = run.info.get("finished") or run.info.get("started") or ""
        yield record_entry(
            record,
            version=_version(run),
            commit=run.commit_of(name),
            measured=str(record["cost"].get("at") or finished),
        )


def _version(run: Run) -> str:
    """The version of mechclaims that measured; this one where the run does not know; empty where neither is known."""
    stated = str((run.info.get("versions") or {}).get("mechclaims") or _UNKNOWN)
    if stated != _UNKNOWN:
        return stated
    try:
        return installed_version("mechclaims")
    except PackageNotFoundError:
        return ""
