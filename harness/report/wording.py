"""Sentences made from a declaration: what was done, what would have refuted it, how far it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.report.reading import Entry, outcomes_of, to_float, training_seed
from harness.report.text import code, inline, listing, number, plain, plural, sentence

_METHODS = {
    "bca": "BCa bootstrap over clusters",
    "bootstrap-t": "bootstrap-t over clusters",
    "clopper-pearson": "Clopper-Pearson at the effective sample size",
    "gaffke": "Gaffke's bounds for values within known limits",
}

MOST_NAMED = 5
"""Margins of one kind that are all named; of more the first and the last are."""


def statement(claim: Entry) -> str:
    """The claim in the paper's own sentence."""
    return inline(claim["statement"])


def paper(claim: Entry, papers: Mapping[str, Entry]) -> str:
    """Authors, year, title and link of the paper; its key alone where it is not in the list."""
    entry = papers.get(str(claim["paper"]))
    if not entry:
        return code(claim["paper"])
    authors = entry.get("authors", "")
    named = _authors(authors) if isinstance(authors, list | tuple) else str(authors)
    title = inline(entry.get("title", claim["paper"]))
    link = _link(entry)
    shown = f"[{title}](<{link}>)" if link else title
    return ", ".join(part for part in (inline(named), inline(entry.get("year", "")), shown) if part)


def threshold(claim: Entry) -> str:
    """The smallest effect of interest with its direction: `at least 0.2 nats`."""
    direction = "at least" if claim["alternative"] == "greater" else "at most"
    sign = 1.0 if claim["alternative"] == "greater" else -1.0
    return f"{direction} {number(sign * to_float(claim['sesoi']))} {inline(claim['metric']['unit'])}"


def method(record: Entry) -> str:
    """What was done, in the declaration's words where it has any; then how often, and how its interval was made."""
    declared = record["claim"].get("method")
    return " ".join([sentence(declared), _sampled(record)] if declared else [_sampled(record)])


def _sampled(record: Entry) -> str:
    """What was measured, how often, and how its interval was made, in sentences that follow from the declaration."""
    claim, metric = record["claim"], record["claim"]["metric"]
    name, unit = inline(metric["name"]), inline(metric["unit"])
    if _on_papers_prompts(claim):
        return (
            f"The paper's own prompts, all of them: {name} ({unit}), beside the published numbers. Nothing is sampled, "
            "so there is no interval."
        )
    if claim["units"] is None:
        return (
            f"Nothing is sampled, everything is enumerated: one number, {name} ({unit}), ranked among the other "
            "components. Nothing is sampled, so there is no interval."
        )
    of = inline(claim["units"].get("of", "unit"))
    methods = sorted({_METHODS.get(str(one["method"]), str(one["method"])) for one in outcomes_of(record)})
    made = f" (two-sided 95 %, {inline(listing(methods))})" if methods else ""
    return (
        f"One value per {of}: {name}, in {unit}. The effect is the mean over {of}s of the subject's value minus the "
        f"control's value on the same {of}; its interval{made} is over clusters of {of}s, never over heads or tokens."
    )


def refuting(claim: Entry) -> str:
    """What would have refuted the claim: generated from the declaration, and fixed when that was."""
    unit, sesoi = inline(claim["metric"]["unit"]), number(claim["sesoi"])
    greater = claim["alternative"] == "greater"
    if _on_papers_prompts(claim):
        return " ".join(_tolerance_sentence(margin) for margin in claim["margins"])
    if claim["units"] is None:
        side, place = ("below", "the population's 95th") if greater else ("above", "the population's 5th")
        return (
            f"A number {side} {place} percentile. Beyond that percentile but by less than {sesoi} {unit}, or outside "
            "the first twentieth of the population, it would have been “too small”."
        )
    controls = [f"“{inline(control['name'])}”" for control in claim["controls"]]
    bound, side, edge = ("upper", "below", sesoi) if greater else ("lower", "above", f"-{sesoi}")
    sentences = [
        f"An effect against {listing(controls, last='or')} whose {bound} bound (one-sided error {_level(claim)}) "
        f"lies {side} "
        f"{edge} {unit}: one such control is enough.",
        f"Were every interval beyond 0 and one of them short of {edge} {unit}, the verdict would be “too small”.",
    ]
    populations = [f"“{inline(control['name'])}”" for control in claim["controls"] if control["kind"] == "component"]
    if populations:
        beaten = f"by {bound} bounds {side} 0 against the 95th-percentile member of {listing(populations)}"
        sentences.append(f"It would be refuted as well {beaten}.")
    bounds = ("unit", "at_least", "at_most")
    sentences += [_margin_sentence(some) for some in alike(claim.get("margins", ()), by=bounds)]
    return " ".join(sentences)


