"""The record of one claim on one model with one data seed, and its canonical JSON. No torch, no pytest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from harness.errors import StoreError

SCHEMA = 1

_NOT_HASHED = {"cost", "command", "content_hash"}
"""Sections that may differ between two equal measurements: time, memory, how they were asked for."""
_PLACES = {"claim": "source", "options": "device"}
"""Within other sections, the entry that says where the test lies or the model was computed."""


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
        content = {name: value for name, value in self._plain().items() if name not in _NOT_HASHED}
        for section, entry in _PLACES.items():
            content[section] = {name: value for name, value in content[section].items() if name != entry}
        return hashlib.sha256(_canonical(content).encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON with the content hash; infinite bounds are written as "inf" and "-inf"."""
        return json.dumps({**self._plain(), "content_hash": self.content_hash}, indent=1, allow_nan=False) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """What `to_json` writes, as plain values: the input of the report."""
        return {**self._plain(), "content_hash": self.content_hash}

    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = jsonable(asdict(self))
        return plain

    def _repr_html_(self) -> str:
        """A short table for notebooks."""
        from harness.report.notebook import record_html

        return record_html(self.as_dict())


def from_json(text: str, *, where: str) -> Record:
    """The record in `text`.

    Raises:
        StoreError: cut short, of a newer schema, edited by hand (its hash does not fit), or not a record at all.
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
    known = {entry.name for entry in fields(Record)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise StoreError(f"{where}: unknown sections {', '.join(unknown)}")
    needed = ("claim", "model", "seeds", "options", "command")
    missing = [name for name in needed if name not in content]
    if missing:
        raise StoreError(f"{where}: no evidence record, it lacks {', '.join(missing)}")
    listed = ("ranks", "shares", "preconditions", "notes", "tables", "pictures")
    arguments: dict[str, Any] = {name: tuple(value) if name in listed else value for name, value in content.items()}
    record = Record(**arguments)
    if stated != record.content_hash:
        raise StoreError(f"{where}: its content hash does not fit its content; it was edited. Measure it again.")
    return record


def jsonable(value: Any) -> Any:
    """Plain JSON values: numpy scalars and arrays unwrapped, infinities as strings, NaN refused."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(entry) for entry in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float):
        if math.isnan(value):
            raise StoreError("a value of the record is NaN; metrics and statistics must raise instead")
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if value is None or isinstance(value, bool | int | str):
        return value
    raise StoreError(f"a value of type {type(value).__name__} cannot be stored in a record")


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
