"""The fast path measures what the slow one does, whatever the model, the prompts, the interventions and the budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.interventions import (
    Engine,
    Frame,
    HookEngine,
    Intervention,
    Measured,
    Replacement,
    Runs,
    Target,
    ablate,
    corrupted,
    freeze_patterns,
    keep_only,
    mean,
    measure,
    patch,
    resample,
    stacked,
    steer,
    together,
    zero,
)
from harness.interventions.sites import MLP_SITES, SITES, part_kind
from harness.metrics import LogitDifference, LogProb, MeanLoss, Metric
from tests.interventions.bridges import KINDS, normal, some_tokens, tiny_bridge
from tests.models.tiny import VOCABULARY

if TYPE_CHECKING:
    from torch import Tensor

BY_HOOK = tuple(site for site in SITES if not site.endswith("_by_head"))  # what both paths can change
TOLERANCE = 1e-5  # 2e-6 is the largest difference in 500 examples
Make = Callable[[Runs], Intervention]
Item = TypeVar("Item")

built = cache(tiny_bridge)


@dataclass(frozen=True, eq=False)
class Change:
    """Any function of an activation: an edit that cannot be narrowed."""

    layer: int
    site: str

    def targets(self, frame: Frame) -> frozenset[str]:
        return frozenset({f"{self.site} of {self.layer}"})

    def check(self, frame: Frame) -> None:
        pass

    def apply(self, activation: Tensor) -> Tensor:
        return activation.flip(0) * 0.7  # prompts in reverse order: a pattern stays causal


class Draws:
    """Draws models, prompts, metrics and interventions that fit one another."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        n_kv_heads, group = self.number(1, 2), self.number(1, 3)
        self.bridge = built(
            data.draw(st.sampled_from(KINDS)),
            seed=self.number(0, 1),
            n_layers=self.number(1, 3),
            n_heads=n_kv_heads * group,
            n_kv_heads=n_kv_heads,
        )
        self.batch, self.pos = self.number(1, 4), self.number(1, 7)
        self.clean = some_tokens(batch=self.batch, pos=self.pos, seed=self.number(0, 9))
        first = self.number(0, self.pos)  # the position of the first difference; none, if it lies behind the prompt
        self.source = self.clean.clone()
        self.source[:, first:] = some_tokens(batch=self.batch, pos=self.pos, seed=10)[:, first:]
        engine = Engine.of(self.bridge)
        self.sites = [site for site in BY_HOOK if engine.d_mlp or site not in MLP_SITES]
        self.runs = self.runs_of(engine)
        self.frame = self.runs.frame

    def runs_of(self, engine: Engine | HookEngine) -> Runs:
        return Runs.of(engine, self.clean, corrupted=self.source, keep=self.sites)

    def number(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))

    def one_of(self, values: Sequence[Item]) -> Item:
        return self._data.draw(st.sampled_from(values))

    def positions(self) -> Tensor | None:
        import torch

        if self._data.draw(st.booleans()):
            return None
        size = self.batch * self.pos
        flat = self._data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
        return torch.tensor(flat).view(self.batch, self.pos)

    def targets(self, *, without: Collection[str] = ()) -> list[Target]:
        possible = [target for target in all_targets(self.frame, self.sites) if target.site not in without]
        return self._data.draw(st.lists(st.sampled_from(possible), min_size=1, max_size=6, unique=True))

    def metric(self) -> Metric:
        import torch

        def integers(high: int, *, columns: int | None = None) -> Tensor:
            shape = (self.batch,) if columns is None else (self.batch, columns)
            return torch.randint(high, shape, generator=torch.Generator().manual_seed(self.number(0, 9)))

        vocabulary = len(VOCABULARY)
        at = integers(self.pos)
        return self.one_of(
            [  # type: ignore[return-value]
                LogitDifference(integers(vocabulary), integers(vocabulary), at),
                LogProb(integers(vocabulary), at),
                MeanLoss(integers(self.pos, columns=3), integers(vocabulary, columns=3)),
            ]
        )

    def replacement(self) -> Callable[[Runs], Replacement]:
        import torch

        donors = torch.tensor([self.number(0, self.batch - 1) for _ in range(self.batch)])
        groups = [self.number(0, 1) for _ in range(self.batch)]
        return self.one_of(
            [
                zero,
                corrupted,
                lambda runs: mean(runs.source(), batch=self.batch),
                lambda runs: mean(runs.source(), batch=self.batch, groups=groups),
                lambda runs: resample(runs.source(), donors=donors),
            ]
        )

    def intervention(self, name: str) -> Make:
        """What makes an intervention from runs of either path."""
        kinds = [self.patched, self.ablated, self.kept, self.steered, self.frozen, self.custom]
        return self.one_of(kinds)(name)

    def patched(self, name: str) -> Make:
        targets, positions, scale = self.targets(), self.positions(), self.one_of([0.0, 0.3, 1.0])
        return lambda runs: patch(runs, targets, positions=positions, scale=scale, name=name)

    def ablated(self, name: str) -> Make:
        targets, by, positions, scale = self.targets(), self.replacement(), self.positions(), self.one_of([0.5, 1.0])
        return lambda runs: ablate(runs, targets, by=by(runs), positions=positions, scale=scale, name=name)

    def kept(self, name: str) -> Make:
        among = [target for target in all_targets(self.frame, self.sites) if target.site in ("z", "mlp_out")]
        kept, by = self._data.draw(st.lists(st.sampled_from(among), unique=True)), self.replacement()
        return lambda runs: keep_only(runs, kept, among=among, by=by(runs), name=name)

    def steered(self, name: str) -> Make:
        layer, positions = self.number(0, self.frame.n_layers - 1), self.positions()
        site = self.one_of([site for site in self.sites if SITES[site] == ("batch", "pos", "d_model")])
        direction = normal(self.frame.d_model, seed=self.number(0, 9))
        return lambda runs: steer(runs, layer, direction=direction, dose=2.0, positions=positions, site=site, name=name)

    def frozen(self, name: str) -> Make:
        targets, layers = self.targets(without=("pattern",)), range(self.number(1, self.frame.n_layers))
        return lambda runs: together(name, [patch(runs, targets)], also=freeze_patterns(runs, layers))

    def custom(self, name: str) -> Make:
        change = Change(self.number(0, self.frame.n_layers - 1), self.one_of(self.sites))
        return lambda runs: Intervention(name, (change,))


