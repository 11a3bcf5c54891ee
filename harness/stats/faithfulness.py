"""How much of the model's behaviour a circuit keeps: raw means, two ratios of means, what they miss per unit.

F is the mean score over units (a logit difference, say) of the whole model M, of the circuit C alone, and of the empty
circuit, in which everything is replaced. Two ratios are given, never clamped, since above 1 and below 0 are results:

    recovered  (F(C) - F(empty)) / (F(M) - F(empty))    the share of what replacing everything takes away (Hanna et al.
                                                        2024; Mueller et al. 2025, MIB)
    kept       F(C) / F(M)                              as the IOI paper quotes it (Wang et al. 2023, section 4)

Both are ratios of means, not means of ratios. The two differ: a mean of F_i(C) / F_i(M) gives units on which the model
hardly shows the behaviour the largest weight, and units with F_i(M) near zero decide it.

A ratio of means near 1 does not show that the circuit does what the model does unit by unit: errors of opposite signs
cancel. So the same numbers are given in each stratum, and |F_i(C) - F_i(M)| for each unit. Nothing decides here:
`equivalence.tost_by_stratum` takes the sampling distributions, `sampling.mean_sampling` the discrepancies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError
from harness.stats.clusters import ClusterMeans, check_generator, check_resamples, cluster_means
from harness.stats.ratio import InvalidDenominator, RatioSampling, ratio_sampling

ERROR = 0.025
"""One-sided error of each bound: the interval is the protocol's two-sided 95 %."""


@dataclass(frozen=True)
class MeanRatio:
    """A ratio of means with its interval, or the reason why it has none.

    Attributes:
        estimate: mean(numerator) / mean(denominator), not clamped; None where the denominator is too near zero.
        low: lower bound of the 95 % interval, -inf where the resamples cannot tell; None where `invalid` says why.
        high: upper bound, likewise.
        numerator_mean: mean of the numerator, in the score's unit.
        denominator_mean: mean of the denominator, in the score's unit.
        sampling: the bootstrap distribution over clusters, to be asked for other bounds and for p-values; None where
            there is no interval.
        invalid: why there is no interval; None where there is one.
    """

    estimate: float | None
    low: float | None
    high: float | None
    numerator_mean: float
    denominator_mean: float
    sampling: RatioSampling | None
    invalid: str | None


