"""How many confirmation records stand in a store from before a claim was registered: who looked before fixing it.

Each measurement is one look, however often its record was copied (its content hash tells), and in whichever folder of
the store it lies: the baseline, a run, a cell of a matrix. A record without a time of its own has that of its run's
start; one without any time counts as before. A claim that was renamed and declares all else as before was looked at
under its former name too. `mechclaims register` and `amend` write the looks that they find into the lock, so that a
store measured again does not forget them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.lock import ClaimEntry, Lock, sha256_of
from harness.store import BASELINE, MATRIX, RUNS, began

_LINES = re.compile(r'\A\{\n "claim": \{\n  "id": "([^"\\]+)"'), re.compile(r'\n "model": \{\n  "id": "([^"\\]+)"')
_DECLARED = re.compile(r'\n  "version": (\d+)[,\n]'), re.compile(r'\n  "declaration_hash": "([0-9a-f]{64})"')
_END = re.compile(r'\n "cost": (\{[^{}]*\}),\n.*?\n "content_hash": "([0-9a-f]{64})"\n\}\n\Z', re.DOTALL)
_SEEDS = re.compile(r'\n "seeds": (\{[^{}]*\}),\n')
_LOOKED_AT = ("confirmation", "exploratory")
"""Splits on which a claim is judged: on the second one by other prompts, but its declaration was tried all the same."""


@dataclass(frozen=True)
class Look:
    """A claim was measured on a model's confirmation prompts; `at` is in UTC, empty where nobody wrote it down."""

    claim: str
    model: str
    at: str
    content_hash: str
    version: int = 1
    declaration_hash: str = ""

    @property
    def name(self) -> str:
        """As a lock writes it."""
        return self.content_hash[:16]


def looks(folders: Iterable[Path], *, until: str) -> tuple[Look, ...]:
    """The measurements in these run folders that began before a time, each once; exploratory ones are looks too.

    Raises:
        StoreError: a record cannot be read; the message names the file.
    """
    found: dict[str, Look] = {}
    for folder in folders:
        start = began(folder)
        if start >= until:  # what is measured later was not seen before
            continue
        for path in sorted(folder.glob("*__seed*.json")):
            look = _look(path, began=start)
            known = None if look is None else found.get(look.content_hash)
            if look is not None and (known is None or look.at < known.at):
                found[look.content_hash] = look
    return tuple(look for look in found.values() if look.at < until)


def looks_at(declaration: Mapping[str, Any], found: Iterable[Look]) -> tuple[Look, ...]:
    """Those of these looks that were at the claim declared like this (`Claim.deciding`, plain values).

    They are of any version of it, and of another id where nothing but the id and the version differs: under that name
    the same question was asked of the same heads.
    """
    own = str(declaration["id"])
    of_it: dict[tuple[str, int, str], bool] = {}
    kept = []
    for look in found:
        key = (look.claim, look.version, look.declaration_hash)
        if key not in of_it:
            named = {**declaration, "id": look.claim, "version": look.version}
            of_it[key] = look.claim == own or sha256_of(named) == look.declaration_hash
        if of_it[key]:
            kept.append(look)
    return tuple(kept)


def names(found: Iterable[Look], *, model: str | None = None) -> tuple[str, ...]:
    """What a lock writes down of these looks, or of those on one model."""
    return tuple(sorted({look.name for look in found if model in (None, look.model)}))


def store_folders(reports: Path) -> tuple[Path, ...]:
    """The run folders of a reports folder, the baseline first, those of a matrix's cells last."""
    runs = sorted((reports / RUNS).glob("*/"))
    of_cells = sorted((reports / MATRIX).glob(f"*/{RUNS}/*/"))
    return tuple(place for place in (reports / BASELINE, *runs, *of_cells) if place.is_dir())


def standing(lock: Lock, folders: Iterable[Path]) -> dict[str, Any]:
    """What the report says of a lock: by claim when, where and how it was fixed, and how many looks precede that."""
    dates = [stamp.date for entry in lock.claims.values() for stamp in _stamps(entry)]
    found = looks(folders, until=max(dates)) if dates else ()
    claims = {name: _of_claim(entry, looks_at(entry.declaration, found)) for name, entry in lock.claims.items()}
    return {"lock": lock.path.name, "claims": claims}


def _of_claim(entry: ClaimEntry, found: Sequence[Look]) -> dict[str, Any]:
    """A model that came later was looked at before only by its own records: the declaration stood already."""
    declared = {*entry.looks, *(look.name for look in found if look.at < entry.stamp.date)}
    before = {
        model: {
            *declared,
            *one.looks,
            *(look.name for look in found if look.model == model and look.at < one.stamp.date),
        }
        for model, one in entry.models.items()
    }
    return {
        "version": entry.version,
        "declaration_hash": entry.declaration_hash,
        "body_sha256": entry.body_sha256,
        "earlier_code": list(entry.earlier_code()),
        "registered": asdict(entry.stamp),
        "models": {model: {**asdict(one), "before": len(before[model])} for model, one in entry.models.items()},
        "before": len(declared.union(*before.values())),
        "amendments": [
            {**asdict(amendment), "changes": [change.line() for change in amendment.changes]}
            for amendment in entry.amendments
        ],
        "withdrawn": entry.withdrawn,
    }


def _stamps(entry: ClaimEntry) -> Iterator[Any]:
    yield entry.stamp
    yield from (one.stamp for one in entry.models.values())


def _look(path: Path, *, began: str) -> Look | None:
    """What a record says of when it was measured; None where it was not."""
    try:
        content = _outline(path.read_text(encoding="utf-8"))
        if content["judgement"] is None or content["seeds"].get("split", "confirmation") not in _LOOKED_AT:
            return None
        at = str((content.get("cost") or {}).get("at") or began)
        claim, model = content["claim"], content["model"]["id"]
        declared = int(claim.get("version", 1)), str(claim.get("declaration_hash", ""))
        return Look(claim["id"], model, at, str(content["content_hash"]), *declared)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: cannot be read as a record ({error}).") from error


def _outline(text: str) -> Mapping[str, Any]:
    """The few entries of a record that are asked for, read as we lay files out; of others everything is read.

    A store has thousands of records, and parsing their values takes a millisecond each.
    """
    claim, model = (line.search(text, 0) for line in _LINES)
    seeds, end = _SEEDS.search(text), _END.search(text, max(0, len(text) - 4000))
    version, declaration = (line.search(text, 0, model.start()) if model else None for line in _DECLARED)
    if not (claim and model and version and declaration and seeds and end):
        return dict(json.loads(text))
    return {
        "claim": {"id": claim[1], "version": int(version[1]), "declaration_hash": declaration[1]},
        "model": {"id": model[1]},
        "seeds": json.loads(seeds[1]),
        "judgement": None if '\n "judgement": null,\n' in text else {},
        "cost": json.loads(end[1]),
        "content_hash": end[2],
    }
