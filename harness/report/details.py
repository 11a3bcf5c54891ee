"""One record in full: subject, numbers against every control, ranks, shares, caveats, cost, command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from harness.report.captions import shown_pictures
from harness.report.effects import effects_of
from harness.report.figure_files import FigureFiles
from harness.report.not_run import placeholder_text
from harness.report.reading import SYMBOLS, Entry, model_label, outcomes_of, to_float, verdict_of
from harness.report.reasons import component_reason, reason_of
from harness.report.shares import share_of
from harness.report.text import code, code_block, inline, interval, must_be, number, p_value, plain, sentence, table
from harness.report.wording import reach, sample_size

_LARGEST = "the largest of its conditions', since all must hold"
_INTERVAL = "95 % interval"
_OWN_DRAWS = (
    "The intervals of this table come from resamples of their own: those in the table of effects decide, and may "
    "differ from these in the last digits."
)
LEAST_PART = 0.05
"""Of the joint effect: what a member's own effect must reach to be called a part of it."""


def details(
    record: Entry,
    *,
    files: FigureFiles | None,
    file_names: Mapping[str, str],
    command_prefix: str = "",
    version: str = "",
) -> str:
    """Markdown of one record; without `files` its pictures are left out; `version` as `measured_as` says it."""
    tables: tuple[Callable[[Entry], str], ...] = (
        _preconditions,
        _components,
        _outcomes,
        _exact,
        _ranks,
        _shares,
        _further_tables,
    )
    parts = [_heading(record, version), _facts(record), *(make(record) for make in tables)]
    if files is not None and files.formats:
        parts += shown_pictures(record, files)
    parts += [_caveats(record), _origin(record, file_names), code_block(command_prefix + str(record["command"]))]
    return "\n\n".join(part for part in parts if part)


def _heading(record: Entry, version: str) -> str:
    verdict = verdict_of(record)
    expected = record.get("expectation")
    registered = ""
    if expected:
        why = f" ({inline(expected['reason'])})" if expected.get("reason") else ""
        registered = f" Expected when measured: {inline(expected['verdict'])}{why}."
    reason = sentence(reason_of(record))
    heading = f"#### {code(model_label(record))}: {SYMBOLS[verdict]} {verdict}"
    earlier = f" It was {version}; the version registered now is a later one." if version else ""
    text = f"**{verdict.capitalize()}.** {reason}{registered}{earlier}".strip()
    if verdict == "not run" and (record.get("not_run") or {}).get("remedy"):
        text += f" To run it: {code(record['not_run']['remedy'])}."
    return f"{heading}\n\n{text}"


def _facts(record: Entry) -> str:
    model, subject, options = record["model"], record.get("subject"), record.get("options") or {}
    shape = [
        f"{model[key]} {word}" for key, word in (("n_layers", "layers"), ("n_heads", "heads a layer")) if model.get(key)
    ]
    if model.get("n_kv_heads") and model["n_kv_heads"] != model.get("n_heads"):
        shape.append(f"{model['n_kv_heads']} key-value heads a layer, shared by neighbours")
    about = [
        *shape,
        inline(model.get("note") or ""),
        f"fingerprint {code(str(model.get('fingerprint') or 'unknown')[:16])}",
    ]
    lines = [f"- **Model:** {'; '.join(part for part in about if part)}"]
    if subject:
        named = code(" ".join(map(str, subject["components"])))
        origin = [f"class {inline(subject['class'])}", inline(subject.get("source") or "")]
        if subject.get("selected_by"):
            split = f" on the {inline(subject['split'])} split" if subject.get("split") else ""
            origin.append(f"selected by {inline(subject['selected_by'])}{split}")
        origin.append(_stability(subject))
        lines.append(f"- **Subject:** {named}: {'; '.join(part for part in origin if part)}")
    if record.get("judgement"):
        seeds = record["seeds"]
        drawn = f"data seed {inline(seeds.get('data_seed', 0))}, {inline(seeds.get('split', 'confirmation'))} split"
        settings = ", ".join(inline(options[key]) for key in ("profile", "dtype", "device") if options.get(key))
        size = inline(sample_size(record))
        lines.append("- **Sample:** " + "; ".join(part for part in (size, drawn, settings) if part))
        lines.append(f"- **Speaks about:** {reach(record)}")
    examples = (record.get("prompts") or {}).get("examples") or ()
    lines += [f"- **Example prompt:** {code(str(examples[0])[:160])}"] if examples else []
    return "\n".join(lines)


