"""Which figures stand in the report, under which names; drawing them and removing those of the last report."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StoreError
from harness.report import figures
from harness.report.effects import effects_of
from harness.report.families import family_label, verdict_counts
from harness.report.reading import Entry, grouped
from harness.report.text import inline, slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "figures"
MOST_ROWS = 45
"""A forest plot with more rows than this shows one row per record instead of one per control."""

_LINK = re.compile(rf"\]\({FOLDER}/([A-Za-z0-9._-]+\.(?:png|svg))\)")


@dataclass
class FigureFiles:
    """Draws figures into `out/figures` and gives the Markdown that shows them.

    Attributes:
        out: the folder of the report.
        formats: `png` is shown; further formats lie beside it. With none nothing is drawn.
        written: file names so far.
    """

    out: Path
    formats: Sequence[str] = ("png",)
    written: set[str] = field(default_factory=set)

    def show(self, name: str, *, draw: Callable[[], Figure], caption: str) -> str:
        """Markdown of the drawn figure with its caption; where it cannot be drawn, a line that says why."""
        if not self.formats:
            return ""
        try:
            figure = draw()
        except StoreError as error:
            return f"_No picture: {inline(error)}_"
        stem = self._free(slug(name, length=90))
        for suffix in self.formats:
            figures.save(figure, self.out / FOLDER / f"{stem}.{suffix}")
            self.written.add(f"{stem}.{suffix}")
        shown = inline(caption)
        return f"![{shown}]({FOLDER}/{stem}.{self.formats[0]})\n\n_Figure: {shown}_"

    def remove_stale(self, previous: str) -> None:
        """Delete the figures to which the previous report linked and this one does not; nothing else."""
        for name in sorted(set(_LINK.findall(previous)) - self.written):
            (self.out / FOLDER / name).unlink(missing_ok=True)

    def _free(self, stem: str) -> str:
        number_ = 2
        free = stem
        while f"{free}.{self.formats[0]}" in self.written:
            free, number_ = f"{stem}-{number_}", number_ + 1
        return free


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


def _fits(measured: Sequence[Entry]) -> bool:
    """Whether a row for every condition is not too much."""
    return sum(len(effects_of(record)) + 1 for record in measured) <= MOST_ROWS


def _family_row(members: Sequence[Entry]) -> figures.ForestRow:
    found = [row for row in map(figures.beyond_row, members) if row.effects]
    effects = tuple(effect for row in found for effect in row.effects)
    others = found[0].others if len(members) == 1 and found else ()
    return figures.ForestRow(family_label(members), effects, verdict_counts(members), others)
