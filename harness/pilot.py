"""Pilots: a claim measured on the discovery split, so that its number of units can be chosen before it is decided.

A pilot is a record like any other, but of the split `discovery`, exploratory, and stored below `reports/pilots/`. Its
streams are those of discovery, so that no confirmation prompt is drawn. Bodies ask for confirmation prompts by name;
a mechanism therefore announces in its `mechanism.py` how they are led elsewhere,

    def pilots():     a context manager under which its claims draw from the discovery split
    PILOT_UNITS = 60  where discovery has other templates: the number of units is rounded up to a multiple of this

and one whose splits differ by the seed alone announces `pilots = contextlib.nullcontext`. Without it there is no pilot:
a number of units must never come from prompts on which the claim is decided. `only_discovery` makes such a context.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.bound_claim import BoundClaim
from harness.errors import DeclarationError, StoreError
from harness.evidence import Record
from harness.memory import Loaded
from harness.seeding import Streams
from harness.session import asking, measuring, prepare
from harness.store import read_record, slug, write_record

PILOTS = "pilots"
MULTIPLE = "PILOT_UNITS"
SPLIT = "discovery"
NOTE = "A pilot: what is called confirmation here was drawn from the discovery split too."


def measure_pilot(bound: BoundClaim, *, loaded: Loaded, **replaced: Any) -> Record:
    """The claim's body run on the discovery split; preconditions and verdict are recorded and decide nothing.

    Raises:
        DeclarationError: the mechanism does not say how its claims are led to the discovery split, or the claim draws
            no units of which there could be others.
    """
    _require_pilots(bound)
    units = _units(bound)
    bound = replace(bound, options=replace(bound.options, n_units=units, ignore_preconditions=True))
    prepared = prepare(bound, loaded=loaded, **replaced)
    prepared.evidence.streams = pilot_streams(bound, fingerprint=prepared.target.fingerprint)
    with getattr(bound.mechanism.announced, PILOTS)(), measuring(bound), asking(prepared.evidence):
        if not prepared.evidence.decided:
            bound.test(**prepared.arguments())
    record = prepared.record()
    return replace(
        record,
        seeds={"data_seed": bound.options.data_seed, "split": SPLIT},
        notes=(NOTE, *record.notes),
        command=f"mechclaims pilot {bound.claim.id} --model {bound.model_id} --units {units}",
        expectation=None,
        exploratory=True,
    )


@contextmanager
def only_discovery(*tables: Mapping[Any, Any]) -> Iterator[None]:
    """Within it, whatever these tables hold for any split is what they hold for discovery: nothing else can be drawn.

    Args:
        tables: dicts by split, as the prompts' modules have them: templates, names, parts of all inputs.
    """
    before = [dict(table) for table in tables]
    for table in tables:
        if not isinstance(table, dict) or SPLIT not in table:
            raise DeclarationError(
                f"{table!r:.60} is no dict with an entry for the {SPLIT} split; pilots cannot use it"
            )
    try:
        for table in tables:
            table.update(dict.fromkeys(table, table[SPLIT]))  # type: ignore[attr-defined]
        yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            table.update(entries)  # type: ignore[attr-defined]


def pilot_streams(bound: BoundClaim, *, fingerprint: str) -> Streams:
    """The streams of a pilot: of the discovery split, and of no declaration, which may still change."""
    return Streams((SPLIT, "pilot", bound.claim.id, fingerprint, str(bound.options.data_seed)))


def pilot_path(claim_id: str, *, model_id: str, reports: Path) -> Path:
    """Where the pilot of a claim on a model lies: by the name that its record has in any folder."""
    folder = reports / PILOTS
    found = sorted(folder.glob(f"{claim_id}__{slug(model_id)}__seed*.json"))
    if not found and model_id.startswith("path:"):  # once written without a hash: several models had one name
        older = sorted(folder.glob(f"{claim_id}__path-*__seed*.json"))
        found = [path for path in older if read_record(path).model["id"] == model_id]
    if not found:
        raise StoreError(
            f"{folder}: no pilot of {claim_id!r} on {model_id!r}; `mechclaims pilot {claim_id} --model "
            f"{model_id}` measures one on the discovery split"
        )
    return found[0]


def write_pilot(record: Record, *, reports: Path) -> Path:
    """Store a pilot, replacing an earlier one of the same claim, model and data seed."""
    return write_record(record, folder=reports / PILOTS)


def read_pilot(path: Path) -> Record:
    """The pilot in a file.

    Raises:
        StoreError: it is no record, or of another split: what confirmation found must not set the number of units.
    """
    record = read_record(path)
    if record.seeds.get("split") != SPLIT:
        raise StoreError(
            f"{path}: measured on the {record.seeds.get('split')!r} split; the number of units is chosen from the "
            "discovery split alone, since a number made of the confirmed effect is chosen after looking"
        )
    return record


def _require_pilots(bound: BoundClaim) -> None:
    """Refuse what has no pilot: a pilot on the prompts that decide would be a look at them."""
    claim, mechanism = bound.claim, bound.mechanism
    if claim.units is None or claim.tier == "replication":
        why = "samples nothing" if claim.units is None else "repeats a paper's own measurement with the paper's n"
        raise DeclarationError(f"claim {claim.id!r} {why}: it has no pilot, and no number of units to be chosen")
    if getattr(mechanism.announced, PILOTS, None) is None:
        raise DeclarationError(
            f"mechanism {mechanism.name!r} announces no pilots: define `pilots` in "
            f"{mechanism.folder / 'mechanism.py'}, a context manager under which its claims draw from the "
            "discovery split (contextlib.nullcontext where splits differ by the seed alone)"
        )


def _units(bound: BoundClaim) -> int:
    """As many as were asked for, or the registered number, rounded up to what the discovery split can give."""
    if bound.options.n_units is not None:
        return bound.options.n_units
    assert bound.claim.units is not None
    multiple = int(getattr(bound.mechanism.announced, MULTIPLE, 1))
    return -(-bound.claim.units.for_profile(bound.options.profile) // multiple) * multiple
