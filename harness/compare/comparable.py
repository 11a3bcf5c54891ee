"""Why two records of one claim cannot be compared: they measure something else, on another model or other prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.declaration import UNREGISTERED

Entry = Mapping[str, Any]

_NOT_DECLARED = UNREGISTERED | {"version", "declaration_hash", "source", "mechanism", "body_sha256", "registration"}
_SHOWN = 60
"""Characters of a declared value that are shown."""


def differences(before: Entry, after: Entry, *, any_model: bool) -> tuple[str, ...]:
    """What keeps an effect of `after` from being that of `before` measured again, in words; nothing where it is.

    Args:
        before: the baseline's record, as plain values.
        after: the run's record of the same claim, model id and data seed.
        any_model: whether another fingerprint is what is asked about, and no difference.
    """
    found = [*_declared(before["claim"], after["claim"])]
    found += _subjects(before, after)
    old, new = before["model"].get("fingerprint"), after["model"].get("fingerprint")
    if not any_model and old != new:
        found.append(_from_to("model's fingerprint", _short(old), _short(new)))
    found += _prompts(before, after)
    return tuple(found)


def _declared(before: Entry, after: Entry) -> Iterator[str]:
    if before["version"] != after["version"]:
        yield _from_to("version", before["version"], after["version"])
    if before["declaration_hash"] == after["declaration_hash"]:
        return
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    named = sorted(set(changed) - _NOT_DECLARED)
    if not named and before["version"] == after["version"]:
        yield "declaration: its hash differs"
    yield from (_from_to(f"declared {name}", _cut(before.get(name)), _cut(after.get(name))) for name in named)


def _subjects(before: Entry, after: Entry) -> Iterator[str]:
    old, new = (list((one.get("subject") or {}).get("components") or ()) for one in (before, after))
    if sorted(map(str, old)) != sorted(map(str, new)):
        yield _from_to("subject", _names(old), _names(new))


def _prompts(before: Entry, after: Entry) -> Iterator[str]:
    old, new = before.get("prompts") or {}, after.get("prompts") or {}
    if old.get("sha256") != new.get("sha256"):
        told = [f"{one.get('n', 'none')} (sha256 {_short(one.get('sha256'))})" for one in (old, new)]
        yield _from_to("prompts", *told)
    old_units, new_units = before.get("units") or {}, after.get("units") or {}
    if old_units and new_units and old_units != new_units:
        count = [len(one["ids"]) for one in (old_units, new_units)]
        yield _from_to("units", *count) if count[0] != count[1] else "units: other ids or clusters"


def _from_to(what: str, before: object, after: object) -> str:
    return f"{what} {before} -> {after}"


def _names(components: Sequence[object]) -> str:
    return " ".join(map(str, components)) or "none"


def _short(sha256: object) -> str:
    return str(sha256)[:12] if sha256 else "none"


def _cut(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
