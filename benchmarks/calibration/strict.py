"""What a record's verdict would be at a stricter level: its stored values judged once more by the same code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.rejudging import rejudged
from harness.restoring import claim_of


def verdict_at(record: Mapping[str, Any], *, level: float) -> str:
    """The verdict of a stored record, were its claim declared at this one-sided level."""
    claim = claim_of(record)
    object.__setattr__(claim, "alpha", level)  # no claim may declare it
    return str(rejudged(record, claim).sections["judgement"]["verdict"])
