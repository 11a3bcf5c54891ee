"""The hypothesis tests of circuits of Shi et al. (2024), with the nulls the right way round.

    test               null whose rejection supports the circuit          null whose rejection refutes it
    equivalence        P(D > 0) is eps or more away from 1/2 (reversed)   P(D > 0) is within eps of 1/2 (as published)
    independence       none                                               M without C knows nothing of M's scores
    minimality         none                                               every component beats a share q of additions
    sufficiency        closer to M than at most q of random circuits      closer than at least q of them (reversed)
    partial necessity  missed more than at most q of random circuits      missed more than at least q (reversed)

Equivalence and independence are here, the other three in `random_circuits`: in the former units (prompts) are the
sample, in the latter random circuits are. Not rejecting is never support: a test whose `support` is None cannot give
any, whatever its p. Under the published null of the first one "equivalent" is the default: at n = 50 and eps = .1 a
circuit that outscores the model on 70 % of prompts is passed two times in three. We also depart from the published code
(blei-lab/circuitry) in that

- the statistic of equivalence is the share of units with D > 0; the code takes the mean of -D, which is no share;
- ties count against whatever would be concluded; the code counts them as successes in the sufficiency test;
- HSIC takes a bandwidth for each of the two scores; the code's only one is a distance between them, so that adding a
  constant to one of them changes p;
- the observed arrangement counts as one of the permutations, so that no p is 0;
- units of one cluster stand together: they are worth fewer independent units, and are permuted together;
- minimality is adjusted for the number of components.

Source: Shi et al. (2024), Hypothesis testing the circuit hypothesis in LLMs, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError
from harness.stats.arguments import finite_row
from harness.stats.binomial import clopper_pearson
from harness.stats.hsic import hsic_permutation

ALPHA = 0.025
"""The protocol's one-sided level."""


@dataclass(frozen=True)
class NullTest:
    """One null hypothesis and its p.

    Attributes:
        null: the hypothesis in words.
        p_value: how improbable data at least this far from it are where it is true.
        smallest_p: the smallest p that this design could give; above `alpha`, the null could not be rejected at all.
        alpha: level of the test.
    """

    null: str
    p_value: float
    smallest_p: float
    alpha: float

    @property
    def rejected(self) -> bool:
        """Whether p is at most alpha."""
        return self.p_value <= self.alpha


@dataclass(frozen=True)
class CircuitTest:
    """One test of a circuit: neither `supports` nor `refutes` means that nothing is known.

    Attributes:
        name: the test's name in the paper.
        statistic: the observed statistic.
        statistic_is: what that is, in words.
        n: how many independent things were observed.
        n_of: what they are: units, clusters or random circuits. The p is about other draws of these only.
        ties: how many comparisons were tied; they count against either conclusion.
        support: the null whose rejection supports the circuit; None where this test can never support.
        refutation: the null whose rejection refutes it.
    """

    name: str
    statistic: float
    statistic_is: str
    n: int
    n_of: str
    ties: int
    support: NullTest | None
    refutation: NullTest

    @property
    def supports(self) -> bool:
        """Whether a null was rejected whose rejection supports the circuit; never by not rejecting one."""
        return self.support is not None and self.support.rejected

    @property
    def refutes(self) -> bool:
        """Whether a null was rejected whose rejection refutes the circuit."""
        return self.refutation.rejected


