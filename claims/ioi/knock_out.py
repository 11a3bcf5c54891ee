"""Scores of the IOI circuit with heads knocked out, as Wang et al. (2023) knock them out (sections 3 and 4).

A knocked-out head takes, at every position, its mean over reference prompts of the same template in which all three
names are others, of none of the template's prompts, and none is repeated (the paper's ABC). MLPs are never knocked out.
We depart from the paper in that a head of the circuit is kept at every position, not only where its class acts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.ioi.measurements import logit_difference
from fixtures.prompts.ioi import IoiPrompts
from harness.errors import InterventionError, NothingToCompare, StatisticsError
from harness.interventions import HookEngine, Intervention, Replacement, Runs, ablate, engine_of, measure, together
from harness.interventions.sweeps import progress_bar
from harness.stats.matched_sets import MatchedSets, distinct_sets
from harness.subjects import parse_head
from harness.values import UnitValues

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from harness.models.model import Model
    from harness.seeding import Streams

REFERENCES = 10
"""Least number of reference prompts for each template and position."""


@dataclass(frozen=True, eq=False)
class KnockOuts:
    """A `harness.circuits.CircuitScores`: the logit difference of each prompt with heads knocked out.

    Attributes:
        model: the model.
        prompts: what is scored.
        means: mean z by template, each [layer pos head d_head].
        first: by template, the first position at which its prompts or references differ; before it a head has its mean.
    """

    model: Model
    prompts: IoiPrompts
    means: dict[str, Float[Tensor, "layer pos head d_head"]]
    first: dict[str, int]

    @property
    def components(self) -> Sequence[str]:
        """Every head of the model."""
        return self.model.heads()

    @property
    def units(self) -> Sequence[str]:
        """One id per prompt."""
        return self.prompts.units

    @property
    def clusters(self) -> Sequence[str]:
        """The template of each prompt."""
        return self.prompts.templates

    def without(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Logit differences of the whole model with each set knocked out, [set, prompt]."""

        def make(batch: _Batch, members: Sequence[str], name: str) -> Intervention:
            return batch.ablate(members, name=name) if members else Intervention(name, ())

        return self._scores(sets, make, emptied=False)

    def only(self, sets: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Logit differences with every head outside each set knocked out, [set, prompt].

        Below a set's first layer everything is knocked out, whatever the set: the fast engine computes that once, and
        each set from its first layer on.
        """

        def make(batch: _Batch, members: Sequence[str], name: str) -> Intervention:
            first = min(map(layer_of, members), default=self.model.n_layers) if batch.emptied else 0
            outside = [head for head in self.components if layer_of(head) >= first and head not in members]
            made = [batch.ablate(outside, name=name)] if outside else []
            # An edit without effect, so that the set's first layer is computed anew where no head of it is knocked out.
            made += [batch.ablate([min(members, key=layer_of)], name=name, scale=0.0)] if members else []
            return together(name, made)

        return self._scores(sets, make, emptied=True)

    def of_one_each(self) -> KnockOuts:
        """The same scores of one prompt of each template, half of them in either order."""
        chosen: list[int] = []
        for number, template in enumerate(dict.fromkeys(self.prompts.templates)):
            order = ("ABBA", "BABA")[number % 2]
            cells = zip(self.prompts.templates, self.prompts.orders, strict=True)
            chosen.append(next(row for row, cell in enumerate(cells) if cell == (template, order)))
        return replace(self, prompts=self.prompts.rows(np.array(chosen)))

    def _scores(
        self, sets: Sequence[Sequence[str]], make: Callable[..., Intervention], *, emptied: bool
    ) -> NDArray[np.float64]:
        """The sets, batch by batch; batches have one length each, so nothing is padded."""
        values = np.zeros((len(sets), len(self.prompts)))
        for index, prompts in self.prompts.batches():
            batch = self._batch(prompts, emptied=emptied)
            made = [make(batch, members, str(number)) for number, members in enumerate(sets)]
            found = measure(batch.runs, made, metric=logit_difference(prompts), doses=False, track=progress_bar)
            values[:, index] = found.values
        return values

    def _batch(self, prompts: IoiPrompts, *, emptied: bool) -> _Batch:
        """What the interventions on some prompts share: unedited passes or, where `emptied`, with no head left."""
        import torch

        engine, tokens = engine_of(self.model), prompts.tensor()
        # From the first difference of any of these templates on; up to its own a head has its mean, also if left alone.
        start = min(self.first[name] for name in prompts.templates)
        positions = (torch.arange(tokens.shape[1]) >= start).expand(*tokens.shape)
        by = _mean_of_template(self.means, prompts)
        if not emptied or isinstance(engine, HookEngine):
            return _Batch(Runs.of(engine, tokens, keep=()), by, positions, emptied=False)
        unstarted = Runs(engine, engine.run(tokens, stop_at_layer=0))
        nothing_left = ablate(unstarted, self.components, by=by, positions=positions)
        run = engine.run(tokens, edits=nothing_left.edits, keep=("resid_pre", "k", "v"), doses=False)
        return _Batch(Runs(engine, run), by, positions, emptied=True)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some prompts of one length, ready for interventions: where `emptied`, `runs` have every head knocked out."""

    runs: Runs
    by: Replacement
    positions: Bool[Tensor, "batch pos"]
    emptied: bool

    def ablate(self, heads: Sequence[str], *, name: str, scale: float = 1.0) -> Intervention:
        """These heads take their means."""
        return ablate(self.runs, heads, by=self.by, positions=self.positions, scale=scale, name=name)


def knock_outs(model: Model, prompts: IoiPrompts, streams: Streams, *, at_least: int = REFERENCES) -> KnockOuts:
    """The scores of these prompts; the means of the heads are taken once.

    Args:
        model: the model.
        prompts: as many of each template; their places and objects are the references' too.
        streams: draws the references' names.
        at_least: reference prompts of each template.
    """
    fewest = min(prompts.templates.count(name) for name in set(prompts.templates))
    references = [reference_prompts(prompts, streams, number=number) for number in range(-(-at_least // fewest))]
    return KnockOuts(model, prompts, means=_mean_z(model, references), first=_first_difference([prompts, *references]))


def reference_prompts(prompts: IoiPrompts, streams: Streams, *, number: int) -> IoiPrompts:
    """One draw of the prompts with three names that none of their template's prompts has: the paper's ABC.

    Raises:
        StatisticsError: there are too few names for that.
    """
    rng, found, templates = streams.for_(f"reference names {number}"), prompts.named(), np.array(prompts.templates)
    for template in dict.fromkeys(prompts.templates):
        rows = np.flatnonzero(templates == template)
        others = np.setdiff1d(np.array(list(prompts.names)), found[rows])
        if len(others) < 3:
            raise StatisticsError(
                f"template {template!r} has {len(rows)} prompts, and {len(others)} names stand in none of them: three "
                "are needed for the reference prompts. Ask for fewer prompts."
            )
        for row in rows:
            found[row] = rng.choice(others, size=3, replace=False)
    return prompts.with_names(found)


def nothing_repeated(scores: KnockOuts, streams: Streams) -> KnockOuts:
    """The same scores on the prompts' counterparts that repeat no name (ABC), with the same means."""
    return replace(scores, prompts=scores.prompts.corrupted("ABC", streams.for_("no name repeated")))


def random_circuits(model: Model, heads: Sequence[str], *, draws: int, rng: np.random.Generator) -> MatchedSets:
    """Sets of as many heads in the same layers, drawn from all heads, the circuit's own among them."""
    return distinct_sets(heads, {head: layer_of(head) for head in model.heads()}, rng=rng, draws=draws)


def counterparts(
    heads: Sequence[str], *, nearby: Mapping[str, Sequence[str]], rng: np.random.Generator
) -> tuple[str, ...]:
    """For each head another one of those nearby it, none twice.

    Raises:
        NothingToCompare: all of those near one of the heads are taken.
    """
    chosen: list[str] = []
    for head in heads:
        free = [other for other in nearby[head] if other not in chosen]
        if not free:
            raise NothingToCompare(f"too few heads near {head} to compare {len(heads)} heads with as many others")
        chosen.append(str(rng.choice(free)))
    return tuple(chosen)


def joint(values: UnitValues) -> UnitValues:
    """A single row under the name that stands for all heads of the circuit together."""
    return replace(values, components=("joint",))


def joined(first: UnitValues, second: UnitValues) -> UnitValues:
    """The same rows on the units of both."""
    return UnitValues(
        np.hstack([first.values, second.values]),
        first.components,
        (*first.units, *second.units),
        (*first.clusters, *second.clusters),
    )


def layer_of(head: str) -> int:
    """The layer of a head."""
    return parse_head(head)[0]


def _mean_of_template(means: Mapping[str, Tensor], prompts: IoiPrompts) -> Replacement:
    """For each prompt the mean of its template, layer by layer."""
    n_pos = prompts.tokens.shape[1]

    @cache
    def replacement(site: str, layer: int) -> Tensor:
        import torch

        if site != "z":
            raise InterventionError(f"only heads are knocked out, at z; no mean of {site!r} was taken.")
        return torch.stack([means[name][layer, :n_pos] for name in prompts.templates])

    return replacement


def _mean_z(model: Model, references: Sequence[IoiPrompts]) -> dict[str, Float[Tensor, "layer pos head d_head"]]:
    """Mean z by template, over its prompts in all references."""
    import torch

    sums: dict[str, Tensor] = {}
    for template, z in _z_of_each(model, references):
        sums[template] = sums[template] + z if template in sums else z.clone()
    counts = {name: sum(each.templates.count(name) for each in references) for name in sums}
    with torch.inference_mode():
        return {name: total / counts[name] for name, total in sums.items()}


def _z_of_each(model: Model, references: Sequence[IoiPrompts]) -> Iterator[tuple[str, Tensor]]:
    """(template, z [layer pos head d_head]) of every reference prompt."""
    import torch

    engine = engine_of(model)
    for prompts in references:
        for _, batch in prompts.batches():
            run = Runs.of(engine, batch.tensor(), keep=("z",)).clean
            with torch.inference_mode():
                z = torch.stack([run.kept("z", layer) for layer in range(model.n_layers)], dim=1)
            yield from zip(batch.templates, z, strict=True)


def _first_difference(several: Sequence[IoiPrompts]) -> dict[str, int]:
    """By template, the first position at which not all of its prompts have the same token."""
    first: dict[str, int] = {}
    for template in dict.fromkeys(several[0].templates):
        rows = np.array([name == template for name in several[0].templates])
        tokens = np.concatenate([each.tokens[rows] for each in several])
        first[template] = int(np.argmax((tokens != tokens[0]).any(axis=0)))
    return first
