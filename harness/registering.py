"""Writing `registry.lock`: new entries, amendments with their reasons, and what a lock holds that the code lacks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.catalog import CatalogEntry, all_claims
from harness.errors import DeclarationError, did_you_mean
from harness.guard import changing
from harness.lock import NAME, Amendment, Change, ClaimEntry, Lock, ModelEntry, Stamp, read_lock, write_lock
from harness.lock_changes import stamp_of
from harness.looks import Look, looks, looks_at, names, store_folders
from harness.planning import default_models
from harness.registration import body_of, claim_entry, differences, model_entry
from harness.source_version import Rewritten, with_version
from harness.store import write_atomically
from harness.underpowered import Underpowered, power_on_record, require_power

Pair = tuple[str, str]
"""A claim's id and a model's."""


@dataclass(frozen=True)
class Found:
    """How a lock and the claims below a folder stand to each other.

    Attributes:
        new: what is not registered and can be (after `register` wrote: what it registered).
        differing: by claim, every field that is not as registered.
        other_code: claims that are as registered, and measured by other code.
        gone: entries of the lock that the code no longer has.
        without_verdict: what a run measures by default and no verdict is on record for, so that none can be registered.
        underpowered: what is registered, or would be, and has too little power by the calibration on record.
    """

    new: tuple[Pair, ...]
    differing: Mapping[str, tuple[Change, ...]]
    other_code: tuple[str, ...]
    gone: tuple[str, ...]
    without_verdict: tuple[Pair, ...]
    underpowered: tuple[Underpowered, ...] = ()


def register(
    claims: Path,
    *,
    ids: Sequence[str] = (),
    models: Sequence[str] = (),
    reports: Path | None = None,
    write: bool = True,
) -> Found:
    """Register what is not registered yet; an entry that is there stays as it is.

    Args:
        claims: the folder that holds the mechanisms.
        ids: the claims; all of them where none is named.
        models: the models; all with a registered verdict where none is named.
        reports: the folder of the runs; the measurements that stand there are written down as looks before, and what
            its calibration found underpowered is refused.
        write: False to look only.

    Raises:
        DeclarationError: a claim or model that is not there, a claim that cannot be tested, or too little power.
        StoreError: the lock is damaged or cannot be written.
    """
    catalog = {entry.claim.id: entry for entry in all_claims(claims)}
    for wanted in ids:
        if wanted not in catalog:
            raise DeclarationError(f"no claim {wanted!r} below {claims}.{did_you_mean(wanted, catalog)}")
    chosen = [entry for claim_id, entry in catalog.items() if claim_id in ids or not ids]
    _check_models(chosen, models)
    with changing(claims / NAME) if write else contextlib.nullcontext():
        lock = read_lock(claims / NAME)
        entries, new, differing, other_code = dict(lock.claims), [], {}, []
        stamp = stamp_of(claims)
        for entry in chosen:
            old, fresh = lock.claims.get(entry.claim.id), _as_it_stands(entry, stamp=stamp, models=models)
            if old is not None and (changes := differences(old, fresh)):
                differing[entry.claim.id] = changes
                continue
            if old is not None and old.body_sha256 != fresh.body_sha256:
                other_code.append(entry.claim.id)
            added = {model: one for model, one in fresh.models.items() if old is None or model not in old.models}
            new += [(entry.claim.id, model) for model in added]
            if added:
                entries[entry.claim.id] = fresh if old is None else replace(old, models={**old.models, **added})
        weak = _weak({entry.claim.id: entries.get(entry.claim.id) for entry in chosen}, reports=reports)
        if write and new:
            require_power([one for one in weak if (one.claim, one.model) in new])
            found = _looks(reports, until=stamp)
            for claim_id in dict(new):
                entries[claim_id] = _with_looks(entries[claim_id], lock.claims.get(claim_id), found=found)
            write_lock(Lock(lock.path, entries))
    gone = () if ids or models else tuple(_gone(lock, catalog))
    without = tuple(pair for entry in chosen for pair in _without_verdict(entry) if pair[1] in models or not models)
    return Found(tuple(new), differing, tuple(other_code), gone, without, weak)


def amend(
    claim_id: str, *, claims: Path, reason: str, reports: Path | None = None, code_only: bool = False
) -> tuple[Amendment, Rewritten | None]:
    """The amendment of a registered claim, now in the lock, and how its source was changed where it was.

    The claim's version is raised in its test file, unless that was done by hand: new prompts are drawn. A claim that
    is no longer there is withdrawn; its entry stays.

    Args:
        claim_id: the registered claim.
        claims: the folder that holds the mechanisms.
        reason: why, for every reader of the report.
        reports: the folder of the runs, as for `register`.
        code_only: accept that other code measures the same; the version and the prompts stay.

    Raises:
        DeclarationError: not registered, nothing to amend, too little power, or the version cannot be raised.
        StoreError: the lock is damaged or cannot be written; the source is then as before.
    """
    if not reason.strip():
        raise DeclarationError("--reason is empty; the report prints why a registered claim was changed")
    with changing(claims / NAME):
        lock = read_lock(claims / NAME)
        old = _entry_of(lock, claim_id)
        entry = {one.claim.id: one for one in all_claims(claims)}.get(claim_id)
        rewritten = None
        if entry is not None:
            entry, rewritten = _raised(old, entry, code_only=code_only)
        stamp = stamp_of(claims)
        if rewritten is not None:
            write_atomically(rewritten.path, text=rewritten.after)
            stamp = replace(stamp, uncommitted=True)
        try:
            new, amendment = _amended(old, entry, reason=reason.strip(), stamp=stamp)
            new = replace(new, amendments=(*old.amendments, amendment))
            if new.version != old.version:  # fixed anew: whatever was measured so far was seen before
                require_power(_weak({claim_id: new}, reports=reports))
                seen = {*old.looks, *(look for one in old.models.values() for look in one.looks)}
                seen |= set(names(looks_at(new.declaration, _looks(reports, until=stamp))))
                new = replace(new, looks=tuple(sorted(seen)))
            write_lock(Lock(lock.path, {**lock.claims, claim_id: new}))
        except BaseException:
            if rewritten is not None:
                write_atomically(rewritten.path, text=rewritten.before)
            raise
    return amendment, rewritten


def _as_it_stands(entry: CatalogEntry, *, stamp: Stamp, models: Sequence[str] = ()) -> ClaimEntry:
    """The entry that would be registered now, on these models or on all that have a registered verdict."""
    found = {}
    for model in entry.registered():
        one = model_entry(entry.claim, entry.mechanism.subjects, model=model, stamp=stamp)
        if one is not None and (model in models or not models):
            found[model] = one
    return claim_entry(entry.claim, body=body_of(entry.test, entry.mechanism), models=found, stamp=stamp)


def _looks(reports: Path | None, *, until: Stamp) -> tuple[Look, ...]:
    return () if reports is None else looks(store_folders(reports), until=until.date)


def _weak(entries: Mapping[str, ClaimEntry | None], *, reports: Path | None) -> tuple[Underpowered, ...]:
    """Of these entries (None where a claim is in no lock), what calibration found underpowered."""
    power = power_on_record(reports)
    found = (power.weak(one.declaration, models=one.models) for one in entries.values() if one and not one.withdrawn)
    return tuple(weak for each in found for weak in each)


def _with_looks(entry: ClaimEntry, old: ClaimEntry | None, *, found: Sequence[Look]) -> ClaimEntry:
    """A new entry with all looks at its claim; to an old one's new models with those at each of them."""
    own = looks_at(entry.declaration, found)
    if old is None:
        return replace(entry, looks=names(own))
    models = {
        model: one if model in old.models else replace(one, looks=names(own, model=model))
        for model, one in entry.models.items()
    }
    return replace(entry, models=models)


