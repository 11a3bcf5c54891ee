"""The page as a file: every claim with its records, figures and filters, in one piece that needs no network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import StoreError
from harness.report.holding import where_findings_hold
from harness.report.html.drawing import drawn_in
from harness.report.html.entries import ORDERS, ClaimEntry, claim_entries
from harness.report.html.pictures import Pictures, Shown
from harness.report.html.rendering import parse, render, render_line
from harness.report.not_run import not_run_page
from harness.report.provenance import provenance_page
from harness.report.reading import SYMBOLS, Entry, as_expected, grouped, verdict_of
from harness.report.registration import registration_page
from harness.report.sanity import sanity_page
from harness.report.section import Combine, Settings
from harness.report.seeds import combine_trained
from harness.report.shares import with_sizes
from harness.report.summary import summary
from harness.report.text import plain

if TYPE_CHECKING:
    from markdown_it.token import Token

NAME = "EVIDENCE.html"

_HEADINGS = {
    "inference": "Inference: evidence on fresh prompts",
    "reliability": "Reliability: what selected the subject, measured again",
    "replication": "Replication: the papers' own numbers",
    "exploratory": "Exploratory: other heads, other sample sizes, second looks; shown, never a verdict",
}


@dataclass(frozen=True)
class Group:
    """Claims under one heading."""

    name: str
    title: str
    claims: Sequence[ClaimEntry]


@dataclass(frozen=True)
class Page:
    """A heading, as Markdown, and the text under it."""

    title: str
    tokens: Sequence[Token]


def write_html(
    records: Sequence[Entry],
    *,
    out: Path,
    run: Mapping[str, Any],
    papers: Mapping[str, Entry] | None = None,
    file_names: Mapping[str, str] | None = None,
    combine: Combine | None = combine_trained,
    command_prefix: str = "",
    lock: Entry | None = None,
    workers: int | None = None,
) -> Path:
    """The file `out`, or `EVIDENCE.html` in a folder; the figures that an earlier page there shows are not drawn again.

    Args:
        records: plain JSON records, in any order.
        out: the file, or the folder that it goes into: one that is there, or a name without a suffix.
        run: `run.json`, as for `write_report`.
        papers: title, authors, year and url (or arxiv, doi) by key; missing ones are shown by their key.
        file_names: file name of each record, by its content hash.
        combine: combines the trained seeds of one claim on one model family into a table.
        command_prefix: stands before each record's command.
        lock: what is registered, as for `write_report`.
        workers: processes that draw figures; None for one per core.

    Raises:
        StoreError: no record, or a file that cannot be written.
    """
    if not records:
        raise StoreError("a report needs at least one record; run `pytest claims/` first")
    records = with_sizes(records)
    path = out / NAME if out.is_dir() or not out.suffix else out
    pictures = Pictures()
    settings = Settings(pictures, papers or {}, file_names or {}, combine, command_prefix, lock)
    first = _first_page(records, run=run, settings=settings)
    groups = _groups(records, settings=settings)
    try:
        earlier = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        shown = pictures.drawn(known=drawn_in(earlier), workers=workers)
        text = _page(records, first=first, groups=groups, shown=shown, run=run, settings=settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        unfinished.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: the page cannot be written ({error.strerror or error})") from error
    return path


def _first_page(records: Sequence[Entry], *, run: Mapping[str, Any], settings: Settings) -> str:
    """Markdown of the first page without its heading, which is the page's."""
    confirmatory = [record for record in records if not record.get("exploratory")]
    text = summary(confirmatory, run=run, files=settings.files, lock=settings.lock).partition("\n\n")[2]
    return "\n\n".join(part for part in (text, where_findings_hold(confirmatory, lock=settings.lock)) if part)


def _groups(records: Sequence[Entry], *, settings: Settings) -> list[Group]:
    found = []
    for name, title in _HEADINGS.items():
        exploratory = name == "exploratory"
        members = [
            record
            for record in records
            if bool(record.get("exploratory")) == exploratory and (exploratory or record["claim"]["tier"] == name)
        ]
        if members:
            prefix = "exploratory-" if exploratory else ""
            found.append(Group(name, title, claim_entries(members, settings=settings, prefix=prefix)))
    return found


def _page(
    records: Sequence[Entry],
    *,
    first: str,
    groups: Sequence[Group],
    shown: Mapping[str, Shown],
    run: Mapping[str, Any],
    settings: Settings,
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("harness.report.html"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["plain"] = plain
    environment.globals["html"] = partial(render, shown=shown)
    environment.globals["line"] = render_line
    style, script = (_package_text(name) for name in ("page.css", "page.js"))
    confirmatory = [record for record in records if not record.get("exploratory")]
    return environment.get_template("page.html.j2").render(
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        first=parse(first),
        groups=groups,
        claims=sum(len(group.claims) for group in groups),
        records=len(records),
        choices=_choices(records, papers=settings.papers),
        orders=ORDERS,
        started=str(run.get("started", "")),
        appendix=_appendix(confirmatory, run=run, settings=settings),
    )


def _choices(records: Sequence[Entry], *, papers: Mapping[str, Entry]) -> dict[str, Any]:
    """What the filters offer: only what is there."""
    families = {
        family: sorted({str(record["model"]["id"]) for record in members}, key=_by_number)
        for family, members in grouped(records, by="family").items()
    }
    verdicts = {verdict_of(record) for record in records}
    keys = sorted({str(record["claim"]["paper"]) for record in records})
    return {
        "families": families,
        "mechanisms": sorted({str(record["claim"]["mechanism"]) for record in records}),
        "verdicts": {verdict: sign for verdict, sign in SYMBOLS.items() if verdict in verdicts},
        "surprises": any(not as_expected(record) for record in records),
        "papers": {key: str((papers.get(key) or {}).get("title", key)) for key in keys},
    }


def _by_number(model: str) -> tuple[object, ...]:
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", model))


def _appendix(records: Sequence[Entry], *, run: Mapping[str, Any], settings: Settings) -> dict[str, Page]:
    """The pages after the claims by the names of their places: what EVIDENCE.md ends with."""
    texts = {
        "missing": not_run_page(records),
        "registration": registration_page(settings.lock),
        "provenance": provenance_page(run, records=records, file_names=settings.file_names),
        "sanity": sanity_page(run.get("sanity") or (), records=records),
    }
    made = {}
    for name, text in texts.items():
        heading, _, body = text.partition("\n\n")
        if text:
            made[name] = Page(heading.lstrip("# "), parse(body))
    return made


def _package_text(name: str) -> str:
    return (package_files("harness.report.html") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page's security policy knows its own style and script by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
