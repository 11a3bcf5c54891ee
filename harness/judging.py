"""From what a test measured to a judged record: paired contrasts, their intervals, ranks and the verdict.

Values arrive as `UnitValues`; what leaves are the sections of a record. The statistics themselves live in
`harness.stats`; here they are only put in the order of the protocol (design, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.contrasts import Against, Contrast, contrasts_of, ranks_of
from harness.declaration import Claim, Margin, bootstrap_for
from harness.errors import StatisticsError
from harness.filling import check_limits, check_range, check_repeated
from harness.stats.records import Condition, Judgement, Rule, Sampling
from harness.values import UnitValues

RESAMPLES = 9_999
"""Least number of resamples; a family of m components takes 100 m / alpha where that is more."""
_SIDES: tuple[Literal["lower", "upper"], Literal["lower", "upper"]] = ("lower", "upper")


@dataclass(frozen=True)
class MarginInput:
    """Values that must stay inside a margin, as they are or relative to another measurement."""

    values: UnitValues
    relative_to: UnitValues | None = None


@dataclass(frozen=True)
class ExactInput:
    """A number without sampling, and the population of numbers that it is ranked in."""

    value: float
    population: Mapping[str, float]


def judge_evidence(
    claim: Claim,
    *,
    treated: UnitValues | None,
    against: Sequence[Against],
    margins: Mapping[str, MarginInput],
    exact: ExactInput | None,
    shares: Sequence[Mapping[str, Any]],
    failed: str | None,
    assay_shown: bool,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The record's sections `units`, `measured`, `judgement`, `ranks`, `exact` and `shares`.

    A statistic that is not defined on the values (no variation, a denominator near zero) makes the claim `invalid`.
    Of a replication on the paper's own prompts nothing is resampled.

    Raises:
        StatisticsError: what was filled does not correspond (other units, other components) or is out of range.
    """
    if exact is not None:
        return judge_exact(claim, exact, assay_shown=assay_shown, failed=failed)
    if treated is None:
        raise StatisticsError(f"claim {claim.id!r} has no treated values")
    contrasts = [contrast for entry in against for contrast in contrasts_of(claim, treated, entry=entry)]
    check_repeated(claim, treated, contrasts=contrasts)
    for contrast in contrasts:
        check_range(claim, contrast.treated, control=contrast.against)
    return {
        "units": {"ids": treated.units, "clusters": treated.clusters},
        "measured": _measured(treated, contrasts, margins),
        "ranks": tuple(
            rank for entry in against if entry.kind == "component" for rank in ranks_of(claim, treated, entry=entry)
        ),
        **judge_contrasts(
            claim,
            treated,
            contrasts=contrasts,
            margins=margins,
            shares=shares,
            failed=failed,
            assay_shown=assay_shown,
            rng=rng,
        ),
    }


