"""What a folder of records holds, with a hash of every file: an edited, added or removed record is found by name.

A record's own content hash can be computed again by whoever edits it; the manifest stands beside it in the repository.
It also spares reading records that did not change: where both sides' content hashes agree, nothing can have regressed.
And it spares parsing what is not asked for: a manifest is written from records whose content hash was computed, states
its own sha256, and so says of bytes that are still the same that their content hash fits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.evidence import plain_from_json
from harness.record_text import some_sections, without_values
from harness.store import MANIFEST, Run, record_name, write_atomically

SCHEMA = 1
_PATH = "__path-"
_REMEDY = "Put the folder back as it was committed, or replace it on purpose: mechclaims baseline update RUN"


@dataclass(frozen=True)
class ManifestEntry:
    """One record file: sha256 of its text (line ends as written), and the record's content hash."""

    sha256: str
    content_hash: str


@dataclass(frozen=True)
class Manifest:
    """The entries by file name, and whether the manifest states its own sha256 (those of older versions do not)."""

    records: Mapping[str, ManifestEntry]
    sealed: bool


def write_manifest(run: Run) -> Path:
    """The manifest of a folder, written from the records that lie there now.

    Raises:
        StoreError: a record is damaged, or the folder cannot be written to.
    """
    records = {}
    for path in run.record_files():
        record = _by_its_content(path)
        records[path.name] = {"sha256": record.sha256, "content_hash": record.content_hash}
    place = run.path / MANIFEST
    content = {"schema": SCHEMA, "sha256": _sha256_of(records), "records": records}
    write_atomically(place, text=json.dumps(content, indent=1) + "\n")
    return place


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest's entries by file name; None where the folder has none, as a run that was killed.

    Raises:
        StoreError: it is damaged, edited or of a newer schema.
    """
    place = folder / MANIFEST
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        if content["schema"] > SCHEMA:
            raise StoreError(
                f"{place}: schema {content['schema']} is newer than {SCHEMA}; update mechclaims to read it"
            )
        records = content["records"]
        if content.get("sha256") not in (None, _sha256_of(records)):
            raise ValueError("its sha256 does not fit")
        entries = {name: ManifestEntry(str(one["sha256"]), str(one["content_hash"])) for name, one in records.items()}
        return Manifest(entries, sealed=content.get("sha256") is not None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{place}: no manifest of records ({error}); it was cut short or edited. {_REMEDY}") from error


def read_records(run: Run, *, lean: bool = False) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every file of a run with its record as plain values, each verified, by the files' names.

    A file whose bytes are those that a sealed manifest names is as it was when its content hash was computed; of any
    other the content hash is computed now.

    Args:
        run: the run folder.
        lean: leave out per-unit values and pictures where the bytes are known, which takes a third of the time.

    Raises:
        StoreError: a record or the manifest is damaged or was edited; the message names the file.
    """
    manifest = read_manifest(run.path)
    known = manifest.records if manifest is not None and manifest.sealed else {}
    for path in run.record_files():
        data, entry = _bytes_of(path), known.get(path.name)
        same = entry is not None and _text_hash(data) == entry.sha256
        text = _decoded(data, path)
        if same and lean:
            yield path, without_values(text, where=str(path))
        else:
            yield path, plain_from_json(text, where=str(path), checked=same)


@dataclass(frozen=True)
class StoredRecord:
    """A record file, with the hashes by which it is verified when it is read."""

    path: Path
    content_hash: str
    sha256: str

    @property
    def exploratory(self) -> bool:
        """Whether it is shown and never a verdict."""
        return self.path.stem.endswith("__exploratory")

    def text(self) -> str:
        """The file's text.

        Raises:
            StoreError: it cannot be read, or is no longer what it was.
        """
        data = _bytes_of(self.path)
        if _text_hash(data) != self.sha256:
            raise StoreError(_not_the_records(self.path.parent, [f"{self.path.name} was edited"]))
        return _decoded(data, self.path)

    def read(self, *sections: str) -> dict[str, Any]:
        """The record as plain values; only these sections, not to be changed, where some are named."""
        text, where = self.text(), str(self.path)
        if sections:
            return some_sections(text, wanted=sections, where=where)
        return plain_from_json(text, where=where, checked=True)


def listed(run: Run) -> dict[str, StoredRecord]:
    """The records of a folder by file name, verified as they are read; without a manifest verified now.

    Raises:
        StoreError: records that were added or removed, all of them by name; without a manifest, edited ones.
    """
    manifest = read_manifest(run.path)
    files = {path.name: path for path in run.record_files()}
    if manifest is None:
        return {name: _by_its_content(path) for name, path in files.items()}
    wrong = [f"{name} is not in the manifest" for name in files.keys() - manifest.records.keys()]
    wrong += [f"{name} is not there" for name in manifest.records.keys() - files.keys()]
    if wrong:
        raise StoreError(_not_the_records(run.path, wrong))
    entries = ((path, manifest.records[name]) for name, path in files.items())
    return {path.name: StoredRecord(path, entry.content_hash, entry.sha256) for path, entry in entries}


def verified(run: Run) -> dict[str, StoredRecord]:
    """The records of a folder by file name, each verified: by the manifest, or else by its own content hash.

    Raises:
        StoreError: records that were edited, added or removed, all of them by name.
    """
    records = listed(run)
    require_unedited(run.path, records.values())
    return records


def by_present_names(records: Mapping[str, StoredRecord]) -> dict[str, StoredRecord]:
    """The records by the names that their files would get now; those of `path:` models once had no hash in theirs.

    Raises:
        StoreError: a record whose name is asked for was edited.
    """
    found: dict[str, StoredRecord] = {}
    for name, record in records.items():
        present = _present_name(record) if _PATH in name else name
        found[name if present in records or present in found else present] = record
    return found


def require_unedited(folder: Path, records: Iterable[StoredRecord]) -> None:
    """Raise StoreError where the bytes of some of these are no longer what they were; all of them by name."""
    wrong = [f"{one.path.name} was edited" for one in records if _text_hash(_bytes_of(one.path)) != one.sha256]
    if wrong:
        raise StoreError(_not_the_records(folder, wrong))


def _present_name(record: StoredRecord) -> str:
    plain = record.read("claim", "model", "seeds")
    ids = str(plain["claim"]["id"]), str(plain["model"]["id"]), int(plain["seeds"]["data_seed"])
    return record_name(*ids, exploratory=record.exploratory)


def _by_its_content(path: Path) -> StoredRecord:
    data = _bytes_of(path)
    plain = plain_from_json(_decoded(data, path), where=str(path))
    return StoredRecord(path, str(plain["content_hash"]), _text_hash(data))


def _not_the_records(folder: Path, wrong: Sequence[str]) -> str:
    shown = "; ".join(sorted(wrong)[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    return f"{folder}: not the records that its {MANIFEST} names: {shown}. {_REMEDY}"


def _bytes_of(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error


def _decoded(data: bytes, path: Path) -> str:
    """As text, with the line ends that were written."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: cannot be read as a record ({error}).") from error
    return text.replace("\r\n", "\n") if "\r" in text else text


def _text_hash(data: bytes) -> str:
    """Whatever line ends a checkout gave the file."""
    return hashlib.sha256(data.replace(b"\r\n", b"\n") if b"\r" in data else data).hexdigest()


def _sha256_of(records: Mapping[str, Any]) -> str:
    """Of a manifest's entries."""
    text = json.dumps(records, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
