"""Interventions over prompts of different lengths: batch by batch, joined to one value per intervention and prompt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from harness.errors import InterventionError
from harness.interventions import (
    Engine,
    HookEngine,
    Intervention,
    Runs,
    engine_of,
    measure,
    own_positions,
    same_dose_factor,
)
from harness.interventions import memory_budget as declared_budget
from harness.interventions.sweeps import progress_bar
from harness.values import UnitValues

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor

    from harness.metrics import Metric
    from harness.models.model import Model


class Prompts(Protocol):
    """Prompts whose units lie in clusters; a corrupted set has the same rows, units and shapes."""

    @property
    def units(self) -> tuple[str, ...]:
        """One id per prompt."""
        ...

    @property
    def templates(self) -> tuple[str, ...]:
        """One cluster id per prompt."""
        ...

    def __len__(self) -> int:
        """Number of prompts."""
        ...

    def tensor(self) -> Int[Tensor, "batch pos"]:
        """Right-padded tokens."""
        ...

    def rows(self, index: NDArray[np.int64]) -> Self:
        """Some of the prompts, without padding that none of them needs."""
        ...

    def batches(self) -> Iterator[tuple[NDArray[np.int64], Self]]:
        """(row numbers, those prompts), the same cut on every machine."""
        ...


class DosedPrompts(Prompts, Protocol):
    """Prompts that also say where their own tokens stand."""

    @property
    def start(self) -> int:
        """1 after a BOS, else 0."""
        ...

    def real_positions(self) -> NDArray[np.bool_]:
        """[batch, pos]: false in the padding."""
        ...


@dataclass(frozen=True, eq=False)
class Effects:
    """The metric under interventions: `values` and `change_norm` [intervention, prompt], `clean` [prompt].

    `change_norm` is NaN where doses were not asked for.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    clean: NDArray[np.float64]
    change_norm: NDArray[np.float64]
    units: tuple[str, ...]
    clusters: tuple[str, ...]
    path: str

    def fall(self, names: Sequence[str] | None = None) -> UnitValues:
        """By how much each intervention lowers the metric: clean minus changed, [intervention, prompt]."""
        chosen = self.names if names is None else tuple(names)
        rows = [self.names.index(name) for name in chosen]
        return UnitValues(self.clean - self.values[rows], chosen, self.units, self.clusters)


def effects_over(
    model: Model,
    prompts: Prompts,
    *,
    corrupted: Prompts | None = None,
    make: Callable[..., list[Intervention]],
    metric: Callable[..., Metric],
    keep: Collection[str] = ("z",),
    doses: bool = False,
    share_clean: bool = False,
    memory_budget: int | None = None,
) -> Effects:
    """The metric of every prompt under the interventions that `make` names alike for every batch.

    Args:
        model: the model; where the fast engine does not cover it, the slow one is used and `path` says so.
        prompts: the clean prompts.
        corrupted: their counterparts, row by row.
        make: (runs, prompts of the batch) -> interventions.
        metric: (prompts of the batch) -> metric.
        keep: sites that interventions read.
        doses: whether `change_norm` is computed; for edits in front of MLPs it takes as long as the rest.
        share_clean: keep the clean passes for as long as these very prompts are there, up to half of the declared
            memory: for claims that ask them several times. Not with corrupted prompts.
        memory_budget: bytes; what was declared, by default.

    Raises:
        InterventionError: the corrupted prompts are other units, or batches differ in their interventions.
    """
    if corrupted is not None and corrupted.units != prompts.units:
        raise InterventionError("the corrupted prompts are not the counterparts of the clean ones, row by row.")
    engine = engine_of(model)
    names: tuple[str, ...] = ()
    values = norms = np.zeros((0, 0))
    clean = np.zeros(len(prompts))
    for index, batch in progress_bar(list(prompts.batches())):
        if share_clean and corrupted is None and isinstance(engine, Engine):
            runs = _shared_runs(model, prompts, batch.tensor(), engine=engine, rows=index.tobytes(), keep=keep)
        else:
            other = None if corrupted is None else corrupted.rows(index)
            runs = Runs.of(engine, batch.tensor(), corrupted=None if other is None else other.tensor(), keep=keep)
        found = measure(runs, make(runs, batch), metric=metric(batch), doses=doses, memory_budget=memory_budget)
        if not names:
            names = found.names
            values, norms = np.zeros((len(names), len(prompts))), np.zeros((len(names), len(prompts)))
        if found.names != names:
            raise InterventionError("make must name the same interventions for every batch.")
        values[:, index], norms[:, index], clean[index] = found.values, found.change_norm, found.clean
    path = "slow" if isinstance(engine, HookEngine) else "fast"
    return Effects(names, values, clean, norms, prompts.units, prompts.templates, path)


_CLEAN: WeakKeyDictionary[Any, WeakKeyDictionary[Any, dict[tuple[bytes, frozenset[str]], Runs]]] = WeakKeyDictionary()
"""By model, prompts, and batch and sites: clean passes that are asked again."""


def _shared_runs(
    model: Model, prompts: Prompts, tokens: Tensor, *, engine: Engine, rows: bytes, keep: Collection[str]
) -> Runs:
    """The clean pass over some rows of the prompts, the one that was run before where there was one."""
    known = _CLEAN.setdefault(model, WeakKeyDictionary()).setdefault(prompts, {})
    key = (rows, frozenset(keep))
    if key in known:
        return known[key]
    runs = Runs.of(engine, tokens, keep=keep)
    if sum(each.clean.nbytes for each in (*known.values(), runs)) <= declared_budget() // 2:
        known[key] = runs
    return runs


def dose_factors(model: Model, prompts: DosedPrompts, *, layers: Collection[int]) -> dict[int, Tensor]:
    """`same_dose_factor` of the residual stream before each of these layers (after all of them: the last number + 1).

    Over the prompts' own tokens, of all batches: in one batch there are fewer tokens than dimensions.

    Raises:
        InterventionError: the fast engine does not cover the model.
    """
    import torch

    engine = engine_of(model)
    if isinstance(engine, HookEngine):
        raise InterventionError("doses need the processed weights, which the fast engine reads.")
    before = [layer for layer in layers if layer < engine.n_layers]
    samples: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    stop = None if len(before) < len(samples) else max(before) + 1
    for _, batch in prompts.batches():
        run, own = engine.run(batch.tensor(), keep={"resid_pre": before}, stop_at_layer=stop), own_positions(batch)
        for layer, found in samples.items():
            found.append(run.resid_at(layer)[own.to(run.resid.device)])
    return {
        layer: same_dose_factor(stream := torch.cat(found), counted=stream.new_ones(len(stream), dtype=torch.bool))
        for layer, found in samples.items()
    }


def mask(at: NDArray[np.int64], runs: Runs) -> Bool[Tensor, "batch pos"]:
    """True at one position of each prompt."""
    import torch

    found = torch.zeros_like(runs.clean.tokens, dtype=torch.bool)
    found[torch.arange(len(at)), torch.from_numpy(np.ascontiguousarray(at))] = True
    return found
