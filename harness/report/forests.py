"""The forest plots of the report: of all claims, and of one claim on every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.report import figures
from harness.report.effects import effects_of
from harness.report.families import family_label, verdict_counts
from harness.report.reading import SYMBOLS, Entry, grouped, verdict_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 45
"""A forest plot with more rows than this shows one row per record instead of one per control."""
_SEEN = ("claim", "model", "seeds", "subject", "judgement", "not_run")
"""The sections of a record that a forest plot reads."""


def summary_forest(records: Sequence[Entry]) -> Figure:
    """One row per claim and model, each condition from its own threshold, the seeds of one model in one row."""
    rows = []
    for claim_id, of_claim in grouped(records, by="claim").items():
        rows.append(figures.ForestRow(claim_id, header=True))
        rows += [_family_row(members) for members in grouped(of_claim, by="family").values()]
    return figures.draw_forest(rows, xlabel=figures.BEYOND)


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


def summary_forest_job(records: Sequence[Entry]) -> partial[Figure]:
    """`summary_forest` of these records, to be drawn later or in another process."""
    return partial(summary_forest, list(map(_for_forest, records)))


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


def _family_row(members: Sequence[Entry]) -> figures.ForestRow:
    found = [row for row in map(figures.beyond_row, members) if row.effects]
    effects = tuple(effect for row in found for effect in row.effects)
    others = found[0].others if len(members) == 1 and found else ()
    return figures.ForestRow(family_label(members), effects, _verdicts(members), others)


def _verdicts(members: Sequence[Entry]) -> str:
    """The verdicts in words; where there are several kinds, in signs, which are never too long for the picture."""
    verdicts = [verdict_of(record) for record in members]
    if len(set(verdicts)) == 1:
        return verdict_counts(members)
    counted = [f"{SYMBOLS[one]} {verdicts.count(one)}" for one in SYMBOLS if one in verdicts]
    return f"{', '.join(counted)} of {len(verdicts)}"
