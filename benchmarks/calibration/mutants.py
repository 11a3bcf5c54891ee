"""Deliberate faults in the statistics, one at a time: calibration must notice each, or it would notice nothing.

Each is put in by a patch around a block of replicates of the scenario that it should spoil, and is noticed where a
count of false verdicts or misses could hardly come from an honest procedure (fewer than one in a thousand), or where
claims became `invalid`. The same block without the fault shows nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.calibration.limits import too_many
from benchmarks.calibration.lines import append_line, read_lines
from benchmarks.calibration.planted import count
from harness.contrasts import Against

REPLICATES = 200


@dataclass(frozen=True)
class Mutant:
    """A fault, and the scenario that it spoils."""

    name: str
    scenario: str
    patches: Callable[[], Sequence[Any]]

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The fault, for as long as this lasts."""
        with ExitStack() as stack:
            for patch in self.patches():
                stack.enter_context(patch)
            yield


def faults_in(counts: Counter[str] | dict[str, int], *, invalid_too: bool = True) -> list[str]:
    """What an honest procedure would hardly show: false verdicts of a component or the claim, misses, `invalid`."""
    replicates = counts["replicates"]
    watched = [name for name in counts if name.startswith(("some component", "missed"))]
    found = [name for name in watched if too_many(counts[name], replicates)]
    if invalid_too and counts.get("invalid", 0):
        found.append("invalid")
    return sorted(found)


def measure_mutants(out: Path, *, replicates: int = REPLICATES, say: Callable[[str], None] = lambda line: None) -> None:
    """Every fault beside the honest procedure on the same replicates; finished ones are passed over."""
    done = {line["mutant"] for line in read_lines(out)}
    for mutant in MUTANTS:
        if mutant.name in done:
            continue
        honest = count(mutant.scenario, range(replicates))
        with mutant.installed():
            faulty = count(mutant.scenario, range(replicates))
        noticed = faults_in(faulty)
        line = {"mutant": mutant.name, "scenario": mutant.scenario, "replicates": replicates,
                "noticed": noticed, "without_it": faults_in(honest), "counts": dict(faulty)}  # fmt: skip
        append_line(out, line)
        say(f"mutant {mutant.name!r}: noticed by {', '.join(noticed) or 'nothing'}")


def _constant_p() -> Sequence[Any]:
    return [mock.patch("harness.stats.decision.p_of", return_value=0.001)]


def _clusters_ignored() -> Sequence[Any]:
    from harness.stats import sampling

    honest = sampling.mean_sampling

    def every_unit_alone(values: Any, *, clusters: Sequence[str], **given: Any) -> Any:
        return honest(values, clusters=[str(place) for place in range(len(clusters))], **given)

    return [mock.patch("harness.stats.sampling.mean_sampling", every_unit_alone)]


def _subject_in_its_control() -> Sequence[Any]:
    def others(self: Against, component: str) -> tuple[str, ...]:
        return (*(self.matched or {})[component], component)

    return [mock.patch.object(Against, "others", others)]


def _no_holm() -> Sequence[Any]:
    def unadjusted(p_values: Any, *, family: int | None = None) -> Any:
        return np.asarray(p_values, dtype=np.float64)

    def same_level(p_values: Any, alpha: float, *, family: int | None = None) -> Any:
        return np.full(len(p_values), alpha)

    module = "harness.stats.decision"
    return [mock.patch(f"{module}.holm", unadjusted), mock.patch(f"{module}.holm_levels", same_level)]


def _estimate_for_bound() -> Sequence[Any]:
    from harness.stats.bca import BcaSampling
    from harness.stats.bootstrap import EndpointSampling

    def bound(self: Any, error: float, *, side: str) -> float:
        return float(self.estimate)

    def p_value(self: Any, threshold: float, *, alternative: str) -> float:
        passed = self.estimate >= threshold if alternative == "greater" else self.estimate <= threshold
        return 0.0 if passed else 1.0

    return [
        mock.patch.object(kind, name, given)
        for kind in (BcaSampling, EndpointSampling)
        for name, given in (("bound", bound), ("p_value", p_value))
    ]


MUTANTS = (
    Mutant("p replaced by 0.001", "one control", _constant_p),
    Mutant("clusters ignored", "templates", _clusters_ignored),
    Mutant("subject in its own control", "other heads", _subject_in_its_control),
    Mutant("Holm removed", "many heads", _no_holm),
    Mutant("bound replaced by the estimate", "one control", _estimate_for_bound),
)
