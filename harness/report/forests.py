"""The forest plots of the report: of all claims, and of one claim on every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.report import figures
from harness.report.effects import deciding_effect, effects_of
from harness.report.families import family_effect, family_label, verdict_counts
from harness.report.reading import SYMBOLS, Entry, grouped, verdict_of
from harness.report.registration import NOT_CARRIED, not_carried

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 45
"""A forest plot with more rows than this shows one row per record instead of one per control."""
MOST_SUMMARY_ROWS, SUMMARY_ROW_INCHES = 74, 0.155
"""Rows of the summary, headings included, that fit a screen of 1,400 pixels, and their height."""
_SEEN = ("claim", "model", "seeds", "subject", "judgement", "not_run")
"""The sections of a record that a forest plot reads."""


def summary_forest(records: Sequence[Entry]) -> Figure:
    """One row per claim and model that ran: its effect nearest to failing, on the training seed nearest to failing.

    Of so many that they would not fit a screen, one row per claim: the model nearest to failing. What is left out here
    stands in the claims' own forests.
    """
    rows = _summary_rows(records, by=("claim", "family"))
    if len(rows) > MOST_SUMMARY_ROWS:
        rows = _summary_rows(records, by=("claim",))
    return figures.draw_forest(rows, xlabel=figures.BEYOND, row_inches=SUMMARY_ROW_INCHES)


def claim_forest(records: Sequence[Entry]) -> Figure:
    """Every effect of one claim in its own unit; one row per record where there would be too many rows."""
    measured = [record for record in records if effects_of(record)]
    return figures.forest(measured, detail="effect" if _fits(measured) else "record")


def forest_caption(records: Sequence[Entry]) -> str:
    """What the forest of one claim shows, without its sample."""
    measured = [record for record in records if effects_of(record)]
    if not _fits(measured):
        return "the effect nearest to failing on every model, beyond its own threshold"
    foreign = sorted({effect.unit for record in measured for effect in effects_of(record) if effect.foreign})
    words = f" (in words, since it fits no axis: a margin in {' or '.join(foreign)})" if foreign else ""
    return f"every effect in {records[0]['claim']['metric']['unit']}{words}"


def summary_forest_job(records: Sequence[Entry], *, lock: Entry | None = None) -> partial[Figure]:
    """`summary_forest` of these records, to be drawn later or in another process; `lock` says what is not carried."""
    signed = [{**_for_forest(record), "sign": NOT_CARRIED if not_carried(record, lock) else ""} for record in records]
    return partial(summary_forest, signed)


def claim_forest_job(records: Sequence[Entry]) -> partial[Figure]:
    """`claim_forest` of these records, to be drawn later or in another process."""
    return partial(claim_forest, list(map(_for_forest, records)))


def _for_forest(record: Entry) -> Mapping[str, Any]:
    """What a forest plot reads of a record: nothing else is sent to and fro, or has the plot drawn again."""
    kept = {name: record.get(name) for name in _SEEN}
    exact = record.get("exact") or {}
    kept["exact"] = {name: exact[name] for name in ("distance",) if name in exact}
    return kept


def _fits(measured: Sequence[Entry]) -> bool:
    """Whether a row for every condition is not too much."""
    return sum(len(effects_of(record)) + 1 for record in measured) <= MOST_ROWS


def _summary_rows(records: Sequence[Entry], *, by: Sequence[str]) -> list[figures.ForestRow]:
    """A heading per mechanism, and under it the rows of its claims; what did not run has none."""
    rows = []
    for mechanism, of_mechanism in grouped([r for r in records if verdict_of(r) != "not run"], by="mechanism").items():
        rows.append(figures.ForestRow(mechanism, header=True))
        for claim_id, of_claim in grouped(of_mechanism, by="claim").items():
            groups = grouped(of_claim, by="family").values() if "family" in by else [of_claim]
            rows += [_worst_row(claim_id.removeprefix(f"{mechanism}."), members) for members in groups]
    return rows


def _worst_row(claim: str, members: Sequence[Entry]) -> figures.ForestRow:
    """The effect nearest to failing; ticks are the record's other conditions, or the other records' nearest effects."""
    labels = dict.fromkeys(family_label(family) for family in grouped(members, by="family").values())
    name = f"{claim}, {next(iter(labels)) if len(labels) == 1 else f'{len(labels)} models'}"
    worst = family_effect(members)
    if worst is None:
        return figures.ForestRow(name, text=_verdicts(members))
    record, effect = worst
    if len(members) == 1:
        others = [other for other in effects_of(record) if other != effect]
    else:
        found = ((one, deciding_effect(one)) for one in members)
        others = [other for one, other in found if other is not None and one is not record]
    ticks = tuple(other.beyond().estimate for other in others)
    return figures.ForestRow(name, (effect.beyond(),), _verdicts(members), ticks)


def _verdicts(members: Sequence[Entry]) -> str:
    """The verdicts in words; where there are several kinds, in signs, which are never too long for the picture."""
    verdicts = [verdict_of(record) for record in members]
    sign = max((f" {record['sign']}" for record in members if record.get("sign")), default="")
    if len(set(verdicts)) == 1:
        return verdict_counts(members) + sign
    counted = [f"{SYMBOLS[one]} {verdicts.count(one)}" for one in SYMBOLS if one in verdicts]
    return f"{', '.join(counted)} of {len(verdicts)}{sign}"
