"""Draws of other prompts compared: does a claim say on them what it said on the first? Nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.errors import StatisticsError
from harness.report.reading import Entry, grouped, outcomes_of, to_float
from harness.report.standard_errors import BY_LIMITS, standard_error_of
from harness.report.text import code, inline, interval, number, p_value, table
from harness.stats.data_seeds import ALPHA, Draw, SeedDifference, adjusted_by_claim, seed_difference


@dataclass(frozen=True)
class Redrawn:
    """One claim on one model, drawn again.

    Attributes:
        claim: its id.
        model: the model's id.
        seeds: the first data seed, and the one that differs most from it.
        condition: component and control on which they differ most.
        nearest: that difference.
        p_adjusted: Bonferroni over the claim's conditions and seeds, Holm over claims.
    """

    claim: str
    model: str
    seeds: tuple[int, int]
    condition: str
    nearest: SeedDifference
    p_adjusted: float

    @property
    def differs(self) -> bool:
        """Whether the draws do not tell the same: the check of reproducibility fails."""
        return self.p_adjusted <= ALPHA


def redrawn(records: Sequence[Entry]) -> list[Redrawn]:
    """Every claim and model with records of two data seeds or more, under one declaration and fingerprint."""
    found = []
    for claim_id, of_claim in grouped(records, by="claim").items():
        for model in dict.fromkeys(str(record["model"]["id"]) for record in of_claim):
            compared = list(_compared([record for record in of_claim if record["model"]["id"] == model]))
            if compared:
                found.append((claim_id, model, compared))
    if not found:
        return []
    adjusted = adjusted_by_claim([[one[2].p for one in compared] for _, _, compared in found])
    made = []
    for (claim_id, model, compared), p_adjusted in zip(found, adjusted, strict=True):
        seeds, condition, nearest = min(compared, key=lambda one: one[2].p)
        made.append(Redrawn(claim_id, model, seeds, condition, nearest, p_adjusted))
    return made


def data_seeds_text(records: Sequence[Entry]) -> str:
    """A table of claims that were drawn again, those that differ first; empty where none was."""
    found = sorted(redrawn(records), key=lambda one: one.p_adjusted)
    if not found:
        return ""
    rows = [
        [
            "**differs**" if one.differs else "agrees",
            inline(one.claim),
            code(one.model),
            f"{one.seeds[0]}, {one.seeds[1]}",
            inline(one.condition),
            inline(_difference(one.nearest)),
            p_value(one.p_adjusted),
        ]
        for one in found
    ]
    differing = sum(one.differs for one in found)
    said = (
        f"**Drawn again.** Of {len(found)} claims with several data seeds {differing} differ between them (the 95 % "
        "interval of the difference, Holm over claims). Where one differs, its verdict is `invalid` as evidence: other "
        "prompts of the same kind say something else."
    )
    columns = ["", "claim", "model", "data seeds", "condition that differs most", "difference", "p adjusted"]
    return f"{said}\n\n{table(columns, rows=rows)}"


def _difference(found: SeedDifference) -> str:
    """With its interval, or a hyphen where neither draw varies."""
    if found.low is None or found.high is None:
        return f"{number(found.difference)} -"
    return f"{number(found.difference)} {interval(found.low, found.high)}"


def _compared(records: Sequence[Entry]) -> Iterator[tuple[tuple[int, int], str, SeedDifference]]:
    """Each condition of the first data seed against every other seed's; what has no sampled interval is left out."""
    if not records:
        return
    by_seed = {int(record["seeds"].get("data_seed", 0)): record for record in reversed(records)}
    first, *others = sorted(by_seed)
    for other in others:
        if _identity(by_seed[first]) != _identity(by_seed[other]):
            continue
        before, after = _draws(by_seed[first]), _draws(by_seed[other])
        for condition in before.keys() & after.keys():
            try:
                yield (first, other), condition, seed_difference(before[condition], after[condition])
            except StatisticsError:
                continue


def _identity(record: Entry) -> tuple[object, ...]:
    """What must be equal for two draws to be of one thing."""
    subject = record.get("subject") or {}
    heads = tuple(subject.get("components", ()))
    return (record["claim"].get("declaration_hash"), record["model"].get("fingerprint"), heads)


def _draws(record: Entry) -> dict[str, Draw]:
    """Sampled conditions by component and control; a 95th-percentile member keeps its name, another is another one.

    Of an interval by the limits of the values the standard error is taken from the values, and the condition left out
    where the record does not give them. Of others the interval tells it, with values or without: runs with thousands
    of draws are read without.
    """
    found = {}
    for outcome in outcomes_of(record):
        if outcome.get("method") == "enumerated" or outcome.get("clusters") is None:
            continue
        estimate, low, high = (to_float(outcome[name]) for name in ("estimate", "low", "high"))
        condition = f"{outcome['component']} against {outcome['control']}"
        error = standard_error_of(record, outcome) if outcome.get("method") in BY_LIMITS else None
        if error is None and outcome.get("method") in BY_LIMITS:
            continue
        found[condition] = Draw(estimate, low, high, clusters=int(outcome["clusters"]), error=error)
    return found