@dataclass(frozen=True, eq=False)
class FaithfulnessPart:
    """The faithfulness of a circuit on some of the units: all of them, or one stratum.

    Attributes:
        units: n, how many units there are.
        model_mean: F(M), in the score's unit.
        circuit_mean: F(C).
        empty_mean: F(empty).
        recovered: (F(C) - F(empty)) / (F(M) - F(empty)).
        kept: F(C) / F(M).
        mean_discrepancy: mean over units of |F_i(C) - F_i(M)|.
        by_cluster: means of (M, C, empty) in each cluster, [3, cluster]: which templates the circuit serves.
    """

    units: int
    model_mean: float
    circuit_mean: float
    empty_mean: float
    recovered: MeanRatio
    kept: MeanRatio
    mean_discrepancy: float
    by_cluster: ClusterMeans


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The faithfulness of a circuit, with every number that it rests on.

    Attributes:
        whole: over all units.
        strata: over the units of each declared stratum, by its name.
        discrepancy: |F_i(C) - F_i(M)|, [unit], in the order of the scores.
    """

    whole: FaithfulnessPart
    strata: Mapping[str, FaithfulnessPart]
    discrepancy: NDArray[np.float64]


def faithfulness(
    model: ArrayLike,
    circuit: ArrayLike,
    *,
    empty: ArrayLike,
    clusters: Sequence[str],
    rng: np.random.Generator,
    strata: Sequence[str] | None = None,
    resamples: int = 9_999,
) -> Faithfulness:
    """The faithfulness of a circuit: raw means, both ratios with paired cluster bootstrap intervals, and by stratum.

    A denominator within 5 of its standard errors of zero makes its ratio invalid, and so does a numerator that is the
    same multiple of the denominator in every cluster (the circuit is the model): the record says so, with the raw
    means beside it.

    Args:
        model: F_i(M), [unit].
        circuit: F_i(C), the same units.
        empty: F_i(empty), the same units.
        clusters: one id per unit; equally many units of each, also within a stratum.
        rng: draws the resamples, of the whole first and then of the strata in order of appearance.
        strata: one name per unit (the order of the names, BOS or none); no strata where None.
        resamples: resamples of each ratio.

    Raises:
        StatisticsError: scores of different lengths, empty, or not finite; ids or strata that do not fit; clusters of
            unequal size or fewer than two, in the whole or in a stratum; rng or resamples are refused.
    """
    scores = _stacked(model=model, circuit=circuit, empty=empty)
    check_generator(rng)
    check_resamples(resamples)
    everyone = np.ones(scores.shape[1], dtype=np.bool_)
    whole = _part(scores, everyone, clusters=clusters, rng=rng, resamples=resamples)
    labels = np.array([] if strata is None else list(strata), dtype=object)
    if strata is not None and len(labels) != scores.shape[1]:
        raise StatisticsError(f"{len(labels)} strata for {scores.shape[1]} units; give one name per unit")
    return Faithfulness(
        whole=whole,
        strata={
            name: _part(scores, labels == name, clusters=clusters, rng=rng, resamples=resamples, where=name)
            for name in dict.fromkeys(labels)
        },
        discrepancy=np.abs(scores[1] - scores[0]),
    )


def _stacked(**rows: ArrayLike) -> NDArray[np.float64]:
    """The scores as [3, unit]; each row is checked under its own name."""
    shapes = {name: np.shape(row) for name, row in rows.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise StatisticsError(f"scores have shapes {listed}; give one score of each per unit, of the same units")
    scores = np.array([np.asarray(row, dtype=np.float64) for row in rows.values()])
    for name, row in zip(rows, scores, strict=True):
        if not np.isfinite(row).all():
            place = int(np.argmax(~np.isfinite(row)))
            raise StatisticsError(f"score {place} of the {name} is {row[place]}; scores must be finite")
    return scores


def _part(
    scores: NDArray[np.float64],
    chosen: NDArray[np.bool_],
    *,
    clusters: Sequence[str],
    rng: np.random.Generator,
    resamples: int,
    where: str | None = None,
) -> FaithfulnessPart:
    """The numbers of the chosen units; `where` names their stratum in errors."""
    if len(clusters) != len(chosen):
        raise StatisticsError(f"{len(clusters)} cluster ids for {len(chosen)} units; give one id per unit")
    rows = scores[:, chosen]
    ids = [cluster for cluster, taken in zip(clusters, chosen, strict=True) if taken]
    try:
        by_cluster = cluster_means(rows, clusters=ids)
    except StatisticsError as error:
        if where is None:
            raise
        raise StatisticsError(f"stratum {where!r}: {error}") from error
    model, circuit, empty = rows
    return FaithfulnessPart(
        units=rows.shape[1],
        model_mean=float(model.mean()),
        circuit_mean=float(circuit.mean()),
        empty_mean=float(empty.mean()),
        recovered=_mean_ratio(circuit - empty, model - empty, clusters=ids, rng=rng, resamples=resamples),
        kept=_mean_ratio(circuit, model, clusters=ids, rng=rng, resamples=resamples),
        mean_discrepancy=float(np.abs(circuit - model).mean()),
        by_cluster=by_cluster,
    )


def _mean_ratio(
    numerator: NDArray[np.float64],
    denominator: NDArray[np.float64],
    *,
    clusters: Sequence[str],
    rng: np.random.Generator,
    resamples: int,
) -> MeanRatio:
    above, below = float(numerator.mean()), float(denominator.mean())
    try:
        sampling = ratio_sampling(numerator, denominator, clusters=clusters, rng=rng, resamples=resamples)
    except InvalidDenominator as error:
        return MeanRatio(None, None, None, above, below, sampling=None, invalid=str(error))
    except StatisticsError as error:
        # The arguments were checked before, so what is left is a numerator that is a multiple of the denominator.
        return MeanRatio(above / below, None, None, above, below, sampling=None, invalid=str(error))
    return MeanRatio(
        sampling.estimate,
        sampling.bound(ERROR, side="lower"),
        sampling.bound(ERROR, side="upper"),
        above,
        below,
        sampling=sampling,
        invalid=None,
    )