def _next_version(old: ClaimEntry, entry: CatalogEntry, *, code_only: bool) -> int:
    """The version that an amended claim has; DeclarationError where there is nothing to amend or it went back."""
    claim, now = entry.claim, _as_it_stands(entry, stamp=old.stamp)
    changes = [change for change in differences(old, now) if change.field != "version"]
    changed = bool(changes) or claim.version != old.version or not set(old.models) <= set(now.models)
    if code_only:
        if changed:
            listed = "; ".join(change.line() for change in changes) or "its version or its models"
            raise DeclarationError(f"claim {claim.id!r}: not only its code differs from what was registered: {listed}")
        changed = old.body_sha256 != now.body_sha256
    if not changed and (code_only or old.body_sha256 == now.body_sha256):
        raise DeclarationError(f"claim {claim.id!r} is as it was registered; there is nothing to amend")
    if claim.version < old.version:
        raise DeclarationError(
            f"claim {claim.id!r}: version {claim.version} is lower than the registered {old.version}; versions are "
            "only raised, so that no prompts are drawn twice"
        )
    return claim.version if code_only or claim.version > old.version else old.version + 1


def _entry_of(lock: Lock, claim_id: str) -> ClaimEntry:
    if claim_id not in lock.claims:
        hint = did_you_mean(claim_id, lock.claims)
        raise DeclarationError(f"{claim_id!r} is not registered in {lock.path}; `mechclaims register` does that.{hint}")
    return lock.claims[claim_id]


