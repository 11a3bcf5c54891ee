"""Claims by models and training seeds: which measurements are missing, running them cell by cell, and what there is.

A cell is one mechanism on one model. What is finished is read from the records themselves: a measurement is there where
a whole, unedited record is the one that would be made now (`harness.freshness`), of the data seed. Beside them is kept
only what the model's files were (`harness.weights_stamp`), so that a matrix may be killed at any moment and goes on
where it was. Each cell is measured by a pytest process of its own, for one model is in memory at a time and a crash
must not take the others along.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bound_claim import applies
from harness.catalog import CatalogEntry, all_claims
from harness.declaration import Profile
from harness.errors import DeclarationError, ModelError, StoreError
from harness.freshness import Present, is_current
from harness.mechanism import named
from harness.models.registry import availability, find
from harness.planning import default_models, item_slug
from harness.store import RUN_INFO, RUNS, Run, began, open_run
from harness.weights_stamp import measured_since, stamp_weights

LOCK = ".measuring"
ANSWERED = (0, 1, 5)
"""Exit codes of pytest after which every test has had its say: passed, failed, nothing but missing models."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a matrix is asked for.

    Attributes:
        claims: the folder that holds the mechanisms.
        out: the matrix's folder.
        models: model ids; none for those of each mechanism and those on which it was measured here before.
        mechanisms: names of mechanisms' folders; none for all.
        profile: as of `pytest claims/`.
        data_seeds: as of `pytest claims/`.
    """

    claims: Path
    out: Path
    models: tuple[str, ...] = ()
    mechanisms: tuple[str, ...] = ()
    profile: Profile = "default"
    data_seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Cell:
    """One mechanism on one model, with the claims that apply there."""

    mechanism: str
    model_id: str
    claims: tuple[CatalogEntry, ...]
    asked: Asked

    @property
    def name(self) -> str:
        """`induction__induction-2l@0`: also the name of its folder."""
        return f"{self.mechanism}__{item_slug(self.model_id)}"

    @property
    def folder(self) -> Path:
        """Where its runs lie."""
        return self.asked.out / self.name

    def wanted(self) -> Iterator[tuple[CatalogEntry, int]]:
        """Every measurement of the cell: claim and data seed."""
        return ((entry, seed) for entry in self.claims for seed in self.asked.data_seeds)


@dataclass(frozen=True)
class Held:
    """What a cell has.

    Attributes:
        records: by claim id and data seed, the newest that counts: its file, and plain values.
        runs: the run folders, the oldest first.
        damaged: what is wrong with records that cannot be read; they are left as they lie and measured again.
    """

    records: Mapping[tuple[str, int], tuple[Path, dict[str, Any]]]
    runs: tuple[Run, ...]
    damaged: tuple[str, ...]


def cells(asked: Asked) -> list[Cell]:
    """Every cell that was asked for, mechanism by mechanism.

    Raises:
        DeclarationError: a claim does not hold together, a mechanism is unknown, or no claim is about what was asked.
        ModelError: a model is unknown.
    """
    for model_id in asked.models:
        find(model_id)
    mechanisms = {named(each, claims=asked.claims).folder.name for each in asked.mechanisms}
    before = {} if asked.models else _measured_before(asked)
    found: dict[tuple[str, str], list[CatalogEntry]] = {}
    for entry in all_claims(asked.claims):
        name = entry.mechanism.folder.name
        if (mechanisms and name not in mechanisms) or asked.profile not in entry.claim.profiles:
            continue
        own = default_models(entry.mechanism, profile=asked.profile, weights=(), claim=entry.claim)
        for model_id in asked.models or dict.fromkeys((*own, *before.get(name, ()))):
            if applies(entry.claim, model_id):
                found.setdefault((name, model_id), []).append(entry)
    if not found:
        raise DeclarationError(_no_cell(asked))
    return [Cell(name, model_id, tuple(entries), asked) for (name, model_id), entries in found.items()]


def _no_cell(asked: Asked) -> str:
    mechanisms, models = ", ".join(asked.mechanisms), ", ".join(asked.models)
    return (
        f"nothing to measure: no claim below {asked.claims} of {mechanisms or 'any mechanism'} is about "
        f"{models or 'a model that is here'} in profile {asked.profile!r}. Ask for another one; "
        "`mechclaims list` says which claims there are."
    )


def _measured_before(asked: Asked) -> dict[str, list[str]]:
    """By mechanism, the models on which it was measured here: also those that are no default and were asked for."""
    found: dict[str, list[str]] = {}
    for folder in sorted(asked.out.glob("*__*/")):
        records = (record for run in _runs(folder) for _, record in _readable(run, []))
        of_matrix = (each for each in records if not each["exploratory"] and _profile(each) == asked.profile)
        first = next(of_matrix, None)
        if first is not None and _is_known(str(first["model"]["id"])):
            found.setdefault(folder.name.partition("__")[0], []).append(str(first["model"]["id"]))
    return found


def _profile(record: Mapping[str, Any]) -> str:
    return str(record["options"].get("profile"))


def _is_known(model_id: str) -> bool:
    """Whether there is such a model still: a checkpoint may have been moved, and the others are reported without it."""
    try:
        find(model_id)
    except ModelError:
        return False
    return True


def held(cell: Cell) -> Held:
    """The records of a cell that count, from all of its runs."""
    spec, asked = find(cell.model_id), cell.asked
    since = measured_since(cell.folder, spec)
    now = Present(cell.model_id, availability(spec).here, since, asked.profile)
    wanted = {(entry.claim.id, seed): entry for entry, seed in cell.wanted()}
    records: dict[tuple[str, int], tuple[Path, dict[str, Any]]] = {}
    damaged: list[str] = []
    runs = _runs(cell.folder)
    for run in runs:
        start = began(run.path)
        for path, record in _readable(run, damaged):
            key = (str(record["claim"]["id"]), int(record["seeds"]["data_seed"]))
            if key in wanted and is_current(record, wanted[key], now=now, began=start):
                records[key] = (path, record)  # a newer run's replaces an older one's
    return Held(records, tuple(runs), tuple(damaged))


def missing(cell: Cell, *, found: Held | None = None) -> list[tuple[CatalogEntry, int]]:
    """The measurements of a cell that are still to be made."""
    has = (found or held(cell)).records
    return [(entry, seed) for entry, seed in cell.wanted() if (entry.claim.id, seed) not in has]


def measure_cell(cell: Cell, *, say: Say, options: Sequence[str] = ()) -> bool:
    """Measure what a cell lacks, in a pytest process; True where it then lacks nothing.

    Args:
        cell: what to measure.
        say: called with lines of progress.
        options: more options for pytest.

    Raises:
        StoreError: the cell's folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    found = held(cell)
    for problem in found.damaged:
        say(f"{cell.name}: {problem} It is left as it lies, and its claim measured again.")
    todo = missing(cell, found=found)
    if not todo:
        stamp_weights(cell.folder, find(cell.model_id))
        say(f"{cell.name}: finished, {len(found.records)} records")
        return True
    say(f"{cell.name}: {len(todo)} of {len(list(cell.wanted()))} to measure")
    lock = FileLock(cell.folder / LOCK, timeout=0)  # the system lets go of it where a process is killed
    try:
        cell.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        say(f"{cell.name}: another process is measuring it ({cell.folder / LOCK}); left to that one")
        return False
    except OSError as error:
        raise StoreError(f"{cell.folder}: cannot be written ({error.strerror or error}); name --reports DIR") from error
    try:
        stamp_weights(cell.folder, find(cell.model_id))
        code = subprocess.run(_command(cell, todo, options=options), check=False).returncode
    finally:
        lock.release()
    left = missing(cell)
    if left:
        ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        why = "without these records" if code in ANSWERED else "; what it had measured is kept, run the matrix again"
        ids = ", ".join(dict.fromkeys(entry.claim.id for entry, _ in left))
        say(f"{cell.name}: pytest {ended} {why}: {ids}")
    return not left


