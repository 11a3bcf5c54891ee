"""From what a test measured to a judged record: paired contrasts, their intervals, ranks and the verdict.

Values arrive as `UnitValues`; what leaves are the sections of a record. The statistics themselves live in
`harness.stats`; here they are only put in the order of the protocol (design, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from harness.declaration import Claim, Margin
from harness.errors import StatisticsError
from harness.stats.records import Condition, Judgement, Rule
from harness.values import UnitValues

RESAMPLES = 9_999
_SIDES: tuple[Literal["lower", "upper"], Literal["lower", "upper"]] = ("lower", "upper")


@dataclass(frozen=True)
class Against:
    """Values of one control; `discovery` and `matched` for a population of components."""

    name: str
    kind: str
    values: UnitValues
    discovery: UnitValues | None = None
    matched: Mapping[str, Sequence[str]] | None = None


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


@dataclass(frozen=True)
class _Contrast:
    """A paired difference to be judged: treated minus one control, for one component."""

    component: str
    control: str
    kind: str
    threshold: float
    treated: UnitValues
    against: UnitValues


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
    """The record's sections `units`, `measured`, `judgement`, `ranks`, `exact` and `shares`."""
    if exact is not None:
        return _judge_exact(claim, exact, assay_shown=assay_shown, failed=failed)
    if treated is None:
        raise StatisticsError(f"claim {claim.id!r} has no treated values")
    contrasts = [contrast for entry in against for contrast in _contrasts(claim, treated, entry)]
    sections: dict[str, Any] = {
        "units": {"ids": treated.units, "clusters": treated.clusters},
        "measured": _measured(treated, contrasts, margins),
        "ranks": tuple(rank for entry in against if entry.kind == "component" for rank in _ranks(claim, treated, entry)),
    }
    try:
        conditions = [_condition(claim, contrast, rng=rng) for contrast in contrasts]
        conditions += [c for margin in claim.margins for c in _margin_conditions(claim, margin, margins[margin.name], rng=rng)]
        sections["shares"] = tuple(_share(claim, entry, rng=rng) for entry in shares)
    except StatisticsError as error:
        conditions, failed = [], failed or str(error)
    sections["judgement"] = _judgement(claim, conditions, contrasts, failed=failed, assay_shown=assay_shown)
    return sections


def _contrasts(claim: Claim, treated: UnitValues, entry: Against) -> Iterator[_Contrast]:
    """What one control asks of every treated component."""
    for component in treated.components:
        own = _restricted(treated.of([component]), entry.values)
        if entry.matched is None:
            control = entry.values if len(entry.values.components) == 1 else entry.values.of([component])
            yield _Contrast(component, entry.name, entry.kind, _signed(claim, claim.sesoi), own, control)
            continue
        others = entry.values.of(entry.matched[component])
        mean = replace(others, values=others.values.mean(axis=0, keepdims=True), components=("mean of others",))
        yield _Contrast(component, f"{entry.name}: mean", entry.kind, _signed(claim, claim.sesoi), own, mean)
        best = _percentile_member(claim, entry, component)
        yield _Contrast(component, f"{entry.name}: 95th percentile ({best})", entry.kind, 0.0, own, others.of([best]))


def _percentile_member(claim: Claim, entry: Against, component: str) -> str:
    """The 95th-percentile member of the others, chosen on the discovery split."""
    from harness.stats.ranks import percentile_member

    if entry.discovery is None or entry.matched is None:
        raise StatisticsError(f"control {entry.name!r} has no values on the discovery split")
    names = list(entry.matched[component])
    return percentile_member(entry.discovery.of(names).mean(), names, alternative=claim.alternative).name


