"""Evidence in a terminal: plain words, no colour needed, readable at 80 columns and in a pipe."""

from __future__ import annotations

import io
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.report.effects import deciding_effect, effects_of
from harness.report.families import family_text
from harness.report.reading import (
    Entry,
    as_expected,
    grouped,
    model_label,
    outcomes_of,
    registration_state,
    to_float,
    verdict_of,
)
from harness.report.reasons import reason_of
from harness.report.shares import share_text
from harness.report.text import effect_text, must_be, number, p_value, plain

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def summary_table(records: Sequence[Entry]) -> Table:
    """One block per claim, one row per record: model, verdict, the effect nearest to failing."""
    return _summary(records, shared={})


def shared_reasons(records: Sequence[Entry]) -> dict[str, int]:
    """Why records are invalid, for reasons that more than one claim has, with how many claims have each."""
    claims: dict[str, set[str]] = {}
    for record in records:
        if verdict_of(record) == "invalid" and not effects_of(record):
            claims.setdefault(reason_of(record), set()).add(str(record["claim"]["id"]))
    return {reason: len(ids) for reason, ids in claims.items() if len(ids) > 1}


def record_panel(record: Entry) -> RenderableType:
    """Everything that a reader of a failing test wants to see, as something that rich prints."""
    from rich.console import Group

    return Group(_body(record), _line(f"  {plain(record['command'])}"))


def summary_text(records: Sequence[Entry], *, width: int | None = None) -> str:
    """`summary_table` and then `shared_reasons`, as plain text, as wide as the terminal, 80 columns in a pipe.

    The id of a model is never broken, for it is copied into commands: one too long for its column has its own line.
    """
    from rich.console import Group

    shared = shared_reasons(records)
    said = [_line(f"invalid, {count} claims: {reason}") for reason, count in shared.items()]
    text = _text(Group(_summary(records, shared=shared), *said), width=width)
    long = frozenset(_label(record) for record in records if plain(record["model"]["id"]) not in text)
    if not long:
        return text
    lines = _text(Group(_summary(records, shared=shared, long=long), *said), width=width).split("\n")
    above = iter([label for label in map(_label, _in_order(records)) if label in long])
    parted = ([f"   {next(above)}", line.replace(_ABOVE, " ")] if _ABOVE in line else [line] for line in lines)
    return "\n".join(line.rstrip() for part in parted for line in part)


def record_text(record: Entry, *, width: int | None = None) -> str:
    """`record_panel` as plain text, as wide as the terminal, 80 columns in a pipe; the command is never wrapped."""
    return f"{_text(_body(record), width=width)}\n  {plain(record['command'])}"


_ABOVE = "\ue000"
"""In place of a label that stands in the line above; no name has it."""


def _label(record: Entry) -> str:
    return plain(model_label(record))


def _in_order(records: Sequence[Entry]) -> list[Entry]:
    """The records as the rows of the summary follow each other."""
    return [record for members in grouped(records, by="claim").values() for record in members]


def _summary(records: Sequence[Entry], *, shared: Mapping[str, int], long: Collection[str] = frozenset()) -> Table:
    """The summary; of records whose label is `long` with a mark in its place."""
    from rich import box

    table = _table(box=box.SIMPLE_HEAD)
    for name, ratio in (("claim, model", 5), ("verdict", 4), ("effect (unit; SESOI)", 5)):
        table.add_column(name, overflow="fold", ratio=ratio)
    for claim_id, members in grouped(records, by="claim").items():
        claim = members[0]["claim"]
        tier = "" if claim["tier"] == "inference" else f"({claim['tier']})"
        _add(table, claim_id, tier, f"({claim['metric']['unit']}; {number(claim['sesoi'])})")
        for record in members:
            marks = [] if as_expected(record) else [f"(expected: {record['expectation']['verdict']})"]
            marks += ["(exploratory)"] if record.get("exploratory") else []
            marks += ["(not registered)"] if registration_state(record) == "not registered" else []
            _add(
                table,
                f"  {_ABOVE if (label := _label(record)) in long else label}",
                " ".join([verdict_of(record), *marks]),
                family_text([record]) or _reason_in_table(record, shared),
            )
    return table


def _reason_in_table(record: Entry, shared: Mapping[str, int]) -> str:
    if verdict_of(record) != "invalid":
        return ""
    reason = reason_of(record)
    return f"as {shared[reason]} claims, see below" if reason in shared else reason


