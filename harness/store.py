"""Run folders: records written atomically, found again, and refused where they are damaged."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import StoreError
from harness.evidence import Record, from_json, plain_from_json

RUNS = "runs"
BASELINE = "baseline"
MATRIX = "matrix"
"""Below the reports folder: one folder per cell of a matrix, with runs of its own."""
LATEST = "latest"
RUN_INFO = "run.json"
SANITY = "sanity"
MANIFEST = "manifest.json"
_RUN_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
_MOST_CHARACTERS = 200
"""Of the line in `latest`; longer names of files are none everywhere."""
_WITHOUT_LATEST = "Remove it: the newest run is then found by the names of the run folders"


@dataclass(frozen=True)
class Run:
    """A run folder and what its `run.json` says."""

    path: Path
    info: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """False where the run was killed, stopped, or is still running: what there is are the records so far."""
        return bool(self.info) and not self.info.get("interrupted")

    def commit_of(self, name: str) -> str:
        """The commit at which a record file of this run was measured; empty where nobody wrote it down."""
        known = self.info.get("measured_at") or {}
        if known or self.info.get("commits"):  # a baseline of several runs: its own commit is that of the last
            return next((str(commit) for commit, names in known.items() if name in names), "")
        return str(self.info.get("commit") or "")

    def record_files(self) -> list[Path]:
        """The files that hold the run's records, in the order of their names."""
        return _record_files(self.path)

    def records(self) -> list[Record]:
        """All records of the run, in the order of claim, model and seed.

        Raises:
            StoreError: a record is damaged; the message names the file.
        """
        found = [read_record(path) for path in self.record_files()]
        return sorted(found, key=lambda record: (record.claim["id"], record.model["id"], record.seeds["data_seed"]))

    def plain_records(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Every file with its record as plain values, one after the other: for thousands of them.

        Raises:
            StoreError: a record is damaged; the message names the file.
        """
        for path in self.record_files():
            yield path, plain_from_json(_text_of(path), where=str(path))


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises:
        StoreError: it cannot be read, is cut short, was edited, or is no record; the message names the file.
    """
    return from_json(_text_of(path), where=str(path))


def began(folder: Path) -> str:
    """When a run began (UTC), by its `run.json`, else by its folder's name; empty where neither says."""
    try:
        started = json.loads((folder / RUN_INFO).read_text(encoding="utf-8")).get("started")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError):
        started = None
    if isinstance(started, str) and started:
        return started
    named = _RUN_TIME.match(folder.name)
    return "{}-{}-{}T{}:{}:{}Z".format(*named.groups()) if named else ""


def run_name(*, commit: str) -> str:
    """`20260131T120000Z_<commit>`: no colon, so that it is a folder name everywhere."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{commit[:12] or 'no-commit'}"


def write_record(record: Record, *, folder: Path) -> Path:
    """The file that now holds the record; the same claim, model and seed replace each other.

    Raises:
        StoreError: the folder cannot be written to, or the disk is full.
    """
    ids = record.claim["id"], record.model["id"], record.seeds["data_seed"]
    path = folder / record_name(*ids, exploratory=record.exploratory)
    write_atomically(path, text=record.to_json())
    return path


def record_name(claim_id: str, model_id: str, data_seed: int, *, exploratory: bool = False) -> str:
    """The name of a record's file: what has another claim, model or seed has another one."""
    parts = [claim_id, slug(model_id), f"seed{data_seed}", *(["exploratory"] if exploratory else [])]
    return "__".join(parts) + ".json"


def write_run_info(info: Mapping[str, Any], *, folder: Path) -> None:
    """Write `run.json` of a run folder."""
    write_atomically(folder / RUN_INFO, text=json.dumps(info, indent=1, allow_nan=False) + "\n")


def write_sanity(battery: Mapping[str, Any], *, folder: Path) -> Path:
    """The file, in `sanity/` of a run folder, that now holds the checks of one model (`harness.sanity.Battery`)."""
    path = folder / SANITY / f"{slug(str(battery['model']))}.json"
    write_atomically(path, text=json.dumps(battery, indent=1, allow_nan=False) + "\n")
    return path


def read_sanity(folder: Path) -> list[dict[str, Any]]:
    """The checks of every model of a run folder, in the order of their files.

    Raises:
        StoreError: one of them cannot be read; the message names the file.
    """
    return [_plain_json(path) for path in sorted((folder / SANITY).glob("*.json"))]


def point_latest(folder: Path) -> None:
    """Make `latest`, a one-line file beside `runs/`, name this run folder."""
    write_atomically(folder.parent.parent / LATEST, text=f"{RUNS}/{folder.name}\n")


