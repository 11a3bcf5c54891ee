"""Pilots: a claim measured on the discovery split, so that its number of units can be chosen before it is decided.

A pilot is a record like any other, but of the split `discovery`, exploratory, and stored below `reports/pilots/`. Its
streams are those of discovery, so that no confirmation prompt is drawn. Bodies ask for confirmation prompts by name;
a mechanism therefore announces in its `mechanism.py` how they are led elsewhere,

    def pilots():     a context manager under which its claims draw from the discovery split

and one whose splits differ by the seed alone announces `pilots = contextlib.nullcontext`. Without it there is no pilot:
a number of units must never come from prompts on which the claim is decided.
"""

from __future__ import annotations

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
SPLIT = "discovery"


def measure_pilot(bound: BoundClaim, *, loaded: Loaded, **replaced: Any) -> Record:
    """The claim's body run on the discovery split; preconditions and verdict are recorded and decide nothing.

    Raises:
        DeclarationError: the mechanism does not say how its claims are led to the discovery split.
    """
    elsewhere = getattr(bound.mechanism.announced, PILOTS, None)
    if elsewhere is None:
        raise DeclarationError(
            f"mechanism {bound.mechanism.name!r} announces no pilots: define `pilots` in "
            f"{bound.mechanism.folder / 'mechanism.py'}, a context manager under which its claims draw from the "
            "discovery split (contextlib.nullcontext where splits differ by the seed alone)"
        )
    options = replace(bound.options, ignore_preconditions=True)
    prepared = prepare(replace(bound, options=options), loaded=loaded, **replaced)
    prepared.evidence.streams = pilot_streams(bound, fingerprint=prepared.target.fingerprint)
    with elsewhere(), measuring(bound), asking(prepared.evidence):
        if not prepared.evidence.decided:
            bound.test(**prepared.arguments())
    seeds = {"data_seed": options.data_seed, "split": SPLIT}
    return replace(prepared.record(), seeds=seeds, expectation=None, exploratory=True)


def pilot_streams(bound: BoundClaim, *, fingerprint: str) -> Streams:
    """The streams of a pilot: of the discovery split, and of no declaration, which may still change."""
    return Streams((SPLIT, "pilot", bound.claim.id, fingerprint, str(bound.options.data_seed)))


def pilot_path(claim_id: str, *, model_id: str, reports: Path) -> Path:
    """Where the pilot of a claim on a model lies: by the name that its record has in any folder."""
    found = sorted((reports / PILOTS).glob(f"{claim_id}__{slug(model_id)}__seed*.json"))
    if not found:
        raise StoreError(
            f"{reports / PILOTS}: no pilot of {claim_id!r} on {model_id!r}; `mechclaims pilot {claim_id} --model "
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
