"""From a stored record back to what its verdict was computed from: declaration, paired values, margins, clusters.

A record keeps one value per unit of the subject and of every control, and not everything else that a body had at hand:
of a population of components the mean and the 95th-percentile member, of a margin its values without the ids of its
units. What follows from that is answered here; the statistics themselves, and the comparison, are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contrasts import Contrast
from harness.declaration import Behaviour, Claim, Control, Cost, Margin, Metric, Units
from harness.errors import DeclarationError, StatisticsError
from harness.judging import MarginInput
from harness.values import UnitValues

_NOT_DECLARED = ("mechanism", "declaration_hash", "source", "body_sha256", "registration", "alpha")
"""Entries of a record's claim section that are no fields to declare."""
_SEPARATOR = " | "
_MEAN, _PERCENTILE = ": mean", ": 95th percentile ("

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Restored:
    """What a sampled record was judged from.

    Attributes:
        treated: the subject's values.
        contrasts: the paired differences, in the order in which their intervals were drawn.
        margins: the margins whose clusters are known, in the order of the declaration up to the first unknown one.
        unplaced: why each of the other margins cannot be resampled, by name.
    """

    treated: UnitValues
    contrasts: tuple[Contrast, ...]
    margins: Mapping[str, MarginInput]
    unplaced: Mapping[str, str]


def claim_of(record: Entry) -> Claim:
    """The declaration in a record.

    Raises:
        DeclarationError: it has fields that this version does not know, or lacks some.
    """
    stored = record["claim"]
    given = {name: value for name, value in stored.items() if name not in _NOT_DECLARED}
    try:
        given["metric"] = Metric(**_with_limits(given["metric"]))
        given["controls"] = tuple(Control(**each) for each in given["controls"])
        given["margins"] = tuple(Margin(**_with_limits(each)) for each in given.get("margins") or ())
        given["units"] = None if given["units"] is None else Units(**given["units"])
        given["cost"] = None if given.get("cost") is None else Cost(**given["cost"])
        given["behaviour"] = None if given.get("behaviour") is None else Behaviour(**given["behaviour"])
        given |= {name: tuple(given[name]) for name in ("models", "profiles") if name in given}
        return Claim(**given)
    except (KeyError, TypeError) as error:
        raise DeclarationError(f"its declaration is none of this version of mechclaims ({error})") from error


def _with_limits(part: Entry) -> dict[str, Any]:
    limits = part.get("limits")
    return dict(part) if limits is None else {**part, "limits": tuple(limits)}


def restored(record: Entry, claim: Claim) -> Restored:
    """What a record with measured values was judged from.

    Raises:
        StatisticsError: values that do not correspond: another number than units, units that are not the record's, or
            treated values of a control that are not the subject's.
    """
    treated = _treated(record)
    controls = record["measured"]["controls"]
    found = [_contrast(claim, treated, name=name, entry=entry) for name, entry in controls.items()]
    margins, unplaced = _margins(record, treated)
    return Restored(treated, tuple(_in_order(found, claim, treated)), margins, unplaced)


def placed_margins(record: Entry) -> Mapping[str, MarginInput]:
    """The margins of a record with measured values whose clusters are known, as `Restored` has them."""
    return _margins(record, _treated(record))[0]


def _treated(record: Entry) -> UnitValues:
    treated, units = record["measured"]["treated"], record["units"]
    values = np.asarray(treated["values"], dtype=np.float64)
    return UnitValues(values, tuple(treated["components"]), tuple(units["ids"]), tuple(units["clusters"]))


def ranked(contrasts: Sequence[Contrast]) -> Iterator[tuple[Contrast, Contrast]]:
    """Of every population the contrasts with its mean and with its 95th-percentile member, in the record's order."""
    for mean, best in pairwise(contrasts):
        if mean.kind == "component" and mean.control.endswith(_MEAN) and _PERCENTILE in best.control:
            yield mean, best


def _contrast(claim: Claim, treated: UnitValues, *, name: str, entry: Entry) -> Contrast:
    component, _, control = name.partition(_SEPARATOR)
    declared = _declared(claim, control)
    kind = declared.kind
    units = tuple(entry["units"])
    row = _columns(treated.of([component]), units)
    own = replace(row, values=_row(entry["treated"])) if "treated" in entry else row
    if kind != "component" and not np.array_equal(own.values, row.values):
        # only a population may have been measured in another way than the values that the other controls meet
        unit = units[int(np.argmax(own.values[0] != row.values[0]))]
        raise StatisticsError(
            f"the treated values of {component!r} against {control!r} are not the subject's, the first at unit {unit!r}"
        )
    if kind != "component" and units != treated.units:
        raise StatisticsError(f"control {control!r} has other units than the subject")
    threshold = claim.sesoi if claim.alternative == "greater" else -claim.sesoi
    return Contrast(
        component,
        control,
        kind,
        0.0 if kind == "component" and _part_of(control, declared.name) == _PERCENTILE else threshold,
        own,
        UnitValues(_row(entry["values"]), ("control",), units, own.clusters),
    )


