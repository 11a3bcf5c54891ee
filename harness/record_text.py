"""The text of a stored record, section by section: thousands of records read without parsing all of each.

For text whose bytes are known to be those that were written, as a manifest of their hashes says: what is left out is
not looked at. Text that is laid out otherwise than `Record.to_json` does, or by an older version, is parsed whole.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import fields
from functools import lru_cache
from typing import Any

from harness.evidence import SCHEMA, Record, plain_from_json

_MARKS = tuple((name, f'\n "{name}": ') for name in (*(entry.name for entry in fields(Record)), "content_hash"))
"""What begins each section, in the order in which they are written.

In our layout only a section begins a line with one space and a quote: what is within one stands further in, and no
string of JSON holds a line break.
"""
_SECTIONS = frozenset(name for name, _ in _MARKS)
_OWN = frozenset({"command", "ranks", "tables", "pictures", "cost", "content_hash"})
"""Sections that differ from record to record; the others are often those of another record, and parsed once."""
_VALUES = frozenset({"measured", "pictures"})
_COMPONENTS = '{\n  "treated": {\n   "components": ['
_LIST, _LIST_END, _CUT = '": [\n     ', "\n    ]", "\\u0000"
"""A list that is a field of one entry of what was measured stands in by four; what stands for one that is cut out."""


def some_sections(text: str, *, wanted: Collection[str], where: str) -> dict[str, Any]:
    """Those sections of a record, as plain values that are shared between records and not to be changed.

    Args:
        text: the file's text, known to be as it was written.
        wanted: names of sections; of text laid out otherwise all are given.
        where: the file, for messages.

    Raises:
        StoreError: it is no record, or of a newer schema.
    """
    try:
        found = _sections(text, but=_SECTIONS.difference(wanted, ("schema",)))
        return {name: _parsed(name, found[name]) for name in wanted}
    except ValueError:
        return plain_from_json(text, where=where, checked=True)


def without_values(text: str, *, where: str) -> dict[str, Any]:
    """A record without the values of its units and its pictures; the names of its components stay.

    Args:
        text: the file's text, known to be as it was written.
        where: the file, for messages.

    Raises:
        StoreError: it is no record, or of a newer schema.
    """
    try:
        found = _sections(text)
        record = {name: _parsed(name, raw) for name, raw in found.items() if name not in _VALUES}
        return {**record, "measured": _components(found["measured"]), "pictures": []}
    except ValueError:
        return plain_from_json(text, where=where, checked=True)


def _sections(text: str, *, but: Collection[str] = ()) -> dict[str, str]:
    """The JSON of each section but some; ValueError where the text is laid out otherwise, or is of another version."""
    if not text.startswith('{\n "') or not text.endswith("\n}\n"):
        raise ValueError("laid out otherwise")
    found, name, start = {}, _MARKS[0][0], text.index(_MARKS[0][1]) + len(_MARKS[0][1])
    for next_name, mark in _MARKS[1:]:
        end = text.index(mark, start)
        if name not in but:
            found[name] = text[start : end - 1]
        name, start = next_name, end + len(mark)
    found[name] = text[start:-3]
    if text.index(_MARKS[0][1]) != 1 or not found["schema"].isdecimal() or int(found["schema"]) > SCHEMA:
        raise ValueError("of another version")
    return found


def _parsed(name: str, text: str) -> Any:
    """A section's value; ValueError where it is no JSON, as where a section stands in it that is not known here."""
    if name in ("measured", "judgement"):
        return _measured(text) if name == "measured" else _judged(text)
    return json.loads(text) if name in _OWN else _shared(text)


@lru_cache(maxsize=4)
def _measured(text: str) -> dict[str, Any]:
    """What was measured, the lists of its entries parsed once where they are the same.

    Each list is cut out and its number put in. Ids of units stand at every control, treated values at every control
    too, and what one of two runs measured is often what the other did.
    """
    first, *others = text.split(_LIST)
    ends = [part.find(_LIST_END) for part in others]
    rests = [part[end + len(_LIST_END) :] for part, end in zip(others, ends, strict=True)]
    openings = (part.rpartition("\n")[2] for part in (first, *rests)[:-1])
    if -1 in ends or not all(line.startswith('    "') for line in openings):
        return dict(json.loads(text))
    short = first + "".join(f'": "{_CUT}{number}"{rest}' for number, rest in enumerate(rests))
    measured: dict[str, Any] = json.loads(short)
    sections = (section.values() for section in measured.values() if isinstance(section, dict))
    entries = (entry for section in sections for entry in section if isinstance(entry, dict))
    cuts = [(entry, name) for entry in entries for name, value in entry.items() if _is_cut(value)]
    if [entry[name] for entry, name in cuts] != [f"\x00{number}" for number in range(len(others))]:
        return dict(json.loads(text))
    for (entry, name), part, end in zip(cuts, others, ends, strict=True):
        entry[name] = _listed(part[:end])
    return measured


def _is_cut(value: object) -> bool:
    return isinstance(value, str) and value[:1] == "\x00"


@lru_cache(maxsize=512)
def _listed(text: str) -> Any:
    return json.loads(f"[{text}]")


def _components(measured: str) -> dict[str, Any]:
    """Of what was measured the names of the components alone."""
    if not measured.startswith(_COMPONENTS):
        return dict(json.loads(measured))
    listed = measured[len(_COMPONENTS) - 1 : measured.index("\n   ]") + len("\n   ]")]
    return {"treated": {"components": json.loads(listed)}}


@lru_cache(maxsize=4)
def _judged(text: str) -> Any:
    return json.loads(text)


@lru_cache(maxsize=8192)
def _shared(text: str) -> Any:
    return json.loads(text)
