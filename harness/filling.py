"""What a body filled in, held against what was declared and asked for. No statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contrasts import Contrast
from harness.declaration import Claim, Margin
from harness.errors import DeclarationError, StatisticsError
from harness.stats.clusters import FLOAT32_NOISE, is_constant
from harness.subjects import Subject
from harness.values import UnitValues

WHOLE = ("joint", "model")
"""Names of a single row that stands for all of the subject's heads together, or for the model's behaviour."""
ROUNDING = 1e-6
"""In float32 a softmax sums to 1 within this."""
PROBABILITY_SPAN = 2.0
"""What a difference of two differences of probabilities can reach: 1 less -1."""


def check_range(claim: Claim, treated: UnitValues, *, control: UnitValues) -> None:
    """Raise StatisticsError where values cannot be what the metric's unit says: such numbers are not to be stored.

    Controls of a binary metric, and what is held against them, may be shares (over several shuffles); probabilities
    and what is subtracted from them lie within 2 of zero; other units have the bounds that the metric declares, if any.
    """
    low, high = -PROBABILITY_SPAN, PROBABILITY_SPAN
    if claim.metric.binary:
        low, high = 0.0, 1.0
    elif claim.metric.limits is not None:
        low, high = claim.metric.limits
        if claim.metric.unit.endswith("probability"):
            low, high = max(low, -PROBABILITY_SPAN), min(high, PROBABILITY_SPAN)
    elif not claim.metric.unit.endswith("probability"):
        return
    for what, values in (("the treated values", treated), ("a control", control)):
        found = values.values[(values.values < low - ROUNDING) | (values.values > high + ROUNDING)]
        if found.size:
            raise StatisticsError(
                f"claim {claim.id!r}: {what} has {found.flat[0]:g}, no {claim.metric.unit} ({low:g} to {high:g}); "
                "the metric or its unit is wrong"
            )


def check_repeated(claim: Claim, treated: UnitValues, *, contrasts: Sequence[Contrast]) -> None:
    """Raise StatisticsError where units have the very values of units in other clusters: one prompt, many names.

    Values that are counts or shares repeat by themselves, and so does what a model is certain of in one measurement;
    that most units agree to the last digit in every measurement, the controls' included, is no chance. Where there is a
    population of other components, it and the subject are enough: they are measured alike, and other controls may draw
    something for every unit and so tell copies apart. Compared are controls on the subject's own units.
    """
    paired = [each for each in contrasts if each.against.units == treated.units]
    alike = [each.against for each in paired if each.kind == "component"]
    if alike:
        _refuse_repeated(claim, treated, controls=alike, where="in the subject and all other components")
    _refuse_repeated(claim, treated, controls=[each.against for each in paired], where="in every measurement")


def _refuse_repeated(claim: Claim, treated: UnitValues, *, controls: Sequence[UnitValues], where: str) -> None:
    """Raise StatisticsError where half of the units repeat others in all of these."""
    rows = [*treated.values, *(row for each in controls for row in each.values)]
    first: dict[tuple[float, ...], str] = {}
    repeated: list[tuple[str, str]] = []
    clusters = dict(zip(treated.units, treated.clusters, strict=True))
    for unit, *values in zip(treated.units, *(row.tolist() for row in rows), strict=True):
        if all(map(_is_share, values)):
            continue
        same = first.setdefault(tuple(values), unit)
        if clusters[same] != clusters[unit]:
            repeated.append((same, unit))
    if len(first) > 1 and 2 * len(repeated) >= len(treated.units):  # one value alone is no variation
        one, other = repeated[0]
        raise StatisticsError(
            f"claim {claim.id!r}: {len(repeated)} of {len(treated.units)} units have the very values of a unit in "
            f"another cluster, {where} ({other!r} those of {one!r}): the same prompts under other names "
            "are no independent units; draw different ones, or give equal ones the same cluster"
        )


def check_prompts(claim: Claim, treated: UnitValues, *, prompts: Mapping[str, Any] | None) -> None:
    """Refuse prompts in another number of clusters than the treated values: the record would describe others."""
    clusters = len(set(treated.clusters))
    if prompts is not None and prompts["clusters"] != clusters:
        raise DeclarationError(
            f"claim {claim.id!r}: evidence.prompts says that there are {prompts['clusters']} clusters, and the treated "
            f"values have {clusters}; give their units the clusters of their prompts"
        )


def _is_share(value: float) -> bool:
    """Whether a number is a whole one or a share of up to 1,000 things: such values repeat by themselves."""
    return abs(float(Fraction(value).limit_denominator(1_000)) - value) < 1e-12


def check_limits(margin: Margin, values: NDArray[np.float64]) -> None:
    """Raise StatisticsError where a margin with limits has values [unit] outside of them, or one that does not vary."""
    if margin.limits is None:
        return
    low, high = margin.limits
    if is_constant(values[None], within=FLOAT32_NOISE)[0]:
        raise StatisticsError(f"no variation: all values of margin {margin.name!r} are {values[0]:.6g}")
    outside = values[(values < low - ROUNDING) | (values > high + ROUNDING)]
    if outside.size:
        raise StatisticsError(f"margin {margin.name!r} has {outside[0]:.6g}, outside its limits [{low:g}, {high:g}]")


def require_values(values: UnitValues, *, claim: Claim, what: str) -> UnitValues:
    """The values as they are, or DeclarationError where a body gives something else, such as an array."""
    if not isinstance(values, UnitValues):
        raise DeclarationError(
            f"claim {claim.id!r}: {what} is a {type(values).__name__}; give UnitValues, whose rows and columns have "
            "names: harness.claim.unit_values(array, components=[...], units=[...], clusters=[...])"
        )
    return values


def check_treated(claim: Claim, treated: UnitValues, *, n_units: int, subject: Subject | None) -> None:
    """Refuse values of another number of units, of components that were not asked, or not 0 and 1 where they must be.

    The number of units is registered (or given with `--n-units`, which makes the record exploratory): a body that
    samples fewer or more would decide on a size that nobody fixed.
    """
    if len(treated.units) != n_units:
        raise DeclarationError(
            f"claim {claim.id!r}: evidence.treated has {len(treated.units)} units, and evidence.n_units asks for "
            f"{n_units}; sample exactly n=evidence.n_units"
        )
    if claim.metric.binary and not np.isin(treated.values, (0.0, 1.0)).all():
        raise StatisticsError(f"claim {claim.id!r}: metric {claim.metric.name!r} is binary and has other values")
    if len(treated.components) == 1 and treated.components[0] in WHOLE:
        return
    if subject is None:
        raise DeclarationError(
            f"claim {claim.id!r}: evidence.treated has rows {', '.join(treated.components)}, and the claim declares no "
            f"subject, so that nobody registered these; declare subject=..., or give a single row named "
            f"{' or '.join(map(repr, WHOLE))}"
        )
    if set(treated.components) == set(subject.heads):
        return
    raise DeclarationError(
        f"claim {claim.id!r}: evidence.treated has rows {', '.join(treated.components)}, and its subject is "
        f"{', '.join(subject.heads)}; give one row for each of these, or a single row named "
        f"{' or '.join(map(repr, WHOLE))}"
    )