def _condition(claim: Claim, contrast: _Contrast, *, rng: np.random.Generator) -> Condition:
    from harness.stats.sampling import mean_sampling

    difference = contrast.treated.minus(contrast.against)
    sampling = mean_sampling(
        difference.values[0],
        clusters=difference.clusters,
        # A difference of two binary values is not binary: the bootstrap of its clusters decides.
        method=replace(claim, metric=replace(claim.metric, binary=False)).interval_method(len(set(difference.clusters))),
        rng=rng,
        resamples=RESAMPLES,
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


def _margin_conditions(claim: Claim, margin: Margin, entry: MarginInput, *, rng: np.random.Generator) -> Iterator[Condition]:
    """One condition per row of the margin's values; each belongs to the component of that name."""
    from harness.stats.ratio import ratio_sampling
    from harness.stats.sampling import mean_sampling

    rule: Rule = "non-inferiority" if margin.at_least is None else "equivalence"
    for row, component in enumerate(entry.values.components):
        values = entry.values.values[row]
        if entry.relative_to is None:
            method = claim.interval_method(len(set(entry.values.clusters)))
            sampling = mean_sampling(values, clusters=entry.values.clusters, method=method, rng=rng, resamples=RESAMPLES)
        else:
            entry.values.require_paired(entry.relative_to)
            below = entry.relative_to.values[row if len(entry.relative_to.components) > 1 else 0]
            sampling = ratio_sampling(values, below, clusters=entry.values.clusters, rng=rng, resamples=RESAMPLES)
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


def _share(claim: Claim, entry: Mapping[str, Any], *, rng: np.random.Generator) -> dict[str, Any]:
    """A member's share of a joint effect with its 95 % interval; a passenger where that includes 0."""
    from harness.stats.sampling import mean_sampling

    values: UnitValues = entry["values"]
    method = claim.interval_method(len(set(values.clusters)))
    sampling = mean_sampling(values.values[0], clusters=values.clusters, method=method, rng=rng, resamples=RESAMPLES)
    low, high = (sampling.bound(0.025, side=side) for side in _SIDES)
    return {"component": entry["component"], "share": sampling.estimate, "low": low, "high": high, "passenger": low <= 0 <= high}


def _judgement(
    claim: Claim, conditions: Sequence[Condition], contrasts: Sequence[_Contrast], *, failed: str | None, assay_shown: bool
) -> dict[str, Any]:
    from harness.stats.decision import judge

    if not conditions:
        return {"verdict": "invalid", "reason": failed or "nothing was measured", "components": (), "outcomes": ()}
    judged: Judgement = judge(
        conditions,
        alpha=claim.alpha,
        sesoi=claim.sesoi,
        assay_shown=assay_shown,
        invalid=failed,
        margins_alone=claim.tier == "replication",
    )
    plain = asdict(judged)
    sizes = {(contrast.component, contrast.control): _hedges_g(contrast) for contrast in contrasts}
    for outcome in plain["outcomes"]:
        outcome["hedges_g"] = sizes.get((outcome["component"], outcome["control"]))
    return plain


def _judge_exact(claim: Claim, exact: ExactInput, *, assay_shown: bool, failed: str | None) -> dict[str, Any]:
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
        verdict, reason = ("too small" if result.distance > 0 else "refuted"), result.reason
    return {
        "judgement": {"verdict": verdict, "reason": reason, "components": (), "outcomes": ()},
        "exact": {**plain, "population": dict(exact.population)},
        "measured": {},
    }


def _ranks(claim: Claim, treated: UnitValues, entry: Against) -> Iterator[dict[str, Any]]:
    """Where each component stands among the components that it is matched with; descriptive."""
    from harness.stats.ranks import population_rank

    for component in treated.components:
        if entry.matched is None:
            continue
        own = float(_restricted(treated.of([component]), entry.values).mean()[0])
        others = entry.values.of(entry.matched[component])
        rank = population_rank(own, others.mean(), alternative=claim.alternative)
        best = _percentile_member(claim, entry, component)
        yield {
            "component": component,
            "rank": rank.rank,
            "of": rank.of,
            "p": rank.p,
            "population_mean": float(others.mean().mean()),
            "percentile95": float(others.of([best]).mean()[0]),
            "percentile95_member": best,
        }


def _measured(treated: UnitValues, contrasts: Sequence[_Contrast], margins: Mapping[str, MarginInput]) -> dict[str, Any]:
    """Everything from which intervals and verdict can be computed again without a model."""
    controls = {
        f"{contrast.component} | {contrast.control}": {"units": contrast.against.units, "values": contrast.against.values[0]}
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


def _restricted(values: UnitValues, to: UnitValues) -> UnitValues:
    """The columns of `values` for the units of `to`, in their order; all of them where the units are equal."""
    if values.units == to.units:
        return values
    index = {unit: column for column, unit in enumerate(values.units)}
    if set(to.units) - set(index):
        values.require_paired(to)
    columns = [index[unit] for unit in to.units]
    clusters = tuple(values.clusters[column] for column in columns)
    return replace(values, values=values.values[:, columns], units=to.units, clusters=clusters)


def _hedges_g(contrast: _Contrast) -> float | None:
    from harness.stats.effect_size import hedges_g_av

    try:
        sides = contrast.treated.values[0], contrast.against.values[0]
        return hedges_g_av(*sides, clusters=contrast.treated.clusters).g
    except StatisticsError:
        return None  # no spread on either side: a standardised size is not defined, the effect itself is


def _signed(claim: Claim, value: Any) -> Any:
    """The value in the claimed direction."""
    return value if claim.alternative == "greater" else -value

