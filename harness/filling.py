"""What a body filled in, held against what was declared and asked for: its own values, its pictures. No statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

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
AXIS_TITLES: Mapping[str, tuple[str, ...]] = {
    "matrix": ("unit", "xlabel", "ylabel"),
    "head_map": ("unit",),
    "distribution": ("unit",),
    "bars": ("unit",),
    "curve": ("xlabel", "ylabel"),
    "dose_response": ("xlabel", "ylabel"),
    "trade_off": ("xlabel", "ylabel"),
}
"""What says, for each kind of picture, what its axes and its colours mean and in which unit."""


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


def check_repeated(claim: Claim, treated: UnitValues, *, controls: Sequence[UnitValues]) -> None:
    """Raise StatisticsError where most units have the very values of units in other clusters: one prompt, many names.

    Values that are counts or shares repeat by themselves, and so does what a model is certain of in one measurement;
    that most units agree to the last digit in every measurement, the controls' included, is no chance. Compared are
    controls on the subject's own units.
    """
    rows = [*treated.values, *(row for each in controls if each.units == treated.units for row in each.values)]
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
            f"another cluster, in every measurement ({other!r} those of {one!r}): the same prompts under other names "
            "are no independent units; draw different ones, or give equal ones the same cluster"
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
    if subject is None or set(treated.components) == set(subject.heads):
        return
    if len(treated.components) == 1 and treated.components[0] in WHOLE:
        return
    raise DeclarationError(
        f"claim {claim.id!r}: evidence.treated has rows {', '.join(treated.components)}, and its subject is "
        f"{', '.join(subject.heads)}; give one row for each of these, or a single row named "
        f"{' or '.join(map(repr, WHOLE))}"
    )


def check_picture(claim: Claim, kind: str, *, name: str, data: Mapping[str, object]) -> None:
    """Refuse a picture without the titles of its axes: a stored one cannot be given them later."""
    missing = [title for title in AXIS_TITLES.get(kind, ()) if not str(data.get(title) or "").strip()]
    if missing:
        raise DeclarationError(
            f"claim {claim.id!r}: picture {name!r} of kind {kind!r} has no {', '.join(missing)}; give "
            f"evidence.picture({', '.join(f'{one}=...' for one in missing)}) what each of these is, with its unit"
        )
