"""What a context says about what comes next, without a direction, and with it put back at the last token.

The gap is the log-odds after the positive context minus those after its negative partner. A direction is taken out at
its place at every position but BOS: the component along it becomes one constant. Mean ablation: its mean over positions
and contexts of the discovery split. Resample ablation: what one such context has at its last token, the same for both
texts of a pair, averaged over `DONORS` of them. Put back, the last token has its own component again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.steering.measurements import log_odds, mean_of
from fixtures.prompts.contrasts import ContrastName, ContrastPrompts, behaviour
from harness.effects import effects_over, mask
from harness.errors import NotSuited
from harness.interventions import Intervention, Runs, engine_of, own_positions
from harness.mechanism import discovery_streams
from harness.steering import Direction, Project, add, project_out
from harness.values import UnitValues

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor

    from harness.models.model import Model

CONTEXTS = 15
"""Discovery pairs from which the mean components are taken."""
DONORS = 5
PUT_BACK = "put back"


@dataclass(frozen=True)
class Components:
    """Components along one direction on the discovery split, in doses.

    Attributes:
        center: the mean over positions and contexts.
        donors: [context], at the last token of each, of both labels.
    """

    center: float
    donors: NDArray[np.float64]


def discovery_contexts(model: Model, contrast: ContrastName) -> ContrastPrompts:
    """Contexts of the discovery split with a stem after each."""
    streams = discovery_streams("steering", fingerprint=model.fingerprint)
    n = 2 * CONTEXTS if contrast == "truth" else CONTEXTS  # statements are dealt two rounds at a time
    return behaviour(model, contrast, split="discovery", n=n, rng=streams.for_(f"{contrast} contexts"))


def components(model: Model, contrast: ContrastName, directions: Mapping[str, Direction]) -> dict[str, Components]:
    """The components along each direction on discovery contexts of a contrast."""
    texts = discovery_contexts(model, contrast)
    engine, layers = engine_of(model), sorted({each.layer for each in directions.values()})
    everywhere: dict[str, list[NDArray[np.float64]]] = {name: [] for name in directions}
    last = {name: np.zeros(len(texts)) for name in directions}
    for index, batch in texts.batches():
        run = engine.run(batch.tensor(), keep={"resid_pre": layers})
        own = own_positions(batch).numpy()
        for name, direction in directions.items():
            found = direction.components(run.kept("resid_pre", direction.layer).double().cpu().numpy())
            everywhere[name].append(found[own])
            last[name][index] = found[np.arange(len(index)), batch.end]
    return {
        name: Components(
            center=float(np.concatenate(everywhere[name]).mean()),
            donors=last[name],
        )
        for name in directions
    }


def gap(model: Model, texts: ContrastPrompts) -> UnitValues:
    """[`model`, pair], the gap as the model has it."""
    return _gaps(model, texts, lambda runs, batch: [Intervention("model", ())])


def gap_without(
    model: Model,
    texts: ContrastPrompts,
    directions: Mapping[str, Direction],
    *,
    means: Mapping[str, Components],
    moved: tuple[Direction, Collection[str]] | None = None,
) -> UnitValues:
    """[direction, pair], the gap with each direction taken out.

    Args:
        model: the model.
        texts: labelled contexts.
        directions: by name.
        means: of each that is taken out.
        moved: a direction, and the names of those along which the stream is moved instead, position by position as far
            as taking that direction out moves it. Along most directions the stream hardly varies, so that to take them
            out would be a far smaller change.
    """
    of, only_moved = moved or (None, ())

    def edit(name: str, each: Direction, own: Bool[Tensor, "batch pos"]) -> Project:
        if of is not None and name in only_moved:
            return project_out(of, center=means["joint"].center, along=each, positions=own)
        return project_out(each, center=means[name].center, positions=own)

    def make(runs: Runs, batch: ContrastPrompts) -> list[Intervention]:
        own = own_positions(batch)
        return [Intervention(name, (edit(name, each, own),)) for name, each in directions.items()]

    return _gaps(model, texts, make)


def gap_resampled(
    model: Model, texts: ContrastPrompts, direction: Direction, *, means: Components, rng: np.random.Generator
) -> UnitValues:
    """[`joint`, pair], the gap with the direction taken out by resample ablation."""
    pairs = np.unique(texts.pair)
    drawn = rng.permuted(np.tile(np.resize(means.donors, len(pairs)), (DONORS, 1)), axis=1)

    def make(runs: Runs, batch: ContrastPrompts) -> list[Intervention]:
        own, of_pair = own_positions(batch), np.searchsorted(pairs, batch.pair)
        return [
            Intervention(f"donor {number}", (project_out(direction, center=each[of_pair], positions=own),))
            for number, each in enumerate(drawn)
        ]

    return mean_of(_gaps(model, texts, make))


def gap_restored(model: Model, texts: ContrastPrompts, direction: Direction, *, means: Components) -> UnitValues:
    """[`put back`, pair], the gap with the direction taken out everywhere and each last token's own component put back.

    Raises:
        NotSuited: the direction's place is the first layer's, in front of which nothing can be taken out.
    """
    if not direction.layer:
        raise NotSuited("a direction in front of the first layer cannot be taken out and put back one after the other")
    before = replace(direction, site="resid_post", layer=direction.layer - 1)  # the same stream, one step earlier

    def make(runs: Runs, batch: ContrastPrompts) -> list[Intervention]:
        last = runs.clean.resid_at(direction.layer)[np.arange(len(batch)), batch.end]
        own = direction.components(last.double().cpu().numpy())
        out = project_out(before, center=means.center, positions=own_positions(batch))
        back = add(direction, dose=own - means.center, positions=mask(batch.end, runs))
        return [Intervention(PUT_BACK, (out, back))]

    return _gaps(model, texts, make)


def _gaps(
    model: Model, texts: ContrastPrompts, make: Callable[[Runs, ContrastPrompts], list[Intervention]]
) -> UnitValues:
    """[intervention, pair]."""
    found = effects_over(
        model, texts, make=make, metric=lambda batch: log_odds(model, batch), keep=("resid_pre",), share_clean=True
    )
    positive = texts.positive()
    order = np.argsort(texts.pair[texts.labels == 1], kind="stable")
    sides = [found.values[:, np.flatnonzero(texts.labels == sign)[order]] for sign in (1, -1)]
    return UnitValues(sides[0] - sides[1], found.names, positive.units, positive.templates)
