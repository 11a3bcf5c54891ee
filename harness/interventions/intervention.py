"""Interventions as values: patch, ablate, knock out all but a circuit, steer, freeze. They are made, then measured.

Each function takes the `Runs` that it reads activations from and returns an `Intervention`: a name and the edits that
it makes. `measure` runs many of them at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InterventionError
from harness.interventions.edits import Add, Edit, Replace
from harness.interventions.replacements import Replacement, corrupted
from harness.interventions.runs import Runs
from harness.interventions.targets import Target

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Intervention:
    """A named set of edits that are made together, on every prompt of a batch."""

    name: str
    edits: tuple[Edit, ...]


def patch(
    runs: Runs,
    targets: Iterable[str | Target],
    *,
    positions: Bool[Tensor, "batch pos"] | None = None,
    scale: float = 1.0,
    name: str | None = None,
) -> Intervention:
    """The targets take the values that they have on the corrupted prompts (activation patching).

    Args:
        runs: the clean and corrupted passes, with the targets' sites kept.
        targets: what is patched, together: `["5.1", "7.mlp"]`.
        positions: where; None for everywhere. Positions before the prompts differ are left alone: nothing differs.
        scale: how much of the way to the corrupted value, 0 to 1.
        name: what the result is called; the targets by default.
    """
    here = runs.differ(at=positions)
    return ablate(runs, targets, by=corrupted(runs), positions=here, scale=scale, name=name)


def ablate(
    runs: Runs,
    targets: Iterable[str | Target],
    *,
    by: Replacement,
    positions: Bool[Tensor, "batch pos"] | None = None,
    scale: float = 1.0,
    name: str | None = None,
) -> Intervention:
    """The targets are replaced by what `by` gives: `zero(runs)`, `mean(run)`, `resample(run, donors=...)` ...

    Targets of one layer and site become one edit, whose tensor is a view of what was kept.

    Raises:
        InterventionError: no target, one named twice, or one that the model does not have.
    """
    chosen = [target if isinstance(target, Target) else Target.parse(target) for target in targets]
    if not chosen:
        raise InterventionError("there is nothing to ablate: name at least one target.")
    repeated = sorted(str(target) for target, times in Counter(chosen).items() if times > 1)
    if repeated:
        raise InterventionError(f"{', '.join(repeated)} is named more than once in one intervention.")
    by_place: dict[tuple[int, str], list[int | None]] = {}
    for target in chosen:
        by_place.setdefault((target.layer, target.site), []).append(target.part)
    edits = [
        Replace(layer, site, by(site, layer), parts=_parts(parts), positions=positions, scale=scale)
        for (layer, site), parts in sorted(by_place.items())
    ]
    return Intervention(name or "+".join(str(target) for target in chosen), tuple(edits))


def keep_only(
    runs: Runs,
    targets: Iterable[str | Target],
    *,
    among: Iterable[str | Target],
    by: Replacement,
    positions: Bool[Tensor, "batch pos"] | None = None,
    name: str | None = None,
) -> Intervention:
    """Everything in `among` but the targets is replaced: a circuit, run alone.

    Raises:
        InterventionError: a target is not among the components that the rest is taken from.
    """
    kept = {str(Target.parse(target) if isinstance(target, str) else target) for target in targets}
    everything = [Target.parse(target) if isinstance(target, str) else target for target in among]
    unknown = sorted(kept - {str(target) for target in everything})
    if unknown:
        raise InterventionError(
            f"{', '.join(unknown)} cannot be kept: it is not among the {len(everything)} components."
        )
    outside = [target for target in everything if str(target) not in kept]
    if not outside:
        return Intervention(name or "everything kept", ())
    return ablate(runs, outside, by=by, positions=positions, name=name or f"only {'+'.join(sorted(kept))}")


def steer(
    runs: Runs,
    layer: int,
    *,
    direction: Float[Tensor, " d_model"],
    dose: float,
    positions: Bool[Tensor, "batch pos"] | None = None,
    site: str = "resid_pre",
    name: str | None = None,
) -> Intervention:
    """`dose` times the direction is added to the residual stream that enters a layer (activation addition)."""
    frame = runs.frame
    if tuple(direction.shape) != (frame.d_model,):
        raise InterventionError(f"the direction is {tuple(direction.shape)}, not [d_model] = ({frame.d_model},).")
    vector = (dose * direction).expand(frame.batch, frame.pos, -1)
    if positions is not None:
        frame.require_mask(positions)
        vector = vector * positions.unsqueeze(-1)
    return Intervention(name or f"steer {layer} by {dose:g}", (Add(layer, vector, site=site),))


def freeze_patterns(runs: Runs, layers: Collection[int]) -> tuple[Edit, ...]:
    """Edits that hold the attention patterns of some layers as they are on the clean prompts."""
    return tuple(Replace(layer, "pattern", runs.clean.kept("pattern", layer)) for layer in sorted(layers))


def together(name: str, interventions: Sequence[Intervention], *, also: Sequence[Edit] = ()) -> Intervention:
    """Several interventions, and more edits, made at once; those that write the same place are refused when run."""
    return Intervention(name, (*(edit for intervention in interventions for edit in intervention.edits), *also))


def _parts(parts: Sequence[int | None]) -> tuple[int, ...] | None:
    numbered = [part for part in parts if part is not None]
    return tuple(sorted(numbered)) if numbered else None
