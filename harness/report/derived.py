"""Pictures that a record did not store but holds: drawn from its tables and values, measured by nobody again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from harness.report.reading import Entry

_HEAD = re.compile(r"\d+\.\w+", re.ASCII)
RATIO = "F(C) / F(M)"
"""The column of a table by template that says how much of the model's behaviour a circuit has."""


def derived_pictures(record: Entry) -> Iterator[dict[str, Any]]:
    """A circuit graph of a table of heads and classes, and faithfulness of a table by template, where not stored."""
    stored = {str(picture.get("kind")) for picture in record.get("pictures") or ()}
    for one in record.get("tables") or ():
        columns = [str(name) for name in one["columns"]]
        of_heads = columns[:2] == ["head", "class"] and all(_HEAD.fullmatch(str(row[0])) for row in one["rows"])
        if of_heads and one["rows"] and "circuit" not in stored:
            yield _circuit(one["rows"])
        if columns[:2] == ["template", "order"] and RATIO in columns and "faithfulness" not in stored:
            yield _faithfulness(one["rows"], place=columns.index(RATIO))


def own_picture(record: Entry) -> list[dict[str, Any]]:
    """A picture for a record that has none: every value of the subject beside every value of its controls."""
    unit = record["claim"]["metric"]["unit"]
    common = {
        "kind": "distribution",
        "name": "subject and controls",
        "unit": f"{record['claim']['metric']['name']} ({unit})",
    }
    exact, measured = record.get("exact") or {}, record.get("measured") or {}
    if exact.get("population"):
        groups = {"treated": [exact["value"]], "control": [list(exact["population"].values())]}
        return [{**common, **groups, "labels": ["subject", "the others"], "caption": "The number among the others"}]
    treated = measured.get("treated")
    if not treated:
        return []
    component = str(treated["components"][0])
    prefix = f"{component} | "
    controls = {k.removeprefix(prefix): v["values"] for k, v in measured["controls"].items() if k.startswith(prefix)}
    groups = {"treated": treated["values"][0], "control": list(controls.values())}
    labels = [component, *controls]
    return [{**common, **groups, "labels": labels, "caption": f"Every value of {component} and of its controls"}]


def _circuit(rows: Sequence[Sequence[object]]) -> dict[str, Any]:
    nodes = {str(row[0]): str(row[1]) for row in rows}
    classes = len(set(nodes.values()))
    return {
        "kind": "circuit",
        "name": "The circuit's heads by layer and class",
        "caption": f"{len(nodes)} heads of {classes} classes; no edges are measured",
        "n": f"{len(nodes)} heads",
        "nodes": nodes,
    }


def _faithfulness(rows: Sequence[Sequence[Any]], *, place: int) -> dict[str, Any]:
    """Templates in the table's order; a ratio that the table does not have as a number is missing."""
    templates = list(dict.fromkeys(str(row[0]) for row in rows))
    cells = {(str(row[0]), str(row[1])): row[place] for row in rows}
    orders = list(dict.fromkeys(order for _, order in cells))
    ratios = {order: [_number(cells.get((template, order))) for template in templates] for order in orders}
    return {
        "kind": "faithfulness",
        "name": "Faithfulness template by template",
        "caption": f"{RATIO} on each template in each order; an arrow: farther out",
        "n": f"{len(templates)} templates",
        "templates": templates,
        "ratios": ratios,
    }


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