def combined(asked: Asked) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, str]]:
    """All records that count, one provenance for them all, and the file of each by its content hash.

    Raises:
        StoreError: nothing has been measured yet.
    """
    records, names, infos, unfinished = [], {}, [], 0
    for cell in cells(asked):
        found = held(cell)
        unfinished += bool(missing(cell, found=found))
        used = {path.parent for path, _ in found.records.values()}
        infos += [run.info for run in found.runs if run.path in used]
        for path, record in found.records.values():
            records.append(record)
            names[str(record["content_hash"])] = str(path.relative_to(asked.out))
    if not records:
        raise StoreError(f"{asked.out}: no record of this matrix yet; measure a cell of it: `mechclaims matrix`")
    return records, _provenance(infos, asked=asked, unfinished=unfinished), names


def _runs(folder: Path) -> list[Run]:
    """The runs of a cell, the oldest first; a folder without a record is none."""
    return [
        open_run(place)
        for place in sorted((folder / RUNS).glob("*/"))
        if (place / RUN_INFO).exists() or any(place.glob("*__seed*.json"))
    ]


def _readable(run: Run, damaged: list[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    from harness.store import read_record

    for path in run.record_files():
        try:
            yield path, read_record(path).as_dict()
        except StoreError as error:
            damaged.append(str(error))


def _command(cell: Cell, todo: Sequence[tuple[CatalogEntry, int]], *, options: Sequence[str]) -> list[str]:
    slug = item_slug(cell.model_id)
    tests = [f"{entry.source}[{slug}{f'-seed{seed}' if seed else ''}]" for entry, seed in todo]
    seeds = [part for seed in dict.fromkeys(seed for _, seed in todo) for part in ("--data-seed", str(seed))]
    chosen = ["--model", cell.model_id, "--profile", cell.asked.profile, *seeds]
    return [sys.executable, "-m", "pytest", *tests, *chosen, "--evidence-dir", str(cell.folder), *options]


def _provenance(infos: Sequence[Mapping[str, Any]], *, asked: Asked, unfinished: int) -> dict[str, Any]:
    """`run.json` of all cells together: the newest says where, all say when and of which commits."""
    ordered = sorted(infos, key=lambda info: str(info.get("started") or ""))
    newest = ordered[-1] if ordered else {}
    batteries = {str(one["model"]): one for info in ordered for one in info.get("sanity") or ()}
    commits = list(dict.fromkeys(str(info["commit"]) for info in ordered if info.get("commit")))
    return {
        "started": next((info["started"] for info in ordered if info.get("started")), None),
        "finished": max((str(info["finished"]) for info in ordered if info.get("finished")), default=None),
        "commit": ", ".join(commits),
        "dirty": any(info.get("dirty") for info in ordered),
        "interrupted": unfinished > 0,
        "versions": newest.get("versions", {}),
        "machine": newest.get("machine", {}),
        "options": {"profile": asked.profile, "data-seed": list(asked.data_seeds), "unfinished cells": unfinished},
        "sanity": [batteries[model] for model in sorted(batteries)],
    }
