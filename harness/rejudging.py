"""What follows from a stored record's own values: its judgement computed again, by the code that made it.

The resamples are the same ones: their stream is named by claim, declaration, model and data seed, all of which the
record holds. What it does not hold cannot be computed again, and is named; whether the stored numbers are those that
follow is answered in `harness.verifying`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.bound_claim import CONFIRMATION, EXPLORATORY, Split
from harness.claim import Evidence
from harness.declaration import Claim
from harness.errors import DeclarationError, StatisticsError
from harness.evidence import jsonable
from harness.filling import check_treated
from harness.judging import ExactInput, judge_contrasts, judge_exact
from harness.restoring import Restored, ranked, restored
from harness.seeding import Streams
from harness.session import streams_of
from harness.subjects import Subject

NO_ASSAY = "assay not shown to work"
"""Stands in the reason of a verdict that was withheld because no record showed that the test can say yes."""

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Rejudged:
    """What follows from a record's values.

    Attributes:
        sections: sections of the record, as plain values; what could not be computed again stands as it was stored.
        unchecked: parts that could not be, each with its reason.
    """

    sections: Mapping[str, Any]
    unchecked: tuple[str, ...] = ()


def rejudged(record: Entry, claim: Claim) -> Rejudged:
    """The sections of a measured record that follow from its values.

    Whether the assay had been shown to work when it was measured is taken from its reasons.

    Raises:
        StatisticsError: the values do not belong together.
    """
    preconditions, failed = _preconditions(record, claim)
    unchecked: tuple[str, ...] = ()
    if record["exact"]:
        entry = ExactInput(record["exact"]["value"], record["exact"]["population"])
        sections = judge_exact(claim, entry, assay_shown=not withheld(record), failed=failed)
    elif record["measured"]:
        sections, unchecked = _sampled(record, claim, failed=failed)
    else:
        reason = record["judgement"]["reason"]
        sections = {"judgement": {"verdict": "invalid", "reason": reason, "components": (), "outcomes": ()}}
    sections = {"preconditions": preconditions, **sections}
    return Rejudged({name: jsonable(section) for name, section in sections.items()}, unchecked)


def withheld(record: Entry) -> bool:
    """Whether a verdict was withheld because the assay had not been shown to work."""
    judgement = record["judgement"]
    reasons = [judgement["reason"], *(one["reason"] for one in judgement["components"])]
    return any(NO_ASSAY in str(reason) for reason in reasons)


def _preconditions(record: Entry, claim: Claim) -> tuple[list[Entry], str | None]:
    """The preconditions, each held against its bound again, and which of them make the claim invalid."""
    evidence = Evidence(claim, 0, Streams(()))
    for entry in record["preconditions"]:
        evidence.precondition(entry["name"], value=entry["value"], at_least=entry["at_least"])
    ignored = record["exploratory"] and record["options"].get("ignore_preconditions")
    return evidence.sections.get("preconditions", []), None if ignored else evidence.failed_precondition()


def _sampled(record: Entry, claim: Claim, *, failed: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The judgement and the ranks' numbers, and what does not follow from the stored values."""
    found = restored(record, claim)
    _check_filled(record, claim, found)
    judged = judge_contrasts(
        claim,
        found.treated,
        contrasts=found.contrasts,
        margins=found.margins,
        failed=failed,
        assay_shown=not withheld(record),
        rng=_stream(record, claim),
    )["judgement"]
    if found.unplaced:
        judged = _as_far_as_known(record, judged)
    unchecked = [f"margin {name!r}: {why}" for name, why in found.unplaced.items()]
    unchecked += ["ranks: the other components' values per unit are not stored"] if record["ranks"] else []
    unchecked += ["shares: the members' values per unit are not stored"] if record["shares"] else []
    return {"judgement": judged, "ranks": _ranks(record, found)}, tuple(unchecked)


def _check_filled(record: Entry, claim: Claim, found: Restored) -> None:
    """Refuse another number of units than registered and other rows than the subject's: some were taken away."""
    if claim.on_papers_prompts:
        return
    n_units, section = int(record["options"]["n_units"]), record["subject"]
    if len(found.treated.units) != n_units:
        raise StatisticsError(f"it has values of {len(found.treated.units)} units, and was to have {n_units}")
    registered = None if claim.units is None else claim.units.for_profile(record["options"]["profile"])
    if registered not in (None, n_units) and not record["exploratory"]:
        raise StatisticsError(f"it was to have {n_units} units, and {registered} are registered")
    heads = None if section is None else tuple(section["components"])
    subject = None if heads is None else Subject(section["class"], heads, "", "", "", {})
    try:
        check_treated(claim, found.treated, n_units=n_units, subject=subject)
    except DeclarationError as error:
        raise StatisticsError(str(error)) from error


def _stream(record: Entry, claim: Claim) -> np.random.Generator:
    """The stream from which the measurement drew its resamples.

    Older exploratory records are of the confirmation split; one of the exploratory split that no longer says that it is
    exploratory was edited, and its resamples do not come out.
    """
    fingerprint = str(record["options"].get("drawn_for") or record["model"]["fingerprint"])
    chosen = record["exploratory"] and record["seeds"].get("split") == EXPLORATORY
    split: Split = EXPLORATORY if chosen else CONFIRMATION
    streams = streams_of(claim, fingerprint=fingerprint, data_seed=record["seeds"]["data_seed"], split=split)
    return streams.for_("intervals")


def _as_far_as_known(record: Entry, judged: Entry) -> dict[str, Any]:
    """The stored judgement with all that was computed again in its place, where some margins were not.

    Of those the estimate is: the mean, or the ratio of means, of the stored values. A verdict needs every condition,
    so the stored one stays; but what is `supported` must be so by the conditions that there are.
    """
    stored = record["judgement"]
    again = {(one["component"], one["control"]): one for one in judged["outcomes"]}
    outcomes = []
    for one in stored["outcomes"]:
        new = again.get((one["component"], one["control"]))
        if new is None:
            outcomes.append({**one, "estimate": _estimate(record, one)})
        else:  # the adjusted interval is at a level on which the p of all conditions decide
            outcomes.append({**new, "low_adjusted": one["low_adjusted"], "high_adjusted": one["high_adjusted"]})
    fallen = stored["verdict"] == "supported" and judged["verdict"] != "supported"
    return {**stored, "verdict": judged["verdict"] if fallen else stored["verdict"], "outcomes": outcomes}


def _estimate(record: Entry, outcome: Entry) -> float:
    entry = record["measured"]["margins"][outcome["control"]]
    row = entry["components"].index(outcome["component"])
    above = np.asarray(entry["values"], dtype=np.float64)[row].mean()
    if entry["relative_to"] is None:
        return float(above)
    below = np.asarray(entry["relative_to"], dtype=np.float64)
    return float(above / below[row if len(below) == len(entry["components"]) else 0].mean())


def _ranks(record: Entry, found: Restored) -> list[dict[str, Any]]:
    """The stored ranks, with what follows from the values of the mean and of the 95th-percentile member."""
    return [
        {
            **entry,
            "component": mean.component,
            "population_mean": float(mean.against.mean()[0]),
            "percentile95": float(best.against.mean()[0]),
        }
        for entry, (mean, best) in zip(record["ranks"], ranked(found.contrasts), strict=True)
    ]
