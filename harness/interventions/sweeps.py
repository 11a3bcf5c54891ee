"""Which interventions a sweep consists of: every head, every layer, head by position, matched random sets, circuits.

These functions list names and sets of names; `sweep` makes the interventions and measures them with a progress bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

from harness.errors import InterventionError
from harness.interventions.intervention import Intervention
from harness.interventions.measure import Measured, measure
from harness.interventions.runs import Runs
from harness.interventions.sites import Frame

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor

    from harness.metrics import Metric

Item = TypeVar("Item")
SECONDS_BEFORE_A_BAR = 2.0
PARTS = ("z", "q", "k", "v", "pattern")
LAYERS = ("attn", "mlp", "resid_pre", "resid_mid", "resid_post")


def heads(frame: Frame, *, part: str = "z") -> list[str]:
    """Every head, as `z`, `q` or `pattern`; every key-value head as `k` or `v`.

    Raises:
        InterventionError: there is no such part.
    """
    if part not in PARTS:
        raise InterventionError(f"heads have no part {part!r}; known are {', '.join(PARTS)}.")
    if part in ("k", "v"):
        return [f"{layer}.kv{head}.{part}" for layer in range(frame.n_layers) for head in range(frame.n_kv_heads)]
    suffix = "" if part == "z" else f".{part}"
    return [f"{layer}.{head}{suffix}" for layer in range(frame.n_layers) for head in range(frame.n_heads)]


def layers(frame: Frame, *, of: str) -> list[str]:
    """Every layer's `attn`, `mlp`, `resid_pre`, `resid_mid` or `resid_post`.

    Raises:
        InterventionError: the model has none of these.
    """
    if of not in LAYERS or (of in ("mlp", "resid_mid") and not frame.d_mlp):
        raise InterventionError(f"layers of this model have no {of!r}; known are {', '.join(LAYERS)}.")
    return [f"{layer}.{of}" for layer in range(frame.n_layers)]


def one_by_one(targets: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Each target alone, under its own name."""
    return {target: (target,) for target in targets}


def leave_one_out(circuit: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The circuit without each of its members, under the name of the member that is missing."""
    return {member: tuple(other for other in circuit if other != member) for member in circuit}


def subsets_of_classes(classes: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Every non-empty set of classes, as the union of their members: `"name mover + s-inhibition"`."""
    found = {}
    for size in range(1, len(classes) + 1):
        for chosen in combinations(classes, size):
            members = dict.fromkeys(member for name in chosen for member in classes[name])
            found[" + ".join(chosen)] = tuple(members)
    return found


def at_each_position(frame: Frame, like: Tensor) -> dict[str, Bool[Tensor, "batch pos"]]:
    """For each position a mask that is true there alone, on the device of `like`."""
    import torch

    masks = torch.eye(frame.pos, dtype=torch.bool, device=like.device)
    return {str(position): masks[position].expand(frame.batch, -1) for position in range(frame.pos)}


Make = Callable[..., Intervention]
"""(runs, targets, positions=..., name=...) -> Intervention: `patch`, or `ablate` and `keep_only` with their options."""


def sweep(
    runs: Runs,
    sets: Mapping[str, Sequence[str]],
    *,
    make: Make,
    metric: Metric,
    by_position: bool = False,
    memory_budget: int | None = None,
) -> Measured:
    """The metric under an intervention on every set, or on every set at every position (`"5.1 @ 13"`).

    Args:
        runs: the unedited passes.
        sets: targets that are changed together, by name.
        make: what is done with them: `patch`, or `functools.partial(ablate, by=...)`.
        metric: what is read.
        by_position: each position on its own. Positions at which nothing differs are measured too: their effect is 0.
        memory_budget: bytes; what was declared, by default.
    """
    if not by_position:
        made = [make(runs, targets, name=name) for name, targets in sets.items()]
    else:
        places = at_each_position(runs.frame, runs.clean.tokens)
        made = [
            make(runs, targets, positions=mask, name=f"{name} @ {place}")
            for name, targets in sets.items()
            for place, mask in places.items()
        ]
    return measure(runs, made, metric=metric, memory_budget=memory_budget, track=progress_bar)


def progress_bar(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; a bar on the terminal once they take more than two seconds."""
    from time import monotonic

    from rich.console import Console
    from rich.progress import Progress

    listed = list(items)
    began = monotonic()
    with Progress(console=Console(stderr=True), transient=True, auto_refresh=False, disable=len(listed) < 2) as bar:
        task = bar.add_task("interventions", total=len(listed), visible=False)
        for done, item in enumerate(listed):
            if monotonic() - began > SECONDS_BEFORE_A_BAR:
                bar.update(task, completed=done, visible=True, refresh=True)
            yield item
