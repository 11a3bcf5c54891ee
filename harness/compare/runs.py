"""Two run folders compared: pairs of records, what is missing, and whether the rules let the run pass."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.compare.manifest import StoredRecord, by_present_names, listed, require_unedited, verified
from harness.compare.rows import MOST_SHOWN, Row, Status, alone, compared, told
from harness.compare.rules import Rules
from harness.errors import ComparisonError, StoreError
from harness.store import Run, open_run

_COMPARED = (
    "claim", "model", "subject", "seeds", "prompts", "units", "measured", "judgement", "exact", "not_run"
)  # fmt: skip
"""The sections of a record that say what it measured, on what, and what was judged."""

MANY = 2_000
"""Pairs from which other processes save more time than they take."""

Entry = Mapping[str, Any]
Pair = tuple[StoredRecord, StoredRecord]
Asked = Callable[[Entry], bool]
"""Whether a record of the baseline was asked for again: a run of one mechanism says nothing about the others."""


@dataclass(frozen=True)
class Comparison:
    """Two runs, record by record.

    Attributes:
        before: the baseline's folder.
        after: the run's folder.
        rules: what counts as a regression.
        rows: every record that is not the same measurement again, in the order of claim, model and seed.
        same: how many records hold the same values.
        unfinished: names of those of the two runs that were stopped or killed.
    """

    before: Path
    after: Path
    rules: Rules
    rows: tuple[Row, ...]
    same: int
    unfinished: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Row, ...]:
        """The rows that fail by one of the rules."""
        return tuple(row for row in self.rows if row.regressions)

    def count(self) -> Counter[str]:
        """How many rows there are of each status; those that are the same measurement again are `unchanged`."""
        return Counter({"unchanged": self.same}) + Counter(row.status for row in self.rows)


def open_baseline(path: Path, *, verify: bool = True) -> Run:
    """The run to compare with, every record of it verified.

    Args:
        path: its folder.
        verify: False where `compare_runs` follows at once, which verifies all that it compares.

    Raises:
        ComparisonError: it is not there, or holds no records.
        StoreError: a record or the manifest is damaged or was edited; the message names it.
    """
    if not path.is_dir():
        raise ComparisonError(
            f"{path}: there is no such folder to compare with; `mechclaims baseline update` makes one"
        )
    try:
        run = open_run(path)
    except StoreError as error:
        if not path.joinpath("run.json").exists():
            raise ComparisonError(f"{path}: no run to compare with ({error})") from error
        raise
    if all(record.exploratory for record in (verified if verify else listed)(run).values()):
        raise ComparisonError(
            f"{run.path}: holds no records to compare with; `mechclaims baseline update` puts some there"
        )
    return run


def compare_runs(
    before: Run,
    after: Run,
    *,
    rules: Rules,
    any_model: bool = False,
    asked: Asked | None = None,
    workers: int = 1,
) -> Comparison:
    """What became of every record of `before` in `after`. Exploratory records are no verdicts and are left out.

    Args:
        before: the baseline.
        after: the run; its folder may not exist, where nothing was measured.
        rules: what counts as a regression.
        any_model: whether another model may stand under the same id, as one with a weakened effect does.
        asked: whether a record of the baseline belongs to what the run was asked for; all of them by default.
        workers: processes that compare, where thousands of records differ and this process can be forked.

    Raises:
        StoreError: a record of either run is damaged or was edited; the message names it.
    """
    old, new = _listed(before), _listed(after)
    pairs, alone_before, alone_after = _paired(old, new, drawn=any_model)
    differing = {name: pair for name, pair in pairs.items() if pair[0].content_hash != pair[1].content_hash}
    row_of = partial(_row, rules=rules, any_model=any_model)
    workers = workers if len(differing) >= MANY and _can_fork() else 1
    try:
        rows = _rows(list(differing.values()), row_of=row_of, workers=workers)
        for record in alone_before:
            plain = record.read()
            rows.append(alone(plain, status=_status_alone(plain, asked=asked), rules=rules))
        rows += [alone(record.read(), status="new", rules=rules) for record in alone_after]
    except StoreError:  # one was edited: name all of them
        require_unedited(before.path, old.values())
        require_unedited(after.path, new.values())
        raise
    was_read = {record.path for pair in differing.values() for record in pair}
    for run, records in ((before, old), (after, new)):
        require_unedited(run.path, (record for record in records.values() if record.path not in was_read))
    rows = _with_intervals(rows, differing.values(), row_of=partial(row_of, shown=True), workers=workers)
    unfinished = tuple(run.path.name for run in (before, after) if not run.finished)
    return Comparison(before.path, after.path, rules, tuple(rows), len(pairs) - len(differing), unfinished)


def _row(pair: Pair, *, rules: Rules, any_model: bool, shown: bool = False) -> Row:
    before, after = (record.read(*_COMPARED) for record in pair)
    return compared(before, after, rules=rules, any_model=any_model, shown=shown)


def _rows(pairs: Sequence[Pair], *, row_of: Callable[[Pair], Row], workers: int) -> list[Row]:
    """The row of every pair, in their order."""
    if workers < 2 or not pairs:
        return [row_of(pair) for pair in pairs]
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        return list(pool.map(row_of, pairs, chunksize=-(-len(pairs) // (4 * workers))))


def _can_fork() -> bool:
    """Whether a copy of this process is sound: no threads here, nor those of torch. Others would run a script anew."""
    return sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules


def _with_intervals(
    rows: Sequence[Row], pairs: Iterable[Pair], *, row_of: Callable[[Pair], Row], workers: int
) -> list[Row]:
    """The rows in order, with the intervals of those that a table shows; those of others decide nothing.

    Args:
        rows: first those of the pairs, in their order.
        pairs: of records that differ.
        row_of: the row of a pair, as it is shown.
        workers: processes that compute them.
    """
    shown = {_place(row) for row in told(sorted(rows, key=_place))[:MOST_SHOWN]}
    lacking = {
        place: pair
        for place, (row, pair) in enumerate(zip(rows, pairs, strict=False))
        if row.change is not None and row.change.low is None and _place(row) in shown
    }
    found = dict(zip(lacking, _rows(list(lacking.values()), row_of=row_of, workers=workers), strict=True))
    return sorted((found.get(place, row) for place, row in enumerate(rows)), key=_place)


def _place(row: Row) -> tuple[str, str, int]:
    return row.claim, row.model, row.data_seed


def _status_alone(record: Entry, *, asked: Asked | None) -> Status:
    """Of a record of the baseline that the run has no counterpart of."""
    if asked is not None and not asked(record):
        return "not asked for"
    return "never measured" if record["judgement"] is None else "missing"


def _listed(run: Run) -> dict[str, StoredRecord]:
    return by_present_names(listed(run)) if run.path.is_dir() else {}


def _paired(
    old: Mapping[str, StoredRecord], new: Mapping[str, StoredRecord], *, drawn: bool
) -> tuple[dict[str, Pair], list[StoredRecord], list[StoredRecord]]:
    """Records of both runs by file name; those of the first alone; those of the second alone.

    Exploratory records are left out, but for those of the second that were `drawn` for the first's prompts: they stand
    for the records that they are compared with.
    """
    first = {name: record for name, record in old.items() if not record.exploratory}
    second = {name: record for name, record in new.items() if not record.exploratory}
    if drawn:
        second |= {
            name.replace("__exploratory.json", ".json"): record
            for name, record in new.items()
            if record.exploratory and record.read("options")["options"].get("drawn_for")
        }
    pairs = {name: (first[name], second[name]) for name in first.keys() & second.keys()}
    return (
        pairs,
        [record for name, record in first.items() if name not in pairs],
        [record for name, record in second.items() if name not in pairs],
    )
