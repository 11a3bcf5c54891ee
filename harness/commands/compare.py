"""`mechclaims compare` and `mechclaims baseline`: two stored runs held against each other. No model is needed."""

from __future__ import annotations

import os
from pathlib import Path

import click

from harness.commands.options import reports_option
from harness.commands.runs import folder_of, named_run, runs_here
from harness.errors import ComparisonError, StoreError
from harness.store import BASELINE

MOST_WORKERS = 4
"""Processes that compare thousands of records; reading them is soon limited by the disk."""


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B", required=False)
@click.option("--fail", "expression", metavar="EXPR", help="Exit 1 on regressions by these rules.")
@click.option("--any-model", is_flag=True, help="Another model under the same id is no difference.")
@click.option(
    "--markdown", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Add Markdown to FILE."
)
@reports_option
@click.pass_context
def compare(
    context: click.Context,
    before: str,
    after: str | None,
    expression: str | None,
    any_model: bool,  # noqa: FBT001 (click passes it by name)
    markdown: Path | None,
    reports: Path,
) -> None:
    """Say what changed from run A to run B: verdicts, and effects paired unit by unit.

    A and B are run folders, names of runs, or `baseline`; without B it is the newest run. Rules of --fail:
    verdict, effect:20%, outside-interval, missing, not-run. Of the same model, verdicts and estimates may not
    become stronger either.
    """
    from harness.compare import DEFAULT, compare_runs, comparison_markdown, comparison_text, open_baseline, parse_rules

    rules = parse_rules(DEFAULT if expression is None else expression)
    try:
        old = open_baseline(folder_of(before, reports=reports), verify=False)
    except ComparisonError as error:
        raise ComparisonError(f"{error}{runs_here(reports)}") from error
    found = compare_runs(
        old,
        named_run(after, reports=reports),
        rules=rules,
        any_model=any_model,
        workers=min(MOST_WORKERS, os.cpu_count() or 1),
    )
    click.echo(comparison_text(found))
    if markdown is not None:
        _add(comparison_markdown(found), file=markdown)
    if expression is not None and found.regressions:
        context.exit(1)


def _add(text: str, *, file: Path) -> None:
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"--markdown {file}: cannot be written ({reason}); name another file") from error


@click.group()
def baseline() -> None:
    """The records in reports/baseline that later runs are held against."""


@baseline.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--keep-others", is_flag=True, help="Keep the baseline's records that no RUN measured.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and leave the baseline as it is.")
@reports_option
def update(runs: tuple[str, ...], keep_others: bool, dry_run: bool, reports: Path) -> None:  # noqa: FBT001 (click)
    """Replace the baseline by the records of RUN, a run folder or its name, and say what changed.

    Of several runs the last one counts where they measured the same. The records get a manifest, so that one that is
    edited afterwards is refused by name; naming the baseline itself as RUN writes the manifest alone.
    """
    from harness.compare import comparison_text, update_baseline
    from harness.report.text import plural

    opened = [named_run(name, reports=reports) for name in runs]
    done = update_baseline(opened, baseline=reports / BASELINE, keep_others=keep_others, dry_run=dry_run)
    if done.comparison is not None:
        click.echo(comparison_text(done.comparison))
    elif done.unread:
        click.echo(f"what changed cannot be said, the old baseline is damaged: {done.unread}")
    verb, names = "would hold" if dry_run else "now holds", ", ".join(run.path.name for run in opened)
    others = ", and its others as they were" if keep_others else ""
    click.echo(f"{done.path}: {verb} {plural(done.records, 'record')}: those of {names}{others}")
