"""Replacing the baseline on purpose: the records that later runs are held against, with their manifest."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.compare.manifest import StoredRecord, by_present_names, verified, write_manifest
from harness.compare.rules import DEFAULT, parse_rules
from harness.compare.runs import Comparison, compare_runs
from harness.errors import ComparisonError, StoreError
from harness.guard import changing
from harness.store import Run, open_run, write_run_info


@dataclass(frozen=True)
class BaselineUpdate:
    """What an update did: the comparison of old with new, or why the old one could not be read."""

    path: Path
    records: int
    comparison: Comparison | None
    unread: str = ""


def update_baseline(
    runs: Sequence[Run], *, baseline: Path, keep_others: bool = False, dry_run: bool = False
) -> BaselineUpdate:
    """Put the records of these runs in the baseline's place; the new folder appears as a whole or not at all.

    Of two updates at once the second waits for the first, and then reads the baseline that it left.

    Args:
        runs: one run or several; of a record that stands in several the last one counts.
        baseline: the folder to replace.
        keep_others: keep those of the baseline's records that none of the runs measured.
        dry_run: say what would change and leave the baseline as it is.

    Raises:
        ComparisonError: a run holds no records, or was not finished (which `keep_others` allows).
        StoreError: a record is damaged, or the folder cannot be written to.
    """
    with changing(baseline):
        return _updated(runs, baseline=baseline, keep_others=keep_others, dry_run=dry_run)


def _updated(runs: Sequence[Run], *, baseline: Path, keep_others: bool, dry_run: bool) -> BaselineUpdate:
    runs = [_now(run, baseline=baseline) for run in runs]
    chosen = _records_of(runs, keep_others=keep_others)
    old, unread = _old(baseline, needed=keep_others)
    if old is not None and keep_others:
        measured = {name for name, record in chosen.items() if record.read()["judgement"] is not None}
        chosen |= {name: record for name, record in _all(old).items() if name not in measured}
    try:
        baseline.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=baseline.parent, prefix=f".{baseline.name}.") as work:
            new = _filled(Path(work) / baseline.name, chosen, runs=[*([old] if old and keep_others else []), *runs])
            found = None if old is None else compare_runs(old, new, rules=parse_rules(DEFAULT))
            if not dry_run:
                _swap(new.path, baseline, aside=Path(work) / "replaced")
    except OSError as error:
        raise StoreError(f"{baseline}: the baseline cannot be written ({error.strerror or error})") from error
    return BaselineUpdate(baseline, len(chosen), found, unread)


def _now(run: Run, *, baseline: Path) -> Run:
    """The run; where it is the baseline itself, as the update before this one left it."""
    return open_run(run.path) if run.path.resolve() == baseline.resolve() else run


def _records_of(runs: Sequence[Run], *, keep_others: bool) -> dict[str, StoredRecord]:
    chosen: dict[str, StoredRecord] = {}
    for run in runs:
        if not run.finished and not keep_others:
            raise ComparisonError(
                f"{run.path}: this run was not finished, so the baseline would lose records; finish it, or add its "
                "records to those that are there with --keep-others"
            )
        chosen |= {name: record for name, record in _all(run).items() if not record.exploratory}
    if not chosen:
        raise ComparisonError(f"{', '.join(str(run.path) for run in runs)}: no records that could be a baseline")
    return chosen


def _all(run: Run) -> dict[str, StoredRecord]:
    return by_present_names(verified(run))


def _old(baseline: Path, *, needed: bool) -> tuple[Run | None, str]:
    """The baseline that there is, or why it cannot be read; a damaged one may be replaced, but not added to."""
    if not baseline.is_dir():
        return None, ""
    try:
        run = open_run(baseline)
        verified(run)
    except StoreError as error:
        if needed:
            raise
        return None, str(error)
    return run, ""


def _filled(folder: Path, chosen: dict[str, StoredRecord], *, runs: Sequence[Run]) -> Run:
    folder.mkdir()
    for name, record in chosen.items():
        shutil.copyfile(record.path, folder / name)
    started = [str(run.info["started"]) for run in runs if run.info.get("started")]
    finished = [str(run.info["finished"]) for run in runs if run.info.get("finished")]
    info = {**runs[-1].info, "interrupted": False}
    info |= {"started": min(started)} if started else {}
    info |= {"finished": max(finished)} if finished else {}
    batteries = {(one["model"], one["fingerprint"]): one for run in runs for one in run.info.get("sanity") or ()}
    info |= {"sanity": list(batteries.values())} if batteries else {}
    commits = [one for run in runs for one in (*(run.info.get("commits") or ()), run.info.get("commit")) if one]
    info |= {"commits": list(dict.fromkeys(commits))} if len(set(commits)) > 1 else {}
    info |= {"measured_at": _measured_at(chosen, runs=runs)}
    write_run_info(info, folder=folder)
    made = Run(folder, info)
    write_manifest(made)
    return made


def _measured_at(chosen: dict[str, StoredRecord], *, runs: Sequence[Run]) -> dict[str, list[str]]:
    """By commit the names of the records that were measured there; those of which nobody wrote it down are left out."""
    by_folder = {run.path: run for run in runs}
    found: dict[str, list[str]] = {}
    for name, record in sorted(chosen.items()):
        run = by_folder.get(record.path.parent)
        if run is not None and (commit := run.commit_of(record.path.name)):
            found.setdefault(commit, []).append(name)
    return found


def _swap(new: Path, baseline: Path, *, aside: Path) -> None:
    if baseline.exists():
        baseline.rename(aside)
    try:
        new.rename(baseline)
    except OSError:
        if aside.exists():
            aside.rename(baseline)
        raise
