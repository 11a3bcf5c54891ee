"""The sweeps whose speed is promised, each beside the plain loop over passes that it replaces; and what they compute.

Ratios are taken in one process on the same prompts. A plain loop costs one whole pass per intervention whatever it
changes, so where only part of it is run, its time is scaled by the number of interventions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.interventions import (
    Engine,
    Intervention,
    Measured,
    Runs,
    ablate,
    mean,
    measure,
    patch,
)
from harness.interventions.stacked import plan
from harness.interventions.sweeps import heads
from harness.metrics import LogitDifference

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("Mary", "John", "Tom", "Anna", "James", "Sarah", "Robert", "Lisa", "David", "Laura", "Peter", "Alice")
TEMPLATE = "When {} and {} went to the store, {} gave a drink to"  # 14 tokens; the third name is the tenth


@dataclass(frozen=True, eq=False)
class Case:
    """One row of the table: interventions, and the loop that does the same pass by pass."""

    name: str
    interventions: list[Intervention]
    runs: Runs
    metric: LogitDifference
    loop: Callable[[Sequence[int]], np.ndarray]
    at_least: float
    loop_share: int = 1

    def ours(self) -> Measured:
        """The fast path, the unedited passes included."""
        runs = Runs.of(
            self.runs.engine,
            self.runs.clean.tokens,
            corrupted=None if self.runs.corrupted is None else self.runs.corrupted.tokens,
        )
        return measure(runs, self.interventions, metric=self.metric)

    def theirs(self) -> tuple[np.ndarray, float]:
        """Values of the loop's share of interventions, and the seconds that the whole loop would take."""
        chosen = range(0, len(self.interventions), self.loop_share)
        began = time.perf_counter()
        values = self.loop(chosen)
        return values, (time.perf_counter() - began) * len(self.interventions) / len(chosen)

    def gflop(self) -> tuple[float, float]:
        """Operations that are not redundant, and those of the loop, in 10^9; products with weights only."""
        engine, frame = self.runs.engine, self.runs.frame
        assert isinstance(engine, Engine)
        block = engine.weights.blocks[0]
        mlp = (
            []
            if block.mlp is None
            else [each for each in (block.mlp.gate, block.mlp.inward, block.mlp.outward) if each]
        )
        per_block = 2 * sum(each.weight.numel() for each in (block.q, block.k, block.v, block.o, *mlp))
        ours = sum(
            (frame.pos - stack.start)
            * (stack.prompts.stop - stack.prompts.start)
            * (frame.n_layers - first)
            * per_block
            for stack in plan(self.interventions, frame=frame, memory_budget=2**30)
            for first in stack.first_layers
        )
        whole = frame.n_layers * per_block + 2 * engine.weights.unembed.weight.numel()
        return ours / 1e9, len(self.interventions) * frame.batch * frame.pos * whole / 1e9


def cases(model: Any, *, n_sets: int = 200, prompts: int = 16) -> list[Case]:
    """The promised sweeps on one model."""
    import torch

    engine = Engine.of(model)
    all_heads = heads(Runs.of(engine, torch.zeros(1, 1, dtype=torch.long)).frame)
    clean, corrupted, metric = ioi(model, prompts)
    runs = Runs.of(engine, clean, corrupted=corrupted)
    last = torch.zeros_like(clean, dtype=torch.bool)
    last[:, -1] = True
    half = engine.n_layers // 2
    found = [
        Case(
            f"{name} of all heads, {prompts} prompts",
            [patch(runs, [head], positions=where) for head in all_heads],
            runs, metric, partial(patch_loop, model, runs, metric, all_heads, where), at_least, share,
        )
        for name, where, at_least, share in (("patching", None, 6.5, 1), ("patching the last position", last, 25.0, 5))
    ]  # fmt: skip
    clean, _, metric = ioi(model, 2 * prompts)
    runs = Runs.of(engine, clean)
    last = torch.zeros_like(clean, dtype=torch.bool)
    last[:, -1] = True
    late = [head for head in all_heads if int(head.split(".")[0]) in (half + 2, half + 3)] or all_heads
    for name, pool, where, at_least in (
        ("every position", all_heads, None, 1.4),
        ("the last position", all_heads, last, 12.0),
        (f"layers {half + 2} and {half + 3}", late, None, 2.5),
    ):
        sets = random_sets(pool, n_sets)
        by = mean(runs.clean, batch=len(clean))
        found.append(
            Case(
                f"mean-ablating {n_sets} random sets of 4 heads, {2 * prompts} prompts, {name}",
                [ablate(runs, members, by=by, positions=where) for members in sets],
                runs,
                metric,
                partial(ablate_loop, model, runs, metric, sets, where),
                at_least,
                5,
            )
        )
    return found


