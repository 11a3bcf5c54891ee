"""Per-unit values with the effect exactly at the SESOI, judged as a claim's are: how often is the verdict false?

Every scenario has its truth in closed form. A replicate goes through `harness.judging.judge_evidence`, from values to
verdict; nothing stands in for it but the number of resamples (the least that a verdict of this level allows, 4,000),
and in the scenario of many heads, where bootstraps would take hours, an interval of Student's t on normal values.

At the SESOI `supported` is false, and so is `refuted`: each may come up in 2.5 % of the replicates, and so may a bound
on the wrong side of the truth, in each tail of each control.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.lines import append_line, read_lines
from harness.contrasts import Against
from harness.declaration import Claim, Control, Metric, Units
from harness.judging import judge_evidence
from harness.seeding import derive_seed
from harness.stats.ranks import percentile_member
from harness.stats.student import t_quantile
from harness.values import UnitValues

REPLICATES = 12_000
"""4,000 at first, where one of 26 tails missed 124 times (120 allowed), as happens in up to four of ten honest trials;
since then three times as many of every scenario."""
CONTRADICTED = "some component refuted or too small"
BLOCK = 100
"""Replicates per stored line."""
SESOI = 0.5
SPREAD = 1.0
CLAIM = Claim(
    id="calibration.planted", paper="none", statement="The planted effect is larger than the SESOI.",
    metric=Metric("planted value", unit="nats"), sesoi=SESOI, sesoi_reason="planted", alternative="greater",
    controls=(Control("same dose", "same-dose"), Control("shuffled", "input")), rival="noise", exposed_by="shuffled",
    units=Units(default=64, quick=16, reason="planted"), subject="planted",
)  # fmt: skip

Array = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """One replicate: the values, and the true effect against each control (by the outcome's name)."""

    treated: UnitValues
    against: tuple[Against, ...]
    truths: Mapping[str, float]
    student: bool = False


def one_control(rng: np.random.Generator, *, units: int = 24) -> World:
    """One control is beaten by exactly the SESOI, the other by far: bootstrap-t on normal values."""
    treated, ids = rng.normal(SESOI, SPREAD, units), _ids(units)
    controls = {"same dose": -3 + 0.5 * rng.normal(size=units), "shuffled": 0.5 * rng.normal(size=units)}
    return _world(treated, controls, ids, truths={"same dose": SESOI + 3, "shuffled": SESOI})


def all_controls(rng: np.random.Generator, *, units: int = 24) -> World:
    """Three controls are beaten by exactly the SESOI: refutation is a union, and must be corrected for it."""
    treated, ids = rng.normal(SESOI, SPREAD, units), _ids(units)
    names = ("same dose", "shuffled", "permuted labels")
    return _world(treated, {name: rng.normal(size=units) for name in names}, ids, truths=dict.fromkeys(names, SESOI))


def near_ceiling(rng: np.random.Generator, *, units: int = 64) -> World:
    """Attention near 1 with a tail to the left (Beta(5, 1)), by BCa; the control lies exactly the SESOI lower."""
    treated = rng.beta(5, 1, units)
    level = 5 / 6 - SESOI
    controls = {"same dose": level - 1 + np.zeros(units), "shuffled": level + 0.05 * rng.normal(size=units)}
    return _world(treated, controls, _ids(units), truths={"same dose": SESOI + 1, "shuffled": SESOI})


def templates(rng: np.random.Generator, *, clusters: int = 20, each: int = 4) -> World:
    """Twenty templates of four prompts; half of the variance lies between templates (bootstrap-t)."""
    ids = [f"template {cluster}" for cluster in range(clusters) for _ in range(each)]
    between = np.repeat(rng.normal(0, SPREAD * 0.5**0.5, clusters), each)
    treated = SESOI + between + rng.normal(0, SPREAD * 0.5**0.5, clusters * each)
    return _world(
        treated, {"same dose": np.full(len(ids), -3.0), "shuffled": np.zeros(len(ids))}, ids,
        truths={"same dose": SESOI + 3, "shuffled": SESOI},
    )  # fmt: skip


def other_heads(rng: np.random.Generator, *, units: int = 24, others: int = 19) -> World:
    """Nineteen other heads, the subject the SESOI above their mean and above their 95th percentile.

    The others' own means are far enough apart for discovery to name the right member every time. The values that are
    handed in hold the subject's row too, as those of the claims do.
    """
    means = np.linspace(-0.4, 0.4, others)
    names = ["5.1", *(f"{place // 8}.{place % 8}" for place in range(others))]
    ids = _ids(units)
    rows = np.concatenate([[SESOI], means])[:, None] + 0.1 * SPREAD * rng.normal(size=(others + 1, units))
    discovery = np.concatenate([[SESOI], means])[:, None] + 0.01 * rng.normal(size=(others + 1, units))
    population = UnitValues(rows, tuple(names), tuple(ids), tuple(ids))
    found_on = UnitValues(discovery, tuple(names), tuple(f"d{name}" for name in ids), tuple(f"d{name}" for name in ids))
    against = Against("other heads", "component", population, found_on, {"5.1": tuple(names[1:])})
    best = percentile_member(means, names[1:], alternative="greater").value
    truths = {"other heads: mean": SESOI, "other heads: 95th percentile": SESOI - best}
    return World(population.of(["5.1"]), (against,), truths)


def many_heads(rng: np.random.Generator, *, units: int = 24, heads: int = 10) -> World:
    """Ten heads, each exactly at the SESOI: that any one is called `supported` is as rare as for one alone (Holm)."""
    ids, names = _ids(units), tuple(f"5.{head}" for head in range(heads))
    treated = UnitValues(rng.normal(SESOI, SPREAD, (heads, units)), names, tuple(ids), tuple(ids))
    none = UnitValues(np.zeros((1, units)), ("none",), tuple(ids), tuple(ids))
    return World(treated, (Against("shuffled", "input", none),), {"shuffled": SESOI}, student=True)


SCENARIOS: Mapping[str, Callable[[np.random.Generator], World]] = {
    "one control": one_control,
    "all controls": all_controls,
    "near a ceiling": near_ceiling,
    "templates": templates,
    "other heads": other_heads,
    "many heads": many_heads,
}


def measure_planted(out: Path, *, replicates: int = REPLICATES, say: Callable[[str], None] = lambda line: None) -> None:
    """Count verdicts and misses of every scenario, block by block; finished blocks are passed over."""
    done = {(line["scenario"], line["first"]) for line in read_lines(out)}
    for name in SCENARIOS:
        for first in range(0, replicates, BLOCK):
            if (name, first) not in done:
                counts = count(name, range(first, min(first + BLOCK, replicates)))
                append_line(out, {"scenario": name, "first": first, "counts": dict(counts)})
        say(f"planted, {name}: {replicates} replicates")


def count(scenario: str, numbers: Sequence[int] | range) -> Counter[str]:
    """Verdicts (of the claim, and of some component) and misses over these replicates.

    A claim of which a component is refuted or too small is so itself, and never supported.
    """
    found: Counter[str] = Counter()
    for number in numbers:
        found.update(judged_once(scenario, number))
    return found


def judged_once(scenario: str, number: int) -> Iterator[str]:
    """What one replicate is counted under."""
    world = SCENARIOS[scenario](np.random.default_rng(derive_seed("planted", scenario, number)))
    rng = np.random.default_rng(derive_seed("planted intervals", scenario, number))
    with quickly(student=world.student):
        judgement = judge_evidence(
            CLAIM, treated=world.treated, against=world.against, margins={}, exact=None, shares=(), failed=None,
            assay_shown=True, rng=rng,
        )["judgement"]  # fmt: skip
    yield "replicates"
    yield judgement["verdict"]
    reached = {part["verdict"] for part in judgement["components"]}
    if "supported" in reached:
        yield "some component supported"
    if reached & {"refuted", "too small"}:
        yield CONTRADICTED
    for outcome in judgement["outcomes"][: len(world.truths)]:  # of the first component: the others are alike
        truth = world.truths[outcome["control"].split(" (")[0]]
        if outcome["low"] > truth:
            yield f"missed low: {outcome['control'].split(' (')[0]}"
        if outcome["high"] < truth:
            yield f"missed high: {outcome['control'].split(' (')[0]}"


@contextmanager
def quickly(*, student: bool) -> Iterator[None]:
    """The fewest resamples that a verdict takes; with `student` none at all, but an interval of Student's t."""
    with mock.patch("harness.judging.RESAMPLES", 999):
        if not student:
            yield
            return
        with mock.patch("harness.stats.sampling.mean_sampling", student_sampling):
            yield


@dataclass(frozen=True)
class StudentSampling:
    """The t distribution of a mean: exact for normal values."""

    estimate: float
    se: float
    clusters: int
    method: str = "student"

    def bound(self, error: float, *, side: Literal["lower", "upper"]) -> float:
        """One-sided bound."""
        reach = t_quantile(1 - error, freedom=self.clusters - 1) * self.se
        return self.estimate - reach if side == "lower" else self.estimate + reach

    def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
        """P of H0: effect <= threshold."""
        from scipy.special import stdtr

        sign = 1 if alternative == "greater" else -1
        return float(stdtr(self.clusters - 1, -sign * (self.estimate - threshold) / self.se))


def student_sampling(values: Any, **given: Any) -> StudentSampling:
    """In place of `mean_sampling`, for normal values that are each a cluster of their own."""
    row = np.asarray(values)
    return StudentSampling(float(row.mean()), float(row.std(ddof=1)) / len(row) ** 0.5, len(row))


def _world(treated: Array, controls: Mapping[str, Array], ids: Sequence[str], *, truths: Mapping[str, float]) -> World:
    units = tuple(f"{name} unit {place}" for place, name in enumerate(ids))
    base = UnitValues(treated[None], ("5.1",), units, tuple(ids))
    against = tuple(
        Against(name, "same-dose" if name == "same dose" else "input", replace(base, values=row[None]))
        for name, row in controls.items()
    )
    return World(base, against, truths)


def _ids(units: int) -> list[str]:
    return [f"u{place}" for place in range(units)]
