"""Several records of one model family, its training seeds, in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.reading import SYMBOLS, Entry, deciding_effect, family_of, training_seed, verdict_of
from harness.report.text import effect_text, number


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


def family_effect(members: Sequence[Entry]) -> str:
    """The deciding effect of one record, or the range of estimates over several; empty where nothing was measured."""
    effects = [effect for effect in (deciding_effect(record) for record in members) if effect is not None]
    if not effects:
        return ""
    if len(effects) == 1:
        return effect_text(effects[0])
    estimates = [effect.estimate for effect in effects]
    return f"{number(min(estimates))} to {number(max(estimates))}"
