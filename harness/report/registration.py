"""What was fixed before measuring and what after: the lock beside the records, for the report's pages.

The lock arrives as plain values (`harness.looks.standing`): by claim when and where it was registered, its amendments,
and how many confirmation records precede that; under `underpowered` by claim what calibration found of its power
(`harness.underpowered.by_claim`), under `miscalibrated` whose bounds miss too often (`harness.miscalibrated.by_claim`),
where that was asked. None stands for a project without a lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.reading import Entry, verdict_of
from harness.report.text import code, inline, listing, plural, sentence, table

AFTER = "set after looking"
OTHER_HEADS = "other heads"
WEAK = "underpowered"
MISSING = "not carried by its interval"
"""Of a verdict that is another one at the level at which calibration finds the claim's bounds to hold."""
EARLIER_CODE = "measured by code that was amended since"
OTHER_CODE = "measured by other code than was registered"
AMENDED = "†"
"""Stands behind the verdicts of a claim that was declared anew after it had been registered."""
NOT_CARRIED = "‡"


def registration_summary(records: Sequence[Entry], lock: Entry | None) -> str:
    """A paragraph of the first page: how many of these verdicts are registered, and how many claims in time."""
    ran = [record for record in records if verdict_of(record) != "not run"]
    if not ran:
        return ""
    if lock is None:
        return "**Registration.** No claim is registered: nothing says that thresholds stood before the results."
    states = [registration_of(record, lock) for record in ran]
    free, earlier = states.count("not registered"), states.count("amended since")
    claims = [lock["claims"][name] for name in sorted({str(r["claim"]["id"]) for r in ran} & set(lock["claims"]))]
    late, amended = (sum(bool(claim[key]) for claim in claims) for key in ("before", "amendments"))
    of = "is of a claim as it is" if len(ran) == 1 else "are of claims as they are"
    parts = [f"{states.count('registered')} of {plural(len(ran), 'verdict')} {of} registered."]
    codes = [_code_of(record, lock) for record, state in zip(ran, states, strict=True) if state == "registered"]
    early, other = codes.count(EARLIER_CODE), codes.count(OTHER_CODE)
    parts += [f"{early} of them {EARLIER_CODE}; the declaration is the same."] if early else []
    parts += [f"{other} of them {OTHER_CODE}."] if other else []
    parts += [f"{free} **not registered**."] if free else []
    parts += [f"{earlier} measured before the claim was amended."] if earlier else []
    parts += [f"{states.count(OTHER_HEADS)} about **{OTHER_HEADS}** than registered."] if OTHER_HEADS in states else []
    if claims:
        many = plural(len(claims), "registered claim")
        parts.append(
            f"Of {many} here {late} **{AFTER}**: confirmation records precede the registration."
            if late
            else f"Here {'is' if len(claims) == 1 else 'are'} {many}; no confirmation record in this store precedes "
            "the registration."
        )
    parts += [f"{amended} amended."] if amended else []
    weak = sum(str(record["model"]["id"]) in _weak(str(record["claim"]["id"]), lock) for record in ran)
    parts += [f"{weak} of claims that are **{WEAK}** on that model."] if weak else []
    missing = sum(not_carried(record, lock) for record in ran)
    parts += (
        [f"{missing} **{MISSING}**: calibration finds a bound of that design to miss too often."] if missing else []
    )
    parts += [f"See [{inline(lock['lock'])}](#registration)."] if lock["claims"] else []
    return "**Registration.** " + " ".join(parts)


def registration_of(record: Entry, lock: Entry | None) -> str:
    """How a record's claim on its model stands in the lock: `registered`, `amended since`, or one of the others.

    `other heads` is a record that is not about the heads that are registered for its model.
    """
    claim = None if lock is None else lock["claims"].get(str(record["claim"]["id"]))
    if claim is None or str(record["model"]["id"]) not in claim["models"]:
        return "not registered"
    if record["claim"].get("declaration_hash") != claim["declaration_hash"]:
        return "amended since"
    return "registered" if _same_heads(record, claim["models"][str(record["model"]["id"])]) else OTHER_HEADS


def _code_of(record: Entry, lock: Entry) -> str:
    """What is to be said of the code that measured a record: nothing where it is what is registered, or is unknown.

    A lock shows the first digits of the code that an amendment replaced.
    """
    claim, body = lock["claims"].get(str(record["claim"]["id"])), record["claim"].get("body_sha256")
    if claim is None or body in (None, claim["body_sha256"]):
        return ""
    return EARLIER_CODE if str(body).startswith(tuple(claim.get("earlier_code") or ())) else OTHER_CODE


