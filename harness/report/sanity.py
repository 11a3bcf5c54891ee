"""What stood before the first claim on each model: the sanity battery, as the run recorded it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.data_seeds import data_seeds_text
from harness.report.reading import Entry, verdict_of
from harness.report.text import code, inline, table


def sanity_page(batteries: Sequence[Mapping[str, Any]], *, records: Sequence[Entry]) -> str:
    """A table of models and checks, and the claims that were drawn again; says so where neither was recorded.

    Args:
        batteries: `harness.sanity.Battery.as_dict` of each model, from the run.
        records: of the same run.
    """
    shown = _batteries(batteries, records) if batteries else "No sanity battery is recorded with these records."
    return "\n\n".join(part for part in ("### Sanity of the models", shown, data_seeds_text(records)) if part)


def _batteries(batteries: Sequence[Mapping[str, Any]], records: Sequence[Entry]) -> str:
    names = list(dict.fromkeys(str(check["name"]) for battery in batteries for check in battery["checks"]))
    rows, failures = [], []
    for battery in batteries:
        checks = {str(check["name"]): check for check in battery["checks"]}
        rows.append([code(battery["model"]), *(_cell(checks.get(name)) for name in names)])
        failures += [
            f"- {code(battery['model'])} fails “{inline(name)}”, its claims are invalid: {inline(check['said'])}"
            for name, check in checks.items()
            if check["holds"] is False
        ]
    rows += [[code(model), *([said] * len(names))] for model, said in _without(batteries, records).items()]
    said = (
        "Asked of each model before its first claim, on sequences that the model writes itself: its predictions are "
        "not an untrained twin's; its matrices lose an order where their entries are shuffled; shuffling its writing "
        "raises its loss; taking its heads away raises it; float32 and float64 agree; the same pass twice is the same."
    )
    return "\n\n".join(part for part in (said, table(["model", *names], rows=rows), "\n".join(failures)) if part)


def _without(batteries: Sequence[Mapping[str, Any]], records: Sequence[Entry]) -> dict[str, str]:
    """Models that records are about and no battery is, in order, with why their row is empty."""
    verdicts: dict[str, set[str]] = {}
    for record in sorted(records, key=lambda record: str(record["model"]["id"])):
        verdicts.setdefault(str(record["model"]["id"]), set()).add(verdict_of(record))
    known = {str(battery["model"]) for battery in batteries}
    return {
        model: "not run" if found == {"not run"} else "not recorded"
        for model, found in verdicts.items()
        if model not in known
    }


def _cell(check: Mapping[str, Any] | None) -> str:
    if check is None or check["holds"] is None:
        return "not asked"
    return f"{'holds' if check['holds'] else '**fails**'}: {inline(check['said'])}"
