"""Of how many verdicts calibration has measured the design, and in how many of these a bound misses too often.

The lock's plain values carry what calibration found (`harness.miscalibrated.standing_of`); a report without a
calibration beside it says that there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.reading import Entry
from harness.report.registration import bounds_missing
from harness.report.text import code

_PAGE = f"page {code('CALIBRATION.md')} of the project's reports"


def bounds_measured(records: Sequence[Entry], lock: Entry | None) -> str:
    """Sentences of the first page on the verdicts that rest on samples, with a space before; empty without any."""
    if not records:
        return ""
    if lock is None or "calibrated" not in lock:
        return (
            " Whether the bounds keep this error is not known: no calibration lies beside these records. Rare failures "
            "and long tails of few units make a bound miss more often."
        )
    measured = [record for record in records if has_design(record, lock)]
    if not measured:
        return (
            " Whether the bounds keep this error is not known here: calibration has measured the design of none of "
            f"these verdicts (not calibrated: {len(records)}; {_PAGE})."
        )
    missing = sum(bool(bounds_missing(record, lock)) for record in measured)
    without = len(records) - len(measured)
    rest = f"; not calibrated: {without}" if without else ""
    return (
        " Whether the bounds keep this error was measured where the truth is known, for the designs of "
        f"{len(measured)} of these verdicts{rest}. In the designs of {missing} a bound misses more often than allowed "
        f"({_PAGE})."
    )


def has_design(record: Entry, lock: Entry) -> bool:
    """Whether calibration has measured the design of this record, or of another of its claim as it was declared."""
    model, claim = str(record["model"]["id"]), record["claim"]
    content, declared = str(record.get("content_hash", "")), str(claim.get("declaration_hash", ""))
    return any(
        one["model"] == model and (one["content_hash"] == content or declared == one["declaration_hash"] != "")
        for one in lock["calibrated"].get(str(claim["id"]), ())
    )
