"""`registry.lock`: what was registered for each claim and model, at which commit and when, and every amendment.

The file says what was fixed and when; whether a claim still is what it says is asked in `harness.registration`. Every
entry carries the sha256 of what decides it, and a file whose entries do not fit theirs is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from harness.errors import StoreError
from harness.evidence import jsonable
from harness.stats.records import Verdict
from harness.store import write_atomically

NAME = "registry.lock"
SCHEMA = 1


@dataclass(frozen=True)
class Stamp:
    """When something was registered (UTC), and the commit; `uncommitted` where the claims differed from it."""

    date: str
    commit: str
    uncommitted: bool = False


@dataclass(frozen=True)
class Change:
    """One field that differs between the lock and the code; `model` where it is that of one model."""

    field: str
    before: Any
    after: Any
    model: str | None = None

    def line(self) -> str:
        """`sesoi: registered 0.6, now 0.3`."""
        where = f" ({self.model})" if self.model else ""
        return f"{self.field}{where}: registered {_shown(self.before)}, now {_shown(self.after)}"


@dataclass(frozen=True)
class Amendment:
    """A registered claim that was changed: why, what, and the sha256 of what each model's entry was before.

    `to_version` is None where the claim was withdrawn, and `from_version` where only the test's code was accepted.
    """

    reason: str
    stamp: Stamp
    from_version: int
    to_version: int | None
    changes: tuple[Change, ...]
    before: Mapping[str, str]


@dataclass(frozen=True)
class ModelEntry:
    """What decides a claim on one model beside the declaration: heads by class, and the registered verdict.

    `looks` are those of this model that precede its entry, and not already the declaration; see `ClaimEntry`.
    """

    subjects: Mapping[str, str]
    expectation: str
    stamp: Stamp
    looks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClaimEntry:
    """What was registered for one claim: its declaration and the protocol, the test's code, and its models.

    `looks` names the measurements on confirmation prompts, of any version and model, that stood in the store when the
    declaration was fixed, by the first digits of their content hashes: so that they stay known when records go.
    """

    declaration: Mapping[str, Any]
    protocol: Mapping[str, Any]
    body_sha256: str
    stamp: Stamp
    models: Mapping[str, ModelEntry]
    amendments: tuple[Amendment, ...] = ()
    withdrawn: bool = False
    looks: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """Of the declaration."""
        return int(self.declaration["version"])

    @property
    def declaration_hash(self) -> str:
        """sha256 of the declaration: `Claim.hash()` of the claim that was registered."""
        return sha256_of(self.declaration)

    def earlier_code(self) -> tuple[str, ...]:
        """The first digits of the hashes of all code that amendments replaced by what is registered now."""
        changes = (change for amendment in self.amendments for change in amendment.changes)
        return tuple(str(change.before) for change in changes if change.field == "code")

    def sha256(self, model: str) -> str:
        """Of everything that decides the claim on a model: declaration, protocol, subjects, expectation."""
        entry = self.models[model]
        deciding = {
            "declaration_hash": self.declaration_hash,
            "protocol": self.protocol,
            "model": model,
            "subjects": entry.subjects,
            "expectation": entry.expectation,
        }
        return sha256_of(deciding)


@dataclass(frozen=True)
class Lock:
    """All that is registered below one claims folder, by claim id."""

    path: Path
    claims: Mapping[str, ClaimEntry] = field(default_factory=dict)


def sha256_of(content: Mapping[str, Any]) -> str:
    """sha256 of canonical JSON, as `Claim.hash` writes it."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_lock(path: Path) -> Lock:
    """The lock in a file; an empty one where there is no file.

    Raises:
        StoreError: it cannot be read, is cut short or of a newer schema, or an entry was edited; the file is named.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Lock(path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StoreError(f"{path}: not readable as a lock ({error}). {_RESTORE}") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int):
        raise StoreError(f"{path}: no lock of registered claims (schema is {schema!r}). {_RESTORE}")
    if schema > SCHEMA:
        raise StoreError(f"{path}: schema {schema} is newer than {SCHEMA}; update mechclaims to read it")
    try:
        claims = {claim_id: _claim_entry(entry) for claim_id, entry in content["claims"].items()}
        hashes = {claim_id: _stated(entry) for claim_id, entry in content["claims"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: an entry is damaged ({type(error).__name__}: {error}). {_RESTORE}") from error
    problems = [line for claim_id, entry in claims.items() for line in _problems(claim_id, entry, hashes[claim_id])]
    if problems:
        raise StoreError(f"{path}: {'; '.join(problems)}. {_RESTORE}")
    return Lock(path, claims)


def write_lock(lock: Lock) -> None:
    """Write the lock so that a reader sees the old one or the new one, in an order that depends on nothing but it."""
    claims = {claim_id: _plain(lock.claims[claim_id]) for claim_id in sorted(lock.claims)}
    text = json.dumps({"schema": SCHEMA, "claims": claims}, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(lock.path, text=text + "\n")


_RESTORE = "Bring it back from git; what is registered is changed by `mechclaims amend` alone"


def _plain(entry: ClaimEntry) -> dict[str, Any]:
    models = {
        model: {
            "subjects": dict(entry.models[model].subjects),
            "expectation": entry.models[model].expectation,
            "sha256": entry.sha256(model),
            "registered": asdict(entry.models[model].stamp),
            "looks": sorted(entry.models[model].looks),
        }
        for model in sorted(entry.models)
    }
    plain: dict[str, Any] = jsonable(
        {
            "declaration": entry.declaration,
            "declaration_hash": entry.declaration_hash,
            "protocol": entry.protocol,
            "body_sha256": entry.body_sha256,
            "registered": asdict(entry.stamp),
            "models": models,
            "amendments": [asdict(amendment) for amendment in entry.amendments],
            "withdrawn": entry.withdrawn,
            "looks": sorted(entry.looks),
        }
    )
    return plain


def _claim_entry(plain: Mapping[str, Any]) -> ClaimEntry:
    models = {
        model: ModelEntry(
            dict(entry["subjects"]), str(entry["expectation"]), Stamp(**entry["registered"]), _looks(entry)
        )
        for model, entry in plain["models"].items()
    }
    amendments = (
        Amendment(
            **{
                **amendment,
                "stamp": Stamp(**amendment["stamp"]),
                "changes": tuple(Change(**change) for change in amendment["changes"]),
            }
        )
        for amendment in plain["amendments"]
    )
    return ClaimEntry(
        declaration=dict(plain["declaration"]),
        protocol=dict(plain["protocol"]),
        body_sha256=str(plain["body_sha256"]),
        stamp=Stamp(**plain["registered"]),
        models=models,
        amendments=tuple(amendments),
        withdrawn=bool(plain["withdrawn"]),
        looks=_looks(plain),
    )


def _looks(plain: Mapping[str, Any]) -> tuple[str, ...]:
    """An entry from before looks were stored has none; a name that is no hash is damage."""
    found = tuple(map(str, plain.get("looks", ())))
    if any(not re.fullmatch("[0-9a-f]{16}", look) for look in found):
        raise ValueError(f"looks {found} are no hashes")
    return found


def _stated(plain: Mapping[str, Any]) -> dict[str, str]:
    """The hashes that the file states: of the declaration, and by model."""
    by_model = {model: str(entry["sha256"]) for model, entry in plain["models"].items()}
    return {"": str(plain["declaration_hash"]), **by_model}


def _problems(claim_id: str, entry: ClaimEntry, stated: Mapping[str, str]) -> Sequence[str]:
    """What was edited, or stands where no registered value can stand."""
    if entry.declaration.get("id") != claim_id or stated[""] != entry.declaration_hash:
        return [f"the declaration of {claim_id} was edited (its hash does not fit)"]
    found = [
        f"the entry of {claim_id} on {model} was edited (its hash does not fit)"
        for model in entry.models
        if stated[model] != entry.sha256(model)
    ]
    found += [
        f"{claim_id} on {model}: the registered verdict {one.expectation!r} is none of {', '.join(get_args(Verdict))}"
        for model, one in entry.models.items()
        if one.expectation not in get_args(Verdict)
    ]
    if not entry.declaration.get("sesoi", 0) > 0 or entry.version < 1:
        found.append(
            f"{claim_id}: sesoi {entry.declaration.get('sesoi')!r}, version {entry.version}: no claim has that"
        )
    return found


def _shown(value: object) -> str:
    """A value of a declaration in a line; texts in quotes, what is not there as `nothing`."""
    if value is None or value in ("", [], ()):
        return "nothing"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return repr(value) if isinstance(value, str) else str(value)
