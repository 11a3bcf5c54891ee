"""Circuit scores measured by an engine: components knocked out by a replacement, alone or all but a set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.interventions import Replacement, Runs, ablate, keep_only, measure
from harness.interventions.intervention import Intervention
from harness.interventions.sweeps import progress_bar

if TYPE_CHECKING:
    from harness.metrics import Metric


@dataclass(frozen=True, eq=False)
class KnockOutScores:
    """A `CircuitScores`: the metric of each prompt with components replaced (by a mean, a corrupted run ...).

    Attributes:
        runs: the unedited passes, with what the replacement needs.
        metric: the score.
        components: everything that can be knocked out: heads, MLPs.
        units: one id per prompt.
        clusters: one cluster id per prompt.
        by: what a knocked-out component is replaced by.
        memory_budget: bytes; what was declared, by default.
    """

    runs: Runs
    metric: Metric
    components: Sequence[str]
    units: Sequence[str]
    clusters: Sequence[str]
    by: Replacement
    memory_budget: int | None = None

    def without(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Scores of the whole model with each set knocked out, [set, unit]."""
        return self._scores(
            Intervention(str(number), ()) if not members else ablate(self.runs, members, by=self.by, name=str(number))
            for number, members in enumerate(sets)
        )

    def only(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Scores with everything outside each set knocked out, [set, unit]."""
        keep = partial(keep_only, self.runs, among=self.components, by=self.by)
        return self._scores(keep(members, name=str(number)) for number, members in enumerate(sets))

    def _scores(self, interventions: Iterable[Intervention]) -> NDArray[np.float64]:
        found = measure(
            self.runs,
            list(interventions),
            metric=self.metric,
            doses=False,
            memory_budget=self.memory_budget,
            track=progress_bar,
        )
        return found.values
