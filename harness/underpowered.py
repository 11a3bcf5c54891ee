"""Which claims calibration found underpowered: less than 80 % power at twice the SESOI, by their own stored design.

Calibration measures the power of designs as they are in records (`reports/calibration`). What it says holds for a claim
that still has that design: the same effect, controls, margins and SESOI. More units are reckoned with, by the spread
that every condition showed; of any other change calibration says nothing before it is run again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.calibrated import design_rows, records_of, same_design
from harness.declaration import ALPHA
from harness.errors import DeclarationError, StatisticsError
from harness.looks import store_folders
from harness.stats.power import LEAST_POWER, Leg, clusters_for_claim
from harness.stats.student import t_quantile

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Underpowered:
    """A claim on a model whose power at twice the SESOI is too low.

    Attributes:
        claim: its id.
        model: the model's id.
        power: as calibration measured it.
        clusters: the number that it was measured with.
        needed: about how many have 80 % power, conditions taken as independent; None where no number has.
        weakest: the condition that holds least often.
    """

    claim: str
    model: str
    power: float
    clusters: int
    needed: int | None
    weakest: str

    def line(self) -> str:
        """`power 46 % with 16 clusters, about 25 would do; weakest: 1.5: other heads: mean`."""
        would = "no number would do" if self.needed is None else f"about {self.needed} would do"
        return f"power {self.power:.0%} with {self.clusters} clusters, {would}; weakest: {self.weakest}"


@dataclass(frozen=True)
class PowerOnRecord:
    """What a reports folder knows of the power of claims: by claim and model what is weak, and the record of that."""

    found: Mapping[tuple[str, str], tuple[Underpowered, Entry | None]]

    def weak(self, declaration: Entry, *, models: Iterable[str]) -> list[Underpowered]:
        """The models on which a claim, declared like this (`Claim.deciding`, plain values), is underpowered."""
        claim = str(declaration["id"])
        found = (self.found[claim, model] for model in models if (claim, model) in self.found)
        return [one for one, record in found if _still(one, record, declaration)]


def power_on_record(reports: Path | None) -> PowerOnRecord:
    """What calibration found of the claims' power; nothing where it was not run, or no folder is given.

    Raises:
        StoreError: the summary of the calibration is damaged, or a record that it is about.
    """
    weak = design_rows(reports, read=_weak)
    records = {} if reports is None or not weak else records_of({each for _, each in weak}, store_folders(reports))
    return PowerOnRecord({(one.claim, one.model): (one, records.get(content_hash)) for one, content_hash in weak})


def require_power(found: Sequence[Underpowered]) -> None:
    """Raise DeclarationError where there are any: the measured power, the clusters that would do, and the ways out."""
    if not found:
        return
    listed = "\n".join(f"  {one.claim} on {one.model}: {one.line()}" for one in found)
    raise DeclarationError(
        f"underpowered at twice the SESOI, by the calibration on record (at least {LEAST_POWER:.0%} is asked for):\n"
        f"{listed}\n"
        "Raise `units` to that number (where templates are the clusters, add templates), or the SESOI with its reason; "
        "`mechclaims pilot` and `mechclaims power` say what a changed claim needs. Or leave the model out of "
        "subjects.toml. Where the claim was changed since, `nox -s calibrate` measures its power again."
    )


def by_claim(lock: Mapping[str, Any], reports: Path) -> dict[str, list[dict[str, Any]]]:
    """For the report: the registered claims that are underpowered, with the models on which they are.

    Args:
        lock: `Lock.claims`, by claim id.
        reports: the folder that holds the calibration.
    """
    power = power_on_record(reports)
    found = {name: power.weak(entry.declaration, models=entry.models) for name, entry in lock.items()}
    return {name: [{**asdict(one), "line": one.line()} for one in some] for name, some in found.items() if some}


def _still(found: Underpowered, record: Entry | None, declaration: Entry) -> bool:
    """Whether a claim declared like this still has the design that was found underpowered.

    Where the record is no longer here it is held against the claim: nothing shows that its design changed.
    """
    if record is None:
        return True
    if not same_design(record, declaration):
        return False
    clusters = (record.get("units") or {}).get("clusters") or ()
    if declaration["units"] is None or len(set(clusters)) < len(clusters):
        return True  # templates or refits are the clusters: more units do not make more of them
    return found.needed is None or int(declaration["units"]["default"]) < found.needed


def _weak(row: Entry) -> tuple[Underpowered, str] | None:
    """What a row says of a claim that is underpowered, with the record's content hash."""
    return (_underpowered(row), str(row["content_hash"])) if row["underpowered"] else None


def _underpowered(row: Entry) -> Underpowered:
    question = min(row["questions"], key=lambda each: float(each["holds_at_twice"]))
    weakest = f"{question['component']}: {question['control']} (holds in {question['holds_at_twice']:.0%})"
    claim, model = str(row["claim"]), str(row["model"])
    return Underpowered(claim, model, float(row["power"]), int(row["clusters"]), _needed(row), weakest)


def _needed(row: Entry) -> int | None:
    """Clusters for 80 % power by how often each condition held; None where one would not at any number.

    A condition that always or never held is taken to have failed or held in half of a replicate. Shares are at the
    loosest level of Holm's steps; what is asked of a family is its strictest.
    """
    half, most = 0.5 / int(row["replicates"]), max(int(question["clusters"]) for question in row["questions"])
    legs = []
    for question in row["questions"]:
        clusters = int(question["clusters"])
        power = min(max(float(question["holds_at_twice"]), half), 1 - half)
        legs.append(Leg(_shift(power, clusters=clusters), clusters / most))
    components = len({question["component"] for question in row["questions"]})
    try:
        return clusters_for_claim(legs, alpha=ALPHA / components)
    except StatisticsError:
        return None


def _shift(power: float, *, clusters: int) -> float:
    """How far beyond its threshold, in SDs between clusters, a condition lies that has this power (noncentral t)."""
    from scipy.special import nctdtrinc

    critical = t_quantile(1 - ALPHA, freedom=clusters - 1)
    return float(nctdtrinc(clusters - 1, 1 - power, critical)) / math.sqrt(clusters)