def _same_heads(record: Entry, registered: Entry) -> bool:
    """Whether a record is about the heads of its class that are registered for its model; a class may have settings."""
    subject = record.get("subject")
    if not subject:
        return True
    heads = str((registered.get("subjects") or {}).get(subject["class"], "")).partition(";")[0].split()
    return heads == [str(head) for head in subject["components"]]


def claim_registration(records: Sequence[Entry], lock: Entry | None) -> str:
    """When a claim was fixed, and what precedes that, for its section; empty where the project has no lock."""
    if lock is None:
        return ""
    claim = lock["claims"].get(str(records[0]["claim"]["id"]))
    if claim is None:
        return "**not registered**"
    parts = [f"{_stamp(claim['registered'])}, version {claim['version']}"]
    parts.append(_precede(claim["before"]))
    free = sorted({str(r["model"]["id"]) for r in records if registration_of(r, lock) == "not registered"})
    parts += [f"**not registered** on {listing([code(model) for model in free])}"] if free else []
    moved = sorted({str(r["model"]["id"]) for r in records if registration_of(r, lock) == OTHER_HEADS})
    parts += (
        [f"about **{OTHER_HEADS}** than registered on {listing([code(model) for model in moved])}"] if moved else []
    )
    for said in (EARLIER_CODE, OTHER_CODE):
        other = sorted({str(record["model"]["id"]) for record in records if _code_of(record, lock) == said})
        parts += [f"{said} on {listing([code(model) for model in other])}"] if other else []
    weak = _weak(str(records[0]["claim"]["id"]), lock)
    parts += [f"**{WEAK}** at twice the SESOI on {code(model)}: {inline(line)}" for model, line in weak.items()]
    return "; ".join(parts)


def claim_calibration(records: Sequence[Entry], lock: Entry | None) -> str:
    """On which models calibration finds a claim's bounds to miss too often, and what that does to its verdict."""
    return "; ".join(
        f"{'' if one['carried'] else f'**{MISSING}** '}on {code(str(one['model']))}: {inline(str(one['line']))}"
        for record in records
        for one in bounds_missing(record, lock)
    )


def standing_marks(records: Sequence[Entry], lock: Entry | None) -> str:
    """What to bear in mind of a claim's verdicts, in words: not registered, underpowered, and so on."""
    claim = None if lock is None else lock["claims"].get(str(records[0]["claim"]["id"]))
    ran = [record for record in records if verdict_of(record) != "not run"]
    if lock is None or not ran:
        return ""
    weak = _weak(str(records[0]["claim"]["id"]), lock)
    marks = {
        "not registered": any(registration_of(record, lock) == "not registered" for record in ran),
        OTHER_HEADS: any(registration_of(record, lock) == OTHER_HEADS for record in ran),
        AFTER: claim is not None and bool(claim["before"]),
        WEAK: any(str(record["model"]["id"]) in weak for record in ran),
        MISSING: any(not_carried(record, lock) for record in ran),
    }
    return ", ".join(name for name, holds in marks.items() if holds)


def signs(records: Sequence[Entry], lock: Entry | None) -> str:
    """What stands behind the verdicts of one claim: the sign of an amendment, and of a verdict that is not carried."""
    amended = any(_was_amended(record, lock) for record in records)
    missing = any(not_carried(record, lock) for record in records)
    return (AMENDED if amended else "") + (NOT_CARRIED if missing else "")


def signs_read(records: Sequence[Entry], lock: Entry | None) -> str:
    """What the signs say, for readers of cells that have them; empty where none has."""
    said = ""
    if any(_was_amended(record, lock) for record in records):
        said += (
            f"{AMENDED} behind a verdict: the claim was declared anew after it had been registered; its section says "
            "when, why, and what changed. "
        )
    if any(not_carried(record, lock) for record in records):
        said += (
            f"{NOT_CARRIED}: {MISSING}; calibration finds that a bound of this design misses the truth too often, and "
            "at a level at which it does not, the verdict is another one, or there is no such level. "
        )
    return said


def _was_amended(record: Entry, lock: Entry | None) -> bool:
    """Whether a claim was declared anew; not where its code alone was amended."""
    claim = None if lock is None else lock["claims"].get(str(record["claim"]["id"]))
    amendments = () if claim is None else claim["amendments"]
    return any(one["to_version"] not in (None, one["from_version"]) for one in amendments)


def not_carried(record: Entry, lock: Entry | None) -> bool:
    """Whether calibration finds that the interval does not carry this verdict."""
    return any(not one["carried"] for one in bounds_missing(record, lock))


