"""The trained seeds of one model combined: one table for one claim, in the metric's unit. Models are never pooled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.errors import StatisticsError
from harness.report.effects import Effect, effects_of
from harness.report.reading import Entry, outcomes_of, verdict_of
from harness.report.standard_errors import BY_LIMITS, standard_error_of
from harness.report.text import interval, number

_COLUMNS = (
    "effect against",
    "mean over seeds",
    "95 % interval (t)",
    "tau between seeds",
    "prediction interval",
    "seeds",
    "check: Hartung-Knapp",
)


def combine_trained(records: Sequence[Entry]) -> dict[str, Any] | None:
    """The table that combines records of one claim on several trainings of one model; None where fewer than two ran.

    Per control, each seed contributes its smallest effect over components ("nearest to failing"), so that the mean
    never hides a head that does not do it. The mean has a t interval on k - 1 degrees of freedom. A seed's own variance
    is that of the mean of its clusters, and serves tau and the Hartung-Knapp-Sidik-Jonkman interval that stands beside
    the mean as a check; where the record does not give the values it is that of a normal interval as wide as a
    bootstrap's. Where a seed's variance is not known (an interval by the limits of values that are not there, or
    cluster means that are all equal, which show no spread and prove none) tau and check are "-". Where the seeds lie
    nearer together than their errors explain, tau is 0 and its interval "-" (`CombinedSeeds`). Where the seeds cannot
    be combined there are no rows, and the name says why.
    """
    ran = [record for record in records if verdict_of(record) != "not run"]
    if len(ran) < 2:
        return None
    if problem := _not_combinable(ran):
        return {"name": f"Not combined over {len(ran)} training seeds: {problem}", "columns": [], "rows": []}
    by_control: dict[str, list[tuple[Entry, Effect]]] = {}
    for record in ran:
        for control, effect in _nearest_to_failing(record).items():
            by_control.setdefault(control, []).append((record, effect))
    rows = [
        _row(control, seeds)
        if len(seeds) == len(ran)
        else [control, "-", f"not combined: {len(seeds)} of {len(ran)} seeds have it", "-", "-", len(seeds), "-"]
        for control, seeds in by_control.items()
    ]
    return {"name": _title(ran), "columns": list(_COLUMNS), "rows": rows}


def _not_combinable(ran: Sequence[Entry]) -> str | None:
    """Why these records say nothing together, or None."""
    # "k of k" must not pass an invalid seed over
    invalid = [str(record["model"]["id"]) for record in ran if verdict_of(record) == "invalid"]
    if invalid:
        return f"{', '.join(invalid)} is invalid" if len(invalid) == 1 else f"{', '.join(invalid)} are invalid"
    if len({record["claim"].get("declaration_hash") for record in ran}) > 1:
        return "they were measured under different declarations of the claim"
    fingerprints = [record["model"].get("fingerprint") for record in ran]
    if len(set(fingerprints)) < len(fingerprints):
        return "two of them are the same weights under two names"
    return None


def _nearest_to_failing(record: Entry) -> dict[str, Effect]:
    from harness.compare.changes import plain_control

    found: dict[str, Effect] = {}
    for effect in effects_of(record):
        # The 95th-percentile member is another head on every seed: its name does not identify the control.
        control = plain_control(effect.control)
        if control not in found or effect.slack < found[control].slack:
            found[control] = effect
    return found


def _row(control: str, seeds: Sequence[tuple[Entry, Effect]]) -> list[object]:
    from harness.stats.combine import combine_seeds

    effects = [effect for _, effect in seeds]
    if not all(math.isfinite(effect.high - effect.low) for effect in effects):
        return [control, "-", "not combined: a seed's interval is infinite", "-", "-", len(effects), "-"]
    variances = [variance for seed in seeds if (variance := _variance(*seed)) is not None]
    try:
        made = combine_seeds(
            [effect.estimate for effect in effects], variances=variances if len(variances) == len(effects) else None
        )
    except StatisticsError as error:
        return [control, "-", f"not combined: {error}", "-", "-", len(effects), "-"]
    predicted = "-"
    if made.prediction_low is not None and made.prediction_high is not None:
        predicted = interval(made.prediction_low, made.prediction_high)
    spread = number(made.tau)
    if made.tau is not None:
        known = made.tau_low is not None and made.tau_high is not None
        spread += f" {interval(made.tau_low, made.tau_high)}" if known else " -"
    check = "-"
    if made.check_mean is not None and made.check_low is not None and made.check_high is not None:
        check = f"{number(made.check_mean)} {interval(made.check_low, made.check_high)}"
    return [control, number(made.mean), interval(made.low, made.high), spread, predicted, made.seeds, check]


def _variance(record: Entry, effect: Effect) -> float | None:
    """Squared standard error of a seed's effect; None where it is not known, 0.0 for exact numbers alone."""
    if not effect.sampled:
        return 0.0
    outcome = next(
        one for one in outcomes_of(record) if (one["component"], one["control"]) == (effect.component, effect.control)
    )
    error = standard_error_of(record, outcome)
    if error is None and outcome.get("method") not in BY_LIMITS:
        error = (effect.high - effect.low) / (2 * 1.959964)
    return error**2 if error else None


def _title(records: Sequence[Entry]) -> str:
    """How many are supported; the bound on all trainings is of those that the claim was not set on."""
    from harness.stats.combine import k_of_k_lower_bound

    supported = sum(verdict_of(record) == "supported" for record in records)
    title = f"Combined over {len(records)} training seeds: {supported} of {len(records)} supported"
    set_on = sorted(str(r["model"]["id"]) for r in records if r["model"]["id"] in r["claim"].get("set_on", ()))
    others = len(records) - len(set_on)
    if supported < len(records) or not others:
        return title
    share = math.floor(100 * k_of_k_lower_bound(others))  # "more than" a bound that was rounded up would not hold
    said = f"with 95 % confidence more than {share} % of trainings would be"
    if set_on:
        said += f", by the other {others}: the claim was set on {', '.join(set_on)}"
    return f"{title} ({said})"
