"""The standard errors of a record's conditions, from the values that it stores; nothing is judged by them.

A report that shows tables alone drops values as it reads records. What the tables need of them is taken first and put
beside the record, `standard_errors`, so that a report says the same with and without figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harness.errors import StatisticsError
from harness.report.reading import Entry, family_of, first_data_seeds, outcomes_of, training_seed
from harness.stats.standard_error import standard_error

BY_LIMITS = frozenset({"gaffke", "clopper-pearson"})
"""Methods whose interval goes by what values can be at all: its width is no standard error, however it is scaled."""


def standard_error_of(record: Entry, outcome: Entry) -> float | None:
    """The standard error of an outcome's estimate; None where the record does not say, 0.0 where it shows no spread."""
    known = record.get("standard_errors")
    if known is not None:
        found: float | None = known.get(_key(outcome))
        return found
    return _from_values(record, outcome)


def standard_errors(record: Entry) -> dict[str, float | None]:
    """Those of all outcomes of a record with values, by "component | control"."""
    return {_key(outcome): _from_values(record, outcome) for outcome in outcomes_of(record)}


def asked_of_values(records: Iterable[Entry]) -> list[Entry]:
    """Those of a run's records whose standard errors the tables need.

    These are several trainings of one model, of which the first data seeds are combined, and several data seeds of one
    model, where an interval goes by the limits of the values.
    """
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for record in records:
        kind = (record["claim"]["id"], family_of(record), bool(record.get("exploratory")))
        groups.setdefault(kind, []).append(record)
    found: dict[int, Entry] = {}
    for members in groups.values():
        trained = [record for record in first_data_seeds(members) if training_seed(record) is not None]
        found |= {id(record): record for record in trained if len(trained) > 1}
        drawn = Counter(record["model"]["id"] for record in members)
        found |= {id(record): record for record in members if drawn[record["model"]["id"]] > 1 and _by_limits(record)}
    return [record for record in found.values() if outcomes_of(record)]


def _by_limits(record: Entry) -> bool:
    return any(outcome.get("method") in BY_LIMITS for outcome in outcomes_of(record))


def _key(outcome: Entry) -> str:
    """As the record names its controls' values."""
    return f"{outcome['component']} | {outcome['control']}"


def _from_values(record: Entry, outcome: Entry) -> float | None:
    measured, units = record.get("measured") or {}, record.get("units")
    if not units or outcome.get("method") == "enumerated":
        return None
    of = _of_margin if outcome.get("kind") == "margin" else _of_control
    try:
        return of(outcome, measured, units)
    except StatisticsError:
        return None


def _of_control(outcome: Entry, measured: Entry, units: Entry) -> float | None:
    """Of the paired differences; None where the values of the subject or of the control are not there."""
    entry = (measured.get("controls") or {}).get(_key(outcome))
    if entry is None:
        return None
    place = {unit: number for number, unit in enumerate(units["ids"])}
    treated = entry.get("treated")
    if treated is None:  # older records: the row of the component, at the control's units
        row = _row(measured.get("treated") or {}, outcome["component"], name="values")
        treated = None if row is None else [row[place[unit]] for unit in entry["units"]]
    if treated is None:
        return None
    clusters = [units["clusters"][place[unit]] for unit in entry["units"]]
    differences = [after - before for after, before in zip(treated, entry["values"], strict=True)]
    return standard_error(differences, clusters=clusters)


def _of_margin(outcome: Entry, measured: Entry, units: Entry) -> float | None:
    """Of a margin's values; None where the record does not give their clusters."""
    entry = (measured.get("margins") or {}).get(outcome["control"]) or {}
    values = _row(entry, outcome["component"], name="values")
    clusters = None if values is None else _clusters(outcome, units, count=len(values))
    if values is None or clusters is None:
        return None
    below = None
    if entry.get("relative_to") is not None:
        below = _row(entry, outcome["component"], name="relative_to")
    return standard_error(values, clusters=clusters, below=below)


def _row(entry: Entry, component: str, *, name: str) -> Sequence[float] | None:
    """The component's values, or the only row, which all components share."""
    rows, components = entry.get(name) or (), list(entry.get("components") or ())
    if component not in components:
        return None
    found: Sequence[float] = rows[components.index(component) if len(rows) > 1 else 0]
    return found


def _clusters(outcome: Mapping[str, object], units: Entry, *, count: int) -> Sequence[str] | None:
    """Those of the record's units, or each value its own, whichever fits what the outcome says; None for neither."""
    if count == len(units["ids"]) and outcome["clusters"] == len(set(units["clusters"])):
        found: Sequence[str] = units["clusters"]
        return found
    return list(map(str, range(count))) if outcome["clusters"] == count else None
