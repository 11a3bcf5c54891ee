"""Whether a claim is what was registered: everything that decides it on a model, held against `registry.lock`.

The lock adds nothing to what a claim measures: confirmation prompts are drawn from the declaration's hash
(`Claim.hash`), which the lock repeats, and not from the lock. A claim's entry on a model has a sha256 of its own, over
that hash and what else decides: protocol, heads, registered verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.body import body_sha256
from harness.bound_claim import BoundClaim
from harness.declaration import BCA_FROM, MIN_CLUSTERS, Claim
from harness.errors import DeclarationError
from harness.evidence import Record, jsonable
from harness.judging import RESAMPLES
from harness.lock import NAME, Change, ClaimEntry, Lock, ModelEntry, Stamp, read_lock
from harness.mechanism import Mechanism
from harness.subjects import SubjectsFile

REGISTERED, UNREGISTERED, EXPLORATORY = "registered", "not registered", "exploratory"
"""What a record says of its registration."""


def lock_path(mechanism: Path) -> Path:
    """Where the lock of a mechanism's folder lies: in the claims folder around it."""
    return mechanism.resolve().parent / NAME


def protocol_of(claim: Claim) -> dict[str, Any]:
    """What decides a claim and stands in the library: split, interval by number of clusters, least clusters."""
    if claim.units is None:
        return {"split": "confirmation", "interval": "none: nothing is sampled"}
    limits = claim.metric.limits
    methods = {
        f"from {count} clusters": claim.interval_method(count, limits=limits) for count in (MIN_CLUSTERS, BCA_FROM)
    }
    return {"split": "confirmation", "interval": methods, "resamples": RESAMPLES, "least clusters": MIN_CLUSTERS}


def model_entry(claim: Claim, subjects: SubjectsFile, *, model: str, stamp: Stamp) -> ModelEntry | None:
    """What decides a claim on a model beside its declaration; None where no verdict is registered for it.

    All classes of the model count for a claim with a subject: heads of the others stay out of its populations. The
    numbers that were chosen with its own class count too.
    """
    expected = subjects.expectation(claim.id, model_id=model)
    if expected is None:
        return None
    named: dict[str, str] = {}
    if claim.subject is not None:
        named = {name: " ".join(heads) for name, heads in subjects.classes(model).items()}
        settings = subjects.settings(model, class_name=claim.subject)
        if settings:
            chosen = ", ".join(f"{name} = {value!r}" for name, value in sorted(settings.items()))
            named[claim.subject] += f"; {chosen}"
    return ModelEntry(named, expected.verdict, stamp)


def claim_entry(claim: Claim, *, body: str, models: Mapping[str, ModelEntry], stamp: Stamp) -> ClaimEntry:
    """A claim as it stands now, on these models; `body` is the sha256 of the code that measures it."""
    return ClaimEntry(jsonable(claim.deciding()), protocol_of(claim), body, stamp, models)


def body_of(test: Callable[..., None], mechanism: Mechanism) -> str:
    """sha256 of the code that measures a claim (`harness.body`)."""
    return body_sha256(test, root=mechanism.folder.resolve().parents[1])


def differences(old: ClaimEntry, new: ClaimEntry) -> tuple[Change, ...]:
    """Every field of the declaration, the protocol and the models of both in which two entries differ."""
    changes = [*_differing(old.declaration, new.declaration), *_differing(old.protocol, new.protocol)]
    changes += [Change("withdrawn", old.withdrawn, new.withdrawn)] if old.withdrawn != new.withdrawn else []
    for model in sorted(set(old.models) & set(new.models)):
        was, now = (
            {"heads": one.models[model].subjects, "verdict": one.models[model].expectation} for one in (old, new)
        )
        changes += [replace(change, model=model) for change in _differing(was, now)]
    return tuple(changes)


def check_registered(bound: BoundClaim) -> None:
    """Raise DeclarationError, with every field, where a claim is not what the lock says; exploratory ones are free."""
    old = _registered(bound)
    if old is None or bound.options.exploratory:
        return
    changes = differences(old, _now(bound, old))
    if not changes:
        return
    model = old.models.get(bound.model_id)
    since = (model or old).stamp
    listed = "\n".join(f"  {change.line()}" for change in changes)
    raise DeclarationError(
        f"claim {bound.claim.id!r} on {bound.model_id!r} is not what was registered ({since.date}, commit "
        f"{since.commit[:12] or 'none'}):\n{listed}\n"
        "Put back what was registered, or change it with a reason, which raises its version and draws new prompts:\n"
        f'  mechclaims amend {bound.claim.id} --reason "..."'
    )


def with_registration(record: Record, bound: BoundClaim) -> Record:
    """The record with what the lock says of it, and the hash of the code that measured; no part of its content."""
    body = body_of(bound.test, bound.mechanism)
    section: dict[str, Any] = {"state": EXPLORATORY if bound.options.exploratory else UNREGISTERED}
    old = _registered(bound)
    if old is not None and not bound.options.exploratory and bound.model_id in old.models:
        section = {
            "state": REGISTERED,
            "sha256": old.sha256(bound.model_id),
            "date": old.models[bound.model_id].stamp.date,
            "same_body": old.body_sha256 == body,
        }
    return replace(record, claim={**record.claim, "body_sha256": body, "registration": section})


def same_code(bound: BoundClaim, bodies: Sequence[str | None]) -> bool:
    """Whether any of these hashes is of this claim's code, of code that amendments replaced by it, or unknown."""
    known = [body for body in bodies if body is not None]
    if not known or len(known) < len(bodies):
        return bool(bodies)
    now, old = body_of(bound.test, bound.mechanism), _registered(bound)
    replaced = old.earlier_code() if old is not None and old.body_sha256 == now else ()
    return any(body == now or body.startswith(replaced) for body in known)


def lock_of(mechanism: Mechanism) -> Lock:
    """The lock that a mechanism's claims are held against, read again only where the file has changed."""
    path = lock_path(mechanism.folder)
    try:
        state = path.stat()
    except FileNotFoundError:
        return Lock(path)
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int, _size: int) -> Lock:
    return read_lock(path)


def _registered(bound: BoundClaim) -> ClaimEntry | None:
    return lock_of(bound.mechanism).claims.get(bound.claim.id)


def _now(bound: BoundClaim, old: ClaimEntry) -> ClaimEntry:
    """The claim as it stands now on the model of this test, to be compared; without the code, which only warns."""
    models: dict[str, ModelEntry] = {}
    if bound.model_id in old.models:
        entry = model_entry(bound.claim, bound.mechanism.subjects, model=bound.model_id, stamp=old.stamp)
        models[bound.model_id] = entry or ModelEntry({}, "", old.stamp)
    return claim_entry(bound.claim, body=old.body_sha256, models=models, stamp=old.stamp)


def _differing(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    before, after = dict(_flat(was)), dict(_flat(now))
    for field in (*before, *(field for field in after if field not in before)):
        if before.get(field) != after.get(field):
            yield Change(field, before.get(field), after.get(field))


def _flat(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted fields with their values; entries of a list that have names go by them, and the names are a field."""
    for name, value in entry.items():
        field = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{field}.")
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) and "name" in one for one in value):
            yield field, [one["name"] for one in value]
            for one in value:
                yield from _flat({key: each for key, each in one.items() if key != "name"}, f"{field}[{one['name']}].")
        else:
            yield field, value
