"""What a folder of records holds, with a hash of every file: an edited, added or removed record is found by name.

A record's own content hash can be computed again by whoever edits it; the manifest stands beside it in the repository.
It also spares reading records that did not change: where both sides' content hashes agree, nothing can have regressed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.evidence import plain_from_json
from harness.store import MANIFEST, Run, write_atomically

SCHEMA = 1
_REMEDY = "Put the folder back as it was committed, or replace it on purpose: mechclaims baseline update RUN"


@dataclass(frozen=True)
class ManifestEntry:
    """One record file: sha256 of its text (line ends as written), and the record's content hash."""

    sha256: str
    content_hash: str


def write_manifest(run: Run) -> Path:
    """The manifest of a folder, written from the records that lie there now.

    Raises:
        StoreError: a record is damaged, or the folder cannot be written to.
    """
    records = {}
    for path in run.record_files():
        text = path.read_bytes()
        content = plain_from_json(text.decode(), where=str(path))
        records[path.name] = {"sha256": _text_hash(text), "content_hash": content["content_hash"]}
    place = run.path / MANIFEST
    write_atomically(place, text=json.dumps({"schema": SCHEMA, "records": records}, indent=1) + "\n")
    return place


def read_manifest(folder: Path) -> dict[str, ManifestEntry] | None:
    """The manifest's entries by file name; None where the folder has none, as a run that was killed.

    Raises:
        StoreError: it is damaged or of a newer schema.
    """
    place = folder / MANIFEST
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        if content["schema"] > SCHEMA:
            raise StoreError(
                f"{place}: schema {content['schema']} is newer than {SCHEMA}; update mechclaims to read it"
            )
        return {
            str(name): ManifestEntry(str(entry["sha256"]), str(entry["content_hash"]))
            for name, entry in content["records"].items()
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{place}: no manifest of records ({error}); it was cut short or edited. {_REMEDY}") from error


@dataclass(frozen=True)
class StoredRecord:
    """A record file whose bytes or content were verified; the record is read when it is asked for."""

    path: Path
    content_hash: str

    @property
    def exploratory(self) -> bool:
        """Whether it is shown and never a verdict."""
        return self.path.stem.endswith("__exploratory")

    def read(self) -> dict[str, Any]:
        """The record as plain values."""
        return plain_from_json(self.path.read_text(encoding="utf-8"), where=str(self.path), checked=True)


def verified(run: Run) -> dict[str, StoredRecord]:
    """The records of a folder by file name, each verified: by the manifest, or else by its own content hash.

    Raises:
        StoreError: records that were edited, added or removed, all of them by name.
    """
    manifest = read_manifest(run.path)
    if manifest is None:
        return {path.name: StoredRecord(path, str(plain["content_hash"])) for path, plain in run.plain_records()}
    files = {path.name: path for path in run.record_files()}
    _refuse(run.path, manifest, files)
    return {name: StoredRecord(path, manifest[name].content_hash) for name, path in files.items()}


def _refuse(folder: Path, manifest: Mapping[str, ManifestEntry], files: Mapping[str, Path]) -> None:
    wrong = [f"{name} is not in the manifest" for name in files.keys() - manifest.keys()]
    wrong += [f"{name} is not there" for name in manifest.keys() - files.keys()]
    for name in manifest.keys() & files.keys():
        try:
            edited = _text_hash(files[name].read_bytes()) != manifest[name].sha256
        except OSError as error:
            raise StoreError(f"{files[name]}: cannot be read ({error.strerror or error})") from error
        wrong += [f"{name} was edited"] if edited else []
    if wrong:
        shown = "; ".join(sorted(wrong)[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise StoreError(f"{folder}: not the records that its {MANIFEST} names: {shown}. {_REMEDY}")


def _text_hash(text: bytes) -> str:
    """Whatever line ends a checkout gave the file."""
    return hashlib.sha256(text.replace(b"\r\n", b"\n")).hexdigest()
