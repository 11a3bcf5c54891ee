"""What a model loses when heads are ablated: mean and resample ablation, and a random change of the same size.

Three ways of taking sets of heads away, run on the same prompts:

- `resample`: each head's z is replaced by the z of a donor prompt of the same shape, at the same positions; the
  damage is averaged over the donors.
- `mean`: by the mean of z over donors and positions of the same segment (first or second copy).
- `same-dose`: nothing is taken away; to each layer's attention output a random vector is added, position by position as
  long as what resampling would have changed there, drawn with the covariance of the residual stream.

No effect of an ablation does not show that a head has no function: models repair themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.errors import InterventionError
from harness.interventions import (
    AddToAttention,
    Edit,
    Engine,
    ReplaceZ,
    Run,
    head_change,
    residual_covariance_factor,
    same_dose_vector,
)
from harness.sequences import Sequences
from harness.subjects import parse_head
from harness.values import UnitValues

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.model import Model

Kind = Literal["resample", "mean", "same-dose"]
HeadSets: TypeAlias = Mapping[str, Sequence[str]]
"""Sets of heads that are ablated together, by the name that their row gets."""

Measure = Callable[[Engine, Run, NDArray[np.int64]], Mapping[str, NDArray[np.float64]]]
"""(engine, finished run, row numbers) -> for each metric one value per row, or [component, row]."""


@dataclass(frozen=True)
class Ablation:
    """How to ablate.

    Attributes:
        kind: resample, mean or same-dose.
        donors: prompts of the same shape, row by row, from which z is taken; one measurement per donor.
        segment: [batch, pos] segment numbers of the prompts (0 first copy, 1 second copy ...), for the mean.
        scale: how much of the change is made, 0 to 1.
        rng: draws the directions of the same-dose control.
    """

    kind: Kind
    donors: Sequence[Sequences]
    segment: NDArray[np.int64] | None = None
    scale: float = 1.0
    rng: np.random.Generator | None = None


def damage(
    model: Model,
    sequences: Sequences,
    *,
    sets: HeadSets,
    ablation: Ablation,
    measure: Measure,
    stop_at_layer: int | None = None,
    keep: Mapping[str, Sequence[int]] | None = None,
    track: Callable[[Iterable[tuple[str, Sequence[str]]]], Iterable[tuple[str, Sequence[str]]]] = iter,
) -> dict[str, UnitValues]:
    """For each metric, ablated minus intact: [set, sequence]; and under `"dose"` the length of what was changed.

    Args:
        model: the model.
        sequences: the prompts, one unit each.
        sets: heads that are ablated together, by name.
        ablation: how.
        measure: what is read from a finished pass.
        stop_at_layer: layers from here on are not needed by `measure`.
        keep: activations that `measure` reads, by layer.
        track: wraps the loop over sets, to show progress.

    Raises:
        InterventionError: a donor's shape differs from the prompts'.
    """
    engine = Engine.of(model)
    heads = {name: [parse_head(head) for head in members] for name, members in sets.items()}
    layers = sorted({layer for members in heads.values() for layer, _ in members})
    found: dict[str, NDArray[np.float64]] = {}
    for index, batch in sequences.batches():
        donors = [_rows_of(donor, index, like=batch) for donor in ablation.donors]
        plan = _Plan(engine, batch, donors, index, ablation, layers, stop_at_layer, dict(keep or {}))
        before = measure(engine, plan.intact, index)
        for row, (_, members) in enumerate(track(heads.items())):  # type: ignore[arg-type]
            for metric, values in plan.effect(members, before, measure).items():
                target = found.setdefault(metric, np.zeros((len(heads), *values.shape[:-1], len(sequences))))
                target[row][..., index] = values
    return {metric: _as_units(values, tuple(heads), sequences) for metric, values in found.items()}


@dataclass
class _Plan:
    """One batch with everything that its ablations share: the intact pass, and the donors' z."""

    engine: Engine
    batch: Sequences
    donors: list[Sequences]
    index: NDArray[np.int64]
    ablation: Ablation
    layers: list[int]
    stop: int | None
    keep: dict[str, Sequence[int]]

    def __post_init__(self) -> None:
        wanted = {**self.keep, "resid_pre": self.layers, "z": self.layers}
        self.intact = self.engine.run(self.batch.tensor(), keep=wanted, stop_at_layer=self.stop)
        last = self.layers[-1] + 1
        self.donor_runs = [self.engine.run(d.tensor(), keep={"z": self.layers}, stop_at_layer=last) for d in self.donors]
        if self.ablation.kind == "same-dose":
            self.factors = {layer: residual_covariance_factor(self.intact.resid_pre[layer]) for layer in self.layers}

    def effect(
        self, members: Sequence[tuple[int, int]], before: Mapping[str, NDArray[np.float64]], measure: Measure
    ) -> dict[str, NDArray[np.float64]]:
        """The change of every metric, averaged over donors, and the dose."""
        first = min(layer for layer, _ in members)
        changes: list[dict[str, NDArray[np.float64]]] = []
        for edits, dose in self._edits(members):
            keep = {name: [n for n in layers if n >= first] for name, layers in self.keep.items()}
            run = self.engine.resume(self.intact, layer=first, edits=edits, keep=keep, stop_at_layer=self.stop)
            after = measure(self.engine, run, self.index)
            changes.append({**{name: after[name] - before[name] for name in before}, "dose": dose})
        return {name: np.mean([change[name] for change in changes], axis=0) for name in changes[0]}

    def _edits(self, members: Sequence[tuple[int, int]]) -> Iterator[tuple[list[Edit], NDArray[np.float64]]]:
        """One list of edits per donor (one in all for the mean), with the dose per row."""
        means = self.ablation.kind == "mean"
        for donor in [None] if means else self.donor_runs:
            replaced = [self._replace(layer, head, donor) for layer, head in members]
            by_layer: dict[int, Tensor] = {}
            for edit in replaced:
                change = head_change(self.engine, self.intact, edit)
                by_layer[edit.layer] = by_layer[edit.layer] + change if edit.layer in by_layer else change
            dose = sum(change.double().norm(dim=-1).mean(dim=1) for change in by_layer.values())
            yield self._as_edits(replaced, by_layer), dose.cpu().numpy()  # type: ignore[union-attr]

    def _as_edits(self, replaced: list[ReplaceZ], by_layer: dict[int, Tensor]) -> list[Edit]:
        if self.ablation.kind != "same-dose":
            return list(replaced)
        if self.ablation.rng is None:
            raise InterventionError("the same-dose control draws directions: give Ablation an rng")
        rng = self.ablation.rng
        return [
            AddToAttention(layer, same_dose_vector(change, factor=self.factors[layer], generator=rng))
            for layer, change in by_layer.items()
        ]

    def _replace(self, layer: int, head: int, donor: Run | None) -> ReplaceZ:
        old = self.intact.z_of(layer, head)
        new = self._segment_mean(layer, head) if donor is None else donor.z_of(layer, head)
        return ReplaceZ(layer, head, old + self.ablation.scale * (new - old))

    def _segment_mean(self, layer: int, head: int) -> Tensor:
        """The donors' mean z of each position's segment: [batch pos d_head]."""
        import torch

        if self.ablation.segment is None:
            raise InterventionError("mean ablation needs the segment of every position")
        z = torch.stack([run.z_of(layer, head) for run in self.donor_runs])  # [donor batch pos d_head]
        segment = torch.from_numpy(self.ablation.segment[self.index][:, : z.shape[2]])
        mean = torch.zeros_like(z[0])
        for number in segment.unique():
            here = segment == number
            mean[here] = z[:, here].mean(dim=(0, 1))
        return mean


def _rows_of(donor: Sequences, index: NDArray[np.int64], *, like: Sequences) -> Sequences:
    rows: Sequences = donor.rows(index)  # type: ignore[attr-defined]
    if rows.tensor().shape != like.tensor().shape:
        raise InterventionError(f"donor prompts have shape {tuple(rows.tensor().shape)}, the prompts {tuple(like.tensor().shape)}")
    return rows


def _as_units(values: NDArray[np.float64], names: tuple[str, ...], sequences: Sequences) -> UnitValues:
    """[set, unit] as it is; [set, component, unit] flattened, its rows named `set on component number`."""
    if values.ndim == 3:
        names = tuple(f"{name} on {number}" for name in names for number in range(values.shape[1]))
        values = values.reshape(-1, values.shape[-1])
    return UnitValues(values, names, sequences.units, sequences.units)
