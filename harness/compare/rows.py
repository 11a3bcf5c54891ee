"""One record compared with its counterpart: verdicts, effects, and by which rules it is a regression."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.compare.changes import EffectChange, effect_changes, lost_effects, plain_control, tolerance_of
from harness.compare.comparable import differences
from harness.compare.rules import Rules

Entry = Mapping[str, Any]
Status = Literal[
    "unchanged", "changed", "not comparable", "missing", "not asked for", "not run", "never measured", "new"
]

_SHARE = 0.2
"""By which share the largest loss is chosen where the `effect` rule was not asked for."""
_OF_WIDTH = 0.2
"""How much nearer to its estimate or farther from it an interval's end may come, as a share of the interval's width.
Noise of 3e-5 on every value of the 222 sampled records in `reports/baseline` moves ends by up to 0.15 of it (BCa of few
distinct values), most by none.
"""
_TOLERANCES = 2.0
"""How many tolerances a distance may differ by, as both of its ends are rounded, and any of an exact claim's numbers,
as it has hundreds: noise with a standard deviation of 3e-5 on each of them passes."""
_NUMBERS = {"value": "the value", "percentile95": "the others' 95th percentile", "distance": "the distance"}
_ON_THE_SAME = " (the same model, prompts and declaration: what changed is the measurement)"


@dataclass(frozen=True)
class Regression:
    """Why a row fails: the rule, and what it found."""

    rule: str
    text: str


@dataclass(frozen=True)
class Row:
    """A claim on a model with a data seed, before and after.

    Attributes:
        claim: its id.
        model: the model's id.
        data_seed: the seed of its prompts.
        unit: the metric's unit.
        before: the baseline's verdict, or empty where it has no record.
        after: the run's verdict, or empty where it has no record.
        status: what became of it.
        change: the largest loss of an effect in proportion to its limit; None where nothing can be compared.
        differences: why it is not comparable.
        regressions: by which of the rules it fails.
    """

    claim: str
    model: str
    data_seed: int
    unit: str
    before: str
    after: str
    status: Status
    change: EffectChange | None = None
    differences: tuple[str, ...] = ()
    regressions: tuple[Regression, ...] = ()


MOST_SHOWN = 200
"""Rows that a table shows; regressions come first, and what is left out is counted."""
_UNTOLD = ("unchanged", "not asked for", "never measured")


def told(rows: Iterable[Row]) -> list[Row]:
    """The rows that somebody reads about, regressions first; a table shows the first `MOST_SHOWN`."""
    found = [row for row in rows if row.status not in _UNTOLD]
    return sorted(found, key=lambda row: not row.regressions)


def compared(before: Entry, after: Entry, *, rules: Rules, any_model: bool = False, shown: bool = True) -> Row:
    """The row of two records of one claim, model and data seed, as plain values.

    A change that fails by no rule has its interval where the row is `shown`.
    """
    old, new = _verdict(before), _verdict(after)
    found: tuple[Regression, ...]
    if new == "not run" or old == "not run":
        status: Status = "unchanged" if old == new else "not run" if new == "not run" else "new"
        lost = status == "not run" and rules.not_run
        why = str((after.get("not_run") or {}).get("remedy", ""))
        found = (Regression("not-run", f"was {old}; the model is not here. To bring it: {why}"),) if lost else ()
        return Row(*_identity(before), old, new, status, regressions=found)
    other = differences(before, after, any_model=any_model)
    if other:
        found = (Regression("verdict", f"not comparable: {'; '.join(other)}"),) if rules.verdict else ()
        return Row(*_identity(before), old, new, "not comparable", differences=other, regressions=found)
    changes = effect_changes(before, after, share=rules.effect or _SHARE, shown=shown)
    same_model = before["model"].get("fingerprint") == after["model"].get("fingerprint")
    outside = [Regression("outside-interval", text) for text in _outside(before, after, same_model=same_model)]
    found = (
        *_by_verdict(before, after, rules, same_model=same_model),
        *_by_effect(before, after, changes, rules),
        *(outside if rules.outside_interval else ()),
    )
    moved = old != new or bool(found or outside) or any(not change.rounding for change in changes)
    status = "changed" if moved else "unchanged"
    return Row(*_identity(before), old, new, status, changes[0] if changes else None, regressions=found)


def alone(record: Entry, *, status: Status, rules: Rules) -> Row:
    """The row of a record without a counterpart: new in the run, missing from it, or not asked for."""
    verdict = _verdict(record)
    before, after = ("", verdict) if status == "new" else (verdict, "")
    found: tuple[Regression, ...] = ()
    if status == "missing" and rules.missing:
        why = "no record: the claim is gone, no longer asked of this model, or its test ended with an error"
        found = (Regression("missing", why),)
    return Row(*_identity(record), before, after, status, regressions=found)


def _identity(record: Entry) -> tuple[str, str, int, str]:
    claim = record["claim"]
    return str(claim["id"]), str(record["model"]["id"]), int(record["seeds"]["data_seed"]), str(claim["metric"]["unit"])


def _verdict(record: Entry) -> str:
    return "not run" if record.get("judgement") is None else str(record["judgement"]["verdict"])


def _by_verdict(before: Entry, after: Entry, rules: Rules, *, same_model: bool) -> Iterator[Regression]:
    """The claim's verdict, or a component's where the claim's stayed.

    Another model's may become `supported`. The same model on the same prompts does not get better: what changed is the
    measurement, such as a control that lost its effect.
    """
    if not rules.verdict:
        return
    old, new = _verdict(before), _verdict(after)
    if old != new:
        if new != "supported" or same_model:
            why = after["judgement"].get("reason", "")
            yield Regression("verdict", f"{old} -> {new}{_ON_THE_SAME if new == 'supported' else ''}: {why}")
        return
    was, became = _of_components(before), _of_components(after)
    for name, verdict in was.items():
        now = became.get(name, verdict)
        if now != verdict and (now != "supported" or same_model):
            yield Regression("verdict", f"{name}: {verdict} -> {now}{_ON_THE_SAME if now == 'supported' else ''}")


def _of_components(record: Entry) -> dict[str, str]:
    return {str(one["component"]): str(one["verdict"]) for one in record["judgement"].get("components") or ()}


def _by_effect(before: Entry, after: Entry, changes: list[EffectChange], rules: Rules) -> Iterator[Regression]:
    if rules.effect is None:
        return
    for change in changes:
        if change.beyond:
            limit = f"limit {change.limit:.4g}: the larger of {rules.effect:.0%} of {change.before:.4g} and SESOI/2"
            yield Regression(f"effect:{rules.effect:.0%}", f"{change_text(change)} ({limit})")
    if _verdict(after) == "invalid":
        return  # nothing was judged, which the verdict says
    for component, control in lost_effects(before, after):
        yield Regression(f"effect:{rules.effect:.0%}", f"{component} against {control!r}: no longer measured")


def _outside(before: Entry, after: Entry, *, same_model: bool) -> Iterator[str]:
    """Estimates beyond the baseline's interval, of effects and of margins; another model's on the weaker side alone.

    The same model on the same prompts has intervals that reach as far, too, and the same numbers of an exact claim.
    """
    sesoi = float(before["claim"]["sesoi"])
    for one, other in _same_conditions(before, after):
        low, high, now = float(one["low"]), float(one["high"]), float(other["estimate"])
        scale = _scale(one, sesoi=sesoi)
        slack = tolerance_of(float(one["estimate"]), sesoi=scale)
        below, above = now < low - slack, now > high + slack
        weaker = below or above if one["rule"] == "equivalence" else below if one["alternative"] == "greater" else above
        if one["rule"] == "non-inferiority":
            weaker = above
        if weaker or (same_model and (below or above)):
            stronger = "" if weaker else _ON_THE_SAME
            yield f"{_place(one)}: {now:.4g} is outside {_shown(one)}{stronger}"
        elif same_model:
            yield from _other_interval(one, other, scale=scale)
    if same_model and before.get("exact") and after.get("exact"):
        yield from _other_numbers(before["exact"], after["exact"], sesoi=sesoi)


def _scale(outcome: Entry, *, sesoi: float) -> float:
    """What says which difference is little: the SESOI, and of a margin, which has a unit of its own, its bound."""
    if outcome["rule"] == "superiority":
        return sesoi
    return max(abs(float(bound or 0.0)) for bound in (outcome["threshold"], outcome.get("upper"))) or math.inf


def _other_interval(one: Entry, other: Entry, *, scale: float) -> Iterator[str]:
    """The interval, where an end lies nearer to the estimate or farther from it: other statistics, or another spread.

    Where the estimate went does not matter: half of the units may lose what the others win.
    """
    was, now = float(one["estimate"]), float(other["estimate"])
    for name, ends in (("interval", ("low", "high")), ("adjusted interval", ("low_adjusted", "high_adjusted"))):
        old, new = ([float(each.get(end, "nan")) for end in ends] for each in (one, other))
        width = old[1] - old[0]
        for end, to in zip(old, new, strict=True):
            if _moved(end - was, to - now, width=width, slack=_TOLERANCES * tolerance_of(end, sesoi=scale)):
                stayed = abs(now - was) <= tolerance_of(was, sesoi=scale)
                told = f"the estimate stayed {was:.4g}" if stayed else f"the estimate {was:.4g} -> {now:.4g}"
                became = f"{_shown(one, *ends)} became {_shown(other, *ends)}"
                yield f"{_place(one)}: {told}, its {name} {became}{_ON_THE_SAME}"
                return


def _moved(reach: float, to: float, *, width: float, slack: float) -> bool:
    """Whether an interval's end lies at another distance from the estimate; one that is not stored does not."""
    if math.isnan(reach) or math.isnan(to):
        return False
    if math.isinf(reach) or math.isinf(to):
        return reach != to
    return abs(to - reach) > slack + _OF_WIDTH * (width if math.isfinite(width) else abs(reach))


