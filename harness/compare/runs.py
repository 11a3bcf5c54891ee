"""Two run folders compared: pairs of records, what is missing, and whether the rules let the run pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.compare.manifest import StoredRecord, verified
from harness.compare.rows import Row, Status, alone, compared
from harness.compare.rules import Rules
from harness.errors import ComparisonError, StoreError
from harness.store import Run, open_run

Entry = Mapping[str, Any]
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


def open_baseline(path: Path) -> Run:
    """The run to compare with, every record of it verified.

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
    if not any(not record.exploratory for record in verified(run).values()):
        raise ComparisonError(
            f"{run.path}: holds no records to compare with; `mechclaims baseline update` puts some there"
        )
    return run


def compare_runs(
    before: Run, after: Run, *, rules: Rules, any_model: bool = False, asked: Asked | None = None
) -> Comparison:
    """What became of every record of `before` in `after`. Exploratory records are no verdicts and are left out.

    Args:
        before: the baseline.
        after: the run; its folder may not exist, where nothing was measured.
        rules: what counts as a regression.
        any_model: whether another model may stand under the same id, as one with a weakened effect does.
        asked: whether a record of the baseline belongs to what the run was asked for; all of them by default.

    Raises:
        StoreError: a record of either run is damaged or was edited; the message names it.
    """
    old, new = _confirmatory(before), _confirmatory(after)
    if any_model:
        new |= _drawn_for_baseline(after)
    rows: list[Row] = []
    same = 0
    for name in old.keys() & new.keys():
        if old[name].content_hash == new[name].content_hash:
            same += 1
            continue
        row = compared(old[name].read(), new[name].read(), rules=rules, any_model=any_model)
        rows.append(row)
    for name in old.keys() - new.keys():
        record = old[name].read()
        rows.append(alone(record, status=_status_alone(record, asked=asked), rules=rules))
    rows += [alone(new[name].read(), status="new", rules=rules) for name in new.keys() - old.keys()]
    rows.sort(key=lambda row: (row.claim, row.model, row.data_seed))
    unfinished = tuple(run.path.name for run in (before, after) if not run.finished)
    return Comparison(before.path, after.path, rules, tuple(rows), same, unfinished)


def _status_alone(record: Entry, *, asked: Asked | None) -> Status:
    """Of a record of the baseline that the run has no counterpart of."""
    if asked is not None and not asked(record):
        return "not asked for"
    return "never measured" if record["judgement"] is None else "missing"


def _confirmatory(run: Run) -> dict[str, StoredRecord]:
    if not run.path.is_dir():
        return {}
    return {name: record for name, record in verified(run).items() if not record.exploratory}


def _drawn_for_baseline(run: Run) -> dict[str, StoredRecord]:
    """Exploratory records on the baseline's prompts, by the names of the records that they are compared with."""
    if not run.path.is_dir():
        return {}
    other = {name: record for name, record in verified(run).items() if record.exploratory}
    drawn = {name: record for name, record in other.items() if record.read()["options"].get("drawn_for")}
    return {name.replace("__exploratory.json", ".json"): record for name, record in drawn.items()}
