"""Directions to hold a direction against: random ones with the activations' covariance, ones from permuted labels.

They have the direction's norm, so that equal doses are equally long. They are not made orthogonal to it: a control that
was would be kinder to the direction than chance is. How near they come to it is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.steering.activations import PairActivations
from harness.steering.direction import Direction, pointing

Pipeline = Callable[[PairActivations], Direction]
"""All that makes a direction of labelled activations, the choice of its layer included."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Control directions, and the cosine of each with the direction that they are held against."""

    directions: tuple[Direction, ...] = field(repr=False)
    cosines: NDArray[np.float64]

    def named(self, name: str) -> dict[str, Direction]:
        """The directions as `name 0`, `name 1` ..."""
        return {f"{name} {number}": direction for number, direction in enumerate(self.directions)}

    @property
    def layers(self) -> tuple[int, ...]:
        """The layer of each."""
        return tuple(direction.layer for direction in self.directions)


def random_directions(
    activations: NDArray[np.floating[Any]], *, like: Direction, draws: int, rng: np.random.Generator
) -> Drawn:
    """Random directions with the covariance of the activations at the direction's place.

    Activations are scaled to length 1 and centred, as in `interventions.same_dose_factor`: a few massive ones would
    otherwise be all of the covariance. A draw is their sum with standard normal weights, which has just that covariance
    and needs no matrix root, then taken to length 1.

    Args:
        activations: [sample, d_model] at the direction's place (`stream_samples`). Take texts of many kinds: the two
            classes of one contrast vary along its direction more than along any other.
        like: what they are held against; they take its site, layer and norm.
        draws: how many.
        rng: what draws.

    Raises:
        StatisticsError: fewer than two activations, a value that is not finite, or activations that do not vary.
    """
    values = np.asarray(activations, dtype=np.float64)
    _check_draws(draws)
    if values.ndim != 2 or len(values) < 2 or values.shape[1] != len(like.vector):
        raise StatisticsError(
            f"activations {values.shape} are not at least two of [text, d_model = {len(like.vector)}]: no covariance"
        )
    if not np.isfinite(values).all():
        raise StatisticsError("the activations hold NaN or infinity: they have no covariance")
    scaled = values / np.linalg.norm(values, axis=1, keepdims=True).clip(min=1e-12)
    vectors = rng.standard_normal((draws, len(values))) @ (scaled - scaled.mean(axis=0))
    scale = float(np.sqrt(len(values)))
    found = [pointing(vector, at=like.place, method="random direction", n=0, scale=scale) for vector in vectors]
    return _drawn(found, like=like)


def permuted_directions(
    pairs: PairActivations,
    *,
    pipeline: Pipeline,
    like: Direction,
    draws: int,
    rng: np.random.Generator,
    strata: Sequence[str] | None = None,
) -> Drawn:
    """Directions that the whole pipeline finds where the labels of half of the pairs are exchanged.

    Within a pair texts differ in little but the label: what templates and words tell stays as it is. Exactly half of
    the pairs are exchanged, drawn anew each time, so that the labels tell nothing. Dealt by a coin they would be right
    a little more or less often than wrong, and what is left of the contrast, taken to length 1, would be the direction
    itself with either sign. The directions keep the layer and norm that the pipeline gave them.

    Args:
        pairs: cached activations; nothing is run again.
        pipeline: makes a direction of such activations, as it made `like` of these.
        like: what they are held against.
        draws: how many; at least 99 for a claim.
        rng: what draws.
        strata: one id per pair, its template: half of the pairs are exchanged in each (of odd numbers one more or
            less, at random).
    """
    _check_draws(draws)
    labels = np.array(["all"] * len(pairs) if strata is None else list(strata))
    if len(labels) != len(pairs):
        raise StatisticsError(f"{len(labels)} strata for {len(pairs)} pairs; give one id per pair")
    found = [pipeline(pairs.swapped(half_of(labels, rng=rng))) for _ in range(draws)]
    return _drawn(found, like=like)


def half_of(strata: NDArray[np.str_], *, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[pair], true for a random half of every stratum."""
    chosen = np.zeros(len(strata), dtype=np.bool_)
    for stratum in np.unique(strata):
        here = np.flatnonzero(strata == stratum)
        chosen[rng.permutation(here)[: (len(here) + int(rng.integers(2))) // 2]] = True
    return chosen


def _drawn(found: list[Direction], *, like: Direction) -> Drawn:
    return Drawn(tuple(found), np.array([like.cosine(each) for each in found]))


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise StatisticsError(f"draws is {draws}; a control needs at least one direction")
