"""The section of one claim: what is claimed, what would have refuted it, and what every model says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.report import wording
from harness.report.details import details
from harness.report.effects import Effect, deciding_effect, effects_of
from harness.report.families import against_text, family_effect, family_label, verdict_counts
from harness.report.figure_files import FigureFiles
from harness.report.forests import claim_forest_job, forest_caption
from harness.report.links import anchor
from harness.report.reading import (
    Entry,
    first_data_seeds,
    grouped,
    model_label,
    outcomes_of,
    training_seed,
    verdict_of,
)
from harness.report.registration import claim_amendments, claim_calibration, claim_registration, measured_as
from harness.report.seeds import combine_trained
from harness.report.shares import share_text
from harness.report.text import code, effect_text, inline, must_be, number, p_value, plural, sentence, table

Combine = Callable[[Sequence[Entry]], Entry | None]
"""Records of the trained seeds of one model, to a table `{"name", "columns", "rows"}` that combines them, or None."""


@dataclass(frozen=True)
class Settings:
    """What all sections share.

    Attributes:
        files: where figures go.
        papers: bibliography by key.
        file_names: file name of each record, by content hash.
        combine: see `Combine`; None leaves the seeds uncombined.
        command_prefix: stands before every command.
        lock: what is registered (`harness.looks.standing`); None where the project has no lock.
    """

    files: FigureFiles
    papers: Mapping[str, Entry] = field(default_factory=dict)
    file_names: Mapping[str, str] = field(default_factory=dict)
    combine: Combine | None = combine_trained
    command_prefix: str = ""
    lock: Entry | None = None

    def with_files(self, files: FigureFiles) -> Settings:
        """The same settings for a page whose figures have other addresses."""
        return replace(self, files=files)


def section(records: Sequence[Entry], *, settings: Settings) -> str:
    """Markdown of one claim; `records` are all of it, on every model and seed."""
    newest = max(records, key=lambda record: (int(record["claim"]["version"]), bool(outcomes_of(record))))
    claim = newest["claim"]
    families = grouped(records, by="family")
    place = f"{'exploratory-' if newest.get('exploratory') else ''}{anchor(claim['id'])}"
    parts = [
        f'<a id="{place}"></a>\n\n### {inline(claim["id"])}',
        f"> {wording.statement(claim)}",
        _declaration(newest, records, settings=settings),
        _amendments(records),
        _models(families),
        _forest(records, files=settings.files),
        *[_family(members, settings=settings) for members in families.values()],
    ]
    return "\n\n".join(part for part in parts if part)


def _declaration(record: Entry, records: Sequence[Entry], *, settings: Settings) -> str:
    claim = record["claim"]
    controls = "; ".join(f"“{inline(control['name'])}” ({inline(control['kind'])})" for control in claim["controls"])
    margins = "; ".join(
        f"{wording.named_margins(some)}: {inline(some[0]['reason'])}"
        for some in wording.alike(claim.get("margins", ()), by=("reason",))
    )
    units = claim["units"]
    registered = ""
    if units is not None:
        registered = (
            f"{units['default']} by default, {units['quick']} in the quick profile. {sentence(units['reason'])}"
        )
    version = int(claim["version"])
    amended = ""
    if version > 1:
        amended = f"version {version}: declared again after results of earlier versions had been seen. "
    amended += claim_amendments(str(claim["id"]), settings.lock)
    declaration = code(str(claim["declaration_hash"])[:16])
    lines = [
        ("Paper", wording.paper(claim, settings.papers)),
        ("Tier", f"{inline(claim['tier'])}, version {claim['version']}, declaration {declaration}"),
        ("Registered", claim_registration(records, settings.lock)),
        ("Bounds in calibration", claim_calibration(records, settings.lock)),
        ("Amended", amended.strip()),
        ("What was done", wording.method(record)),
        ("Controls", controls),
        ("Margins", margins),
        ("Smallest effect of interest", f"{wording.threshold(claim)}. {sentence(claim['sesoi_reason'])}"),
        ("Registered sample", registered),
        ("What would have refuted it", wording.refuting(claim)),
        ("Nearest rival", wording.rival(claim)),
        ("Test", code(claim["source"]) if claim.get("source") else ""),
    ]
    return "\n".join(f"- **{name}:** {text}" for name, text in lines if text)


def _amendments(records: Sequence[Entry]) -> str:
    versions = sorted({int(record["claim"]["version"]) for record in records})
    if len(versions) < 2:
        return ""
    listed = ", ".join(map(str, versions))
    return f"**Amended:** records of versions {listed} stand below; the declaration shown is version {versions[-1]}'s."


def _models(families: Mapping[str, Sequence[Entry]]) -> str:
    rows = []
    for members in map(first_data_seeds, families.values()):
        record, effect = family_effect(members) or (members[0], None)
        sizes = sorted({wording.sample_size(record) for record in members if verdict_of(record) != "not run"})
        shown = _effect_cells(effect, record)
        against = inline(against_text(members))
        rows.append([code(family_label(members)), verdict_counts(members), *shown, against, inline("; ".join(sizes))])
    columns = ["model", "verdict", "effect nearest to failing", "must be", "p", "which", "n"]
    return table(columns, rows=rows)


def _effect_cells(effect: Effect | None, record: Entry) -> list[str]:
    """Effect with its share of the behaviour, threshold and p of one condition, as cells."""
    if effect is None:
        return ["", "", ""]
    share = share_text(effect, record)
    text = f"{effect_text(effect)} ({share})" if share else effect_text(effect)
    return [inline(text), must_be(effect), p_value(effect.p)]


def _forest(records: Sequence[Entry], *, files: FigureFiles) -> str:
    if not files.formats or not any(effects_of(record) for record in records):
        return ""
    claim_id = records[0]["claim"]["id"]
    sizes = sorted({wording.sample_size(record) for record in records if effects_of(record)})
    sampled = "n = " if records[0]["claim"]["units"] is not None else ""
    caption = f"{claim_id}: {forest_caption(records)}; {sampled}{' or '.join(sizes)}"
    return files.show(f"{claim_id}--forest", draw=claim_forest_job(records), caption=caption)


def _family(members: Sequence[Entry], *, settings: Settings) -> str:
    parts = []
    first = first_data_seeds(members)
    if len(members) > 1:
        parts += [
            f"#### {code(family_label(members))}: {verdict_counts(first)}",
            _seeds(members),
            _combined(first, settings),
        ]
    opened = _opened(members)
    for place, record in enumerate(members):
        files = settings.files if place in opened else None
        text = details(
            record,
            files=files,
            file_names=settings.file_names,
            command_prefix=settings.command_prefix,
            version=measured_as([record], settings.lock),
        )
        parts.append(text if place in opened else _folded(record, text))
    return "\n\n".join(part for part in parts if part)


def _opened(members: Sequence[Entry]) -> set[int]:
    """Which of a family's records are shown in full with their pictures: the first, and the first of the worst verdict.

    A seed on which a finding does not hold is to be seen as readily as one on which it does.
    """
    worst = ("refuted", "inconclusive", "too small", "invalid")
    ranked = {place: worst.index(verdict_of(each)) for place, each in enumerate(members) if verdict_of(each) in worst}
    if not ranked or verdict_of(members[min(ranked, key=lambda place: ranked[place])]) == verdict_of(members[0]):
        return {0}
    return {0, min(ranked, key=lambda place: ranked[place])}


def _seeds(members: Sequence[Entry]) -> str:
    rows = []
    for record in members:
        components = " ".join(map(str, (record.get("subject") or {}).get("components", ())))
        effect = deciding_effect(record)
        rows.append(
            [
                code(model_label(record)),
                verdict_counts([record]),
                inline(components),
                *_effect_cells(effect, record),
                p_value(None if effect is None else effect.p_adjusted),
                inline(against_text([record])),
            ]
        )
    columns = ["checkpoint", "verdict", "subject", "effect nearest to failing", "must be", "p", "Holm p", "which"]
    said = "Holm p: the largest p of all conditions of that component, adjusted over the record's components."
    return f"{table(columns, rows=rows)}\n\n{said}"


def _combined(members: Sequence[Entry], settings: Settings) -> str:
    # Those without effects too: a seed that is `invalid` must not be passed over in "k of k".
    trained = [record for record in members if training_seed(record) is not None]
    if settings.combine is None or len(trained) < 2 or not any(effects_of(record) for record in trained):
        return ""
    made = settings.combine(trained)
    if made is None:
        return ""
    rows = [
        [number(value) if isinstance(value, int | float) else inline(value) for value in row] for row in made["rows"]
    ]
    title = inline(made.get("name", f"Combined over {plural(len(trained), 'training seed')}"))
    if not rows:
        return f"**{title}**"
    return f"**{title}**\n\n{table([inline(name) for name in made['columns']], rows=rows)}"


def _folded(record: Entry, text: str) -> str:
    without_heading = text.split("\n\n", 1)[1]
    title = f"{code(model_label(record))}: {verdict_counts([record])}, in full"
    return f"<details>\n<summary>{title}</summary>\n\n{without_heading}\n\n</details>"
