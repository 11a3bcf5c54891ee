"""A page for each mechanism with all its claims in full; cut in parts where it would be too long to be rendered."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.report.families import verdict_counts
from harness.report.links import Links
from harness.report.reading import TIERS, Entry, first_data_seeds, grouped
from harness.report.registration import standing_marks
from harness.report.section import Settings, section
from harness.report.text import inline, plural, slug

FOLDER = "evidence"
"""Where the pages stand, beside EVIDENCE.md."""
MOST_BYTES = 450_000
"""GitHub shows files over 512 KB as plain text."""
_HEADINGS = {
    "inference": "Inference: evidence on fresh prompts",
    "reliability": "Reliability: what selected the subject, measured again",
    "replication": "Replication: the papers' own numbers",
    "exploratory": "Exploratory: other heads, other sample sizes, second looks; shown, never a verdict",
}


@dataclass(frozen=True)
class MechanismPages:
    """The pages, to be written into `FOLDER`.

    Attributes:
        texts: Markdown by file name.
        links: to claims and mechanisms, seen from beside the folder.
    """

    texts: Mapping[str, str]
    links: Links


@dataclass(frozen=True)
class _Section:
    """One claim in full, or its exploratory records."""

    claim_id: str
    heading: str
    text: str


def mechanism_pages(records: Sequence[Entry], *, settings: Settings) -> MechanismPages:
    """The pages of all mechanisms; `settings.files` gives addresses as they are seen from within the folder."""
    texts: dict[str, str] = {}
    claims: dict[str, str] = {}
    of_mechanisms = grouped(records, by="mechanism")
    firsts: dict[str, str] = {}
    for mechanism in of_mechanisms:
        firsts[mechanism] = _free_name(slug(mechanism), taken=firsts.values())
    for mechanism, members in of_mechanisms.items():
        parts = _cut(_sections(members, settings=settings))
        names = [firsts[mechanism]]
        for _ in parts[1:]:
            names.append(_free_name(slug(mechanism), taken={*firsts.values(), *texts, *names}))
        places = {one.claim_id: name for name, part in zip(names, parts, strict=True) for one in part if _counts(one)}
        counted = f"{plural(len(grouped(members, by='claim')), 'claim')}, {plural(len(members), 'record')}"
        for place, (name, part) in enumerate(zip(names, parts, strict=True)):
            others = Links({claim_id: other for claim_id, other in places.items() if other != name})
            head = _head(mechanism, counted, part=place + 1, of=len(parts), first=names[0])
            texts[name] = _page([*head, _contents(members, others, lock=settings.lock) if place == 0 else ""], part)
        claims |= {claim_id: f"{FOLDER}/{name}" for claim_id, name in places.items()}
    return MechanismPages(texts, Links(claims, {name: f"{FOLDER}/{first}" for name, first in firsts.items()}))


def _sections(records: Sequence[Entry], *, settings: Settings) -> list[_Section]:
    found = []
    for heading in _HEADINGS:
        members = [record for record in records if _heading_of(record) == heading]
        for claim_id, of_claim in grouped(members, by="claim").items():
            found.append(_Section(claim_id, heading, section(of_claim, settings=settings)))
    return found


def _heading_of(record: Entry) -> str:
    return "exploratory" if record.get("exploratory") else str(record["claim"]["tier"])


def _counts(one: _Section) -> bool:
    """Whether links to the claim lead to this section."""
    return one.heading != "exploratory"


def _cut(sections: Sequence[_Section]) -> list[list[_Section]]:
    """The sections in their order in as few parts as can be, of about equal length; a section is never cut."""
    lengths = [len(one.text.encode()) for one in sections]
    aim = sum(lengths) / math.ceil(sum(lengths) / MOST_BYTES)
    parts: list[list[_Section]] = [[]]
    before = size = 0
    for one, length in zip(sections, lengths, strict=True):
        if parts[-1] and (before + length / 2 > aim * len(parts) or size + length > MOST_BYTES):
            parts.append([])
            size = 0
        parts[-1].append(one)
        before, size = before + length, size + length
    return parts


def _free_name(stem: str, *, taken: Container[str]) -> str:
    """`stem.md`, or the first of `stem-2.md`, `stem-3.md`, ... that no page has, whatever the mechanisms' names are."""
    place, name = 2, f"{stem}.md"
    while name in taken:
        place, name = place + 1, f"{stem}-{place}.md"
    return name


def _head(mechanism: str, counted: str, *, part: int, of: int, first: str) -> list[str]:
    parts = f" Part {part} of {of}." if of > 1 else ""
    contents = f" Its claims are listed in [part 1]({first})." if part > 1 else ""
    return [f"# {inline(mechanism)}", f"{counted}.{parts}{contents} Back to [all evidence](../EVIDENCE.md)."]


def _contents(records: Sequence[Entry], links: Links, *, lock: Entry | None) -> str:
    """Every claim that is more than exploratory, linked, with its verdicts on all models and how it was registered."""
    of_claims = grouped(first_data_seeds(r for r in records if not r.get("exploratory")), by="claim")
    ordered = sorted(of_claims.values(), key=lambda members: TIERS.index(members[0]["claim"]["tier"]))
    lines = [
        f"- {links.claim(members[0])}: {verdict_counts(members)}{f' ({marks})' if marks else ''}"
        for members in ordered
        for marks in [standing_marks(members, lock)]
    ]
    return "\n".join(lines)


def _page(head: Sequence[str], sections: Sequence[_Section]) -> str:
    parts = list(head)
    for heading, members in groupby(sections, key=lambda one: one.heading):
        parts += [f"## {_HEADINGS[heading]}", *(one.text for one in members)]
    return "\n\n".join(part for part in parts if part) + "\n"
