"""What happens where the stream is moved along a probe's direction, as far as the carry moves it.

A sum with a carry into the place is moved to no carry, one without to a carry: by the difference of the class means
along the direction. The digit that the model then ought to give is one less or one more, mod 10. Controls are moved
just as far: along random directions drawn with the stream's covariance, and along the directions of probes for labels
that are not the carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claims.arithmetic.probe_measurements import (
    DECIDED_ON,
    FOUND_ON,
    PLACES,
    TOKEN,
    Decoding,
    Site,
    matched_sums,
    strata_of,
    streams_at,
    types_of,
)
from fixtures.prompts.sums import Sums, answer_position
from harness.effects import effects_over
from harness.errors import StatisticsError
from harness.interventions import DIRECTIONS, Add, Intervention, Runs, same_dose_edits, same_dose_factor
from harness.metrics import LogProb
from harness.probes import ControlTask, fit_probe, permuted_within
from harness.values import UnitValues

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.model import Model
    from harness.seeding import Streams

FITTED_ON = 800
"""Discovery sums per place to which the directions are fitted."""
FEWER, TRIED_ON = 200, 40
"""Discovery sums per place for choosing the site where the carry is used: what probes are fitted to, what is moved."""
CARRY, RANDOM, PERMUTED, CONTROL_TASK = "carry", "random", "permuted labels", "control task"


class Steering(NamedTuple):
    """Probability of the digit that the other carry would make, [kind of direction, sum]; and what it was before."""

    moved: UnitValues
    before: UnitValues
    places: NDArray[np.int64]
    lengths: dict[int, float]


class Directions(NamedTuple):
    """Vectors of one length at one site and place, by kind, and a factor of the stream's covariance or None."""

    vectors: dict[str, tuple[NDArray[np.float64], ...]]
    factor: Tensor | None
    length: float


def directions_of(
    activations: NDArray[np.float64], sums: Sums, *, place: int, chosen: Decoding, rng: np.random.Generator
) -> Directions:
    """The carry's direction in [sum, d_model], and those of labels permuted within strata and of control tasks."""
    import torch

    carries, strata, types = sums.carries[:, place], strata_of(sums, place), types_of(sums, place)
    step = _step(activations, sums, place=place, chosen=chosen)
    length = float(np.linalg.norm(step))
    others = {
        PERMUTED: [permuted_within(carries, strata=strata, rng=rng) for _ in range(DIRECTIONS)],
        CONTROL_TASK: [ControlTask.draw(np.arange(100), rng=rng).of(types) for _ in range(DIRECTIONS)],
    }
    vectors: dict[str, tuple[NDArray[np.float64], ...]] = {CARRY: (step,)}
    for kind, labellings in others.items():
        fitted = [fit_probe(activations, each, inverse_penalty=chosen.control.inverse_penalty) for each in labellings]
        vectors[kind] = tuple(length * other.direction for other in fitted)
    samples = torch.from_numpy(activations)
    factor = same_dose_factor(samples, counted=torch.ones(len(samples), dtype=torch.bool))
    return Directions(vectors, factor, length)


def steered(
    model: Model, sums: Sums, *, place: int, site: Site, directions: Directions, rng: np.random.Generator
) -> UnitValues:
    """[kind of direction, sum], the probability of the moved digit; controls are means over their directions.

    Random directions are among the kinds where there is a factor to draw them with.
    """
    drawn = {kind: [f"{kind} {number}" for number in range(len(some))] for kind, some in directions.vectors.items()}
    if directions.factor is not None:
        drawn[RANDOM] = [f"{RANDOM} {number}" for number in range(DIRECTIONS)]

    def make(runs: Runs, batch: Sums) -> list[Intervention]:
        made = [
            Intervention(
                f"{kind} {number}", (Add(site.layer, _move(vector, batch, place=place, runs=runs), site=site.hook),)
            )
            for kind, some in directions.vectors.items()
            for number, vector in enumerate(some)
        ]
        if directions.factor is None:
            return made
        change = _move(directions.vectors[CARRY][0], batch, place=place, runs=runs)
        edits = same_dose_edits(
            {site.layer: change}, factors={site.layer: directions.factor}, generator=rng, site=site.hook
        )
        made += [Intervention(name, edit) for name, edit in zip(drawn[RANDOM], edits, strict=True)]
        return made

    found = effects_over(model, sums, make=make, metric=lambda batch: _moved_digit(batch, place))
    return UnitValues(np.exp(found.values), found.names, found.units, found.clusters).averaged(drawn)


