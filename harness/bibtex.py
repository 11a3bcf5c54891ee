"""BibTeX entries of papers and of evidence records: plain values in, text out. Which ones to cite is not answered here.

Text is escaped for LaTeX; letters beyond ASCII stay as they are, which BibTeX has accepted since it reads UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from harness.errors import DeclarationError
from harness.report.text import plain

Entry = Mapping[str, Any]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\textbraceleft{}",
    "}": r"\textbraceright{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    **{char: f"\\{char}" for char in "$&#%_"},
}
_NO_KEY = re.compile(r"[^A-Za-z0-9.:+/-]+")
_ARXIV = re.compile(r"arXiv:(\S+)")
_MEETING = re.compile(r"\b(Conference|Proceedings|Advances in|Meeting|Workshop|Symposium)\b")


@dataclass(frozen=True)
class BibEntry:
    """One entry: its type (`misc`), its key, and fields that are LaTeX already."""

    kind: str
    key: str
    fields: Mapping[str, str]

    def text(self) -> str:
        """The entry as it stands in a `.bib` file."""
        width = max(map(len, self.fields), default=0)
        lines = [f"  {name:<{width}} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


def escaped(text: object) -> str:
    """One line of text in which LaTeX sees no commands.

    Braces are spelled out: BibTeX counts them even after a backslash, and one too many would swallow what follows.
    """
    return "".join(_SPECIAL.get(char, char) for char in plain(text))


def key_of(*parts: object) -> str:
    """A citation key of these parts: letters, digits and `.:+/-`; whatever else they hold becomes a hyphen."""
    return ":".join(_NO_KEY.sub("-", plain(part)).strip("-") for part in parts)


def paper_entry(key: str, paper: Entry) -> BibEntry:
    """A paper of `papers.toml`: `inproceedings` or `article` by its venue, `misc` where that is arXiv alone.

    Raises:
        DeclarationError: the paper has no title, authors or year.
    """
    lacking = [name for name in ("title", "authors", "year") if not paper.get(name)]
    if lacking:
        raise DeclarationError(f"paper {key!r} has no {' and no '.join(lacking)}; add it to the bibliography")
    parts = [part.strip() for part in str(paper.get("venue", "")).split(";")]
    arxiv = next((found[1] for part in parts if (found := _ARXIV.fullmatch(part))), None)
    venue = "; ".join(part for part in parts if part and not _ARXIV.fullmatch(part))
    kind = "misc" if not venue else "inproceedings" if _MEETING.search(venue) else "article"
    fields = {
        "title": _kept(paper["title"]),
        "author": " and ".join(map(_author, paper["authors"])),
        "year": escaped(paper["year"]),
    }
    if venue:
        fields["booktitle" if kind == "inproceedings" else "journal"] = escaped(venue)
    if arxiv is not None:
        fields |= {"eprint": escaped(arxiv), "archivePrefix": "arXiv"}
    if paper.get("url"):
        fields["url"] = _url(paper["url"])
    return BibEntry(kind, key_of(key), fields)


def record_entry(record: Entry, *, version: str, commit: str, measured: str) -> BibEntry:
    """An evidence record: its claim, model, verdict, date and content hash, and what made it.

    Args:
        record: the record as plain values, with its content hash.
        version: the version of mechclaims; empty where it is not known.
        commit: the commit of the suite; empty where it is not known.
        measured: when it was measured, `2026-01-31...`; empty where it is not known.
    """
    claim, model, sha256 = record["claim"], record["model"], str(record["content_hash"])
    made_by = " ".join(part for part in ("mechclaims", version, f"(commit {commit[:12]})" if commit else "") if part)
    facts = [
        f"Verdict: {record['judgement']['verdict']}",
        *(["exploratory, which is no verdict"] if record["exploratory"] else []),
        f"claim version {claim['version']}",
        f"data seed {record['seeds']['data_seed']}",
        *([f"model fingerprint {model['fingerprint'][:12]}"] if model.get("fingerprint") else []),
        *([str(model["note"])] if model.get("note") else []),
        f"content hash sha256:{sha256}",
    ]
    fields = {
        "title": _kept(f"Evidence record of {claim['id']} on {model['id']}"),
        "author": _kept("mechclaims"),
        **({"year": escaped(measured[:4]), "date": escaped(measured[:10])} if measured else {}),
        "howpublished": escaped(made_by),
        "note": escaped("; ".join(facts)),
    }
    return BibEntry("misc", key_of("mechclaims", claim["id"], model["id"], sha256[:8]), fields)


def _kept(text: object) -> str:
    """Text in a second pair of braces: styles that write titles in lower case, or turn names, leave it as it is."""
    return f"{{{escaped(text)}}}"


def _author(name: object) -> str:
    """A name that `and` or a comma in it cannot turn into two."""
    text = escaped(name)
    return _kept(name) if re.search(r"\band\b|,", text, re.IGNORECASE) else text


def _url(address: object) -> str:
    """An address, which LaTeX takes as it stands; whatever would unbalance braces is percent-encoded."""
    return quote(plain(address), safe="/:?#[]@!$&'()*+,;=%~_.-")
