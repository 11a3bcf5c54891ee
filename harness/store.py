"""Run folders: records written atomically, found again, and refused where they are damaged."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.evidence import Record, from_json

RUNS = "runs"
BASELINE = "baseline"
LATEST = "latest"


@dataclass(frozen=True)
class Run:
    """A run folder and what its `run.json` says."""

    path: Path
    info: Mapping[str, Any]

    def records(self) -> list[Record]:
        """All records of the run, in the order of claim, model and seed.

        Raises:
            StoreError: a record is damaged; the message names the file.
        """
        found = [
            from_json(path.read_text(encoding="utf-8"), where=str(path))
            for path in sorted(self.path.glob("*.json"))
            if path.name != "run.json"
        ]
        return sorted(found, key=lambda record: (record.claim["id"], record.model["id"], record.seeds["data_seed"]))


def run_name(*, commit: str) -> str:
    """`20260131T120000Z_<commit>`: no colon, so that it is a folder name everywhere."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{commit[:12] or 'no-commit'}"


def write_record(record: Record, *, folder: Path) -> Path:
    """The file that now holds the record; the same claim, model and seed replace each other.

    Raises:
        StoreError: the folder cannot be written to, or the disk is full.
    """
    parts = [record.claim["id"], slug(record.model["id"]), f"seed{record.seeds['data_seed']}"]
    if record.exploratory:
        parts.append("exploratory")
    path = folder / ("__".join(parts) + ".json")
    write_atomically(path, text=record.to_json())
    return path


def write_run_info(info: Mapping[str, Any], *, folder: Path) -> None:
    """Write `run.json` of a run folder."""
    write_atomically(folder / "run.json", text=json.dumps(info, indent=1, allow_nan=False) + "\n")


def point_latest(folder: Path) -> None:
    """Make `latest`, a one-line file beside `runs/`, name this run folder."""
    write_atomically(folder.parent.parent / LATEST, text=f"{RUNS}/{folder.name}\n")


def open_run(path: Path) -> Run:
    """The run folder at `path`, or the newest one where `path` is a reports folder.

    Raises:
        StoreError: there is no run, with the command that makes one.
    """
    folder = path
    latest = path / LATEST
    if not (path / "run.json").exists() and latest.exists():
        folder = path / latest.read_text(encoding="utf-8").strip()
    if not (folder / "run.json").exists():
        raise StoreError(f"{path}: no run folder here; `pytest claims/` makes one")
    try:
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StoreError(f"{folder / 'run.json'}: not readable ({error}); run the claims again") from error
    return Run(path=folder, info=info)


def slug(name: str) -> str:
    """A model id as part of a file name: letters, digits, `-`, `_`, `.`, `@` and `~` stay."""
    return re.sub(r"[^A-Za-z0-9._@~-]+", "-", name)


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


def supported_claims(folder: Path) -> frozenset[tuple[str, int]]:
    """(id, version) of the claims that a folder holds as `supported` on some model: their assay can say yes."""
    found = set()
    for path in sorted(folder.glob("*.json")):
        if path.name == "run.json":
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        judgement = content.get("judgement") or {}
        if judgement.get("verdict") == "supported" and not content.get("exploratory"):
            found.add((content["claim"]["id"], content["claim"]["version"]))
    return frozenset(found)
