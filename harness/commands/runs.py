"""The run that a command was asked about: a folder, a name below `reports/runs`, `baseline`, or the newest one."""

from __future__ import annotations

from pathlib import Path

import click

from harness.errors import StoreError
from harness.store import BASELINE, RUNS, Run, open_run

MOST_RUNS = 6
"""Newest runs that an error lists."""


def named_run(named: str | None, *, reports: Path) -> Run:
    """The run of a folder or of a name in the reports folder; the newest one where none is named.

    Raises:
        StoreError: there is no run, with the runs that there are, or the command that makes one.
    """
    try:
        return open_run(reports if named is None else folder_of(named, reports=reports))
    except StoreError as error:
        raise StoreError(f"{error}{runs_here(reports)}") from error


def folder_of(named: str, *, reports: Path) -> Path:
    """A folder as it was named, or a run of that name, or `baseline`, in the reports folder."""
    places = (Path(named), reports / RUNS / named, reports / named)
    return next((place for place in places if place.is_dir()), Path(named))


def runs_here(reports: Path) -> str:
    """The end of an error about a run: which ones can be named below the reports folder; empty where there is none."""
    runs = sorted((place.name for place in (reports / RUNS).glob("*/")), reverse=True)
    found = [*([BASELINE] if (reports / BASELINE).is_dir() else []), *runs[:MOST_RUNS]]
    older = f" and {len(runs) - MOST_RUNS} older ones" if len(runs) > MOST_RUNS else ""
    return f". Runs that can be named: {', '.join(found)}{older}" if found else ""


def say_unfinished(run: Run) -> None:
    """A note on stderr where the run has not come to its end."""
    if not run.finished:
        click.echo(
            f"note: {run.path.name} was not finished (it was stopped or killed, or is still running); these are the "
            "records that there are",
            err=True,
        )
