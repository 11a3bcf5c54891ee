"""JSON lines that can be taken up again: each finished piece is appended at once, a cut-off last line passed over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What is stored, in order; a line that a killed process left half-written is not."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one line; a half-written last one is closed first, so that it spoils no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    text = json.dumps(entry, allow_nan=False, sort_keys=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(("\n" if opened else "") + text + "\n")


def products_of(line: Mapping[str, Any]) -> str:
    """In what the matrix products of a stored null world were computed (`products.py`)."""
    return str(line.get("products", "float32"))
