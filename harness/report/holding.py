"""Where findings hold and where not: claims by models, one sign each. Models stand beside each other, never pooled."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.families import family_label
from harness.report.reading import SYMBOLS, VERDICTS, Entry, first_data_seeds, grouped, verdict_of
from harness.report.registration import signs, signs_read
from harness.report.text import code, inline, table


def where_findings_hold(records: Sequence[Entry], *, lock: Entry | None = None) -> str:
    """A table of inference claims by model families, training seeds counted; empty where there is no such claim."""
    inference = [record for record in first_data_seeds(records) if record["claim"]["tier"] == "inference"]
    if not inference:
        return ""
    families = grouped(inference, by="family")
    columns = ["claim", *(code(family_label(members)) for members in families.values())]
    rows = []
    for claim_id, of_claim in grouped(inference, by="claim").items():
        cells = grouped(of_claim, by="family")
        rows.append([inline(claim_id), *(_cell(cells.get(family, ()), lock=lock) for family in families)])
    legend = ", ".join(f"{SYMBOLS[verdict]} {verdict}" for verdict in VERDICTS)
    said = (
        f"{legend}; with a count where a model was trained several times; empty where a claim does not apply. Rows are "
        "read one model at a time: nothing is averaged over models."
    )
    said = f"{said} {signs_read(inference, lock)}".rstrip()
    return f"### Where findings hold\n\n{said}\n\n{table(columns, rows=rows)}"


def _cell(members: Sequence[Entry], *, lock: Entry | None) -> str:
    verdicts = [verdict_of(record) for record in members]
    if len(verdicts) < 2:
        return SYMBOLS[verdicts[0]] + signs(members, lock) if verdicts else ""
    return " ".join(
        f"{SYMBOLS[one]} {verdicts.count(one)}/{len(verdicts)}" for one in VERDICTS if one in verdicts
    ) + signs(members, lock)
