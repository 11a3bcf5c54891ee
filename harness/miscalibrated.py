"""Which claims calibration found to have bounds that miss too often, and whether their verdict outlives that.

A design whose tails are missed in more samples than allowed was drawn again at stricter levels up to the first at which
it holds. There the claim's record is judged once more: a verdict that is another one, or a design that holds at no
level tried, is not carried by its interval.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.calibrated import SUMMARY, Entry, design_rows, designs_by_claim
from harness.declaration import ALPHA
from harness.lock import read_lock
from harness.looks import standing, store_folders
from harness.underpowered import by_claim as underpowered_by_claim


@dataclass(frozen=True)
class Miscalibrated:
    """A claim on a model with a bound that misses the truth too often.

    Attributes:
        claim: its id.
        model: the model's id.
        declaration_hash: of the claim as it was measured; of a claim declared otherwise this says nothing.
        misses: share of samples in which the worst bound misses.
        level: the loosest stricter level at which the design holds; None where none of those tried does.
        strictest: the strictest level that was tried.
        verdict: that the record has.
        there: the verdict at `level`; the stored one where it was not judged again.
    """

    claim: str
    model: str
    declaration_hash: str
    misses: float
    level: float | None
    strictest: float
    verdict: str
    there: str

    @property
    def decides(self) -> bool:
        """Whether the verdict says anything that a bound could have got wrong; empty where no record was found."""
        return self.verdict not in ("", "inconclusive", "invalid")

    @property
    def carried(self) -> bool:
        """Whether the verdict is the same at a level at which the design holds; one that decides nothing needs none."""
        return not self.decides or (self.level is not None and self.there == self.verdict)

    def line(self) -> str:
        """`a bound misses in 14.8 % of samples ({...}); at 0.25 %, where the design holds, it is inconclusive`."""
        said = f"a bound misses in {self.misses:.1%} of samples ({ALPHA:.1%} nominal)"
        if self.level is None:
            return f"{said}, and too often at every level tried, to {self.strictest:.2%}"
        same = "still " if self.there == self.verdict else ""
        return f"{said}; at {self.level:.2%}, where the design holds, the verdict is {same}{self.there}"


def by_claim(reports: Path) -> dict[str, list[dict[str, Any]]]:
    """For the report: the claims, registered or not, whose bounds miss too often, with the models on which they do.

    Args:
        reports: the folder that holds the calibration.

    Raises:
        StoreError: the summary of the calibration is damaged.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for one in design_rows(reports, read=of_row):
        found.setdefault(one.claim, []).append({**asdict(one), "carried": one.carried, "line": one.line()})
    return found


def standing_of(path: Path, *, reports: Path, also: Iterable[Path] = ()) -> dict[str, Any] | None:
    """What the lock at a path says, how much of the store precedes it, and what calibration says against its claims.

    Args:
        path: the lock; None comes back where there is none.
        reports: the folder of the store.
        also: run folders outside the store.
    """
    if not path.is_file():
        return None
    lock = read_lock(path)
    found = standing(lock, dict.fromkeys((*store_folders(reports), *also)))
    known = {**found, "underpowered": underpowered_by_claim(lock.claims, reports)}
    if (reports / SUMMARY).is_file():
        known["miscalibrated"] = by_claim(reports)
        known["calibrated"] = designs_by_claim(reports, folders=store_folders(reports))
    return known


def of_row(row: Entry) -> Miscalibrated | None:
    """What a row says of a design that does not hold."""
    if row.get("holds", True):
        return None
    tried = row["stricter"]
    verdict = str(row.get("verdict", ""))
    return Miscalibrated(
        claim=str(row["claim"]),
        model=str(row["model"]),
        declaration_hash=str(row.get("declaration_hash", "")),
        misses=int(row["most_misses"]) / int(row["replicates"]),
        level=float(tried[-1][0]) if tried and int(tried[-1][1]) <= int(row["allowed"]) else None,
        strictest=float(tried[-1][0]) if tried else ALPHA,
        verdict=verdict,
        there=str(row.get("verdict_there") or verdict),
    )
