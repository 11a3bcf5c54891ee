"""The first page: what holds, on which models, how sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.calibrated_verdicts import bounds_measured
from harness.report.effects import effects_of
from harness.report.families import against_text, family_effect, family_label, family_text, verdict_counts
from harness.report.figure_files import FigureFiles
from harness.report.forests import summary_forest_job
from harness.report.links import Links, anchor
from harness.report.provenance import when_measured
from harness.report.reading import (
    SYMBOLS,
    TIERS,
    VERDICTS,
    Entry,
    as_expected,
    first_data_seeds,
    grouped,
    model_label,
    verdict_of,
)
from harness.report.reasons import reason_of
from harness.report.registration import (
    MISSING,
    NOT_CARRIED,
    measured_as,
    not_carried,
    registration_summary,
    signs,
    signs_read,
)
from harness.report.shares import share_of, share_text
from harness.report.text import code, inline, listing, number, plural, sentence, table

__all__ = ["IN_THE_PAGE", "anchor", "summary"]

IN_THE_PAGE = Links()
"""Every claim stands in the page itself."""
_MOST_NAMED = 8
_NOT_FINISHED = "This run was not finished (interrupted or killed)"
"""More claims of one verdict are counted, not named, in a line of the first page."""
_TIER_WORDS = {
    "inference": "fresh prompts, controls, intervals: evidence for a mechanism",
    "reliability": "the metric that found the subject, measured again: still there, no new evidence",
    "replication": "the paper's own prompts and number: a test of the engine",
}


def summary(
    records: Sequence[Entry],
    *,
    run: Mapping[str, Any],
    files: FigureFiles,
    lock: Entry | None = None,
    links: Links = IN_THE_PAGE,
) -> str:
    """Markdown of the first page, from records that are not exploratory; of several data seeds the first one counts."""
    decided = first_data_seeds(records)
    parts = [
        "# Evidence",
        _occasion(decided, run=run),
        _seeds_counted(decided),
        _mechanisms(decided, links),
        _counts(decided),
        _expected_false(decided, lock),
        registration_summary(decided, lock),
        _how_to_read(decided, lock),
        _what_holds(decided, links),
        _surprises(decided, links),
        _other_seeds(records),
        _forest(decided, files=files, lock=lock),
        *[
            _mechanism(name, members, links=links, lock=lock)
            for name, members in grouped(decided, by="mechanism").items()
        ],
    ]
    return "\n\n".join(part for part in parts if part)


def _occasion(records: Sequence[Entry], *, run: Mapping[str, Any]) -> str:
    claims = len(grouped(records, by="claim"))
    models = len({record["model"]["id"] for record in records})
    options = run.get("options") or {}
    profile = f" Profile {code(options['profile'])}." if options.get("profile") else ""
    commit = code(str(run["commit"])[:12]) if run.get("commit") else "no commit"
    if len(several := run.get("measured_at") or run.get("commits") or ()) > 1:
        commit += f", the last of {len(several)} commits at which these records were measured"
    dirty = ", with uncommitted changes" if run.get("dirty") else ""
    text = (
        f"{plural(claims, 'claim')} on {plural(models, 'checkpoint')}, {plural(len(records), 'record')}. "
        f"Measured {when_measured(run)} at {commit}{dirty}.{profile}"
    )
    if run.get("interrupted"):
        cells = int(options.get("unfinished cells") or 0)
        why = f"{plural(cells, 'cell')} of this matrix still lack records" if cells else _NOT_FINISHED
        text = f"**{why}; what follows is what there was.** {text}"
    return text


def _seeds_counted(records: Sequence[Entry]) -> str:
    """Which data seeds stand for the verdicts, where it is not the default one for all."""
    found = {str(record["model"]["id"]): set[int]() for record in records}
    for record in records:
        found[str(record["model"]["id"])].add(int(record["seeds"].get("data_seed", 0)))
    counted = sorted(set().union(*found.values()))
    if counted in ([], [0]):
        return ""
    seeds = f"data seed {counted[0]}" if len(counted) == 1 else f"data seeds {listing([str(seed) for seed in counted])}"
    detail = ""
    if len(counted) > 1:
        of_model = [f"{code(model)}: {', '.join(map(str, sorted(seeds_)))}" for model, seeds_ in sorted(found.items())]
        detail = f" ({'; '.join(of_model)})"
    return (
        f"**Counted here: {seeds}**{detail}. Of each claim on each model the lowest data seed that was measured "
        "counts; seed 0 is the default."
    )


def _what_holds(records: Sequence[Entry], links: Links) -> str:
    inference = [record for record in records if record["claim"]["tier"] == "inference"]
    lines = []
    for members in grouped(inference, by="family").values():
        by_verdict = {verdict: [r for r in members if verdict_of(r) == verdict] for verdict in VERDICTS}
        held = len(by_verdict["supported"])
        words = [f"{held} of {len(members)} supported"]
        for verdict in VERDICTS[1:]:
            named = list(dict.fromkeys(map(links.claim, sorted(by_verdict[verdict], key=_claim_id))))
            if named:
                rest = [f"{len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
                words.append(f"{len(by_verdict[verdict])} {verdict} ({', '.join(named[:_MOST_NAMED] + rest)})")
        lines.append(f"- {code(family_label(members))}: {'; '.join(words)}")
    return (
        "**What holds** (tier inference):\n\n" + "\n".join(lines)
        if lines
        else "**No inference claim was part of this run.**"
    )


def _claim_id(record: Entry) -> str:
    return str(record["claim"]["id"])


def _counts(records: Sequence[Entry]) -> str:
    rows = []
    for verdict in VERDICTS:
        of_tier = [sum(verdict_of(r) == verdict and r["claim"]["tier"] == tier for r in records) for tier in TIERS]
        rows.append([f"{SYMBOLS[verdict]} {verdict}", *(str(count) for count in of_tier)])
    return table(["verdict", *TIERS], rows=rows, numeric=(1, 2, 3))


def _expected_false(records: Sequence[Entry], lock: Entry | None) -> str:
    sampled = [r for r in records if r["claim"]["tier"] == "inference" and r["claim"]["units"] is not None]
    ran = [record for record in sampled if verdict_of(record) != "not run"]
    m = len(ran)
    return (
        f"**How sure.** M = {m} inference {'verdict rests' if m == 1 else 'verdicts rest'} on samples. Each was "
        "decided at a one-sided error of 0.025; "
        f"were every true effect exactly at its threshold, 0.025 M = {number(0.025 * m)} of them would be expected to "
        "be supported falsely. Claims that sample nothing (weights, or all inputs there are) are not counted in M."
        f"{bounds_measured(ran, lock)}"
    )


def _mechanisms(records: Sequence[Entry], links: Links) -> str:
    """A row per mechanism, a column per model family, the verdicts of the inference claims counted by their signs."""
    inference = [record for record in records if record["claim"]["tier"] == "inference"]
    if not inference:
        return ""
    families = grouped(inference, by="family")
    rows = []
    for mechanism, members in grouped(inference, by="mechanism").items():
        cells = grouped(members, by="family")
        rows.append([links.mechanism(mechanism), *(_signs(cells.get(family, ())) for family in families)])
    columns = ["mechanism", *(code(family_label(members)) for members in families.values())]
    title = "**Mechanisms**: verdicts of their inference claims, by sign; a model trained several times counts as often"
    return f"{title}\n\n{table(columns, rows=rows)}"


def _signs(members: Sequence[Entry]) -> str:
    found = [verdict_of(record) for record in members]
    return ", ".join(f"{SYMBOLS[verdict]} {found.count(verdict)}" for verdict in VERDICTS if verdict in found)


def _mechanism(name: str, records: Sequence[Entry], *, links: Links, lock: Entry | None) -> str:
    """The claims of one mechanism by models, every cell with its effect; a table for each tier."""
    counted = f"{plural(len(grouped(records, by='claim')), 'claim')}, {plural(len(records), 'record')}"
    named = {str(record["model"]["id"]): record["model"]["note"] for record in records if record["model"].get("note")}
    notes = "<br>".join(f"{code(model)}: {inline(note)}" for model, note in sorted(named.items()))
    full = f"In full: {links.mechanism(name)}, {counted}." if name in links.mechanisms else f"{counted}."
    parts = [f"### {inline(name)}", full, *(_matrix(records, tier=tier, links=links, lock=lock) for tier in TIERS)]
    return "\n\n".join(part for part in [*parts, notes] if part)


def _matrix(records: Sequence[Entry], *, tier: str, links: Links, lock: Entry | None) -> str:
    of_tier = [record for record in records if record["claim"]["tier"] == tier]
    if not of_tier:
        return ""
    families = grouped(of_tier, by="family")
    columns = ["claim (unit of the effect; SESOI)", *(code(family_label(members)) for members in families.values())]
    rows = []
    for of_claim in grouped(of_tier, by="claim").values():
        cells = grouped(of_claim, by="family")
        claim = of_claim[0]["claim"]
        name = f"{links.claim(of_claim[0])} ({inline(claim['metric']['unit'])}; {number(claim['sesoi'])})"
        rows.append([name, *(_cell(cells.get(family, ()), lock=lock) for family in families)])
    return f"#### {tier.capitalize()}: {_TIER_WORDS[tier]}\n\n{table(columns, rows=rows)}"


def _cell(members: Sequence[Entry], *, lock: Entry | None) -> str:
    if not members:
        return ""
    mark = "" if all(as_expected(record) for record in members) else "**not as expected:** "
    found = family_effect(members)
    share = "" if found is None else share_text(found[1], found[0])
    counts = f"{mark}{verdict_counts(members)} {signs(members, lock)}".rstrip()
    margin = f"margin “{found[1].control}”: " if found is not None and found[1].margin else ""
    against = "" if margin else against_text(members)
    texts = (f"{margin}{family_text(members)}", share, against, measured_as(members, lock))
    return "<br>".join(part for part in (counts, *map(inline, texts)) if part)


def _other_seeds(records: Sequence[Entry]) -> str:
    lines = []
    for claim_id, of_claim in grouped(records, by="claim").items():
        for model in sorted({str(record["model"]["id"]) for record in of_claim}):
            verdicts = [verdict_of(record) for record in of_claim if record["model"]["id"] == model]
            if len(verdicts) > 1:
                held = verdicts.count("supported")
                lines.append(f"- {inline(claim_id)} on {code(model)}: {held} of {len(verdicts)} supported")
    title = "**Drawn again with other data seeds** (the lowest one counts above):"
    return "\n\n".join([title, "\n".join(lines)]) if lines else ""


def _surprises(records: Sequence[Entry], links: Links) -> str:
    lines = [
        f"- {links.claim(r)} on {code(model_label(r))}: {verdict_of(r)}, "
        f"expected {inline(r['expectation']['verdict'])}. {sentence(reason_of(r))}"
        for r in records
        if not as_expected(r)
    ]
    return "**Verdicts that were not expected when they were measured:**\n\n" + "\n".join(lines) if lines else ""


def _forest(records: Sequence[Entry], *, files: FigureFiles, lock: Entry | None) -> str:
    inference = [record for record in records if record["claim"]["tier"] == "inference"]
    if not inference or not files.formats:
        return ""
    sizes = sorted({len((r.get("units") or {}).get("ids") or ()) for r in inference} - {0})
    units = f"n = {listing([str(size) for size in sizes], last='or')} units a record; " if sizes else ""
    caption = (
        "every inference claim on every model that ran: how far the effect nearest to failing, of all conditions on "
        "all training seeds, lies beyond its own threshold "
        "(the SESOI against most controls, 0 against the 95th-percentile component), in multiples of the SESOI, "
        f"a margin in its own size; 0 is the threshold of every row; {units}ticks: the record's other conditions, each "
        "from its own threshold, or the other training seeds; diamonds: weights alone, nothing sampled; what did not "
        "run stands in the table; all effects stand in the claims' own forests; "
        f"{', '.join(f'{SYMBOLS[verdict]} {verdict}' for verdict in VERDICTS)}"
    )
    caption += f"; {NOT_CARRIED} {MISSING}" if any(not_carried(record, lock) for record in inference) else ""
    return files.show("summary-forest", draw=summary_forest_job(inference, lock=lock), caption=caption)


def _how_to_read(records: Sequence[Entry], lock: Entry | None) -> str:
    signs = ", ".join(f"{SYMBOLS[verdict]} {verdict}" for verdict in VERDICTS)
    return (
        f"**How to read this.** {signs}. An effect is the mean of subject minus control in the unit of the metric, "
        "with its two-sided 95 % interval. Cells show the effect nearest to failing, with the threshold, the p and the "
        "control that belong to it: of all conditions that the verdict needs, on all training seeds, the one whose "
        "interval lies nearest to its own threshold, or farthest on the wrong side of it, in half-widths of the "
        f"interval. {_shares_read(records)}"
        "SESOI is the smallest effect of interest, part of the declaration; Registration says whether "
        f"that was fixed before anybody looked. {signs_read(records, lock)}"
        "A claim is supported only if it beats every control by its threshold "
        "after correction for several components (by the SESOI, but by 0 the 95th-percentile member of a "
        "population) and every margin holds. “Inconclusive” is not “absent”: the interval could not decide, or, "
        "where it says “assay not shown to work”, a refutation is withheld: the claim is supported on no model on "
        "record, and nobody knows whether its test finds the effect where there is one."
    )


def _shares_read(records: Sequence[Entry]) -> str:
    """What a share is, where any effect has one."""
    if not any(share_of(effect, record) for record in records for effect in effects_of(record)):
        return ""
    return (
        "“10 % [7, 13] of the …” is the same effect and interval divided by the size of the behaviour that it is a "
        "part of: 100 % is all of it, and below 0 the effect goes against the claim. The size is what another claim "
        "measured on the same model, or follows from the task; it is taken as a fixed number, its own error is not in "
        "the interval. Margins have no share, nor has an effect whose behaviour was not measured or is smaller than "
        "twice the SESOI. "
    )
