"""`mechclaims matrix`: claims by models and training seeds, measured cell by cell, and one report of them all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from harness.commands.options import claims_option, reports_option
from harness.declaration import Profile
from harness.lock import NAME as LOCK
from harness.matrix import Asked, cells, combined, measure_cell
from harness.miscalibrated import standing_of
from harness.papers import NAME, read_papers
from harness.store import MATRIX

REPORT, MEASURE, BOTH = "report", "measure", "both"
EXPLORATORY = ("--dtype", "--n-units", "--subjects")
"""Options of pytest that no verdict is measured with."""


@click.command()
@click.option("--model", "models", multiple=True, metavar="ID", help="A model (repeatable; default: each mechanism's).")
@click.option("--mechanism", "mechanisms", multiple=True, metavar="NAME", help="A mechanism's folder (repeatable).")
@click.option("--profile", type=click.Choice(get_args(Profile)), default="default", show_default=True)
@click.option("--data-seed", "data_seeds", multiple=True, type=click.IntRange(min=0), default=(0,), metavar="N")
@click.option(
    "--do", "what", type=click.Choice((BOTH, MEASURE, REPORT)), default=BOTH, show_default=True,
    help="Measure what is missing, write the report of what there is, or both.",
)  # fmt: skip
@click.argument("pytest_options", nargs=-1, type=click.UNPROCESSED)
@claims_option
@reports_option
@click.pass_context
def matrix(
    ctx: click.Context,
    /,
    models: tuple[str, ...],
    mechanisms: tuple[str, ...],
    profile: Profile,
    data_seeds: tuple[int, ...],
    what: str,
    pytest_options: tuple[str, ...],
    claims: Path,
    reports: Path,
) -> None:
    """Measure every claim on every model, then report them together; run again, it goes on where it was.

    Each mechanism on each model is a cell with runs of its own below REPORTS/matrix. A measurement that is there is
    made again only where the claim, its code, its heads or the weights changed; remove a cell's folder to begin it
    anew. PYTEST_OPTIONS, after --, go to pytest.
    """
    asked = Asked(claims, reports / MATRIX, models, mechanisms, profile, data_seeds)
    _check(pytest_options)
    lacking = 0
    if what != REPORT:
        for cell in cells(asked):
            lacking += not measure_cell(cell, say=click.echo, options=pytest_options)
    if what != MEASURE:
        _report(asked, reports=reports)
    if lacking:
        click.echo(f"{lacking} cells are not finished; run the same command again to go on")
        ctx.exit(1)


def _check(options: Sequence[str]) -> None:
    """Refuse what makes records exploratory: none would ever count, and the cell would never be finished."""
    for option in options:
        name, _, _ = option.partition("=")
        if name in EXPLORATORY:
            raise click.UsageError(f"{name} makes exploratory records, which no matrix holds; leave it out")


def _report(asked: Asked, *, reports: Path) -> None:
    from harness.report import write_report
    from harness.report.text import plural

    records, info, names = combined(asked)
    papers, lock = asked.claims / NAME, asked.claims / LOCK
    runs = dict.fromkeys((asked.out / name).parent for name in names.values())
    path = write_report(
        records,
        out=asked.out,
        run=info,
        papers=read_papers(papers) if papers.is_file() else {},
        file_names=names,
        lock=standing_of(lock, reports=reports, also=runs),
    )
    click.echo(f"{path}: {plural(len(records), 'record')}")
