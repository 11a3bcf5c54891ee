"""What a model's files were when a cell of a matrix was measured: whether its records are about the present weights.

A record names its model's fingerprint, which takes loading the model. Here the files' sha256 is kept instead, and their
sizes and times, so that files nobody touched are not even read. Packaged and hub models need none: loading verifies
that they are the pinned ones. What this does not answer: which weights a cell has from before there was a stamp.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.models.fingerprint import file_sha256
from harness.models.registry import ModelSpec, availability
from harness.store import write_atomically

NAME = "weights.json"
_CHANGEABLE = ("shipped", "path")
_READ = frozenset({".safetensors", ".bin", ".json", ".model", ".txt"})
"""What loading reads of a model's folder: weights, configuration, tokenizer."""


@dataclass(frozen=True)
class Stamp:
    """The files of a model as they were since a time (UTC; empty: ever since), in the cell's folder.

    Attributes:
        since: runs that began earlier are about other weights.
        sha256: of all files.
        states: by file size and times, which change with its content.
    """

    since: str
    sha256: str
    states: Mapping[str, Sequence[int]]


def measured_since(folder: Path, spec: ModelSpec) -> str | None:
    """From when on a cell's runs are about the weights that are here now; None where no run is.

    Empty where all runs count: no stamp was written, or the weights are not here to be compared.

    Raises:
        StoreError: the stamp cannot be read.
    """
    files = _files(spec)
    stamp = _read(folder / NAME) if files else None
    if stamp is None:
        return ""
    return stamp.since if stamp.states == _states(files) or stamp.sha256 == _sha256(files) else None


def stamp_weights(folder: Path, spec: ModelSpec) -> None:
    """Write into a cell's folder what the model's files are, before it is measured.

    Raises:
        StoreError: an earlier stamp cannot be read, or this one cannot be written.
    """
    files = _files(spec)
    if not files:
        return
    path, states = folder / NAME, _states(files)
    old = _read(path)
    if old is not None and old.states == states:
        return
    sha256 = _sha256(files)
    same = old is None or old.sha256 == sha256
    since = (old.since if old else "") if same else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    write_atomically(path, text=json.dumps(asdict(Stamp(since, sha256, states)), indent=1) + "\n")


def _files(spec: ModelSpec) -> list[Path]:
    """The files that a model is loaded from, where they may change under its name; none where they are not here."""
    place = availability(spec).where if spec.kind in _CHANGEABLE else None
    if place is None:
        return []
    if not place.is_dir():
        return [place]
    return sorted(path for path in place.iterdir() if path.suffix in _READ and path.is_file())


def _states(files: Sequence[Path]) -> dict[str, list[int]]:
    """The status change counts beside the content's: a file moved here keeps the time at which it was written."""
    known = ((path.name, path.stat()) for path in files)
    return {name: [state.st_size, state.st_mtime_ns, state.st_ctime_ns] for name, state in known}


def _sha256(files: Sequence[Path]) -> str:
    listed = "\n".join(f"{path.name} {file_sha256(path)}" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def _read(path: Path) -> Stamp | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Stamp(str(content["since"]), str(content["sha256"]), dict(content["states"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: cannot be read ({type(error).__name__}: {error}). Remove it, with the runs beside it where the "
            "model may be another one since."
        ) from error