def _stability(subject: Entry) -> str:
    """In how many half-samples of the discovery prompts each head is selected; empty where nobody counted."""
    halves = subject.get("half_samples")
    if not halves:
        return ""
    counts = [f"{round(share * halves)} of {halves}" for share in subject["selection_frequency"]]
    if len(set(counts)) == 1:
        return f"{'each ' if len(counts) > 1 else ''}selected in {counts[0]} half-samples"
    named = (f"{inline(head)} in {count}" for head, count in zip(subject["components"], counts, strict=True))
    return f"selected: {', '.join(named)} half-samples"


def _preconditions(record: Entry) -> str:
    rows = [
        [inline(one["name"]), number(one["value"]), number(one["at_least"]), "yes" if one["holds"] else "**no**"]
        for one in record.get("preconditions", ())
    ]
    return _titled("Preconditions", ["precondition", "value", "at least", "holds"], rows) if rows else ""


def _components(record: Entry) -> str:
    components = (record.get("judgement") or {}).get("components") or ()
    rows = [
        [
            inline(one["component"]),
            f"{SYMBOLS.get(one['verdict'], '')} {inline(one['verdict'])}",
            p_value(one.get("p")),
            p_value(one.get("p_adjusted")),
            inline(component_reason(record, one)),
        ]
        for one in components
    ]
    columns = ["component", "verdict", "p", "p adjusted (Holm)", "reason"]
    said = f"p: {_LARGEST}; adjusted over the {len(rows)} components."
    return f"{_titled('Components, judged one by one', columns, rows)}\n\n{said}" if len(rows) > 1 else ""


def _outcomes(record: Entry) -> str:
    rows = []
    outcomes = outcomes_of(record)
    effects = effects_of(record) if outcomes else []
    shares = [share_of(effect, record) for effect in effects]
    whole = next((f"share of the {inline(share.whole)}" for share in shares if share), "")
    for one, effect, share in zip(outcomes, effects, shares, strict=True):
        kind = f"{plain(one['kind'])}, in {plain(effect.unit)}" if effect.foreign else one["kind"]
        rows.append(
            [
                inline(one["component"]),
                f"{inline(one['control'])} ({inline(kind)})",
                number(effect.estimate),
                interval(effect.low, effect.high) if effect.sampled else "-",
                *([share.text if share else "-"] if whole else []),
                must_be(effect),
                p_value(effect.p),
                p_value(one.get("p_zero")),
                number(one.get("hedges_g")),
                "yes" if effect.holds else "**no**",
            ]
        )
    unit = inline(record["claim"]["metric"]["unit"])
    columns = ["component", "against", f"effect ({unit})", "95 % interval", *([whole] if whole else []),
               "must be", "p", "p against 0", "Hedges g", "holds"]  # fmt: skip
    return f"{_titled('Effect against every control', columns, rows)}{_p_of_one(record)}" if rows else ""


def _p_of_one(record: Entry) -> str:
    """The p of the one component, under its conditions; several have it in a table of their own."""
    judged: Sequence[Entry] = (record.get("judgement") or {}).get("components") or ()
    if len(judged) != 1 or judged[0].get("p") is None:
        return ""
    adjusted = p_value(judged[0].get("p_adjusted"))
    p = f"{p_value(judged[0]['p'])}, {_LARGEST}"
    return f"\n\np of {inline(judged[0]['component'])}: {p}; adjusted (Holm, one component): {adjusted}."


def _exact(record: Entry) -> str:
    exact = record.get("exact")
    if not exact:
        return ""
    known = {
        "value": "value",
        "rank": "rank",
        "of": "of",
        "percentile95": "95th percentile of the population",
        "distance": "distance to it",
        "runner_up": "runner-up",
    }
    rows = [[word, inline(number(exact[key]))] for key, word in known.items() if exact.get(key) is not None]
    if not outcomes_of(record):
        shares = [share for effect in effects_of(record) if (share := share_of(effect, record)) is not None]
        rows += [[f"distance as a share of the {inline(share.whole)}", share.text] for share in shares]
    return _titled("The number and its place in the population", ["", inline(record["claim"]["metric"]["unit"])], rows)


