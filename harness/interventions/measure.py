"""One way to run interventions: a value of the metric for each of them and each prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from harness.errors import InterventionError
from harness.interventions import stacked
from harness.interventions.budget import checked
from harness.interventions.budget import memory_budget as declared_budget
from harness.interventions.edits import check_edits
from harness.interventions.engine import Engine
from harness.interventions.hooks import HookEngine
from harness.interventions.intervention import Intervention
from harness.interventions.readout import LogitReadout, StreamReadout
from harness.interventions.runs import Runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.metrics import Metric


@dataclass(frozen=True, eq=False)
class Measured:
    """What interventions did.

    Attributes:
        names: one per intervention.
        values: [intervention, prompt], the metric under the intervention.
        clean: [prompt], the metric of the unedited pass.
        corrupted: [prompt], the metric of the corrupted pass; None without one.
        change_norm: [intervention, prompt], the length of what the edits wrote into the residual stream themselves,
            over layers and positions: the dose. NaN where it was not asked for.
        path: `fast`, or `slow` where the model's own hooks were used.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    clean: NDArray[np.float64]
    corrupted: NDArray[np.float64] | None
    change_norm: NDArray[np.float64]
    path: Literal["fast", "slow"]

    def of(self, name: str) -> NDArray[np.float64]:
        """The values [prompt] of one intervention; KeyError for a name that is not there."""
        if name not in self.names:
            raise KeyError(f"no intervention is called {name!r}")
        values: NDArray[np.float64] = self.values[self.names.index(name)]
        return values

    @property
    def effects(self) -> NDArray[np.float64]:
        """[intervention, prompt]: the value under the intervention minus the clean one."""
        return self.values - self.clean


def measure(
    runs: Runs,
    interventions: Sequence[Intervention],
    *,
    metric: Metric,
    doses: bool = True,
    memory_budget: int | None = None,
    track: Callable[[Iterable[stacked.Stack | Intervention]], Iterable[object]] = iter,
) -> Measured:
    """The metric of every prompt under every intervention.

    Args:
        runs: the unedited passes.
        interventions: what is done; each on its own.
        metric: what is read; see `harness.metrics`.
        doses: whether `change_norm` is computed; a quarter of the time where many heads are replaced.
        memory_budget: bytes (default: what was declared, `budget.py`); cuts the work into parts and changes no value by
            more than rounding.
        track: wraps the loop over parts, to show progress.

    Raises:
        InterventionError: an intervention or the metric does not fit, a name stands for two, or a value is not finite.
    """
    budget = declared_budget() if memory_budget is None else checked(memory_budget)
    _check(runs, interventions, metric=metric)
    if isinstance(runs.engine, HookEngine):
        found = _measure_slowly(runs.engine, runs, interventions, metric=metric, track=track)
    else:
        found = _measure_fast(runs.engine, runs, interventions, metric=metric, doses=doses, budget=budget, track=track)
    return found if doses else replace(found, change_norm=found.change_norm * float("nan"))


def _measure_fast(
    engine: Engine,
    runs: Runs,
    interventions: Sequence[Intervention],
    *,
    metric: Metric,
    doses: bool,
    budget: int,
    track: Callable[..., Iterable[object]],
) -> Measured:
    import torch

    everyone = slice(0, runs.frame.batch)
    with torch.inference_mode():
        unedited = [
            metric(StreamReadout(engine.weights, run.resid.unsqueeze(0), clean=run.resid, start=0, prompts=everyone))[0]
            for run in (runs.clean, runs.corrupted)
            if run is not None
        ]
        values = unedited[0].repeat(len(interventions), 1)
        norms = torch.zeros_like(values)
        stacks = stacked.plan(interventions, frame=runs.frame, memory_budget=budget)
        for done in stacked.compute(engine, runs.clean, interventions, track(stacks), doses=doses):  # type: ignore[arg-type]
            numbers, prompts = list(done.stack.numbers), done.stack.prompts
            clean = runs.clean.resid[prompts]
            read = StreamReadout(engine.weights, done.resid, clean=clean, start=done.stack.start, prompts=prompts)
            values[numbers, prompts] = metric(read)
            norms[numbers, prompts] = done.change_norm
    return _measured(interventions, values=values, unedited=unedited, norms=norms, path="fast")


def _measure_slowly(
    engine: HookEngine,
    runs: Runs,
    interventions: Sequence[Intervention],
    *,
    metric: Metric,
    track: Callable[..., Iterable[object]],
) -> Measured:
    import torch

    def value_of(tokens: Tensor, edits: Sequence[object] = ()) -> tuple[Tensor, Tensor]:
        run, logits = engine.run_with_logits(tokens, edits=edits)  # type: ignore[arg-type]
        norms = [norm.square().sum(dim=1) for norm in run.change_norm.values()]
        return metric(LogitReadout(logits))[0], sum(norms, start=run.resid.new_zeros(len(tokens))).sqrt()

    with torch.inference_mode():
        unedited = [value_of(run.tokens)[0] for run in (runs.clean, runs.corrupted) if run is not None]
        found = [value_of(runs.clean.tokens, each.edits) for each in track(interventions)]  # type: ignore[attr-defined]
    values, norms = (torch.stack(column) for column in zip(*found, strict=True))
    return _measured(interventions, values=values, unedited=unedited, norms=norms, path="slow")


def _measured(
    interventions: Sequence[Intervention],
    *,
    values: Tensor,
    unedited: Sequence[Tensor],
    norms: Tensor,
    path: Literal["fast", "slow"],
) -> Measured:
    arrays = [tensor.double().cpu().numpy() for tensor in (values, norms, *unedited)]
    names = tuple(intervention.name for intervention in interventions)
    for which, row in zip(("clean", "corrupted"), arrays[2:], strict=False):  # there may be no corrupted pass
        if not all(map(_finite, row)):
            raise InterventionError(f"the metric of the {which} pass is not finite: nothing can be compared with it.")
    for name, *rows in zip(names, *arrays[:2], strict=True):
        if not all(_finite(value) for row in rows for value in row):
            raise InterventionError(f"the metric of intervention {name!r} is not finite; its change is too large.")
    return Measured(names, arrays[0], arrays[2], arrays[3] if len(arrays) > 3 else None, arrays[1], path)


def _check(runs: Runs, interventions: Sequence[Intervention], *, metric: Metric) -> None:
    frame = runs.frame
    if not interventions:
        raise InterventionError("there is nothing to measure: name at least one intervention.")
    names = [intervention.name for intervention in interventions]
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InterventionError(f"two interventions are called {repeated!r}: results are found by name.")
    for intervention in interventions:
        try:
            check_edits(intervention.edits, frame=frame, restart_layer=0, stop_at_layer=frame.n_layers)
        except InterventionError as error:
            raise InterventionError(f"intervention {intervention.name!r}: {error}") from error
    metric.check(batch=frame.batch, pos=frame.pos, d_vocab=runs.engine.d_vocab)


def _finite(value: float) -> bool:
    from math import isfinite

    return isfinite(value)
