"""A comparison as people read it: a table for the terminal, and Markdown for a job's page."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator

from harness.compare.changes import EffectChange
from harness.compare.rows import MOST_SHOWN, Row, told
from harness.compare.runs import Comparison
from harness.report.text import inline, interval, number, plain, plural, table

_COLUMNS = ("claim, model", "verdict", "before", "after", "paired change [95 %]", "fails by")


def comparison_text(comparison: Comparison, *, width: int | None = None) -> str:
    """The comparison as plain text: a table of what changed, why rows fail, and one line that says how it ended."""
    shown, left_out = _shown(comparison)
    parts = [_rich_table(shown, width=width)] if shown else []
    parts += [f"... and {plural(left_out, 'row')} more that changed"] if left_out else []
    for row in comparison.regressions[:MOST_SHOWN]:
        if row.status != "missing":
            parts.append(f"REGRESSION {plain(row.claim)} on {plain(_model(row))}")
            parts += [f"  {found.rule}: {plain(found.text)}" for found in row.regressions]
    return "\n".join([*parts, *closing(comparison)])


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, for `GITHUB_STEP_SUMMARY` or a file."""
    shown, left_out = _shown(comparison)
    lines = list(closing(comparison))
    parts = [f"## Evidence against {inline(comparison.before.name)}", f"**{inline(lines[0])}**"]
    parts += [inline(line) for line in lines[1:]]
    if shown:
        rows = [[inline(row.claim), inline(_model(row)), *map(inline, _cells(row)), _failing(row)] for row in shown]
        parts.append(table(["claim", "model", *_COLUMNS[1:]], rows=rows))
    parts += [f"... and {plural(left_out, 'row')} more that changed"] if left_out else []
    return "\n\n".join(parts) + "\n"


def closing(comparison: Comparison) -> Iterator[str]:
    """How it ended, first; then what must be known beside it."""
    failed = len(comparison.regressions)
    counts = comparison.count()
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common()) or "nothing to compare"
    ended = f"{plural(failed, 'regression')} by {comparison.rules.text}" if failed else "no regression"
    yield f"{ended}: {told}"
    if counts["not run"]:
        yield f"{plural(counts['not run'], 'record')} of the baseline not measured here: the models are missing"
    if comparison.unfinished:
        yield f"not finished, stopped or killed: {', '.join(comparison.unfinished)}"


def _shown(comparison: Comparison) -> tuple[list[Row], int]:
    """The rows of the table, and how many more changed."""
    found = told(comparison.rows)
    return found[:MOST_SHOWN], max(0, len(found) - MOST_SHOWN)


def _cells(row: Row) -> list[str]:
    """Verdict, effect before, effect after, change."""
    verdict = row.before if row.before == row.after else f"{row.before or 'no record'} -> {row.after or 'no record'}"
    if row.status == "not comparable":
        return [verdict, "", "", f"not comparable: {'; '.join(row.differences)}"]
    if row.change is None:
        return [verdict, "", "", "" if row.status == "changed" else row.status]
    place = f"{row.change.component} against {row.change.control}"
    return [verdict, number(row.change.before), number(row.change.after), f"{_change(row.change)} {row.unit}; {place}"]


def _change(change: EffectChange) -> str:
    ends = "" if change.low is None or change.high is None else f" {interval(change.low, change.high)}"
    return f"{number(change.change)}{ends}"


def _failing(row: Row) -> str:
    return "<br>".join(f"**{inline(found.rule)}**: {inline(found.text)}" for found in row.regressions)


def _model(row: Row) -> str:
    return row.model + (f", data seed {row.data_seed}" if row.data_seed else "")


def _rich_table(rows: list[Row], *, width: int | None) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in _COLUMNS:
        made.add_column(name, overflow="fold")
    for row in rows:
        rules = ", ".join(dict.fromkeys(found.rule for found in row.regressions))
        made.add_row(*(Text(plain(cell)) for cell in (f"{row.claim} {_model(row)}", *_cells(row), rules)))
    stream = io.StringIO()
    columns = width or shutil.get_terminal_size((80, 24)).columns
    Console(file=stream, width=columns, highlight=False, markup=False, emoji=False).print(made)
    return "\n".join(line.rstrip() for line in stream.getvalue().strip("\n").splitlines())
