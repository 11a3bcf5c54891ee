"""Whether stored records say what follows from their own values: hashes, intervals, p, Holm and verdict.

Everything is computed again by the code that measured, with the same resamples, and held against what is stored. A
hash alone can be computed again by whoever edits a record; its numbers then no longer follow from its values. What no
value leads to is covered by the hash, and by the manifest of a baseline: prompts, notes, tables, pictures. No model is
loaded, and no file is read but the records.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.compare.manifest import verified
from harness.declaration import Claim
from harness.errors import DeclarationError, MechclaimsError, StatisticsError, StoreError
from harness.evidence import jsonable, plain_from_json
from harness.rejudging import rejudged, withheld
from harness.report.reasons import quoted_names
from harness.restoring import claim_of
from harness.stats.reasons import same_reason
from harness.store import MANIFEST, Run, supported_claims

State = Literal["agrees", "differs", "damaged", "not recomputed"]

RELATIVE = 1e-9
"""The same code on the same machine gives the same bits; another processor or build of numpy sums in another order,
and so does a population's mean over units of its mean over members."""
ABSOLUTE = 1e-12
"""In the metric's unit, for numbers that are differences of nearly equal ones."""

_NEEDS_ASSAY = ("refuted", "too small")

Entry = Mapping[str, Any]
Assay = tuple[str, int]


@dataclass(frozen=True)
class Difference:
    """A field of a record that is not what follows from its values."""

    field: str
    stored: Any
    recomputed: Any


@dataclass(frozen=True)
class Verification:
    """One record computed again.

    Attributes:
        file: name of the record's file.
        claim: id of its claim; empty where the file is no record, as are the next two.
        model: id of its model.
        verdict: the stored one.
        data_seed: the seed of its prompts, or None.
        state: `damaged` where its hash or its sections do not hold together, `not recomputed` where it has no values.
        reason: why it is damaged or was not computed again.
        differences: what differs from the stored numbers.
        unchecked: parts of it that cannot be computed again, each with its reason.
        assay: its claim and version, where the verdict depends on whether that is `supported` on some model.
        shows: its claim and version, where it is `supported` itself and so shows the assay to work.
    """

    file: str
    claim: str = ""
    model: str = ""
    verdict: str = ""
    data_seed: int | None = None
    state: State = "agrees"
    reason: str = ""
    differences: tuple[Difference, ...] = ()
    unchecked: tuple[str, ...] = ()
    assay: Assay | None = None
    shows: Assay | None = None

    @property
    def failed(self) -> bool:
        """Whether the record cannot be relied on."""
        return self.state in ("differs", "damaged")


def verify_run(run: Run, *, baseline: Path | None = None) -> list[Verification]:
    """Every record of a run computed again, in the order of the files.

    A verdict of `refuted` or `too small` must find its claim as `supported` in a record of the run or of the baseline.

    Args:
        run: the run.
        baseline: a folder of records that is read where the run's own do not show that an assay works.

    Raises:
        StoreError: that folder is needed and damaged.
    """
    found = [verify_file(path) for path in run.record_files()]
    shown = {entry.shows for entry in found if entry.shows is not None}
    if baseline is not None and any(entry.assay not in shown for entry in found if entry.assay):
        shown |= {(each.claim, each.version) for each in supported_claims(baseline)}
    return [_with_assay(entry, shown=entry.assay in shown) if entry.assay else entry for entry in found]


def manifest_problem(run: Run) -> str:
    """Which files are not those that the folder's manifest names; empty where it has none, or all are."""
    if not (run.path / MANIFEST).exists():
        return ""
    try:
        verified(run)
    except StoreError as error:
        return str(error)
    return ""