def all_targets(frame: Frame, sites: list[str]) -> list[Target]:
    """Every target of every layer that both paths can change; of the neurons the first few."""
    found = []
    for layer in range(frame.n_layers):
        for site in sites:
            kind = part_kind(site)
            parts = [None] if kind is None else range(min(frame.count(kind), 6))
            found += [Target(layer, site, part) for part in parts]
    return found


@contextmanager
def rows_per_stack(rows: int) -> Iterator[None]:
    """A budget of 1 MiB holds this many prompts of one intervention: tiny models would never fill it."""
    with mock.patch.object(stacked, "bytes_per_prompt", return_value=2**20 // rows):
        yield


def assert_equal(fast: Measured, slow: Measured) -> None:
    assert (fast.path, slow.path, fast.names) == ("fast", "slow", slow.names)
    for name in ("values", "clean", "corrupted"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), rtol=0, atol=TOLERANCE, err_msg=name)
    # The difference of two vectors of length 20 in float32: where nothing was written it may come out as 1e-5.
    np.testing.assert_allclose(fast.change_norm, slow.change_norm, rtol=1e-5, atol=5e-5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_interventions_on_any_model_measure_the_same(data: st.DataObject) -> None:
    draws = Draws(data)
    slow_runs = draws.runs_of(HookEngine.of(draws.bridge))
    metric = draws.metric()
    makes = [draws.intervention(str(number)) for number in range(draws.number(1, 5))]
    with rows_per_stack(draws.number(1, 9)):
        fast = measure(draws.runs, [make(draws.runs) for make in makes], metric=metric, memory_budget=2**20)
    assert_equal(fast, measure(slow_runs, [make(slow_runs) for make in makes], metric=metric))