def equivalence_test(
    model: ArrayLike, circuit: ArrayLike, *, clusters: Sequence[str], epsilon: float = 0.1, alpha: float = ALPHA
) -> CircuitTest:
    """Whether circuit and model are equally likely to outscore each other: D_i = s_i(C) - s_i(M), P(D > 0) near 1/2.

    Supports where both P(D > 0) > 1/2 - eps and P(D < 0) > 1/2 - eps are shown (two one-sided binomial tests at alpha,
    the larger p counts); without ties that is |P(D > 0) - 1/2| < eps. Refutes where the published null is rejected: p
    is the probability, at P = 1/2 + eps, of a share at least as far from 1/2 on either side. A tie is neither D > 0 nor
    D < 0: with a share of ties of 2 eps or more nothing can be supported, and of a circuit that gives the model's own
    scores nothing is known here (`faithfulness` tells it). Clusters count as in `binomial.clopper_pearson`.

    It compares who scores higher, not by how much: a circuit far above the model on half of the prompts and far below
    on the others passes. Read it beside the mean of |F_i(C) - F_i(M)|.

    Args:
        model: s_i(M), [unit].
        circuit: s_i(C), the same units.
        clusters: one id per unit.
        epsilon: half-width of the region around 1/2, 0 < eps < 1/2.
        alpha: level of each null.

    Raises:
        StatisticsError: scores of different lengths or not finite, unequal or fewer than two clusters, eps outside.
    """
    own, reference = paired_scores(circuit, model)
    difference = own - reference
    if not 0 < epsilon < 0.5:
        raise StatisticsError(f"epsilon is {epsilon!r}; give the half-width of a region around 1/2, between 0 and 0.5")
    above, below = (clopper_pearson(sign * difference > 0, clusters=clusters) for sign in (1, -1))
    larger = above if above.estimate >= below.estimate else below
    inside = max(share.p_value(0.5 - epsilon, alternative="greater") for share in (above, below))
    # By symmetry P(share <= 1 - larger) at 1/2 + eps is P(share >= larger) at 1/2 - eps.
    outside = sum(larger.p_value(0.5 + sign * epsilon, alternative="greater") for sign in (1, -1))
    tied = int((difference == 0).sum())
    return CircuitTest(
        name="equivalence",
        statistic=above.estimate,
        statistic_is="share of units on which the circuit scores higher than the model",
        n=above.clusters,
        n_of="units" if above.clusters == above.units else "clusters",
        ties=tied,
        support=NullTest(
            f"circuit or model scores higher on at most {0.5 - epsilon:g} of units",
            p_value=inside,
            smallest_p=at_least(above.units // 2, of=above.units, chance=0.5 - epsilon),
            alpha=alpha,
        ),
        refutation=NullTest(
            f"the circuit scores higher on a share of units within {epsilon:g} of 1/2",
            p_value=min(1.0, outside),
            smallest_p=(0.5 + epsilon) ** above.units + (0.5 - epsilon) ** above.units,
            alpha=alpha,
        ),
    )


def independence_test(
    model: ArrayLike,
    without_circuit: ArrayLike,
    *,
    clusters: Sequence[str],
    rng: np.random.Generator,
    permutations: int = 9_999,
    alpha: float = ALPHA,
) -> CircuitTest:
    """Whether the model without the circuit still knows on which units the whole model scores high: it can only refute.

    The statistic is HSIC = tr(HKH HLH) / (n - 1)^2 with Gaussian kernels; whole clusters of one of the scores are
    permuted against the other's, and p is the share of arrangements, the observed one included, that reach it. A small
    p refutes that the circuit alone makes the behaviour. It is also what prompts of unequal difficulty give, for any
    set of components; a large p is no evidence of anything.

    Args:
        model: s_i(M), [unit].
        without_circuit: s_i of the model with the circuit knocked out, the same units.
        clusters: one id per unit.
        rng: draws the permutations.
        permutations: how many, at least 999.
        alpha: level of the test.

    Raises:
        StatisticsError: scores of different lengths, not finite or without variation; unequal or fewer than two
            clusters; rng or permutations are refused.
    """
    found = hsic_permutation(model, without_circuit, clusters=clusters, rng=rng, permutations=permutations)
    return CircuitTest(
        name="independence",
        statistic=found.statistic,
        statistic_is="HSIC of the model's scores and of those without the circuit",
        n=found.clusters,
        n_of="units" if found.clusters == found.units else "clusters",
        ties=0,
        support=None,
        refutation=NullTest(
            "the scores without the circuit are independent of the model's",
            p_value=found.p,
            smallest_p=found.smallest_p,
            alpha=alpha,
        ),
    )


def paired_scores(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both scores as rows [unit] of the same length, finite.

    Raises:
        StatisticsError: they are not, or there are fewer than two units.
    """
    one, other = finite_row(first, what="scores", at_least=2), finite_row(second, what="scores", at_least=2)
    if one.size != other.size:
        raise StatisticsError(f"{one.size} and {other.size} scores; give one of each per unit, of the same units")
    return one, other


def at_least(successes: int, *, of: int, chance: float) -> float:
    """P(Bin(of, chance) >= successes)."""
    return at_most(of - successes, of=of, chance=1 - chance)


def at_most(successes: int, *, of: int, chance: float) -> float:
    """P(Bin(of, chance) <= successes)."""
    from scipy.special import bdtr

    return float(bdtr(successes, of, chance)) if successes >= 0 else 0.0