def ioi(model: Any, n: int) -> tuple[Tensor, Tensor, LogitDifference]:
    """Clean and corrupted prompts (the subject's second mention exchanged), and IO minus S at the last token."""
    import torch

    rng = np.random.default_rng(0)
    pairs = [rng.choice(NAMES, 2, replace=False) for _ in range(n)]
    clean = model.tokens([TEMPLATE.format(io, s, s) for io, s in pairs], bos=False)
    corrupted = model.tokens([TEMPLATE.format(io, s, io) for io, s in pairs], bos=False)
    io, s = clean[:, 1], clean[:, 3]
    return clean, corrupted, LogitDifference(io, s, torch.full((n,), clean.shape[1] - 1))


def random_sets(pool: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Distinct sets of four."""
    rng = np.random.default_rng(1)
    found: dict[tuple[str, ...], None] = {}
    while len(found) < n:
        found[tuple(pool[place] for place in sorted(rng.choice(len(pool), 4, replace=False)))] = None
    return list(found)


def patch_loop(
    model: Any, runs: Runs, metric: LogitDifference, names: Sequence[str], where: Tensor | None, chosen: Sequence[int]
) -> np.ndarray:
    """TransformerLens' own sweep over heads, read prompt by prompt."""
    import pandas as pd
    import torch
    from transformer_lens.patching import generic_activation_patch

    values: list[Tensor] = []

    def read(logits: Tensor) -> Tensor:
        values.append(_difference(logits, metric))
        return values[-1].mean()

    def setter(activation: Tensor, index: Sequence[int], cache: Any) -> Tensor:
        if where is None:
            activation[:, :, index[1]] = cache[:, :, index[1]]
        else:
            activation[:, -1, index[1]] = cache[:, -1, index[1]]
        return activation

    places = [tuple(map(int, names[number].split("."))) for number in chosen]
    with torch.inference_mode():
        source = runs.source().tokens.clone()
        cache = model.bridge.run_with_cache(source, names_filter=lambda name: name.endswith("hook_z"))[1]
        generic_activation_patch(
            model.bridge, runs.clean.tokens.clone(), cache, read,
            lambda activation, index, clean: setter(activation, index, clean),
            "z", index_df=pd.DataFrame(places, columns=["layer", "head"]),
        )  # fmt: skip
    return torch.stack(values).double().numpy()


def ablate_loop(
    model: Any, runs: Runs, metric: LogitDifference, sets: Sequence[Sequence[str]], where: Tensor | None,
    chosen: Sequence[int],
) -> np.ndarray:  # fmt: skip
    """The plain loop: one pass with hooks for each set."""
    import torch

    values = []
    with torch.inference_mode():
        for number in chosen:
            by_layer: dict[int, list[int]] = {}
            for name in sets[number]:
                layer, head = map(int, name.split("."))
                by_layer.setdefault(layer, []).append(head)

            def hook(activation: Tensor, hook: object, *, of: list[int], at: Tensor) -> Tensor:
                if where is None:
                    activation[:, :, of] = at[:, of]
                else:
                    activation[:, -1, of] = at[-1, of]
                return activation

            hooks = [
                (f"blocks.{layer}.attn.hook_z", partial(hook, of=of, at=runs.clean.kept("z", layer).mean(dim=0)))
                for layer, of in by_layer.items()
            ]
            values.append(_difference(model.bridge.run_with_hooks(runs.clean.tokens.clone(), fwd_hooks=hooks), metric))
    return torch.stack(values).double().numpy()


def gemm_gflop_per_second(model: Any, rows: int) -> float:
    """Best of ten products at the shape that the sweeps use most."""
    import torch
    from torch.nn.functional import linear

    engine = Engine.of(model)
    mlp = engine.weights.blocks[0].mlp
    weight = (engine.weights.blocks[0].o if mlp is None else mlp.inward).weight
    x = torch.randn(rows, weight.shape[1], dtype=weight.dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(10):
            began = time.perf_counter()
            linear(x, weight)
            best = min(best, time.perf_counter() - began)
    return 2 * rows * weight.numel() / best / 1e9


def peak_mib(job: Callable[[], object]) -> float:
    """Largest memory of this process while a job runs, in MiB; Linux only, NaN elsewhere."""
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not clear.exists():
        return float("nan")
    clear.write_text("5")  # from here on the peak counts anew
    job()
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _difference(logits: Tensor, metric: LogitDifference) -> Tensor:
    import torch

    rows = torch.arange(len(logits))
    at = logits[rows, metric.positions]
    return at[rows, metric.correct] - at[rows, metric.wrong]
