"""The tests of Shi et al. (2024) against random circuits: minimality, sufficiency and partial necessity.

Random circuits are the sample here, the prompts are fixed: a p says nothing about other prompts, and with n random
circuits no support has a p below q^n (n = 36 is the least that can reach .025 at q = .9). The binomial takes the draws
as independent; drawn without repetition from a finite population they vary less. Which nulls support, which refute, and
where we depart from the published code stands in `circuit_tests`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError
from harness.stats.arguments import finite_row, probability
from harness.stats.circuit_tests import ALPHA, CircuitTest, NullTest, at_least, at_most, paired_scores
from harness.stats.clusters import ROUNDING
from harness.stats.multiplicity import holm

QUANTILE = 0.9
"""q* of the paper: the share of random circuits that a circuit, or a component, must beat."""


@dataclass(frozen=True)
class MinimalityTest(CircuitTest):
    """The minimality test, with what it says of each component.

    Attributes:
        p_values: by component, the p of "its removal changes more than that of a random addition, in a share q or
            more of additions".
        p_adjusted: the same, Holm-adjusted over the circuit's components.
        redundant: components for which that is rejected at the adjusted level.
    """

    p_values: Mapping[str, float]
    p_adjusted: Mapping[str, float]
    redundant: tuple[str, ...]


def minimality_test(
    circuit: ArrayLike,
    without: Mapping[str, ArrayLike],
    *,
    inflated: ArrayLike,
    inflated_without: ArrayLike,
    quantile: float = QUANTILE,
    alpha: float = ALPHA,
) -> MinimalityTest:
    """Whether some component matters too little for the circuit to be minimal: it can only refute.

    For a component e, delta_e is the mean squared change of the scores when e leaves the circuit, delta_r the same when
    a randomly added part leaves the inflated circuit, T = #(delta_e > delta_r) and p = P(Bin(n, q) <= T). A small p
    says that e matters more than a random addition in less than a share q of additions: e is redundant. One redundant
    component refutes minimality; hence Holm over components, which the published code leaves out. Ties count against
    the component: one without any effect is redundant even where additions have none either.

    Args:
        circuit: s_i(C), [unit].
        without: s_i(C without e), [unit], by component e.
        inflated: s_i(C with a random addition), [addition, unit].
        inflated_without: the same with one part of that addition knocked out again, [addition, unit].
        quantile: q.
        alpha: level for the circuit.

    Raises:
        StatisticsError: no component or addition, scores of other units or not finite, q outside (0, 1).
    """
    own = finite_row(circuit, what="scores of the circuit")
    probability(quantile, what="quantile")
    if not without:
        raise StatisticsError("no component given; pass the circuit's scores without each of its components")
    before = _score_rows(inflated, units=own.size, what="scores of inflated circuits")
    after = _score_rows(inflated_without, units=own.size, what="scores of inflated circuits without a part")
    if len(before) != len(after):
        raise StatisticsError(f"{len(before)} inflated circuits, but {len(after)} of them without a part; give pairs")
    removed = np.array([paired_scores(row, own)[0] for row in without.values()])
    effects, reference = _squared_change(removed, own), _squared_change(after, before)
    rounding = ROUNDING * float((own**2).mean())
    wins = (effects[:, None] > reference + rounding).sum(axis=1)
    p_values = [at_most(int(won), of=len(reference), chance=quantile) for won in wins]
    adjusted = holm(p_values)
    least = int(np.argmin(effects))
    return MinimalityTest(
        name="minimality",
        statistic=float(wins[least]),
        statistic_is="random additions whose removal changes less than that of the circuit's least component",
        n=len(reference),
        n_of="random additions",
        ties=int((np.abs(effects[least] - reference) <= rounding).sum()),
        support=None,
        refutation=NullTest(
            f"the removal of every component changes more than that of a share {quantile:g} of random additions",
            p_value=float(adjusted.min()),
            smallest_p=min(1.0, len(wins) * at_most(0, of=len(reference), chance=quantile)),
            alpha=alpha,
        ),
        p_values=dict(zip(without, p_values, strict=True)),
        p_adjusted=dict(zip(without, adjusted.tolist(), strict=True)),
        redundant=tuple(name for name, p in zip(without, adjusted, strict=True) if p <= alpha),
    )


def sufficiency_test(
    model: ArrayLike, circuit: ArrayLike, *, random: ArrayLike, quantile: float = QUANTILE, alpha: float = ALPHA
) -> CircuitTest:
    """Whether the circuit comes closer to the model than a share q of random circuits of its size.

    delta is the mean squared difference of the scores from the model's, T = #(delta_C < delta_r). Supports where
    P(Bin(n, q) >= T) is small, refutes where P(Bin(n, q) <= T + ties) is. Differences below 1e-12 of the model's mean
    square are ties: the rounding of single precision decides nothing.

    Args:
        model: s_i(M), [unit].
        circuit: s_i(C), the same units.
        random: s_i of random circuits, [circuit, unit], drawn independently of the scores.
        quantile: q.
        alpha: level of each null.

    Raises:
        StatisticsError: scores of other units or not finite, no random circuit, q outside (0, 1).
    """
    closer = _Lead("sufficiency", "closer to the model than a random circuit", sign=-1)
    return _against_random(closer, _paired_rows(model, circuit, random), quantile=quantile, alpha=alpha)


def partial_necessity_test(
    model: ArrayLike,
    without_circuit: ArrayLike,
    *,
    without_random: ArrayLike,
    quantile: float = QUANTILE,
    alpha: float = ALPHA,
) -> CircuitTest:
    """Whether the model misses the circuit more than a share q of random circuits of its size.

    delta is the mean squared change of the model's scores, T = #(delta_C > delta_r); otherwise as `sufficiency_test`.
    The paper draws the random circuits from the whole model; drawn from outside the circuit they are easier to beat.

    Args:
        model: s_i(M), [unit].
        without_circuit: s_i of the model with C knocked out, the same units.
        without_random: the same with each random circuit knocked out, [circuit, unit].
        quantile: q.
        alpha: level of each null.

    Raises:
        StatisticsError: as `sufficiency_test`.
    """
    missed = _Lead("partial necessity", "missed more than a random circuit", sign=1)
    return _against_random(missed, _paired_rows(model, without_circuit, without_random), quantile=quantile, alpha=alpha)


class _Lead(NamedTuple):
    """Which of two deltas is the better one: the circuit is ahead where sign * (delta_C - delta_r) > 0."""

    name: str
    event: str
    sign: int


class _Scores(NamedTuple):
    """Scores of the model and the circuit, [unit], and of random circuits, [circuit, unit]."""

    model: NDArray[np.float64]
    circuit: NDArray[np.float64]
    random: NDArray[np.float64]


def _paired_rows(model: ArrayLike, circuit: ArrayLike, random: ArrayLike) -> _Scores:
    own, reference = paired_scores(circuit, model)
    return _Scores(reference, own, _score_rows(random, units=reference.size, what="scores of random circuits"))


def _against_random(lead: _Lead, scores: _Scores, *, quantile: float, alpha: float) -> CircuitTest:
    probability(quantile, what="quantile")
    deltas = _squared_change(np.vstack([scores.circuit, scores.random]), scores.model)
    ahead = lead.sign * (deltas[0] - deltas[1:])
    rounding = ROUNDING * float((scores.model**2).mean())
    won, tied, count = int((ahead > rounding).sum()), int((np.abs(ahead) <= rounding).sum()), ahead.size
    return CircuitTest(
        name=lead.name,
        statistic=float(won),
        statistic_is=f"random circuits against which the circuit is {lead.event}",
        n=count,
        n_of="random circuits",
        ties=tied,
        support=NullTest(
            f"the circuit is {lead.event} in at most {quantile:g} of draws",
            p_value=at_least(won, of=count, chance=quantile),
            smallest_p=quantile**count,
            alpha=alpha,
        ),
        refutation=NullTest(
            f"the circuit is {lead.event} in at least {quantile:g} of draws",
            p_value=at_most(won + tied, of=count, chance=quantile),
            smallest_p=(1 - quantile) ** count,
            alpha=alpha,
        ),
    )


def _score_rows(values: ArrayLike, *, units: int, what: str) -> NDArray[np.float64]:
    """The scores [set, unit], finite, at least one set, and of as many units as the others."""
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != units:
        raise StatisticsError(f"{what} have shape {rows.shape}; give [set, unit] with {units} units")
    finite_row(rows.ravel(), what=what)
    return rows


def _squared_change(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """The paper's delta of each row: the mean squared difference of scores, [set]."""
    return np.asarray(((after - before) ** 2).mean(axis=1))
