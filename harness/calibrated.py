"""What the calibration on record says of claims' designs, and whether a claim still has the design that it speaks of.

Calibration measures designs as they are in records; the rows of its summary (`reports/calibration/summary.json`) name
those by content hash. What a row says is read here and not judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from harness.compare.manifest import StoredRecord, read_manifest
from harness.errors import StoreError
from harness.store import read_record

SUMMARY = Path("calibration") / "summary.json"
_DESIGN = ("metric", "sesoi", "alternative", "alpha", "controls", "margins", "subject", "tier")
"""What a design rests on beside the number of clusters."""

Entry = Mapping[str, Any]
Row = TypeVar("Row")


def design_rows(reports: Path | None, *, read: Callable[[Entry], Row | None]) -> list[Row]:
    """What `read` makes of the summary's rows of designs, without None; nothing where calibration was not run.

    Raises:
        StoreError: the summary is damaged.
    """
    path = None if reports is None else reports / SUMMARY
    if path is None or not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["designs"]
        return [made for row in rows if (made := read(row)) is not None]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not a calibration's summary ({error}); `nox -s calibrate -- report`") from error


def designs_by_claim(reports: Path, *, folders: Iterable[Path]) -> dict[str, list[dict[str, str]]]:
    """For the report: by claim on which models its design was measured, of which record, declared by which hash.

    Args:
        reports: the folder that holds the calibration.
        folders: run folders that may hold the records; the hash is empty where neither they nor the summary have it.

    Raises:
        StoreError: the summary is damaged, or a record that it is about.
    """
    names = ("claim", "model", "content_hash", "declaration_hash")
    rows = design_rows(reports, read=lambda row: {name: str(row.get(name) or "") for name in names})
    declared = _declared({row["content_hash"] for row in rows if not row["declaration_hash"]}, folders)
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        known = row["declaration_hash"] or declared.get(row["content_hash"], "")
        found.setdefault(row["claim"], []).append({**row, "declaration_hash": known})
    return found


def _declared(wanted: set[str], folders: Iterable[Path]) -> dict[str, str]:
    """Hashes of the declarations of stored records, by content hash; of each record only its claim is read."""
    found: dict[str, str] = {}
    for folder in folders if wanted else ():
        manifest = read_manifest(folder)
        for name, entry in ({} if manifest is None else manifest.records).items():
            path = folder / name
            if entry.content_hash in wanted and entry.content_hash not in found and path.is_file():
                claim = StoredRecord(path, entry.content_hash, entry.sha256).read("claim")["claim"]
                found[entry.content_hash] = str(claim["declaration_hash"])
    return found


def records_of(wanted: set[str], folders: Iterable[Path]) -> dict[str, Entry]:
    """Records by content hash, of those that are wanted: only they are read."""
    found: dict[str, Entry] = {}
    for folder in folders:
        manifest = read_manifest(folder)
        known = {} if manifest is None else manifest.records
        for name, entry in known.items():
            path = folder / name
            if entry.content_hash in wanted and entry.content_hash not in found and path.is_file():
                found[entry.content_hash] = read_record(path).as_dict()
    return found


def same_design(record: Entry, declaration: Entry) -> bool:
    """Whether a claim declared like this (`Claim.deciding`, plain values) asks what the record's claim asked."""
    return all(_plain(record["claim"].get(name)) == _plain(declaration.get(name)) for name in _DESIGN)


def _plain(value: object) -> object:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))
