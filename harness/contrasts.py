"""Paired contrasts of a claim: the subject's values minus each control's, on the same units, and ranks among others.

What is compared with what is answered here; how sure one can be of it, and the verdict, in `harness.judging`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.declaration import Claim
from harness.errors import StatisticsError
from harness.stats.clusters import FLOAT32_NOISE, is_constant
from harness.subjects import is_component
from harness.values import UnitValues


@dataclass(frozen=True)
class Against:
    """Values of one control; `discovery` and `matched` for a population of components.

    `treated` are the subject's values of the same kind of measurement as the control's, where those differ from the
    values that the other controls are compared with.
    """

    name: str
    kind: str
    values: UnitValues
    discovery: UnitValues | None = None
    matched: Mapping[str, Sequence[str]] | None = None
    treated: UnitValues | None = None

    def others(self, component: str) -> tuple[str, ...]:
        """Rows of the population that a component is compared with; StatisticsError where there is none."""
        names = tuple((self.matched or {}).get(component, ()))
        if not names:
            raise StatisticsError(f"control {self.name!r} names no others for component {component!r}; fill `matched`")
        if component in names:
            raise StatisticsError(f"control {self.name!r} compares {component!r} with itself; see `matched`")
        return names


@dataclass(frozen=True)
class Contrast:
    """A paired difference to be judged: treated minus one control, for one component."""

    component: str
    control: str
    kind: str
    threshold: float
    treated: UnitValues
    against: UnitValues

    def difference(self) -> UnitValues:
        """Treated minus control: one row; StatisticsError where they come from different units."""
        return self.treated.minus(self.against)

    def varies(self) -> bool:
        """Whether either side does: a body that measured nothing on the units gives the same number on all of them."""
        sides = (self.treated.values, self.against.values)
        return not all(is_constant(side, within=FLOAT32_NOISE).all() for side in sides)

    def hedges_g(self) -> float | None:
        """The standardised size of the difference; None where neither side varies, so that it is not defined."""
        from harness.stats.effect_size import hedges_g_av

        try:
            sides = self.treated.values[0], self.against.values[0]
            return hedges_g_av(*sides, clusters=self.treated.clusters).g
        except StatisticsError:
            return None


def contrasts_of(claim: Claim, treated: UnitValues, *, entry: Against) -> Iterator[Contrast]:
    """What one control asks of every treated component.

    A population of components gives two contrasts: with the mean of the others (by the SESOI) and with their
    95th-percentile member (by 0). Only a population may have been measured on fewer units than the subject.

    Raises:
        StatisticsError: units do not correspond, or a component has nothing to be compared with.
    """
    threshold = claim.sesoi if claim.alternative == "greater" else -claim.sesoi
    for component in treated.components:
        own = (entry.treated or treated).of([component])
        if entry.matched is None:
            against = _row_for(component, treated, entry)
            own.require_paired(against)
            yield Contrast(component, entry.name, entry.kind, threshold, own, against)
            continue
        own = restricted(own, entry.values)
        others = entry.values.of(entry.others(component))
        mean = replace(others, values=others.values.mean(axis=0, keepdims=True), components=("mean of others",))
        yield Contrast(component, f"{entry.name}: mean", entry.kind, threshold, own, mean)
        best = percentile_name(claim, entry, component=component)
        name = f"{entry.name}: 95th percentile ({shortened(best)})"
        yield Contrast(component, name, entry.kind, 0.0, own, others.of([best]))


def shortened(name: str) -> str:
    """The name of a set of components, cut after the first three where it lists more than six."""
    members = name.split("+")
    return name if len(members) <= 6 else f"{'+'.join(members[:3])}+... {len(members)} in all"


def ranks_of(claim: Claim, treated: UnitValues, *, entry: Against) -> Iterator[dict[str, Any]]:
    """Where each component stands among the components that it is matched with; descriptive."""
    from harness.stats.ranks import population_rank

    for component in treated.components:
        if entry.matched is None:
            continue
        own = float(restricted((entry.treated or treated).of([component]), entry.values).mean()[0])
        others = entry.values.of(entry.others(component))
        rank = population_rank(own, others.mean(), alternative=claim.alternative)
        best = percentile_name(claim, entry, component=component)
        yield {
            "component": component,
            "rank": rank.rank,
            "of": rank.of,
            "p": rank.p,
            "population_mean": float(others.mean().mean()),
            "percentile95": float(others.of([best]).mean()[0]),
            "percentile95_member": best,
        }


def percentile_name(claim: Claim, entry: Against, *, component: str) -> str:
    """The 95th-percentile member of a component's others, chosen on the discovery split."""
    from harness.stats.ranks import percentile_member

    if entry.discovery is None:
        raise StatisticsError(f"control {entry.name!r} has no values on the discovery split")
    names = entry.others(component)
    return percentile_member(entry.discovery.of(names).mean(), names, alternative=claim.alternative).name


def restricted(values: UnitValues, to: UnitValues) -> UnitValues:
    """The columns of `values` for the units of `to`, in their order; all of them where the units are equal."""
    if values.units == to.units:
        return values
    index = {unit: column for column, unit in enumerate(values.units)}
    if set(to.units) - set(index):
        values.require_paired(to)
    columns = [index[unit] for unit in to.units]
    clusters = tuple(values.clusters[column] for column in columns)
    return replace(values, values=values.values[:, columns], units=to.units, clusters=clusters)


def _row_for(component: str, treated: UnitValues, entry: Against) -> UnitValues:
    """The control's row of this name, or its only row where that belongs to no single component."""
    only, *more = entry.values.components
    if more or only in treated.components:
        return entry.values.of([component])
    if is_component(only):
        raise StatisticsError(
            f"control {entry.name!r} is of kind {entry.kind!r} and has the values of {only}, which is not among the "
            f"treated components ({', '.join(treated.components)}): measure those under the control's condition"
        )
    return entry.values
