"""The numbers of a map, for the reader who points at one of its cells: a head map, an attention pattern, a matrix."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from harness.report.reading import Entry, to_float
from harness.report.text import plain

_DIGITS = 4


def cells_of(picture: Entry) -> dict[str, Any] | None:
    """Names of rows and columns, values and unit of a picture made of cells; None for the other kinds."""
    kind = picture.get("kind")
    if kind == "head_map":
        values = picture["values"]
        rows, columns = range(len(values)), range(len(values[0]))
        return _cells(values, rows=rows, columns=columns, names=("layer", "head"), unit=picture["unit"])
    if kind == "pattern":
        tokens = [f"“{visible(token)}” at {place}" for place, token in enumerate(picture["tokens"])]
        unit, names = "attention probability", ("query", "key")
        return _cells(picture["matrix"], rows=tokens, columns=tokens, names=names, unit=unit)
    if kind == "matrix":
        names = (str(picture.get("ylabel") or "row"), str(picture.get("xlabel") or "column"))
        rows, columns = picture["rows"], picture["columns"]
        return _cells(picture["values"], rows=rows, columns=columns, names=names, unit=picture["unit"])
    return None


def visible(token: object) -> str:
    """A token on one line with its spaces and newlines made visible."""
    shown = str(token).replace("\n", "↵").replace("\t", "→")
    return plain("·" + shown[1:] if shown.startswith(" ") else shown)


def script_json(value: object) -> str:
    """JSON that may stand inside a script element: nothing in it can close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _cells(
    values: Sequence[Sequence[object]],
    *,
    rows: Sequence[object],
    columns: Sequence[object],
    names: tuple[str, str],
    unit: object,
) -> dict[str, Any]:
    return {
        "row": plain(names[0]),
        "column": plain(names[1]),
        "rows": [plain(name) for name in rows],
        "columns": [plain(name) for name in columns],
        "values": [[_rounded(value) for value in row] for row in values],
        "unit": plain(unit),
    }


def _rounded(value: object) -> float | None:
    """Four significant digits, which is more than a reader can use; None where nothing was measured."""
    number = math.nan if value is None else to_float(value)
    return float(f"{number:.{_DIGITS}g}") if math.isfinite(number) else None
