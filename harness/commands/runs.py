"""The run that a command was asked about: a folder, a name below `reports/runs`, `baseline`, or the newest one."""

from __future__ import annotations

from pathlib import Path

import click

from harness.store import RUNS, Run, open_run


def named_run(named: str | None, *, reports: Path) -> Run:
    """The run of a folder or of a name in the reports folder; the newest one where none is named.

    Raises:
        StoreError: there is no run, with the command that makes one.
    """
    return open_run(reports if named is None else folder_of(named, reports=reports))


def folder_of(named: str, *, reports: Path) -> Path:
    """A folder as it was named, or a run of that name, or `baseline`, in the reports folder."""
    places = (Path(named), reports / RUNS / named, reports / named)
    return next((place for place in places if place.is_dir()), Path(named))


def say_unfinished(run: Run) -> None:
    """A note on stderr where the run has not come to its end."""
    if not run.finished:
        click.echo(
            f"note: {run.path.name} was not finished (it was stopped or killed, or is still running); these are the "
            "records that there are",
            err=True,
        )
