"""What the report asks of a stored record: its verdict, its model, its place among the others.

Records are the plain JSON dicts of `harness.evidence.Record.as_dict`. Nothing here measures or judges anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

Entry = Mapping[str, Any]
"""A record, or a part of one: plain JSON values."""

VERDICTS = ("supported", "too small", "refuted", "inconclusive", "invalid", "not run")
SYMBOLS = {"supported": "✓", "too small": "≈", "refuted": "✗", "inconclusive": "?", "invalid": "!", "not run": "□"}
"""One sign per verdict, told apart without colour; the word always stands beside it."""
TIERS = ("inference", "reliability", "replication")

_TRAINED_SEED = re.compile(r"(?P<family>.+)@(?P<seed>\d+)")


def to_float(value: object) -> float:
    """The number, with the strings "inf" and "-inf" of the record's JSON read as infinities."""
    return float(value)  # type: ignore[arg-type]


def verdict_of(record: Entry) -> str:
    """One of the six verdicts."""
    judgement = record.get("judgement")
    return "not run" if record.get("not_run") or not judgement else str(judgement["verdict"])


def as_expected(record: Entry) -> bool:
    """True where the verdict is the expected one, where none was expected, or where nothing ran."""
    expected = record.get("expectation")
    return not expected or verdict_of(record) in (expected["verdict"], "not run")


def registration_state(record: Entry) -> str:
    """`registered`, `not registered` or `exploratory`, as it was when measured; empty where no lock was asked."""
    return str((record["claim"].get("registration") or {}).get("state", ""))


def outcomes_of(record: Entry) -> Sequence[Entry]:
    """Everything that was judged: one entry per component and control."""
    return (record.get("judgement") or {}).get("outcomes") or ()


def family_of(record: Entry) -> str:
    """The model without its training seed: `induction-2l` for `induction-2l@3`; other ids as they are."""
    return _trained(str(record["model"]["id"]))[0]


def training_seed(record: Entry) -> int | None:
    """The training seed in the model's id, or None."""
    return _trained(str(record["model"]["id"]))[1]


def model_label(record: Entry) -> str:
    """The model's id, with the data seed where it is not 0."""
    data_seed = record["seeds"].get("data_seed", 0)
    return str(record["model"]["id"]) + (f", data seed {data_seed}" if data_seed else "")


def grouped(records: Iterable[Entry], *, by: str) -> dict[str, list[Entry]]:
    """Records by `"claim"`, `"family"` or `"mechanism"`, groups and members in a fixed order."""
    groups: dict[str, list[Entry]] = {}
    for record in sorted(records, key=_order):
        key = family_of(record) if by == "family" else str(record["claim"]["id" if by == "claim" else by])
        groups.setdefault(key, []).append(record)
    return dict(sorted(groups.items()))


def first_data_seeds(records: Iterable[Entry]) -> list[Entry]:
    """One record per claim and model, of its lowest data seed: the one whose verdict counts."""
    found: dict[tuple[str, str], Entry] = {}
    for record in sorted(records, key=_order):
        found.setdefault((str(record["claim"]["id"]), str(record["model"]["id"])), record)
    return list(found.values())


def for_tables(record: Entry) -> Entry:
    """The record without the values that figures alone show: thousands of records then fit into memory."""
    treated = (record.get("measured") or {}).get("treated") or {}
    exact = record.get("exact")
    return {
        **record,
        "measured": {"treated": {"components": treated.get("components", ())}},
        "exact": {name: value for name, value in exact.items() if name != "population"} if exact else exact,
        "pictures": (),
    }


@lru_cache(maxsize=4096)
def _trained(model_id: str) -> tuple[str, int | None]:
    """Family and training seed of a model's id."""
    found = _TRAINED_SEED.fullmatch(model_id)
    return (found["family"], int(found["seed"])) if found else (model_id, None)


def _order(record: Entry) -> tuple[object, ...]:
    claim = record["claim"]
    tier = TIERS.index(claim["tier"]) if claim["tier"] in TIERS else len(TIERS)
    family, seed = _trained(str(record["model"]["id"]))
    about_model = (family, -1 if seed is None else seed, record["model"]["id"])
    newest_first = -int(claim.get("version", 1))
    data_seed = record["seeds"].get("data_seed", 0)
    return (tier, claim["id"], *about_model, newest_first, data_seed, record.get("content_hash", ""))
