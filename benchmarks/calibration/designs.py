"""Every inference claim's own design, drawn again and again from a pool whose truth is known: misses, and power.

(d) R = 2,000 samples of the registered clusters; each tail of each condition may miss the truth at most 83 times.
(e) The same samples moved to an effect of twice the SESOI: how often is the claim supported? Bounds move with the
values, so nothing is resampled twice (Gaffke's move a little less away from a limit, which understates power). The
comparison with the 95th-percentile member moves as far as the one with the mean of the same control. Margins stand
where they would without any cost (0, or the middle of an equivalence; one whose threshold is 0 always holds); the power
of the effect alone is given beside it. Only the spread of stored values enters, never their effect.

Fewer resamples than a verdict takes (1,999 for 9,999): 0.025 (B + 1) is whole in both, and on two bootstrap-t designs
the misses of each tail differed by 5 of 2,000 at most, the power by 0.003. The rule that a bound within two Monte Carlo
errors of its threshold decides nothing is left out, which flatters power by a percent at most.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.intervals import RESAMPLES, Array, Bounds, bounds_of
from benchmarks.calibration.limits import DESIGN_LIMIT, LEAST_POWER, most_allowed
from benchmarks.calibration.lines import append_line, read_lines
from benchmarks.calibration.pools import enlarged, pooled
from harness.compare.manifest import read_manifest
from harness.designs import Design, Question, control_of, design_of, moves
from harness.seeding import derive_seed
from harness.store import read_record

REPLICATES = 2_000
CURVE = (0.0, 0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Effects, in SESOI, at which the share that is supported is drawn; at 1 it is an error."""
STRICTER = (0.0175, 0.0125, 0.01, 0.0075, 0.005, 0.0025)
"""Nominal levels that are tried where the tails of a design are missed too often."""
LARGER = (2, 3, 4)
"""Multiples of the clusters that are tried there as well."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What one question gave in every replicate: bounds [level, replicate] and the truth."""

    question: Question
    truth: float
    bounds: Bounds


def measure_designs(folder: Path, *, out: Path, replicates: int = REPLICATES, say: Any = None) -> None:
    """Measure every inference design of the records in a folder; finished ones are passed over."""
    done = {
        (line["content_hash"], line["replicates"], tuple(line.get("left_out", ())))
        for line in read_lines(out)
        if line["holds"] or {"stricter", "larger"} <= line.keys()
    }
    for path in sorted(folder.glob("*__seed*.json")):
        record = read_record(path).as_dict()
        design = design_of(record) if record["claim"]["tier"] == "inference" else None
        if design is None or (design.content_hash, replicates, design.left_out) in done:
            continue
        began = time.perf_counter()
        line = measure_design(design, replicates=replicates)
        append_line(out, {**line, "seconds": round(time.perf_counter() - began, 2)})
        if say is not None:
            say(f"{design.claim_id} on {design.model_id}: most misses {line['most_misses']}, power {line['power']:.2f}")


def unmeasured_designs(folder: Path, *, measured: Collection[str]) -> list[dict[str, str]]:
    """Claim and model of the inference records in a folder whose design is none of the measured content hashes."""
    manifest = read_manifest(folder)
    found = []
    for path in sorted(folder.glob("*__seed*.json")):
        if manifest and path.name in manifest.records and manifest.records[path.name].content_hash in measured:
            continue
        record = read_record(path).as_dict()
        if record["claim"]["tier"] != "inference" or record["content_hash"] in measured or design_of(record) is None:
            continue
        found.append({"claim": record["claim"]["id"], "model": record["model"]["id"]})
    return found


