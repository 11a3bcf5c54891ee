"""The record of one claim on one model with one data seed, and its canonical JSON. No torch, no pytest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any

from harness.errors import StoreError

SCHEMA = 2
"""1: until registrations. 2: `claim.body_sha256`, `claim.registration`, `cost.at`, none of them part of the content."""

_NOT_HASHED = {"cost", "command", "content_hash"}
"""Sections that may differ between two equal measurements: time, memory, how they were asked for."""
_PLACES = {"claim": ("source", "body_sha256", "registration"), "options": ("device",)}
"""Within other sections, entries that say where the test lies, by which code and after which registration it measured,
or where the model was computed."""
_NEEDED = ("claim", "model", "seeds", "options", "command")
_LISTED = frozenset({"ranks", "shares", "preconditions", "notes", "tables", "pictures"})
"""Sections that are tuples of entries."""


@dataclass(frozen=True)
class Record:
    """Evidence of one claim on one model. Sections are plain JSON values; `reports/README.md` lists their keys.

    `judgement` is None where the claim was not run; `not_run` then says why and which command brings the model.
    """

    claim: Mapping[str, Any]
    model: Mapping[str, Any]
    seeds: Mapping[str, Any]
    options: Mapping[str, Any]
    command: str
    subject: Mapping[str, Any] | None = None
    prompts: Mapping[str, Any] | None = None
    units: Mapping[str, Any] | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)
    judgement: Mapping[str, Any] | None = None
    ranks: tuple[Mapping[str, Any], ...] = ()
    exact: Mapping[str, Any] | None = None
    shares: tuple[Mapping[str, Any], ...] = ()
    preconditions: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Mapping[str, Any], ...] = ()
    pictures: tuple[Mapping[str, Any], ...] = ()
    expectation: Mapping[str, Any] | None = None
    exploratory: bool = False
    cost: Mapping[str, Any] = field(default_factory=dict)
    not_run: Mapping[str, Any] | None = None
    schema: int = SCHEMA

    @property
    def verdict(self) -> str:
        """One of the six verdicts."""
        return "not run" if self.judgement is None else str(self.judgement["verdict"])

    @property
    def content_hash(self) -> str:
        """sha256 of everything but cost, machine, paths and times: equal for equal measurements."""
        return _hash_of(self._plain())

    def to_json(self) -> str:
        """Canonical JSON with the content hash; infinite bounds are written as "inf" and "-inf"."""
        return json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """What `to_json` writes, as plain values: the input of the report."""
        plain = self._plain()
        return {**plain, "content_hash": _hash_of(plain)}

    def _plain(self) -> dict[str, Any]:
        return {entry.name: jsonable(getattr(self, entry.name)) for entry in fields(self)}

    def _repr_html_(self) -> str:
        """A short table for notebooks."""
        from harness.report.notebook import record_html

        return record_html(self.as_dict())


def from_json(text: str, *, where: str) -> Record:
    """The record in `text`.

    Raises:
        StoreError: cut short, of a newer schema, edited by hand (its hash does not fit), or not a record at all.
    """
    content = plain_from_json(text, where=where)
    del content["content_hash"]
    sections: dict[str, Any] = {name: tuple(value) if name in _LISTED else value for name, value in content.items()}
    return Record(**sections)


def plain_from_json(text: str, *, where: str, checked: bool = False) -> dict[str, Any]:
    """The record in `text` as plain values with its content hash, as `Record.as_dict` gives them: for many at once.

    Args:
        text: the file's text.
        where: the file, for messages.
        checked: true where the file's bytes are known to be those that were written; its hash is then not computed.

    Raises:
        StoreError: as `from_json`.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise StoreError(
            f"{where}: not readable as JSON ({error}); it was cut short or edited. Measure it again."
        ) from error
    if not isinstance(content, dict) or "schema" not in content:
        raise StoreError(f"{where}: not an evidence record (no schema)")
    if not isinstance(content["schema"], int):
        raise StoreError(f"{where}: schema is {content['schema']!r}, no number: it was edited. Measure it again.")
    if content["schema"] > SCHEMA:
        raise StoreError(f"{where}: schema {content['schema']} is newer than {SCHEMA}; update mechclaims to read it")
    stated = content.pop("content_hash", None)
    known = {entry.name: entry for entry in fields(Record)}
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise StoreError(f"{where}: unknown sections {', '.join(unknown)}")
    missing = [name for name in _NEEDED if name not in content]
    if missing:
        raise StoreError(f"{where}: no evidence record, it lacks {', '.join(missing)}")
    if not all(isinstance(content[name], dict) for name in _NEEDED if name != "command"):
        raise StoreError(f"{where}: a section is no table of entries; it was edited. Measure it again.")
    for name in known.keys() - content.keys():
        factory, value = known[name].default_factory, known[name].default
        content[name] = [] if name in _LISTED else value if factory is MISSING else factory()
    if not checked and stated != _hash_of(content):
        raise StoreError(f"{where}: its content hash does not fit its content; it was edited. Measure it again.")
    return {**content, "content_hash": stated}


def jsonable(value: Any) -> Any:
    """Plain JSON values: numpy scalars and arrays unwrapped, infinities as strings, NaN refused."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise StoreError("a value of the record is NaN; metrics and statistics must raise instead")
        return float(value) if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, list | tuple):
        return [jsonable(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    raise StoreError(f"a value of type {type(value).__name__} cannot be stored in a record")


def _hash_of(plain: Mapping[str, Any]) -> str:
    content = {name: value for name, value in plain.items() if name not in _NOT_HASHED}
    for section, entries in _PLACES.items():
        content[section] = {name: value for name, value in content[section].items() if name not in entries}
    content["schema"] = 1  # what is hashed is the same in every schema so far: equal measurements keep equal hashes
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
