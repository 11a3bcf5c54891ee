"""One value per component and unit: what a metric returns and a statistic takes. Torch ends here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError


@dataclass(frozen=True)
class UnitValues:
    """Values of one metric, in the metric's unit.

    Attributes:
        values: [component, unit], float64, finite. Behaviour without components has one row.
        components: one name per row: `"5.1"`, `"joint"`, `"model"`.
        units: one id per column; a unit is what is sampled independently (a prompt, a sequence).
        clusters: one id per column; units of one cluster (a template) are resampled together.

    Raises:
        StatisticsError: shapes disagree, ids repeat, or a value is not finite.
    """

    values: NDArray[np.float64]
    components: tuple[str, ...]
    units: tuple[str, ...]
    clusters: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the shape, the ids and that every value is finite."""
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "values", values)
        expected = (len(self.components), len(self.units))
        if values.shape != expected or not values.size:
            raise StatisticsError(
                f"values have shape {values.shape}, expected [component, unit] = {expected}, not empty"
            )
        if len(self.clusters) != len(self.units):
            raise StatisticsError(f"{len(self.clusters)} cluster ids for {len(self.units)} units")
        for what, ids in (("unit", self.units), ("component", self.components)):
            if len(set(ids)) != len(ids):
                twice = next(name for name in ids if ids.count(name) > 1)
                raise StatisticsError(f"{what} id {twice!r} stands twice; repeated rows are not independent evidence")
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise StatisticsError(
                f"component {self.components[row]!r}, unit {self.units[column]!r} is {values[row, column]}; "
                "a metric must return finite numbers"
            )

    def of(self, components: Sequence[str]) -> UnitValues:
        """The rows of these components, in their order."""
        missing = [name for name in components if name not in self.components]
        if missing:
            raise StatisticsError(
                f"no values for component {missing[0]!r}; there are {', '.join(self.components[:8])}, ..."
            )
        rows = [self.components.index(name) for name in components]
        return replace(self, values=self.values[rows], components=tuple(components))

    def without(self, components: Sequence[str]) -> UnitValues:
        """All rows but these."""
        return self.of([name for name in self.components if name not in set(components)])

    def averaged(self, groups: Mapping[str, Sequence[str]]) -> UnitValues:
        """One row for each name: the mean, unit by unit, over the rows that stand under it (draws of a control)."""
        empty = [name for name, rows in groups.items() if not rows]
        if not groups or empty:
            raise StatisticsError(f"there are no rows to average{f' for {empty[0]!r}' if empty else ''}; name some")
        means = [self.of(rows).values.mean(axis=0) for rows in groups.values()]
        return replace(self, values=np.stack(means), components=tuple(groups))

    def minus(self, other: UnitValues) -> UnitValues:
        """Self minus other on the same units; a single row of `other` is taken from every row of self."""
        self.require_paired(other)
        if len(other.components) > 1 and other.components != self.components:
            raise StatisticsError(f"components {self.components} and {other.components} do not correspond")
        return replace(self, values=self.values - other.values)

    def require_paired(self, other: UnitValues) -> None:
        """Refuse values of other units: a paired difference needs the same prompts on both sides."""
        if self.units != other.units or self.clusters != other.clusters:
            raise StatisticsError(
                f"treated and control values come from different units ({len(self.units)} against {len(other.units)}; "
                f"first ids {self.units[0]!r} and {other.units[0]!r}); measure both on the same prompts"
            )

    def mean(self) -> NDArray[np.float64]:
        """Mean over units, [component]."""
        return np.asarray(self.values.mean(axis=1))


def unit_values(
    values: Any, *, components: Sequence[str], units: Sequence[str], clusters: Sequence[str] | None = None
) -> UnitValues:
    """UnitValues from a tensor or array [component, unit] or [unit]; every unit its own cluster unless given."""
    array = (
        values.detach().cpu().double().numpy() if hasattr(values, "detach") else np.asarray(values, dtype=np.float64)
    )
    if array.ndim not in (1, 2):
        raise StatisticsError(f"values have {array.ndim} axes; a metric returns [unit] or [component, unit]")
    return UnitValues(
        np.atleast_2d(array), tuple(components), tuple(units), tuple(clusters if clusters is not None else units)
    )
