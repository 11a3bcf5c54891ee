"""A record as a short HTML table for notebooks; every text in it is escaped."""

from __future__ import annotations

import html

from harness.report.effects import effects_of
from harness.report.reading import SYMBOLS, Entry, model_label, outcomes_of, verdict_of
from harness.report.reasons import reason_of
from harness.report.text import effect_text, must_be, p_value, plain


def record_html(record: Entry) -> str:
    """HTML with statement, verdict and the effect against every control."""
    claim, verdict = record["claim"], verdict_of(record)
    expectation = record.get("expectation")
    expected = f" (expected: {_safe(expectation['verdict'])})" if expectation else ""
    rows = [
        _row(
            effect.component,
            effect.control,
            effect_text(effect),
            must_be(effect),
            p_value(effect.p),
            "yes" if effect.holds else "no",
        )
        for effect in (effects_of(record) if outcomes_of(record) else ())
    ]
    head = "".join(
        f"<th>{_safe(name)}</th>"
        for name in ("component", "against", f"effect ({claim['metric']['unit']}) [95 %]", "must be", "p", "holds")
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""
    return (
        f"<div><p><b>{_safe(claim['id'])}</b> on <code>{_safe(model_label(record))}</code>: "
        f"<b>{SYMBOLS[verdict]} {verdict}</b>{expected}<br>{_safe(claim['statement'])}<br>"
        f"<i>{_safe(reason_of(record))}</i></p>"
        f"{table}<pre>{_safe(record['command'])}</pre></div>"
    )


def _row(*cells: object) -> str:
    return "<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in cells) + "</tr>"


def _safe(text: object) -> str:
    return html.escape(plain(text))
