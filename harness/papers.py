"""The bibliography beside the claims, and whether a claim's `paper` is a key of it. Loads nothing but TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.declaration import Claim
from harness.errors import DeclarationError, did_you_mean
from harness.mechanism import misplaced

NAME = "papers.toml"
FIELDS = ("title", "authors", "year", "venue", "url")
"""What is known of a paper."""


def papers_of(mechanism: Path) -> Path | None:
    """The bibliography of a mechanism's folder: in it, or in the claims folder that it lies in; None where none is."""
    places = (mechanism / NAME, mechanism.parent / NAME)
    return next((place for place in places if place.is_file()), None)


def read_papers(path: Path) -> Mapping[str, Any]:
    """Papers by key; DeclarationError that names the file where it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise DeclarationError(f"{path}: cannot be read ({error.strerror or error})") from error


def place_problems(claim: Claim, *, mechanism: Path) -> list[str]:
    """What does not fit between a claim and the folder in which it lies: its id, and its paper."""
    return [*misplaced(claim.id, folder=mechanism), *paper_problems(claim, mechanism=mechanism)]


def paper_problems(claim: Claim, *, mechanism: Path) -> list[str]:
    """What is wrong with the claim's paper: its key is not in the bibliography. Without one every key is accepted."""
    path = papers_of(mechanism)
    if path is None or not str(claim.paper).strip():
        return []
    known = read_papers(path)
    if claim.paper in known:
        entry = known[claim.paper]
        unknown = sorted(set(entry) - set(FIELDS)) if isinstance(entry, Mapping) else ["what is no table"]
        return [f"paper {claim.paper!r} in {path} has {one}.{did_you_mean(one, FIELDS)}" for one in unknown]
    return [f"paper {claim.paper!r} is not a key of {path}.{did_you_mean(str(claim.paper), known)}"]
