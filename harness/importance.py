"""How much depends on heads, layers or neurons: their ablation beside that of as many others drawn at random.

A group is replaced at once by what it is on another prompt of the batch (`resample`), or on average (`mean`). Groups
that it is compared with have equally many members in the same layers, none of them its own; where there are not
enough of them for 20 different groups, layers nearby count too. Small models have few: two of eight heads can be
compared with 15 pairs of others, which give a rank and no p (`Importance.note` says so). A group chosen for its
importance on the same prompts outranks others by that alone.

    import numpy as np
    import torch
    from fixtures.prompts.sums import Sums, answer_position, uniform_sums
    from harness.importance import importance
    from harness.metrics import LogProb
    from harness.models.model import load

    def log_prob_of_place_2(batch: Sums) -> LogProb:
        digits = torch.from_numpy(batch.answers[:, 2])
        return LogProb(digits, torch.full_like(digits, answer_position(2)))

    rng = np.random.default_rng(0)
    sums = uniform_sums(40, split="discovery", rng=rng)
    groups = {"two heads": ["0.1", "0.2"]}
    model = load("addition-5d-2l@0")
    found = importance(model, sums, groups=groups, metric=log_prob_of_place_2, rng=rng)["two heads"]
    print(found.fall.mean(), found.rank, found.note)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from harness.effects import Prompts, effects_over
from harness.errors import InterventionError, StatisticsError
from harness.interventions import Engine, Intervention, Runs, Target, ablate, mean, resample
from harness.interventions.sites import part_kind
from harness.population import matched_sets
from harness.stats.ranks import ENOUGH_SETS, Rank, population_rank
from harness.values import UnitValues

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor

    from harness.metrics import Metric
    from harness.models.model import Model

By = Literal["resample", "mean"]
DRAWS = 39
"""Random groups for each: at 19 and more a rank has a p."""


@dataclass(frozen=True, eq=False)
class Importance:
    """What ablating a group costs, and what as many others cost.

    Attributes:
        members: targets of the group.
        fall: by how much the metric falls, one row named as the group: [1, prompt].
        others: the same for random groups of as many, [draw, prompt], rows by their members; None where there are none.
        rank: of the group's mean among the others' (1 is the largest fall); None without others.
        draws: how many random groups were asked for.
    """

    members: tuple[str, ...]
    fall: UnitValues
    others: UnitValues | None
    rank: Rank | None
    draws: int = DRAWS

    @property
    def note(self) -> str:
        """With how many groups it is compared, and what their number does not allow; for `evidence.note`."""
        name, size = self.fall.components[0], len(self.members)
        if self.others is None:
            return f"{name}: there is no group of {size} others of the same kind, so nothing to rank it among."
        found = len(self.others.components)
        fewer = f" ({self.draws} were asked for; no more were found)" if found < self.draws else ""
        p = f"; a rank has a p from {ENOUGH_SETS - 1} on" if found < ENOUGH_SETS - 1 else ""
        return f"{name}: compared with {found} different groups of {size} others{fewer}{p}."

    def excess(self) -> UnitValues:
        """The group's fall above the mean of the others, prompt by prompt.

        Raises:
            InterventionError: there are no others.
        """
        if self.others is None:
            raise InterventionError(f"{', '.join(self.members)} has no others of its kind to be compared with.")
        return self.fall.minus(self.others.averaged({"others": self.others.components}))


def importance(
    model: Model,
    prompts: Prompts,
    *,
    groups: Mapping[str, Sequence[str]],
    metric: Callable[..., Metric],
    rng: np.random.Generator,
    by: By = "resample",
    draws: int = DRAWS,
    positions: Callable[[Prompts], Bool[Tensor, "batch pos"]] | None = None,
) -> dict[str, Importance]:
    """What each group's ablation costs, beside random groups of as many components of its kind.

    Args:
        model: the model; only what the fast engine covers.
        prompts: the prompts, one unit each; those of a batch are equally long.
        groups: targets of one kind that are ablated together, by name: `{"carry": ["0.0", "1.1"]}`.
        metric: (prompts of the batch) -> what falls.
        rng: draws the random groups.
        by: what they are replaced by: another prompt of the batch, or the batch's mean.
        draws: random groups for each.
        positions: (prompts of the batch) -> mask of where; everywhere by default.

    Raises:
        InterventionError: no groups, a group of several kinds or of a component that the model lacks, a batch of one.
    """
    if by not in get_args(By) or draws < 1 or not groups:
        raise InterventionError(
            f"give groups, by='resample' or 'mean', and draws of 1 or more; got {by!r} and {draws}."
        )
    populations = {name: _population(Engine.of(model), name, members) for name, members in groups.items()}
    drawn = {name: matched_random(members, populations[name], draws=draws, rng=rng) for name, members in groups.items()}
    sets = {_own(name): tuple(members) for name, members in groups.items()}
    sets |= {"+".join(members): members for others in drawn.values() for members in others}
    keep = {Target.parse(member).site for members in groups.values() for member in members}
    found = effects_over(model, prompts, make=_ablations(sets, by=by, positions=positions), metric=metric, keep=keep)
    return {
        name: _importance(members, found.fall([_own(name)]), drawn[name], fall_of=found.fall, draws=draws)
        for name, members in groups.items()
    }


def matched_random(
    members: Sequence[str], population: Sequence[str], *, draws: int, rng: np.random.Generator
) -> tuple[tuple[str, ...], ...]:
    """Up to `draws` different groups of as many others, none a member, from nearby layers (`matched_sets`).

    There may be fewer than `draws` (15 for two of eight heads), and none where the others are too few.
    """
    try:
        return tuple(matched_sets(members, among=population, exclude=(), rng=rng, draws=draws).values())
    except StatisticsError:
        return ()


def bars_of(found: Mapping[str, Importance], *, unit: str) -> dict[str, Any]:
    """Data of bars of every group beside the mean of its others, for `evidence.picture("bars", ...)`."""
    labels, values = [], []
    for name, each in found.items():
        labels.append(name)
        values.append(float(each.fall.mean()[0]))
        if each.others is not None:
            labels.append(f"{len(each.others.components)} others for {name}")
            values.append(float(each.others.values.mean()))
    return {"labels": labels, "values": values, "unit": unit}


def _ablations(
    sets: Mapping[str, Sequence[str]], *, by: By, positions: Callable[[Prompts], Bool[Tensor, "batch pos"]] | None
) -> Callable[[Runs, Prompts], list[Intervention]]:
    """What makes the ablation of every set on a batch."""

    def make(runs: Runs, batch: Prompts) -> list[Intervention]:
        import torch

        if len(batch) < 2:
            raise InterventionError("a batch of one prompt has no other to be replaced by: give one prompt more.")
        donors = torch.arange(len(batch), device=runs.clean.tokens.device).roll(1)
        new = resample(runs.clean, donors=donors) if by == "resample" else mean(runs.clean, batch=len(batch))
        at = None if positions is None else positions(batch)
        return [ablate(runs, members, by=new, positions=at, name=name) for name, members in sets.items()]

    return make


def _importance(
    members: Sequence[str],
    fall: UnitValues,
    drawn: Sequence[tuple[str, ...]],
    *,
    fall_of: Callable[[Sequence[str]], UnitValues],
    draws: int,
) -> Importance:
    own = UnitValues(fall.values, (fall.components[0].removesuffix(_OWN),), fall.units, fall.clusters)
    if not drawn:
        return Importance(tuple(members), own, None, None, draws)
    others = fall_of(["+".join(each) for each in drawn])
    return Importance(tuple(members), own, others, population_rank(float(own.mean()[0]), others.mean()), draws)


_OWN = " (own)"


def _own(name: str) -> str:
    """A group's row, told apart from a random group that is called by its members."""
    return f"{name}{_OWN}"


def _population(engine: Engine, group: str, members: Sequence[str]) -> tuple[str, ...]:
    """Every component of the group's kind in the model."""
    targets = [Target.parse(member) for member in members]
    if not targets or len({target.site for target in targets}) > 1 or len(set(targets)) < len(targets):
        raise InterventionError(f"group {group!r} is empty, repeats a component or mixes kinds: {', '.join(members)}.")
    site, kind = targets[0].site, part_kind(targets[0].site)
    counts = {"head": engine.n_heads, "kv_head": engine.n_kv_heads, "neuron": engine.d_mlp}
    parts: Sequence[int | None] = [None] if kind is None else range(counts[kind])
    return tuple(str(Target(layer, site, part)) for layer in range(engine.n_layers) for part in parts)
