"""Carry neurons: which neurons of the last layer tell the digit whether a carry comes in, and what hangs on them.

Neurons are found for each answer place on the discovery split, by direct logit attribution: what a neuron adds to the
logit of the digit with the carry, above that of the digit without it, on sums with the carry less on their twins that
differ in nothing else. Place 0 is left out: its digit is the carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from claims.arithmetic.finding import exchanged_labels
from claims.arithmetic.patching import TokenLogOdds
from fixtures.prompts.sums import Sums, Twins, answer_position, carry_twins
from harness.direct_logits import direct_logits
from harness.effects import mask
from harness.interventions import (
    DIRECTIONS,
    Engine,
    Intervention,
    Run,
    Runs,
    ablate,
    mean,
    measure,
    resample,
    same_dose_edits,
    same_dose_factor,
)
from harness.neurons import FEWEST_PERMUTATIONS, Selectivity, neuron_activations, selectivity, tuning
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams

PLACES = (1, 2, 3, 4)
NEURONS = 150
"""At each place, of 512. On the discovery split 100 move the digit by 0.6 to 0.8, and 100 of permuted labels by 0.3."""
TWINS = 100
"""On which the neurons of a place are found."""
OTHER_SETS = 20
"""Sets of as many other neurons: as many as a 95th percentile needs."""
PERMUTATIONS = 5
"""Sets that are found with permuted carry labels; what they do is averaged."""
SHOWN = 12
"""Neurons of the picture."""
READ = ("resid_pre", "k", "v", "mlp_post", "mlp_out", "resid_mid")
"""Sites that ablations read, or restart from."""
FOUND, SELECTIVE, INTACT = "joint", "most carry-selective", "intact"

By = Literal["mean", "resample"]
NeuronSets = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class FoundAt:
    """What was found at one place.

    Attributes:
        sets: `joint`, the carry neurons; `permuted 0` and so on, found where half of the twins exchange their labels;
            `others 0` and so on, drawn from the rest of the layer; the most carry-selective ones by the index.
        selective: the index of every neuron of the layer, within own pair sums mod 10.
        tuned: data of a matrix of mean activations of the first carry neurons, by answer digit, with and without carry.
    """

    sets: dict[str, tuple[str, ...]]
    selective: Selectivity
    tuned: dict[str, Any]

    def mean_index(self, name: str) -> float:
        """The mean selectivity index of a set."""
        rows = [self.selective.names.index(neuron) for neuron in self.sets[name]]
        return float(self.selective.index[rows].mean())


def sets_called(prefix: str) -> tuple[str, ...]:
    """The names of the sets that are drawn several times: `others` or `permuted`."""
    return tuple(f"{prefix} {number}" for number in range({"others": OTHER_SETS, "permuted": PERMUTATIONS}[prefix]))


def carry_neurons(model: Model, streams: Streams, *, place: int) -> FoundAt:
    """The carry neurons of one place, on the discovery split, and what they are compared with."""
    twins = carry_twins(TWINS, place=place, split="discovery", rng=streams.for_(f"neurons {place}"))
    gains = written_for_the_carry(model, twins)
    found = foremost(gains)
    sets = {FOUND: found}
    rng = streams.for_(f"other neurons {place}")
    rest = [name for name in gains.components if name not in found]
    for name in sets_called("others"):
        sets[name] = tuple(rng.permutation(rest)[:NEURONS].tolist())
    for name in sets_called("permuted"):
        sets[name] = foremost(gains, signs=exchanged_labels(TWINS, rng=rng))
    index, tuned = _selectivity(model, twins, found=found, rng=streams.for_(f"permuted carries {place}"))
    order = np.argsort(-index.excess, kind="stable")[:NEURONS]
    return FoundAt({**sets, SELECTIVE: tuple(index.names[row] for row in order)}, index, tuned)


def written_for_the_carry(model: Model, twins: Twins) -> UnitValues:
    """[neuron of the last layer, twin], in logits: what it adds to the carry's digit above the other twin's.

    On the sum with the carry, less on its twin without one.
    """
    engine, place = Engine.of(model), twins.place
    names = [f"{engine.n_layers - 1}.neuron{neuron}" for neuron in range(engine.d_mlp)]
    tokens, against = twins.carrying.answers[:, place], twins.without.answers[:, place]
    with_carry, without = (
        direct_logits(model, sums, of=("neuron",), positions=answer_position(place), tokens=tokens, against=against).of(
            names
        )
        for sums in (twins.carrying, twins.without)
    )
    units = twins.carrying.units
    return UnitValues(with_carry.values - without.values, tuple(names), units, units)


def foremost(gains: UnitValues, *, signs: NDArray[np.float64] | None = None, count: int = NEURONS) -> tuple[str, ...]:
    """The neurons of the highest mean; with `signs` [twin] of -1 the two are taken for each other."""
    means = (gains.values * (1.0 if signs is None else signs)).mean(axis=1)
    return tuple(gains.components[row] for row in np.argsort(-means, kind="stable")[:count])


def pooled(twins: Twins) -> Sums:
    """All sums of twins: as many with the carry as without."""
    first, second = twins.carrying, twins.without
    return Sums(np.concatenate([first.a, second.a]), np.concatenate([first.b, second.b]))


def ran(engine: Engine, sums: Sums, *, place: int) -> Run:
    """The pass over sums up to the place (what comes after changes nothing there), with what ablations read."""
    return engine.run(sums.tensor()[:, : answer_position(place) + 1], keep=READ)


def rights(
    engine: Engine,
    clean: Run,
    reference: Run,
    *,
    sets: NeuronSets,
    place: int,
    digits: NDArray[np.int64],
    by: By = "mean",
) -> dict[str, NDArray[np.float64]]:
    """By set, [sum]: the probability of digits [sum] at the place when its neurons are replaced there; `INTACT` first.

    Args:
        engine: of the model.
        clean: the pass that is changed.
        reference: the pass over the sums whose mean stands in, or of which row i stands in for sum i (`resample`).
        sets: neurons that are replaced together.
        place: where they are replaced, and the digit is read.
        digits: the right ones.
        by: mean or resample.
    """
    runs = Runs(engine, clean)
    sweep = [_ablation(runs, reference, neurons, place=place, by=by, name=name) for name, neurons in sets.items()]
    return _rights(runs, sweep, place=place, digits=digits)


def moved(
    engine: Engine,
    clean: Sequence[Run],
    donors: Sequence[Run],
    *,
    sets: NeuronSets,
    place: int,
    digits: Sequence[NDArray[np.int64]],
) -> dict[str, NDArray[np.float64]]:
    """By set, [twin]: the rise of the probability of the other twin's digit with the neurons as on the donors.

    Args:
        engine: of the model.
        clean: the passes over both sums of the twins.
        donors: for each of these passes the one whose neurons it takes.
        sets: neurons that are replaced together.
        place: where.
        digits: the right ones of both sums; what each is moved towards is the other's.
    """
    rises: dict[str, list[NDArray[np.float64]]] = {name: [] for name in sets}
    for run, donor, toward in zip(clean, donors, reversed(digits), strict=True):
        found = rights(engine, run, donor, sets=sets, place=place, digits=toward, by="resample")
        for name, each in rises.items():
            each.append(found[name] - found[INTACT])
    return {name: np.asarray(np.mean(each, axis=0)) for name, each in rises.items()}


def moved_by_dose(
    engine: Engine,
    clean: Sequence[Run],
    *,
    neurons: Sequence[str],
    place: int,
    digits: Sequence[NDArray[np.int64]],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """[twin], as `moved` for one set, with random vectors as long as what the other twin's neurons add."""
    rises = [
        _moved_by_dose(engine, *runs, neurons=neurons, place=place, toward=toward, rng=rng)
        for runs, toward in zip((clean, clean[::-1]), reversed(digits), strict=True)
    ]
    return np.asarray(np.mean(rises, axis=0))