def measured_as(records: Sequence[Entry], lock: Entry | None) -> str:
    """`measured as version 1` where the version registered now is a later one, of several records how many are."""
    earlier = [int(record["claim"]["version"]) for record in records if _before_registered(record, lock)]
    if not earlier:
        return ""
    versions = [str(version) for version in sorted(set(earlier))]
    named = f"version{'s' if len(versions) > 1 else ''} {listing(versions)}"
    counted = "" if len(records) == 1 else f"{len(earlier)} of {len(records)} "
    return f"{counted}measured as {named}"


def _before_registered(record: Entry, lock: Entry | None) -> bool:
    claim = None if lock is None else lock["claims"].get(str(record["claim"]["id"]))
    return claim is not None and verdict_of(record) != "not run" and int(record["claim"]["version"]) < claim["version"]


def claim_amendments(claim_id: str, lock: Entry | None) -> str:
    """The amendments of a claim with their reasons, for its section."""
    claim = None if lock is None else lock["claims"].get(claim_id)
    return " ".join(_amendment(one) for one in claim["amendments"]) if claim else ""


def registration_page(lock: Entry | None) -> str:
    """Every registered claim with what precedes its registration, and every amendment with its reason."""
    if lock is None or not lock["claims"]:
        return ""
    rows = [_row(claim_id, claim, _weak(claim_id, lock)) for claim_id, claim in sorted(lock["claims"].items())]
    columns = ["claim", "version", "registered", "models", "confirmation records before", ""]
    amended = [
        f"- {inline(claim_id)}: {_amendment(one)}"
        for claim_id, claim in sorted(lock["claims"].items())
        for one in claim["amendments"]
    ]
    parts = [
        "## Registration",
        f"{code(lock['lock'])} holds what decides each claim on each model. A run of a claim that differs from it "
        "fails. Counted are the measurements in the store, of any version, that were made before the claim was "
        f"registered or last amended; “{AFTER}” marks where there are any: whoever fixed it may have known them.",
        f"“{WEAK}” marks claims whose power at twice the SESOI calibration found to be less than 80 % on these models: "
        "they were registered before that was known, and none could be registered now."
        if lock.get(WEAK)
        else "",
        table(columns, rows=rows, numeric=(1, 3, 4)),
        "**Amendments.**\n\n" + "\n".join(amended) if amended else "**Amendments.** None.",
    ]
    return "\n\n".join(part for part in parts if part)


def _weak(claim_id: str, lock: Entry) -> dict[str, str]:
    """By model what calibration says of a claim's power, where it is too low."""
    found = (lock.get(WEAK) or {}).get(claim_id) or ()
    return {str(one["model"]): str(one["line"]) for one in found}


def bounds_missing(record: Entry, lock: Entry | None) -> list[Entry]:
    """What calibration says of the bounds of a record's claim, as it was declared then, where they miss too often."""
    found = () if lock is None else (lock.get("miscalibrated") or {}).get(str(record["claim"]["id"]), ())
    same = (str(record["model"]["id"]), str(record["claim"].get("declaration_hash")))
    return [one for one in found if (one["model"], one["declaration_hash"]) == same]


def _row(claim_id: str, claim: Entry, weak: Mapping[str, str]) -> list[str]:
    marked = [f"**{AFTER}**"] if claim["before"] else []
    marked += ["withdrawn"] if claim["withdrawn"] else []
    marked += [f"**{WEAK}** on {listing([code(model) for model in weak])}"] if weak else []
    number, models = str(claim["version"]), str(len(claim["models"]))
    return [inline(claim_id), number, _stamp(claim["registered"]), models, str(claim["before"]), ", ".join(marked)]


def _stamp(stamp: Mapping[str, Any]) -> str:
    commit = f"at {code(str(stamp['commit'])[:12])}" if stamp["commit"] else "without a commit"
    return f"{inline(stamp['date'])} {commit}{' with uncommitted changes' if stamp['uncommitted'] else ''}"


def _precede(count: int) -> str:
    if not count:
        return "no confirmation record in this store precedes it"
    return f"{plural(count, 'confirmation record')} precede{'s' if count == 1 else ''} it: **{AFTER}**"


def _amendment(one: Entry) -> str:
    before, after = one["from_version"], one["to_version"]
    what = f"version {before} to {after}"
    if after is None:
        what = f"version {before} withdrawn"
    elif after == before:
        what = f"version {before}, its code alone"
    changes = "; ".join(inline(change) for change in one["changes"])
    return f"{what} ({_stamp(one['stamp'])}): {sentence(one['reason'])} Changed: {changes}."
