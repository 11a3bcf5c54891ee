"""Why a verdict was reached, in the words of the report: of several conditions the one that its tables name.

The reason of a record is stored as it was worded when it was measured. Older versions named another condition among
those that hold, and quoted names as Python does; what is shown here follows from the record's outcomes.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.effects import effects_of, nearest_to_failing
from harness.report.reading import Entry, outcomes_of, verdict_of
from harness.report.text import nearest_text, plain
from harness.stats.reasons import holding, in_todays_words, named


def reason_of(record: Entry) -> str:
    """Why this verdict: plain text, not Markdown."""
    if verdict_of(record) == "not run":
        return str((record.get("not_run") or {}).get("reason", ""))
    judgement = record["judgement"]
    reason = str(judgement.get("reason", ""))
    for one in judgement.get("components") or ():
        stored = str(one.get("reason", ""))
        if _of_all(stored):
            reason = reason.replace(f"{one['component']} supported: {stored}", _supported(record, one))
    return in_todays_words(reason, names=quoted_names(record))


def component_reason(record: Entry, component: Entry) -> str:
    """Why the verdict of one component, an entry of the record's judgement."""
    stored = str(component.get("reason", ""))
    if component.get("verdict") == "supported" and _of_all(stored):
        return _holds(record, component)
    return in_todays_words(stored, names=quoted_names(record))


def quoted_names(record: Entry) -> tuple[str, ...]:
    """The names that a reason may quote: of controls, of their parts, of preconditions."""
    return tuple(dict.fromkeys(_names(record)))


def _names(record: Entry) -> Iterator[str]:
    for outcome in outcomes_of(record):
        yield str(outcome["control"])
        yield str(outcome["control"]).partition(": ")[0]
    for one in record.get("preconditions") or ():
        yield str(one["name"])


def _of_all(stored: str) -> bool:
    """Whether a reason says that every condition holds, and which of them is singled out."""
    return stored.startswith(("all ", "its one condition holds")) and " against " in stored


def _supported(record: Entry, component: Entry) -> str:
    return f"{component['component']} supported: {_holds(record, component)}"


def _holds(record: Entry, component: Entry) -> str:
    effects = [effect for effect in effects_of(record) if effect.component == str(component["component"])]
    nearest = nearest_to_failing(effects)
    if nearest is None:
        return str(component.get("reason", ""))
    return f"{holding(len(effects))} against {named(plain(nearest.control))}: {nearest_text(nearest)}"