def steering(model: Model, streams: Streams, *, site: Site, chosen: Mapping[int, Decoding], n: int) -> Steering:
    """The probability of the moved digit on `n` sums, as many at each place; directions were fitted to other sums.

    Raises:
        StatisticsError: `n` is not divided evenly over places, with and without carry.
    """
    each, rest = divmod(n, len(PLACES))
    if rest or each % 2 or not each:
        raise StatisticsError(
            f"{n} sums cannot be dealt to {len(PLACES)} places, half with a carry; give a multiple of {2 * len(PLACES)}"
        )
    moved, before, lengths = [], [], {}
    for place in PLACES:
        sums = matched_sums(each, place=place, split=DECIDED_ON, rng=streams.for_(f"prompts {place}"))
        fitted_to = matched_sums(FITTED_ON, place=place, split=FOUND_ON, rng=streams.for_(f"directions {place}"))
        activations = streams_at(model, fitted_to, place=place, sites=[site])[site]
        labels, rng = streams.for_(f"labels {place}"), streams.for_(f"dose {place}")
        directions = directions_of(activations, fitted_to, place=place, chosen=chosen[place], rng=labels)
        moved.append(_named(steered(model, sums, place=place, site=site, directions=directions, rng=rng), place))
        before.append(_named(unmoved(model, sums, place=place), place))
        lengths[place] = directions.length
    return Steering(_joined(moved), _joined(before), np.repeat(PLACES, each), lengths)


def unmoved(model: Model, sums: Sums, *, place: int) -> UnitValues:
    """[`model`, sum], the probability of the answer digit where nothing is moved."""
    found = effects_over(
        model,
        sums,
        make=lambda runs, batch: [Intervention("model", ())],
        metric=lambda batch: _log_prob(batch.answers[:, place], place),
    )
    return UnitValues(np.exp(found.values), found.names, found.units, found.clusters)


def effects_by_site(
    model: Model, streams: Streams, *, found: Mapping[Site, Mapping[int, Decoding]]
) -> dict[Site, float]:
    """The mean probability of the moved digit on few discovery sums where each site is moved along its probe."""
    effects = dict.fromkeys(found, 0.0)
    for place in PLACES:
        sums = matched_sums(FEWER + TRIED_ON, place=place, split=FOUND_ON, rng=streams.for_(f"tried {place}"))
        fitted_to, tried = sums.rows(np.arange(FEWER)), sums.rows(np.arange(FEWER, len(sums)))
        for site, activations in streams_at(model, fitted_to, place=place, sites=list(found)).items():
            step = _step(activations, fitted_to, place=place, chosen=found[site][place])
            directions = Directions({CARRY: (step,)}, None, float(np.linalg.norm(step)))
            rng = streams.for_(f"tried dose {place}")
            values = steered(model, tried, place=place, site=site, directions=directions, rng=rng)
            effects[site] += float(values.mean()[0]) / len(PLACES)
    return effects


def most_used(effects: Mapping[Site, float]) -> Site:
    """The site where the probe's direction moves the digit most; of equal ones the first."""
    return max((site for site in effects if site != TOKEN), key=lambda site: effects[site])


def _step(activations: NDArray[np.float64], sums: Sums, *, place: int, chosen: Decoding) -> NDArray[np.float64]:
    """[d_model], from no carry to the carry along the probe's direction."""
    probe = fit_probe(activations, sums.carries[:, place], inverse_penalty=chosen.carry.inverse_penalty)
    return probe.step * probe.direction


def _move(vector: NDArray[np.float64], batch: Sums, *, place: int, runs: Runs) -> Tensor:
    """[batch, pos, d_model]: towards the other carry, where the place is predicted."""
    import torch

    sign = 1.0 - 2.0 * batch.carries[:, place]
    change = torch.zeros_like(runs.clean.resid)
    change[:, answer_position(place)] = torch.from_numpy(sign[:, None] * vector).to(change)
    return change


def _moved_digit(batch: Sums, place: int) -> LogProb:
    return _log_prob((batch.answers[:, place] + 1 - 2 * batch.carries[:, place]) % 10, place)


def _log_prob(digits: NDArray[np.int64], place: int) -> LogProb:
    import torch

    return LogProb(torch.from_numpy(digits), torch.full((len(digits),), answer_position(place)))


def _named(values: UnitValues, place: int) -> UnitValues:
    units = tuple(f"{unit} at {place}" for unit in values.units)
    return UnitValues(values.values, values.components, units, units)


def _joined(parts: Sequence[UnitValues]) -> UnitValues:
    units = tuple(unit for part in parts for unit in part.units)
    return UnitValues(np.concatenate([part.values for part in parts], axis=1), parts[0].components, units, units)
