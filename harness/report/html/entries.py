"""Claims and records as the page lists them: what the filters ask of each, its places in the orders, its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.report.families import family_effect, verdict_counts
from harness.report.html.rendering import parse
from harness.report.reading import (
    VERDICTS,
    Entry,
    as_expected,
    family_of,
    first_data_seeds,
    grouped,
    model_label,
    verdict_of,
)
from harness.report.section import Settings, section
from harness.report.summary import anchor
from harness.report.text import code

if TYPE_CHECKING:
    from markdown_it.token import Token

_ALARMING = ("refuted", "invalid", "inconclusive", "too small", "not run", "supported")
ORDERS = {
    "name": "name",
    "verdict": "verdict, refuted first",
    "sure": "effect, nearest to failing first",
    "paper": "paper",
}
"""Every order of the claims, with its words in the page."""


@dataclass(frozen=True)
class RecordEntry:
    """One record in the page.

    Attributes:
        model: id of its checkpoint.
        family: the model without its training seed.
        verdict: one of the six.
        surprise: True where the verdict is not the expected one.
        title: Markdown of its heading.
        tokens: its text.
    """

    model: str
    family: str
    verdict: str
    surprise: bool
    title: str
    tokens: Sequence[Token] = ()


@dataclass(frozen=True)
class FamilyEntry:
    """All records of one model family; `tokens` are the tables about all of them, none for a single record."""

    family: str
    records: tuple[RecordEntry, ...]
    tokens: Sequence[Token] = ()


@dataclass(frozen=True)
class ClaimEntry:
    """One claim in the page.

    Attributes:
        name: name of its place in the page, for links.
        id: the claim's.
        statement: the paper's sentence.
        mechanism: the mechanism it is about.
        paper: key of its paper.
        verdicts: Markdown that counts its verdicts, of the records that count.
        families: its records.
        tokens: the text about the claim as a whole.
        ranks: its place in every order.
    """

    name: str
    id: str
    statement: str
    mechanism: str
    paper: str
    verdicts: str
    families: tuple[FamilyEntry, ...]
    tokens: Sequence[Token] = ()
    ranks: Mapping[str, int] = field(default_factory=dict)


def claim_entries(records: Sequence[Entry], *, settings: Settings, prefix: str = "") -> list[ClaimEntry]:
    """The claims of these records in the order of their names; `prefix` keeps the names of their places apart."""
    groups = list(grouped(records, by="claim").values())
    made = [_claim_entry(members, settings=settings, prefix=prefix) for members in groups]
    keys = [_keys(members) for members in groups]
    ranks: list[dict[str, int]] = [{} for _ in made]
    for order in ORDERS:
        by_key = sorted(range(len(made)), key=lambda place: (keys[place][order], made[place].id))
        for rank, place in enumerate(by_key):
            ranks[place][order] = rank
    return [replace(entry, ranks=rank) for entry, rank in zip(made, ranks, strict=True)]


def _claim_entry(members: Sequence[Entry], *, settings: Settings, prefix: str) -> ClaimEntry:
    claim = members[0]["claim"]
    about, *texts = _parts(parse(section(members, settings=settings)))
    families = []
    for of_family in grouped(members, by="family").values():
        several = len(of_family) > 1
        shared = texts.pop(0) if several else []
        entries = tuple(_record_entry(record, texts.pop(0)) for record in of_family)
        families.append(FamilyEntry(family_of(of_family[0]), entries, shared))
    assert not texts, f"the section of {claim['id']} has more parts than records"
    return ClaimEntry(
        name=prefix + anchor(claim["id"]),
        id=str(claim["id"]),
        statement=str(claim["statement"]),
        mechanism=str(claim["mechanism"]),
        paper=str(claim["paper"]),
        verdicts=verdict_counts(first_data_seeds(members)),
        families=tuple(families),
        tokens=about,
    )


def _record_entry(record: Entry, tokens: Sequence[Token]) -> RecordEntry:
    return RecordEntry(
        model=str(record["model"]["id"]),
        family=family_of(record),
        verdict=verdict_of(record),
        surprise=not as_expected(record),
        title=f"{code(model_label(record))}: {verdict_counts([record])}",
        tokens=tokens,
    )


def _parts(tokens: Sequence[Token]) -> list[list[Token]]:
    """The text about the claim, then one part for each family of several records and for each record.

    A part begins at a heading of the fourth level, or where EVIDENCE.md folds a record; the claim's own heading and
    the folds are left out, since the page makes them itself, and so is its statement, which the page shows before.
    """
    parts: list[list[Token]] = [[]]
    skipping = False
    for token in _without_first_quote(tokens):
        fold = token.type == "html_block" and token.content.startswith("<details>")
        if fold or (token.type == "heading_open" and token.tag == "h4"):
            parts.append([])
        if token.type == "heading_open":
            skipping = True
            if token.tag == "h3":
                parts[-1].clear()
        if not skipping and token.type != "html_block":
            parts[-1].append(token)
        skipping = skipping and token.type != "heading_close"
    return parts


def _without_first_quote(tokens: Sequence[Token]) -> list[Token]:
    kinds = [token.type for token in tokens]
    if "blockquote_open" not in kinds:
        return list(tokens)
    begin, end = kinds.index("blockquote_open"), kinds.index("blockquote_close")
    return [*tokens[:begin], *tokens[end + 1 :]]


def _keys(members: Sequence[Entry]) -> dict[str, tuple[object, ...]]:
    """What each order sorts by."""
    decided = first_data_seeds(members)
    found = family_effect(decided)
    alarm = min(_ALARMING.index(verdict_of(record)) for record in decided)
    several = sum(verdict_of(record) == _ALARMING[alarm] for record in decided)
    assert set(_ALARMING) == set(VERDICTS)
    return {
        "name": (),
        "verdict": (alarm, -several),
        "sure": (1,) if found is None else (0, -found[1].nearness[0]),
        "paper": (str(members[0]["claim"]["paper"]),),
    }