def _declared(claim: Claim, contrast: str) -> Control:
    """The control that a contrast's name belongs to; StatisticsError where the claim declares no such control."""
    for control in claim.controls:
        if contrast == control.name or (control.kind == "component" and _part_of(contrast, control.name)):
            return control
    raise StatisticsError(f"there are values of control {contrast!r}, which the claim does not declare")


def _part_of(contrast: str, control: str) -> str | None:
    """Which of a population's two contrasts this is, its mean or its 95th percentile; None where it is neither."""
    if contrast == control + _MEAN:
        return _MEAN
    return _PERCENTILE if contrast.startswith(control + _PERCENTILE) else None


def _columns(values: UnitValues, units: tuple[str, ...]) -> UnitValues:
    """The columns of these units; StatisticsError where the record has no such unit."""
    place = {unit: column for column, unit in enumerate(values.units)}
    foreign = [unit for unit in units if unit not in place]
    if foreign:
        raise StatisticsError(f"there are control values for unit {foreign[0]!r}, which is not among the record's")
    columns = [place[unit] for unit in units]
    clusters = tuple(values.clusters[column] for column in columns)
    return replace(values, values=values.values[:, columns], units=units, clusters=clusters)


def _in_order(contrasts: Sequence[Contrast], claim: Claim, treated: UnitValues) -> Iterator[Contrast]:
    """The contrasts as their intervals were drawn: by control, then by component, a population's mean first.

    Raises:
        StatisticsError: a declared control has no values for a component, or values that nothing asks for.
    """
    left = {(each.component, each.control): each for each in contrasts}
    for control in claim.controls:
        for component in treated.components:
            for part in (_MEAN, _PERCENTILE) if control.kind == "component" else (None,):
                names = [name for name in left if name[0] == component and _is(name[1], control.name, part)]
                if len(names) != 1:
                    what = f"{control.name}{part or ''}"
                    raise StatisticsError(f"there are {len(names)} rows of values of {component!r} against {what!r}")
                yield left.pop(names[0])
    if left:
        component, name = next(iter(left))
        raise StatisticsError(f"there are values of {component!r} against {name!r}, for which nothing asks")


def _is(contrast: str, control: str, part: str | None) -> bool:
    return contrast == control if part is None else _part_of(contrast, control) == part


def _margins(record: Entry, treated: UnitValues) -> tuple[dict[str, MarginInput], dict[str, str]]:
    """Margins that can be resampled, and why the others cannot; after the first such one no draw is the same."""
    placed: dict[str, MarginInput] = {}
    unplaced: dict[str, str] = {}
    for name in [margin["name"] for margin in record["claim"].get("margins") or ()]:
        entry = record["measured"]["margins"][name]
        place = _place_of(record, name, entry, treated=treated)
        if unplaced:
            unplaced[name] = "its resamples were drawn after those of a margin whose clusters are not stored"
        elif place is None:
            unplaced[name] = "the clusters of its units are not stored, and cannot be told from its values"
        else:
            placed[name] = _margin(entry, *place)
    return placed, unplaced


def _margin(entry: Entry, units: tuple[str, ...], clusters: tuple[str, ...]) -> MarginInput:
    components = tuple(entry["components"])
    values = UnitValues(np.asarray(entry["values"], dtype=np.float64), components, units, clusters)
    if entry["relative_to"] is None:
        return MarginInput(values)
    below = np.asarray(entry["relative_to"], dtype=np.float64)
    names = components if len(below) == len(components) else ("model",)
    return MarginInput(values, UnitValues(below, names, units, clusters))


def _place_of(
    record: Entry, name: str, entry: Entry, *, treated: UnitValues
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Units and clusters of a margin's values: the record's, or each its own, or where they stand among the treated."""
    count = len(entry["values"][0])
    stored = [one["clusters"] for one in record["judgement"]["outcomes"] if one["control"] == name]
    if count == len(treated.units) and stored in ([], [len(set(treated.clusters))] * len(stored)):
        return treated.units, treated.clusters
    if stored and set(stored) == {count}:
        # Which names they have changes nothing: clusters are drawn by their order.
        alone = tuple(f"{name} {number}" for number in range(count))
        return alone, alone
    row = [float(value) for value in treated.of(entry["components"][:1]).values[0]]
    place = {value: column for column, value in enumerate(row)}
    columns = [place.get(float(value)) for value in entry["values"][0]]
    known = [column for column in columns if column is not None]
    if len(place) < len(row) or len(set(known)) < count:
        return None
    return tuple(treated.units[column] for column in known), tuple(treated.clusters[column] for column in known)


def _row(values: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)[None]