def rival(claim: Entry) -> str:
    """The nearest rival explanation and the control that would expose it."""
    exposed = str(claim["exposed_by"])
    return f"{sentence(claim['rival'])} It would be exposed by: {sentence(exposed)}"


def reach(record: Entry) -> str:
    """The population that one record speaks about; one checkpoint is never called "models"."""
    seed = training_seed(record)
    checkpoint = f"this one checkpoint (training seed {seed})" if seed is not None else "this one checkpoint"
    if _on_papers_prompts(record["claim"]):
        return f"These prompts, {checkpoint}, and this engine; no mechanism."
    if record["claim"]["units"] is None:
        return f"The weights of {checkpoint}."
    return f"Prompts of this generator, {checkpoint}, these settings; nothing wider."


def sample_size(record: Entry) -> str:
    """`64 sequences in 64 clusters`, from what was judged; plain text, not Markdown."""
    claim = record["claim"]
    if claim["units"] is None:
        return "nothing sampled"
    of = plain(claim["units"].get("of", "unit"))
    units = record.get("units") or {}
    ids, clusters = units.get("ids") or (), units.get("clusters") or ()
    count = len(ids) or (record.get("prompts") or {}).get("n") or (record.get("options") or {}).get("n_units") or 0
    resampled = len(set(clusters)) or (record.get("prompts") or {}).get("clusters") or 0
    return plural(int(count), of) + (f" in {plural(int(resampled), 'cluster')}" if resampled else "")


def _authors(authors: Sequence[object]) -> str:
    names = [str(author) for author in authors]
    return listing(names) if len(names) <= 3 else f"{names[0]} et al."


def _level(claim: Entry) -> str:
    """The error of a refutation: shared among a component's conditions, two of them for a population of components."""
    conditions = sum(2 if control["kind"] == "component" else 1 for control in claim["controls"])
    conditions += len(claim.get("margins", ()))
    alpha = number(to_float(claim.get("alpha", 0.025)))
    return alpha if conditions < 2 else f"{alpha}/{conditions} before the correction for several components"


def alike(margins: Sequence[Entry], *, by: Sequence[str]) -> list[list[Entry]]:
    """Margins with the same entries at these keys together, in their order."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for margin in margins:
        groups.setdefault(tuple(margin.get(key) for key in by), []).append(margin)
    return list(groups.values())


def named_margins(margins: Sequence[Entry]) -> str:
    """`“a”`, `“a” and “b”`, or the first and last of many."""
    names = [f"“{inline(margin['name'])}”" for margin in margins]
    if len(names) > MOST_NAMED:
        return f"{names[0]} to {names[-1]} ({len(names)} margins)"
    return listing(names)


def _margin_sentence(margins: Sequence[Entry]) -> str:
    unit = inline(margins[0]["unit"])
    low, high = margins[0].get("at_least"), margins[0]["at_most"]
    span = f"above {number(high)} {unit}" if low is None else f"outside [{number(low)}, {number(high)}] {unit}"
    one = len(margins) == 1
    return (
        f"So would {'' if one else 'any one of '}{named_margins(margins)}, had its whole interval at that error lain "
        f"{span}."
    )


def _on_papers_prompts(claim: Entry) -> bool:
    return claim["units"] is None and claim["tier"] == "replication"


def _tolerance_sentence(margin: Entry) -> str:
    span = f"[{number(margin['at_least'])}, {number(margin['at_most'])}] {inline(margin['unit'])}"
    return f"One number whose “{inline(margin['name'])}” lies outside {span}."


def _link(entry: Entry) -> str:
    for key in ("url", "link"):
        value = str(entry.get(key, ""))
        if value.startswith(("https://", "http://")):
            return (
                value.replace("<", "%3C").replace(">", "%3E").replace("|", "%7C").replace(" ", "%20").replace("\n", "")
            )
    for key, base in (("arxiv", "https://arxiv.org/abs/"), ("doi", "https://doi.org/")):
        if entry.get(key):
            return base + inline(entry[key]).replace("\\", "")
    return ""
