"""Several records of one model family, its training seeds, in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.effects import Effect, deciding_effect
from harness.report.reading import SYMBOLS, Entry, family_of, model_label, training_seed, verdict_of
from harness.report.text import nearest_text


def family_label(members: Sequence[Entry]) -> str:
    """`induction-2l@0..4` for several training seeds of one model, else the model's id."""
    seeds = sorted({seed for seed in (training_seed(record) for record in members) if seed is not None})
    if len(seeds) < 2:
        return str(members[0]["model"]["id"])
    listed = f"{seeds[0]}..{seeds[-1]}" if seeds == list(range(seeds[0], seeds[-1] + 1)) else ",".join(map(str, seeds))
    return f"{family_of(members[0])}@{listed}"


def verdict_counts(members: Sequence[Entry]) -> str:
    """`✓ supported` for one record; `✓ 4 of 5 supported, ✗ 1 refuted` for several."""
    verdicts = [verdict_of(record) for record in members]
    if len(verdicts) == 1:
        return f"{SYMBOLS[verdicts[0]]} {verdicts[0]}"
    found = [(verdicts.count(verdict), verdict) for verdict in SYMBOLS if verdict in verdicts]
    parts = [f"{SYMBOLS[verdict]} {count} of {len(verdicts)} {verdict}" for count, verdict in found]
    return ", ".join(parts)


def family_effect(members: Sequence[Entry]) -> tuple[Entry, Effect] | None:
    """The effect nearest to failing over all these records, with its record; None where nothing was measured."""
    found = [(record, effect) for record in members if (effect := deciding_effect(record)) is not None]
    return max(found, key=lambda pair: pair[1].nearness, default=None)


def family_text(members: Sequence[Entry]) -> str:
    """`0.081 [-0.151, 0.274], must be above 0, p 0.2208`: the effect nearest to failing; empty where there is none."""
    found = family_effect(members)
    return "" if found is None else nearest_text(found[1])


def against_text(members: Sequence[Entry]) -> str:
    """What the effect nearest to failing is measured against; with the record's model where there are several."""
    found = family_effect(members)
    if found is None:
        return ""
    record, effect = found
    where = f"{model_label(record)}: " if len(members) > 1 else ""
    return f"{where}{effect.component} against {effect.control}"