def _other_numbers(before: Entry, after: Entry, *, sesoi: float) -> Iterator[str]:
    """An exact claim's numbers that became others by more than rounding: nothing is sampled in them."""

    def other(was: float, now: float) -> bool:
        return was != now and not abs(now - was) <= _TOLERANCES * tolerance_of(was, sesoi=sesoi)

    for name, told in _NUMBERS.items():
        was, now = float(before[name]), float(after[name])
        if other(was, now):
            yield f"{told} {was:.4g} -> {now:.4g}{_ON_THE_SAME}"
            break
    old, new = before["population"], after["population"]
    if old.keys() != new.keys():
        gone = len(old.keys() - new.keys())
        yield f"a population of {len(old)} -> {len(new)}, {gone} of its members gone{_ON_THE_SAME}"
        return
    moved = [name for name in old if other(float(old[name]), float(new[name]))]
    if moved:
        most = max(moved, key=lambda name: abs(float(new[name]) - float(old[name])))
        shown = f"{most!r} most, {float(old[most]):.4g} -> {float(new[most]):.4g}"
        yield f"{len(moved)} of the population's {len(old)} values are others, {shown}{_ON_THE_SAME}"


def _same_conditions(before: Entry, after: Entry) -> Iterator[tuple[Entry, Entry]]:
    """The outcomes of both records about one component and control."""
    now = {_condition(one): one for one in _outcomes(after)}
    for one in _outcomes(before):
        if (other := now.get(_condition(one))) is not None:
            yield one, other


def _place(outcome: Entry) -> str:
    return f"{outcome['component']} against {plain_control(str(outcome['control']))!r}"


def _shown(outcome: Entry, low: str = "low", high: str = "high") -> str:
    return f"[{float(outcome[low]):.4g}, {float(outcome[high]):.4g}]"


def _outcomes(record: Entry) -> list[Entry]:
    return list(record["judgement"].get("outcomes") or ())


def _condition(outcome: Entry) -> tuple[str, str]:
    return str(outcome["component"]), plain_control(str(outcome["control"]))


def change_text(change: EffectChange) -> str:
    """`5.1 against 'other heads: mean': 0.62 -> 0.43, change -0.19 [-0.22, -0.16]`."""
    interval = "" if change.low is None or change.high is None else f" [{change.low:.4g}, {change.high:.4g}]"
    effects = f"{change.before:.4g} -> {change.after:.4g}, change {change.change:+.4g}{interval}"
    return f"{change.component} against {change.control!r}: {effects}"
