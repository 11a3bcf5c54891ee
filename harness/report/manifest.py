"""What a report wrote into its folder, so that the next one neither draws it again nor leaves it lying there.

A lost or damaged manifest costs time: everything is drawn again. Removed is what the last report wrote and this one
does not, and what is named as a picture of a claim that this report shows and stands on none of its pages.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.report.text import slug

NAME = "manifest.json"
_SCHEMA = 1
_FIGURE = re.compile(r"[A-Za-z0-9._-]+\.(?:png|svg)")
_PAGE = re.compile(r"[A-Za-z0-9._-]+\.md")


@dataclass(frozen=True)
class Manifest:
    """The files of one report.

    Attributes:
        figures: stamp of each figure's file, by its name in the folder of figures.
        pages: names in the folder of pages.
    """

    figures: Mapping[str, str] = field(default_factory=dict)
    pages: frozenset[str] = frozenset()


def stamp(key: str, path: Path) -> str:
    """sha256 of what a file shows and of its bytes: another one where either has changed."""
    return hashlib.sha256(key.encode() + path.read_bytes()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a folder; an empty one where there is none that can be read."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if content["schema"] != _SCHEMA:
            return Manifest()
        figures = {str(name): str(value) for name, value in content["figures"].items() if _FIGURE.fullmatch(name)}
        return Manifest(figures, frozenset(name for name in content["pages"] if _PAGE.fullmatch(name)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Manifest()


def write_manifest(manifest: Manifest, *, folder: Path) -> None:
    """Write it, the same bytes for the same files."""
    from harness.store import write_atomically

    content = {"schema": _SCHEMA, "pages": sorted(manifest.pages), "figures": dict(sorted(manifest.figures.items()))}
    write_atomically(folder / NAME, text=json.dumps(content, indent=1) + "\n")


def remove_stale(before: Manifest, *, now: Manifest, pages: Path, figures: Path, claims: Iterable[str]) -> None:
    """Delete what the last report wrote and this one did not, and pictures of its claims that it does not show.

    Args:
        before: what the last report wrote.
        now: what this one wrote.
        pages: the folder of pages.
        figures: the folder of figures; the files of another naming in it stay.
        claims: ids of the claims in this report, with which the names of their pictures begin.
    """
    own = tuple(f"{slug(claim)}--" for claim in claims)
    lying = {path.name for path in figures.glob("*") if path.name.startswith(own) and _FIGURE.fullmatch(path.name)}
    shown = {*before.figures, *lying} - set(now.figures)
    for folder, names in ((pages, before.pages - now.pages), (figures, shown)):
        for name in sorted(names):
            (folder / name).unlink(missing_ok=True)