def judge_contrasts(
    claim: Claim,
    treated: UnitValues,
    *,
    contrasts: Sequence[Contrast],
    margins: Mapping[str, MarginInput],
    shares: Sequence[Mapping[str, Any]] = (),
    failed: str | None,
    assay_shown: bool,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The sections `judgement` and `shares`, from paired differences: also those of a stored record, once more.

    A margin that is not given is left out: the verdict is then one of the other conditions alone.
    """
    _check_margins(treated, margins)
    resamples = max(RESAMPLES, math.ceil(100 * len(treated.components) / claim.alpha))
    parts: tuple[dict[str, Any], ...] = ()
    try:
        conditions = [_condition(claim, contrast, rng=rng, resamples=resamples) for contrast in contrasts]
        for margin in (each for each in claim.margins if each.name in margins):
            conditions += _margin_conditions(claim, margin, margins[margin.name], rng=rng, resamples=resamples)
        parts = tuple(_share(claim, entry, rng=rng) for entry in shares)
    except StatisticsError as error:
        conditions, failed = [], failed or str(error)
    shared_by = claim.units.of if claim.units is not None and len(set(treated.clusters)) < len(treated.units) else ""
    judgement = _judgement(claim, conditions, contrasts, failed=failed, assay_shown=assay_shown, shared_by=shared_by)
    return {"judgement": judgement, "shares": parts}


def _condition(claim: Claim, contrast: Contrast, *, rng: np.random.Generator, resamples: int) -> Condition:
    from harness.stats.sampling import mean_sampling

    difference = contrast.difference()
    clusters = difference.clusters
    method, limits = claim.interval_of_differences(len(set(clusters)))
    if limits is not None and not contrast.varies():
        raise StatisticsError(f"no variation: neither the treated values nor {contrast.control!r} vary over the units")
    sampling = mean_sampling(
        difference.values[0], clusters=clusters, method=method, rng=rng, resamples=resamples, limits=limits
    )
    return Condition(
        component=contrast.component,
        control=contrast.control,
        kind=contrast.kind,
        rule="superiority",
        alternative=claim.alternative,
        threshold=contrast.threshold,
        sampling=sampling,
    )


def _margin_conditions(
    claim: Claim, margin: Margin, entry: MarginInput, *, rng: np.random.Generator, resamples: int
) -> Iterator[Condition]:
    """One condition per row of the margin's values; each belongs to the component of that name."""
    from harness.stats.enumerated import Enumerated
    from harness.stats.ratio import ratio_sampling
    from harness.stats.sampling import mean_sampling

    rule: Rule = "non-inferiority" if margin.at_least is None else "equivalence"
    sampling: Sampling
    for row, component in enumerate(entry.values.components):
        values = entry.values.values[row]
        if claim.on_papers_prompts:
            if entry.relative_to is not None:
                raise StatisticsError(f"margin {margin.name!r} is a ratio; on the paper's own prompts give its numbers")
            sampling = Enumerated(float(values.mean()), len(set(entry.values.clusters)))
        elif entry.relative_to is None:
            clusters = entry.values.clusters
            check_limits(margin, values)
            method = claim.interval_method(len(set(clusters)), limits=margin.limits)
            sampling = mean_sampling(
                values, clusters=clusters, method=method, rng=rng, resamples=resamples, limits=margin.limits
            )
        elif margin.limits is not None:
            raise StatisticsError(f"margin {margin.name!r} is a ratio, which has no limits; leave `limits` out")
        else:
            below = _denominator(entry.relative_to, component)
            sampling = ratio_sampling(values, below, clusters=entry.values.clusters, rng=rng, resamples=resamples)
        yield Condition(
            component=component,
            control=margin.name,
            kind="margin",
            rule=rule,
            alternative="less",
            threshold=margin.at_most if margin.at_least is None else margin.at_least,
            upper=None if margin.at_least is None else margin.at_most,
            sampling=sampling,
        )


def _check_margins(treated: UnitValues, margins: Mapping[str, MarginInput]) -> None:
    """A margin qualifies the effect of each component, so it has one row for each and none besides."""
    for name, entry in margins.items():
        if set(entry.values.components) != set(treated.components):
            raise StatisticsError(
                f"margin {name!r} has rows {', '.join(entry.values.components)}; it needs one for each treated "
                f"component: {', '.join(treated.components)}"
            )
        if entry.relative_to is not None:
            entry.values.require_paired(entry.relative_to)
            for component in entry.values.components:
                _denominator(entry.relative_to, component)


def _denominator(values: UnitValues, component: str) -> NDArray[np.float64]:
    """[unit]: what a component's margin is relative to; a single row serves every component."""
    row = values if len(values.components) == 1 else values.of([component])
    return np.asarray(row.values[0])


def _share(claim: Claim, entry: Mapping[str, Any], *, rng: np.random.Generator) -> dict[str, Any]:
    """A member's share of a joint effect with its 95 % interval; a passenger where that includes 0."""
    from harness.stats.clusters import FLOAT32_NOISE, is_constant
    from harness.stats.sampling import mean_sampling

    values: UnitValues = entry["values"]
    row = values.values[0]
    if is_constant(row[None], within=FLOAT32_NOISE)[0]:  # one that does nothing must not spoil the claim's verdict
        share = low = high = float(row[0])
    else:
        method = bootstrap_for(len(set(values.clusters)))
        sampling = mean_sampling(row, clusters=values.clusters, method=method, rng=rng, resamples=RESAMPLES)
        share = sampling.estimate
        low, high = (sampling.bound(0.025, side=side) for side in _SIDES)
    return {"component": entry["component"], "share": share, "low": low, "high": high, "passenger": low <= 0 <= high}


def _judgement(
    claim: Claim,
    conditions: Sequence[Condition],
    contrasts: Sequence[Contrast],
    *,
    failed: str | None,
    assay_shown: bool,
    shared_by: str,
) -> dict[str, Any]:
    from harness.stats.decision import judge
    from harness.stats.enumerated import judge_enumerated

    if not conditions:
        return {"verdict": "invalid", "reason": failed or "nothing was measured", "components": (), "outcomes": ()}
    if claim.on_papers_prompts:
        return judge_enumerated(conditions, alpha=claim.alpha, invalid=failed)
    judged: Judgement = judge(
        conditions,
        alpha=claim.alpha,
        sesoi=claim.sesoi,
        assay_shown=assay_shown,
        invalid=failed,
        margins_alone=claim.tier == "replication",
        shared_by=shared_by,
    )
    plain = asdict(judged)
    sizes = {(contrast.component, contrast.control): contrast.hedges_g() for contrast in contrasts}
    for outcome in plain["outcomes"]:
        outcome["hedges_g"] = sizes.get((outcome["component"], outcome["control"]))
    return plain


def judge_exact(claim: Claim, exact: ExactInput, *, assay_shown: bool, failed: str | None) -> dict[str, Any]:
    """An exact claim: the number, its rank and its distance to the population's 95th percentile."""
    from harness.stats.exact import exact_claim

    result = exact_claim(
        exact.value, np.array(list(exact.population.values())), sesoi=claim.sesoi, alternative=claim.alternative
    )
    plain = asdict(result)
    if failed:
        verdict, reason = "invalid", failed
    elif result.holds:
        verdict, reason = "supported", result.reason
    elif not assay_shown:
        verdict, reason = "inconclusive", f"{result.reason}; assay not shown to work"
    else:
        far = result.distance >= claim.sesoi  # and yet not in the top 5 %: the population has a tail of its own
        verdict = "inconclusive" if far else "too small" if result.distance > 0 else "refuted"
        reason = result.reason
    return {
        "judgement": {"verdict": verdict, "reason": reason, "components": (), "outcomes": ()},
        "exact": {**plain, "population": dict(exact.population)},
        "measured": {},
    }


def _measured(treated: UnitValues, contrasts: Sequence[Contrast], margins: Mapping[str, MarginInput]) -> dict[str, Any]:
    """Everything from which intervals and verdict can be computed again without a model."""
    controls = {
        f"{contrast.component} | {contrast.control}": {
            "units": contrast.against.units,
            "values": contrast.against.values[0],
            "treated": contrast.treated.values[0],
        }
        for contrast in contrasts
    }
    filled = {
        name: {
            "components": entry.values.components,
            "values": entry.values.values,
            "relative_to": None if entry.relative_to is None else entry.relative_to.values,
        }
        for name, entry in margins.items()
    }
    return {
        "treated": {"components": treated.components, "values": treated.values},
        "controls": controls,
        "margins": filled,
    }