def _moved_by_dose(
    engine: Engine,
    clean: Run,
    donor: Run,
    *,
    neurons: Sequence[str],
    place: int,
    toward: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    import torch

    runs, layer = Runs(engine, clean), engine.n_layers - 1
    edits = _ablation(runs, donor, neurons, place=place, by="resample", name=FOUND).edits
    changed = engine.run(clean.tokens, edits=edits, keep=("mlp_out",))
    change = changed.kept("mlp_out", layer) - clean.kept("mlp_out", layer)
    factor = same_dose_factor(clean.kept("resid_mid", layer), counted=torch.ones_like(clean.tokens, dtype=torch.bool))
    drawn = same_dose_edits({layer: change}, factors={layer: factor}, generator=rng, site="mlp_out", draws=DIRECTIONS)
    sweep = [Intervention(f"direction {number}", each) for number, each in enumerate(drawn)]
    found = _rights(runs, sweep, place=place, digits=toward)
    return np.asarray(np.mean([found[each.name] - found[INTACT] for each in sweep], axis=0))


def _ablation(runs: Runs, reference: Run, neurons: Sequence[str], *, place: int, by: By, name: str) -> Intervention:
    import torch

    rows = len(runs.clean.tokens)
    new = mean(reference, batch=rows) if by == "mean" else resample(reference, donors=torch.arange(rows))
    return ablate(runs, neurons, by=new, positions=mask(np.full(rows, answer_position(place)), runs), name=name)


def _rights(
    runs: Runs, sweep: Sequence[Intervention], *, place: int, digits: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    import torch

    positions = torch.full((len(digits), 1), answer_position(place))
    metric = TokenLogOdds(torch.from_numpy(np.ascontiguousarray(digits)), positions)
    found = measure(runs, sweep, metric=metric, doses=False)
    intact, changed = (1 / (1 + np.exp(-log_odds)) for log_odds in (found.clean, found.values))
    return {INTACT: intact, **dict(zip(found.names, changed, strict=True))}


def _selectivity(
    model: Model, twins: Twins, *, found: Sequence[str], rng: np.random.Generator
) -> tuple[Selectivity, dict[str, Any]]:
    """How much the carry explains of every neuron of the last layer, and how the first carry neurons are tuned."""
    last, position = Engine.of(model).n_layers - 1, answer_position(twins.place)
    kinds = {"no carry": twins.without, "carry": twins.carrying}
    each = [neuron_activations(model, sums, positions=position, layers=[last]) for sums in kinds.values()]
    units = tuple(f"{kind}: {unit}" for kind, sums in kinds.items() for unit in sums.units)
    both = UnitValues(np.concatenate([part.values for part in each], axis=1), each[0].components, units, units)
    own = np.tile(twins.without.answers[:, twins.place], 2)  # what the own pair sums to, mod 10
    labels = np.repeat([0, 1], len(twins.without))
    index = selectivity(both, labels=labels, strata=own, rng=rng, permutations=FEWEST_PERMUTATIONS)
    by_digit = [f"{digit} {kind}" for kind, sums in kinds.items() for digit in sums.answers[:, twins.place]]
    return index, tuning(both.of(found[:SHOWN]), labels=by_digit)