def _raised(old: ClaimEntry, entry: CatalogEntry, *, code_only: bool) -> tuple[CatalogEntry, Rewritten | None]:
    """The claim with the version of its amendment, and how its source is to be changed for that."""
    version = _next_version(old, entry, code_only=code_only)
    if version == entry.claim.version:
        return entry, None
    path = Path(entry.source.partition("::")[0])
    rewritten = with_version(path, test=entry.test.__name__, version=version)
    return replace(entry, claim=replace(entry.claim, version=version)), rewritten


def _amended(old: ClaimEntry, entry: CatalogEntry | None, *, reason: str, stamp: Stamp) -> tuple[ClaimEntry, Amendment]:
    """The claim as it stands now on the models that were registered, and what that changes; without one, withdrawn."""
    before = {model: old.sha256(model) for model in old.models}
    if entry is None:
        if old.withdrawn:
            raise DeclarationError(f"claim {old.declaration['id']!r} is withdrawn already")
        gone = (Change("withdrawn", before=False, after=True),)
        return replace(old, withdrawn=True), Amendment(reason, stamp, old.version, None, gone, before)
    now = _as_it_stands(entry, stamp=stamp)
    kept = {model: one for model, one in now.models.items() if model in old.models}
    changes = list(differences(old, replace(now, models=kept)))
    changes += [Change("model", "registered", "taken out", model) for model in sorted(set(old.models) - set(kept))]
    if old.body_sha256 != now.body_sha256:
        changes.append(Change("code", old.body_sha256[:12], now.body_sha256[:12]))
    new = replace(now, models=kept)
    if old.version == now.version:  # other code, the same measurement: when the claim was fixed does not change
        new = replace(old, body_sha256=now.body_sha256)
    return new, Amendment(reason, stamp, old.version, new.version, tuple(changes), before)


def _check_models(chosen: Sequence[CatalogEntry], models: Sequence[str]) -> None:
    known = dict.fromkeys(model for entry in chosen for model in entry.registered())
    for model in models:
        if model not in known:
            asked = chosen[0].claim.id if len(chosen) == 1 else "any of these claims"
            raise DeclarationError(
                f"no verdict is on record for {asked} on model {model!r}: write its heads, or its expectations, into "
                f"subjects.toml first.{did_you_mean(model, known)}"
            )


def _gone(lock: Lock, catalog: Mapping[str, CatalogEntry]) -> Iterator[str]:
    for claim_id, old in lock.claims.items():
        if claim_id not in catalog:
            if not old.withdrawn:
                yield claim_id
            continue
        now: Mapping[str, ModelEntry | object] = catalog[claim_id].registered()
        yield from (f"{claim_id} on {model}" for model in old.models if model not in now)


def _without_verdict(entry: CatalogEntry) -> Iterator[Pair]:
    from harness.bound_claim import applies

    registered = entry.registered()
    for model in default_models(entry.mechanism, profile="full", weights=[], claim=entry.claim):
        if applies(entry.claim, model) and model not in registered:
            yield entry.claim.id, model