def _body(record: Entry) -> RenderableType:
    from rich.console import Group

    claim = record["claim"]
    parts: list[RenderableType] = [
        _line(f"{claim['id']} on {model_label(record)}", style="bold"),
        _line(claim["statement"]),
        _facts(record),
    ]
    if outcomes_of(record):
        parts += [_line(""), _outcomes(record)]
    return Group(*parts, _line(""), _line("Reproduce:"))


def _text(shown: RenderableType, *, width: int | None) -> str:
    from rich.console import Console

    columns = width or shutil.get_terminal_size((80, 24)).columns
    out = io.StringIO()
    Console(
        file=out, width=columns, color_system=None, highlight=False, markup=False, emoji=False, legacy_windows=False
    ).print(shown)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n")


def _facts(record: Entry) -> Table:
    claim, unit = record["claim"], record["claim"]["metric"]["unit"]
    sign = 1.0 if claim["alternative"] == "greater" else -1.0
    rows = [("verdict", verdict_of(record)), ("because", reason_of(record))]
    if record.get("expectation"):
        rows.append(("expected", _expected(record)))
    rows.append(("exploratory", "yes: shown, never a verdict") if record.get("exploratory") else ("", ""))
    if (record.get("not_run") or {}).get("remedy"):
        rows.append(("to run it", record["not_run"]["remedy"]))
    subject = record.get("subject")
    rows.append(("subject", " ".join(map(str, subject["components"])) if subject else ""))
    effect = deciding_effect(record)
    if effect is not None:
        rows.append(("nearest", f"to failing: {family_text([record])}; {effect.component} against {effect.control}"))
        rows.append(("share", share_text(effect, record)))
    rows.append(
        ("SESOI", f"{number(sign * to_float(claim['sesoi']))} {unit} ({claim['alternative']}): {claim['sesoi_reason']}")
    )
    rows += [
        ("exact", _exact(record)),
        ("paper", f"{claim['paper']}, tier {claim['tier']}, version {claim['version']}"),
    ]
    for one in record.get("preconditions") or ():
        held = "holds" if one["holds"] else "FAILS"
        rows.append(("needs", f"{one['name']}: {number(one['value'])}, at least {number(one['at_least'])}: {held}"))
    rows += [("note", note) for note in record.get("notes") or ()]
    grid = _table(box=None, header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold", ratio=1)
    for name, text in rows:
        if plain(text):
            _add(grid, name, text)
    return grid


def _expected(record: Entry) -> str:
    expected = record["expectation"]
    differs = "" if as_expected(record) else ": NOT what was found"
    reason = f" ({expected['reason']})" if expected.get("reason") else ""
    return f"{expected['verdict']}{reason}{differs}"


def _exact(record: Entry) -> str:
    exact = record.get("exact")
    if not exact:
        return ""
    place = f"rank {exact['rank']} of {exact['of']}" if exact.get("of") else ""
    return f"{number(exact['value'])}; {place}; 95th percentile of the population {number(exact.get('percentile95'))}"


def _outcomes(record: Entry) -> Table:
    from rich import box

    table = _table(box=box.SIMPLE_HEAD)
    for name, ratio in (("component", 3), ("against", 6), ("effect [95 % interval]", 6), ("must be", 4), ("p", 3)):
        table.add_column(name, overflow="fold", ratio=ratio)
    table.add_column("holds", no_wrap=True)
    for effect in effects_of(record):
        held = "yes" if effect.holds else "NO"
        _add(
            table, effect.component, effect.control, effect_text(effect), must_be(effect), p_value(effect.p), held
        )  # fmt: skip
    return table


def _table(*, box: object, header: bool = True) -> Table:
    from rich.table import Table

    return Table(box=box, show_header=header, expand=True, pad_edge=False, padding=(0, 1))  # type: ignore[arg-type]


def _add(table: Table, *cells: object) -> None:
    table.add_row(*_lines(cells))


def _lines(cells: Iterable[object]) -> list[RenderableType]:
    return [_line(cell) for cell in cells]


def _line(text: object, *, style: str = "") -> RenderableType:
    # Text, never a str: square brackets of a model's name must not be read as rich markup.
    from rich.text import Text

    indent = "  " if str(text).startswith("  ") else ""
    return Text(indent + plain(text), style=style)