def _ranks(record: Entry) -> str:
    rows = [
        [
            inline(one["component"]),
            f"{inline(one['rank'])} of {inline(one['of'])}",
            p_value(one.get("p")),
            number(one.get("population_mean")),
            number(one.get("percentile95")) + _named(one.get("percentile95_member")),
        ]
        for one in record.get("ranks") or ()
    ]
    columns = ["component", "rank", "r / N", "population mean", "95th percentile (member)"]
    return (
        _titled("Rank among the other components (descriptive: subjects were selected)", columns, rows) if rows else ""
    )


def _named(member: object) -> str:
    return f" ({inline(member)})" if member else ""


def _shares(record: Entry) -> str:
    shares = record.get("shares") or ()
    if not shares:
        return ""
    treated = (record.get("measured") or {}).get("treated") or {}
    judged_singly = all(one["component"] in (treated.get("components") or ()) for one in shares)
    joint = None if judged_singly else _joint(treated)
    rows = [
        [inline(one["component"]), number(one["share"]), interval(one["low"], one["high"]), _part(one, joint)]
        for one in shares
    ]
    of = "" if joint is None else f" of {number(joint)}"
    title = "Effect head by head" if judged_singly else f"Head by head, beside the joint effect{of}"
    return _titled(title, ["component", "effect", "95 % interval", ""], rows)


def _joint(treated: Entry) -> float | None:
    """The mean of the one row that stands for all members together; None where there is no such row."""
    rows: Sequence[Sequence[object]] = treated.get("values") or ()
    if len(rows) != 1 or not rows[0]:
        return None
    return fmean(to_float(value) for value in rows[0])


def _part(one: Entry, joint: float | None) -> str:
    """What a member does: an effect is no part of the joint one because its interval leaves 0 out."""
    if one["passenger"]:
        return "**passenger**: the interval includes 0"
    share = to_float(one["share"])
    if joint and abs(share) < LEAST_PART * abs(joint):
        return f"takes no part: under {100 * LEAST_PART:g} % of the joint effect"
    if joint and share * joint < 0:
        return "works against the joint effect"
    return "takes part"


def _further_tables(record: Entry) -> str:
    made = []
    for one in record.get("tables") or ():
        rows = [[_cell(value) for value in row] for row in one["rows"]]
        made.append(_titled(inline(one["name"]), [inline(name) for name in one["columns"]], rows))
        made += [_OWN_DRAWS] if _INTERVAL in one["columns"] and _resampled(record) else []
    return "\n\n".join(made)


def _resampled(record: Entry) -> bool:
    return any(str(one.get("method", "")).startswith("bootstrap") for one in outcomes_of(record))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if value is None or isinstance(value, int | float) else inline(value)


def _caveats(record: Entry) -> str:
    notes = [f"- {inline(note)}" for note in record.get("notes") or ()]
    return "**Caveats**\n\n" + "\n".join(notes) if notes else ""


def _origin(record: Entry, file_names: Mapping[str, str]) -> str:
    cost = record.get("cost") or {}
    spent = [
        f"{number(to_float(cost['seconds']))} s" if cost.get("seconds") is not None else "",
        f"{int(cost['tokens']):,} token-forwards" if cost.get("tokens") else "",
        f"peak memory of the process so far {int(to_float(cost['peak_mib'])):,} MiB" if cost.get("peak_mib") else "",
    ]
    known = ", ".join(part for part in spent if part)
    name = file_names.get(str(record.get("content_hash")))
    parts = [f"**Cost:** {known}." if known else "", f"**Record:** {code(name)}." if name else ""]
    parts.append(f"Content hash {code(str(record['content_hash'])[:16])}." if record.get("content_hash") else "")
    again = (
        "This command measures exactly this record again:"
        if verdict_of(record) != "not run"
        else "This command measures it:"
    )
    return " ".join(part for part in [*parts, placeholder_text(str(record["command"])), again] if part)


def _titled(title: str, columns: list[str], rows: list[list[str]]) -> str:
    return f"**{title}**\n\n{table(columns, rows=rows)}"