def measure_design(design: Design, *, replicates: int = REPLICATES, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Misses of each tail of each condition, and the power at twice the SESOI, as plain values."""
    pools = pooled(design)
    drawn = draw(pools, replicates=replicates, resamples=resamples)
    shifts = moves([each.question for each in drawn], sesoi=design.sesoi, alternative=design.alternative)
    questions = [
        {**_tails(each), "holds_at_twice": float(_holds(each, shift)[0].mean())}
        for each, shift in zip(drawn, shifts, strict=True)
    ]
    most, allowed = _most_misses(drawn), most_allowed(replicates, DESIGN_LIMIT)
    power, alone = power_at(design, drawn), power_at(design, drawn, margins=False)
    holds, amount = most <= allowed, {"replicates": replicates, "resamples": resamples}
    stricter = ((level, replace(pools, alpha=level)) for level in STRICTER)
    larger = (enlarged(pools, times=times) for times in LARGER)
    return {
        "claim": design.claim_id,
        "model": design.model_id,
        "content_hash": design.content_hash,
        "replicates": replicates,
        "resamples": resamples,
        "clusters": _clusters(design),
        "questions": questions,
        "left_out": list(design.left_out),
        "most_misses": most,
        "allowed": allowed,
        "holds": holds,
        "stricter": [] if holds else _until_it_holds(stricter, **amount),
        "larger": [] if holds else _until_it_holds(((_clusters(each), each) for each in larger), **amount),
        "power": power,
        "curve": [[times, power_at(design, drawn, times=times)] for times in CURVE],
        "power_of_effect_alone": alone,
        "power_scaled": power_scaled(design, drawn),
        "underpowered": power < LEAST_POWER,
    }


def _until_it_holds(
    tried: Iterable[tuple[float, Design]], *, replicates: int, resamples: int
) -> list[tuple[float, int, float]]:
    """Level or clusters of each design of pools, misses of its worst tail, power; up to the first that holds.

    Pools know no tail that the stored clusters do not show: a real sample of more clusters may miss more.
    """
    found = []
    for name, design in tried:
        drawn = draw(design, replicates=replicates, resamples=resamples)
        found.append((name, _most_misses(drawn), power_at(design, drawn)))
        if found[-1][1] <= most_allowed(replicates, DESIGN_LIMIT):
            break
    return found


def _clusters(design: Design) -> int:
    return min(len(question.clusters) for question in design.questions)


def _most_misses(drawn: list[Drawn]) -> int:
    tails = [_tails(each) for each in drawn]
    return max(max(entry["missed_low"], entry["missed_high"]) for entry in tails)


def draw(design: Design, *, replicates: int, resamples: int = RESAMPLES) -> list[Drawn]:
    """Samples of the registered clusters from the pools that `design` holds, and the bounds of each.

    The numbers are the same on every run.
    """
    seed = derive_seed("designs", design.claim_id, design.model_id)
    levels = holm_steps(design.alpha, components=len(design.components))
    rng, chosen, found = np.random.default_rng(seed), {}, []
    for question in design.questions:
        registered = len(question.clusters)
        if question.clusters not in chosen:
            chosen[question.clusters] = rng.integers(0, len(question.values), (replicates, registered))
        rows = chosen[question.clusters]
        below = None if question.below is None else question.below[rows]
        bounds = bounds_of(
            question.values[rows], method=question.method, levels=levels, rng=rng, below=below, resamples=resamples,
            limits=question.limits,
        )  # fmt: skip
        found.append(Drawn(question, question.truth(), bounds))
    return found


def holm_steps(alpha: float, *, components: int) -> tuple[float, ...]:
    """The levels of Holm's procedure, the loosest (alpha itself) first."""
    return tuple(alpha / step for step in range(1, components + 1))


def power_at(design: Design, drawn: list[Drawn], *, times: float | None = 2.0, margins: bool = True) -> float:
    """Share of replicates in which every component passes, were the effect `times` the SESOI against every control.

    With `times=None` effect and margins stay where they are in the pool.
    """
    if times is None:
        return _all_pass(design, drawn, [0.0] * len(drawn), margins=margins)
    questions = [each.question for each in drawn]
    shifts = moves(questions, sesoi=design.sesoi, alternative=design.alternative, times=times)
    return _all_pass(design, drawn, shifts, margins=margins)


def power_scaled(design: Design, drawn: list[Drawn], *, times: float = 2.0) -> float:
    """The power where the spread shrinks with the effect: all of a control's values are scaled instead of moved.

    Values moved down from a large effect keep its spread, which understates power wherever larger effects vary more.
    Scaled are the comparisons with a control and with its 95th-percentile member alike, as in a model that does
    everything more weakly; margins are moved as before. It describes, and decides nothing.
    """
    questions = [each.question for each in drawn]
    moved = moves(questions, sesoi=design.sesoi, alternative=design.alternative, times=times)
    wanted = times * design.sesoi
    factors = {
        control_of(each.question): wanted / abs(each.truth)
        for each in drawn
        if each.question.rule == "superiority" and each.question.threshold != 0 and each.truth
    }
    scaled, left = [], []
    for each, move in zip(drawn, moved, strict=True):
        factor = factors.get(control_of(each.question), 1.0) if each.question.rule == "superiority" else 1.0
        bounds = Bounds(each.bounds.low * factor, each.bounds.high * factor)
        scaled.append(Drawn(each.question, each.truth * factor, bounds))
        left.append(0.0 if each.question.rule == "superiority" else move)
    return _all_pass(design, scaled, left)


def _all_pass(design: Design, drawn: list[Drawn], shifts: list[float], *, margins: bool = True) -> float:
    """Share of replicates in which every component passes, by Holm's procedure."""
    passed: dict[str, NDArray[np.bool_] | None] = dict.fromkeys(design.components)
    for each, moved in zip(drawn, shifts, strict=True):
        if each.question.rule != "superiority" and not margins:
            continue
        holds, before = _holds(each, moved), passed[each.question.component]
        passed[each.question.component] = holds if before is None else before & holds
    stacked = np.stack([each for each in passed.values() if each is not None])  # [component, level, replicate]
    # Holm rejects all m hypotheses where at least k of them have p <= alpha / (m - k + 1), for every k; the levels
    # stand from alpha to alpha / m, so that k counts down from m.
    wanted = np.arange(len(stacked), 0, -1)
    return float((stacked.sum(axis=0) >= wanted[:, None]).all(axis=0).mean())


def _holds(each: Drawn, shift: float) -> NDArray[np.bool_]:
    """Whether the condition holds at each level in each replicate [level, replicate]; NaN bounds never do."""
    question, (low, high) = each.question, each.bounds
    if question.rule == "equivalence":
        return np.asarray((low + shift >= question.threshold) & (high + shift <= (question.upper or 0.0)))
    if question.alternative == "greater":
        return np.asarray(low + shift >= question.threshold)
    return np.asarray(high + shift <= question.threshold)


def _tails(each: Drawn) -> Mapping[str, Any]:
    """Misses of the 95 % interval: `missed_low` counts lower bounds above the truth."""
    low, high = each.bounds.low[0], each.bounds.high[0]
    rounding = 1e-9 * max(1.0, abs(each.truth))
    finite: Array = high[np.isfinite(high)] - low[np.isfinite(high)]
    return {
        "component": each.question.component,
        "control": each.question.control,
        "method": each.question.method,
        "clusters": len(each.question.clusters),
        "missed_low": int((low > each.truth + rounding).sum()),
        "missed_high": int((high < each.truth - rounding).sum()),
        "without_interval": int(np.isnan(low).sum()),
        "truth": each.truth,
        "threshold": each.question.threshold,
        "upper": each.question.upper,
        "half_width": float(np.median(finite[np.isfinite(finite)]) / 2) if np.isfinite(finite).any() else None,
    }