def open_run(path: Path) -> Run:
    """The run folder at `path`, or the newest one where `path` is a reports folder.

    A run that was killed has its records and no more: it is opened as one that was interrupted.

    Raises:
        StoreError: there is no run, with the command that makes one; or `latest` or `run.json` cannot be read.
    """
    folder = next((place for place in (path, *_newest_first(path)) if _is_run(place)), None)
    if folder is None:
        raise StoreError(f"{path}: no run folder here; `pytest claims/` makes one")
    info = _plain_json(folder / RUN_INFO) if (folder / RUN_INFO).exists() else {"interrupted": True}
    return Run(path=folder, info={SANITY: read_sanity(folder), **info})


def _plain_json(path: Path) -> dict[str, Any]:
    """The object in a file of a run folder that is no record."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StoreError(f"{path}: not readable ({error}); run the claims again") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path}: holds no JSON object; run the claims again")
    return content


def _newest_first(reports: Path) -> Iterator[Path]:
    """Where a reports folder's newest run may lie: what `latest` names, then all others, by their names in time."""
    latest = reports / LATEST
    if latest.is_file():
        yield reports / _named_by(latest)
    yield from sorted((reports / RUNS).glob("*/"), reverse=True)


def _named_by(latest: Path) -> str:
    """The one line of `latest`."""
    try:
        named = latest.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{latest}: not readable ({error}). {_WITHOUT_LATEST}") from error
    if not named.isprintable() or len(named) > _MOST_CHARACTERS:
        raise StoreError(f"{latest}: names no run folder ({named[:40]!r}). {_WITHOUT_LATEST}")
    return named


def _is_run(folder: Path) -> bool:
    """A run that was killed may lack its `run.json`; other JSON files make no folder a run."""
    return (folder / RUN_INFO).exists() or any(folder.glob("*__seed*.json"))


def _record_files(folder: Path) -> list[Path]:
    """The files of a run folder that hold records, in the order of their names."""
    if not folder.is_dir():
        return []
    found = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    return [folder / name for name in found if name not in (RUN_INFO, MANIFEST)]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read as a record ({error}).") from error


def slug(name: str) -> str:
    """A model id as part of a file name: letters, digits, `-`, `_`, `.`, `@` and `~` stay.

    Where others do not, as in every `path:DIR`, a short hash keeps names apart; in the ids of tests it is the same one.
    """
    kept = re.sub(r"[^A-Za-z0-9._@~-]+", "-", name)
    return kept if kept == name else f"{kept}-{hashlib.sha256(name.removeprefix('path:').encode()).hexdigest()[:6]}"


def write_atomically(path: Path, *, text: str) -> None:
    """Write text so that a reader sees the old file or the new one, never half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror or error}); free space or pass --evidence-dir DIR"
        ) from error


def check_writable(folder: Path) -> None:
    """Raise StoreError where nothing can be written below this folder; what the trial makes is removed again."""
    made: list[Path] = []
    try:
        for place in (*reversed(folder.parents), folder):
            if not place.is_dir():
                place.mkdir()
                made.append(place)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise StoreError(
            f"{folder}: evidence cannot be written here ({error.strerror or error}); pass another --evidence-dir DIR"
        ) from error
    finally:
        for place in reversed(made):
            place.rmdir()


def baseline_of(mechanism: Path) -> Path | None:
    """The folder of committed records of the project that a mechanism's folder belongs to, or None.

    That is `reports/baseline` in the mechanism's folder, beside it, or beside the claims folder that it lies in.
    """
    folder = mechanism.resolve()
    places = (place / "reports" / BASELINE for place in (folder, *folder.parents[:2]))
    return next((place for place in places if place.is_dir()), None)


class Supported(NamedTuple):
    """A claim that was supported somewhere: its declaration and the code that measured it, where that is known."""

    claim: str
    version: int
    declaration_hash: str
    body_sha256: str | None


def supported_claims(folder: Path) -> frozenset[Supported]:
    """The claims that a folder holds as `supported` on some model: their assay can say yes.

    Raises:
        StoreError: a record is damaged or was edited; the message names the file.
    """
    paths = _record_files(folder)
    return _supported_in(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


@functools.lru_cache(maxsize=8)
def _supported_in(files: tuple[tuple[Path, int, int], ...]) -> frozenset[Supported]:
    """Of these files, as they are now: every claim of a run asks, and hashing them takes a second."""
    found = set()
    for path, _, _ in files:
        record = read_record(path)
        if record.verdict == "supported" and not record.exploratory:
            claim, body = record.claim, record.claim.get("body_sha256")
            declared = str(claim.get("declaration_hash", ""))
            found.add(Supported(str(claim["id"]), int(claim["version"]), declared, None if body is None else str(body)))
    return frozenset(found)