def verify_file(path: Path) -> Verification:
    """The record in a file computed again; one that cannot be read is `damaged`, and the reason says why."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Verification(path.name, state="damaged", reason=f"cannot be read ({error})")
    try:
        return verify_record(plain_from_json(text, where=path.name), file=path.name)
    except StoreError as error:
        reason = str(error).removeprefix(f"{path.name}: ")
    try:  # where only its hash does not fit, its values may tell what was edited
        found = verify_record(plain_from_json(text, where=path.name, checked=True), file=path.name)
    except StoreError:
        return Verification(path.name, state="damaged", reason=reason)
    return replace(found, state="damaged", reason=reason, shows=None)


def verify_record(record: Entry, *, file: str) -> Verification:
    """A record, as plain values whose hash fits, computed again."""
    found = Verification(file)
    try:
        found = replace(
            found,
            claim=str(record["claim"]["id"]),
            model=str(record["model"]["id"]),
            verdict="not run" if record["judgement"] is None else str(record["judgement"]["verdict"]),
            data_seed=int(record["seeds"]["data_seed"]),
        )
        return _verified(record, found)
    except StatisticsError as error:
        return replace(found, state="damaged", reason=f"its values do not belong together: {error}")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, MechclaimsError) as error:
        said = f"its sections are not those of a record ({type(error).__name__}: {error})"
        return replace(found, state="damaged", reason=said)


def _verified(record: Entry, found: Verification) -> Verification:
    if record["judgement"] is None:
        return replace(found, state="not recomputed", reason=str((record["not_run"] or {})["reason"]))
    try:
        claim = claim_of(record)
    except DeclarationError as error:
        return replace(found, state="not recomputed", reason=str(error))
    again = rejudged(record, claim)
    stored = {name: record[name] for name in again.sections}
    stored["judgement"] = _reworded(record, again.sections["judgement"])
    differences = (*_declaration_differs(record, claim), *_differing(stored, again.sections, ""))
    measured = bool(record["measured"] or record["exact"])
    name = (claim.id, claim.version)
    return replace(
        found,
        state="differs" if differences else "agrees" if measured else "not recomputed",
        reason="" if measured else "it ended before anything was measured",
        differences=differences,
        unchecked=again.unchecked,
        assay=name if _rests_on_assay(record, claim) else None,
        shows=name if found.verdict == "supported" and not record["exploratory"] and not differences else None,
    )


def _reworded(record: Entry, again: Entry) -> Entry:
    """The stored judgement, a reason that an older version worded otherwise as it is made now: its numbers decide."""
    stored, names = record["judgement"], quoted_names(record)

    def worded(one: Entry, other: Entry) -> Entry:
        reason = str(other["reason"])
        return {**one, "reason": reason} if same_reason(str(one["reason"]), reason, names=names) else one

    components = stored["components"]
    if len(components) == len(again["components"]):
        components = [worded(one, other) for one, other in zip(components, again["components"], strict=True)]
    return worded({**stored, "components": components}, again)


def _declaration_differs(record: Entry, claim: Claim) -> Iterator[Difference]:
    """The declaration's hash stands for the threshold and all else that decides; the resamples are drawn from it."""
    stored = record["claim"]
    yield from _differing(stored["declaration_hash"], claim.hash(), "claim.declaration_hash")
    yield from _differing(stored.get("alpha", claim.alpha), jsonable(claim.alpha), "claim.alpha")


def _rests_on_assay(record: Entry, claim: Claim) -> bool:
    """Whether its verdict is one that needs the claim `supported` elsewhere, or was withheld for want of that."""
    verdict = record["judgement"]["verdict"]
    return not claim.on_papers_prompts and (verdict in _NEEDS_ASSAY or (verdict == "inconclusive" and withheld(record)))


def _with_assay(found: Verification, *, shown: bool) -> Verification:
    """What stands where other records do or do not show that the claim's test can say yes."""
    if shown and found.verdict == "inconclusive":
        said = "verdict: withheld while no record showed its assay to work; one does by now"
        return replace(found, unchecked=(*found.unchecked, said))
    if shown or found.verdict == "inconclusive":
        return found
    claim, version = found.assay or ("", 0)
    lacking = f"inconclusive (no record shows {claim}, version {version}, as supported)"
    difference = Difference("judgement.verdict", found.verdict, lacking)
    state: State = "damaged" if found.state == "damaged" else "differs"
    return replace(found, state=state, differences=(*found.differences, difference))


def _differing(stored: Any, again: Any, field: str) -> Iterator[Difference]:
    """Every leaf in which two plain values differ, by its dotted name."""
    if isinstance(stored, Mapping) and isinstance(again, Mapping):
        for name in (*stored, *(name for name in again if name not in stored)):
            inner = f"{field}.{name}" if field else str(name)
            yield from _differing(stored.get(name), again.get(name), inner)
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for number, (one, other) in enumerate(zip(stored, again, strict=True)):
            yield from _differing(one, other, f"{field}[{_label(one, number)}]")
    elif not _same(stored, again):
        yield Difference(field, stored, again)


def _label(entry: Any, number: int) -> str:
    """An outcome by its component and control, a component's verdict by its name, all else by its number."""
    if not isinstance(entry, Mapping):
        return str(number)
    named = [str(entry[name]) for name in ("component", "control", "name") if name in entry]
    return " | ".join(named) or str(number)


def _same(stored: Any, again: Any) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (stored, again))
    return math.isclose(stored, again, rel_tol=RELATIVE, abs_tol=ABSOLUTE) if numbers else bool(stored == again)
