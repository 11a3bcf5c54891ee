"""What a model loses when heads are ablated: mean and resample ablation, and a random change of the same size.

Three ways of taking sets of heads away, run on the same prompts:

- `resample`: each head's z is replaced by the z of a donor prompt of the same shape, at the same positions; the
  damage is averaged over the donors.
- `mean`: by the mean of z over that row's donors and positions of the same segment (first or second copy).
- `same-dose`: nothing is taken away; to each layer's attention output a random vector is added, position by position as
  long as what resampling would have changed there, drawn with the covariance of the residual stream at the prompts' own
  tokens (without BOS); averaged over the donors and, for each of them, `DIRECTIONS` directions.

No effect of an ablation does not show that a head has no function: models repair themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.errors import InterventionError
from harness.interventions import (
    Edit,
    Engine,
    Replace,
    Run,
    head_change,
    own_positions,
    same_dose_edits,
    same_dose_factor,
)
from harness.interventions.dose import OwnTokens
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

_Members: TypeAlias = Sequence[tuple[int, int]]
Track = Callable[[Iterable[tuple[str, _Members]]], Iterable[tuple[str, _Members]]]
"""Wraps the loop over sets, to show progress."""


class Prompts(Sequences, OwnTokens, Protocol):
    """Prompts that can be ablated: sequences that know whether they begin with a BOS."""


@dataclass(frozen=True)
class Ablation:
    """How to ablate.

    Attributes:
        kind: resample, mean or same-dose.
        donors: prompts of the same shape, row by row, from which z is taken; one measurement per donor.
        segment: [batch, pos] segment numbers of the prompts (BOS, first copy, second copy, padding ...), for the mean.
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
    sequences: Prompts,
    *,
    sets: HeadSets,
    ablation: Ablation,
    measure: Measure,
    stop_at_layer: int | None = None,
    keep: Mapping[str, Sequence[int]] | None = None,
    track: Track = iter,
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
        InterventionError: there is nothing to ablate or no donor, a donor's shape differs from the prompts', or what
            the kind of ablation needs (segment, rng) is missing.
    """
    _check(sequences, sets, ablation)
    engine = Engine.of(model)
    heads = {name: [parse_head(head) for head in members] for name, members in sets.items()}
    layers = sorted({layer for members in heads.values() for layer, _ in members})
    found: dict[str, NDArray[np.float64]] = {}
    for index, batch in sequences.batches():
        donors = [_rows_of(donor, index, like=batch) for donor in ablation.donors]
        plan = _Plan(engine, batch, donors, index, ablation, layers, stop_at_layer, dict(keep or {}))
        before = measure(engine, plan.intact, index)
        for row, (_, members) in enumerate(track(heads.items())):
            for metric, values in plan.effect(members, before, measure).items():
                target = found.setdefault(metric, np.zeros((len(heads), *values.shape[:-1], len(sequences))))
                target[row][..., index] = values
    return {metric: _as_units(values, tuple(heads), sequences) for metric, values in found.items()}


@dataclass
class _Plan:
    """One batch with everything that its ablations share: the intact pass, and the donors' z."""

    engine: Engine
    batch: Prompts
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
        self.donor_runs = [
            self.engine.run(d.tensor(), keep={"z": self.layers}, stop_at_layer=last) for d in self.donors
        ]
        if self.ablation.kind == "same-dose":
            own, resid = own_positions(self.batch), self.intact.resid_pre
            self.factors = {layer: same_dose_factor(resid[layer], counted=own) for layer in self.layers}

    def effect(
        self, members: _Members, before: Mapping[str, NDArray[np.float64]], measure: Measure
    ) -> dict[str, NDArray[np.float64]]:
        """The change of every metric, averaged over donors and directions, and the dose."""
        first = min(layer for layer, _ in members)
        changes: list[dict[str, NDArray[np.float64]]] = []
        for edits, dose in self._edits(members):
            keep = {name: [n for n in layers if n >= first] for name, layers in self.keep.items()}
            run = self.engine.resume(
                self.intact, layer=first, edits=edits, keep=keep, stop_at_layer=self.stop, doses=False
            )
            after = measure(self.engine, self._with_earlier_layers(run, first), self.index)
            changes.append({**{name: after[name] - before[name] for name in before}, "dose": dose})
        return {name: np.mean([change[name] for change in changes], axis=0) for name in changes[0]}

    def _with_earlier_layers(self, run: Run, first: int) -> Run:
        """The run with what `measure` reads of the layers before the first ablated one, which are as they were."""
        kept: dict[str, dict[int, Tensor]] = {}
        for name, layers in self.keep.items():
            intact = getattr(self.intact, name)
            kept[name] = {**{layer: intact[layer] for layer in layers if layer < first}, **getattr(run, name)}
        return replace(run, **kept)  # type: ignore[arg-type]  # mypy sees one type for all fields of a Run

    def _edits(self, members: _Members) -> Iterator[tuple[Sequence[Edit], NDArray[np.float64]]]:
        """The edits of each donor (once in all for the mean) and direction, with the dose per row."""
        means = self.ablation.kind == "mean"
        for donor in [None] if means else self.donor_runs:
            replaced = [self._replace(layer, head, donor) for layer, head in members]
            by_layer: dict[int, Tensor] = {}
            for edit in replaced:
                change = head_change(self.engine, self.intact, edit)
                by_layer[edit.layer] = by_layer[edit.layer] + change if edit.layer in by_layer else change
            dose = self._dose(list(by_layer.values()))
            for edits in self._as_edits(replaced, by_layer):
                yield edits, dose

    def _dose(self, changes: Sequence[Tensor]) -> NDArray[np.float64]:
        """[row]: length of the change, averaged over the prompt's own positions and summed over layers."""
        import torch

        real = self._real()
        lengths = torch.stack([change.double().norm(dim=-1) for change in changes]).sum(dim=0)  # [batch pos]
        dose: NDArray[np.float64] = ((lengths * real).sum(dim=1) / real.sum(dim=1)).cpu().numpy()
        return dose

    def _real(self) -> Tensor:
        """[batch, pos]: true where the prompt has a token; what stands in the padding must change no number."""
        import torch

        return torch.from_numpy(self.batch.real_positions()).to(self.intact.tokens.device)

    def _as_edits(self, replaced: list[Replace], by_layer: dict[int, Tensor]) -> Sequence[Sequence[Edit]]:
        """What is made of one donor: the replacement itself, or for the same dose as many directions as are drawn."""
        if self.ablation.kind != "same-dose":
            return [replaced]
        rng = self.ablation.rng
        assert rng is not None, "checked by damage"
        return same_dose_edits(by_layer, factors=self.factors, generator=rng)

    def _replace(self, layer: int, head: int, donor: Run | None) -> Replace:
        old = self.intact.z_of(layer, head)
        new = self._segment_mean(layer, head) if donor is None else donor.z_of(layer, head)
        return Replace.z(layer, head, old + self.ablation.scale * (new - old))

    def _segment_mean(self, layer: int, head: int) -> Tensor:
        """The mean z of each position's segment over the row's own donors: [batch pos d_head]."""
        import torch

        assert self.ablation.segment is not None, "checked by damage"
        z = torch.stack([run.z_of(layer, head) for run in self.donor_runs]).mean(dim=0)  # [batch pos d_head]
        segment = torch.from_numpy(self.ablation.segment[self.index][:, : z.shape[1]]).to(z.device)
        mean = torch.zeros_like(z)
        for number in segment.unique():
            # Row by row: other rows of the batch are other units, and which they are depends on the batch.
            here = (segment == number).unsqueeze(-1)
            row_mean = (z * here).sum(dim=1, keepdim=True) / here.sum(dim=1, keepdim=True).clamp_min(1)
            mean = torch.where(here, row_mean, mean)
        return mean


def _check(sequences: Sequences, sets: HeadSets, ablation: Ablation) -> None:
    empty = [name for name, members in sets.items() if not members]
    if not sets or empty:
        raise InterventionError(f"there are no heads to ablate{f' in set {empty[0]!r}' if empty else ''}; name some")
    if not 0 <= ablation.scale <= 1:
        raise InterventionError(f"scale is {ablation.scale}; it is the share of the change that is made, 0 to 1")
    if not ablation.donors:
        raise InterventionError(f"{ablation.kind} ablation needs donor prompts: at least one, of the prompts' shape")
    for donor in ablation.donors:
        if len(donor) != len(sequences):
            raise InterventionError(f"a donor has {len(donor)} prompts for {len(sequences)}; give one for each prompt")
    if ablation.kind == "mean" and ablation.segment is None:
        raise InterventionError("mean ablation needs the segment of every position")
    if ablation.kind == "same-dose" and ablation.rng is None:
        raise InterventionError("the same-dose control draws directions: give Ablation an rng")


def _rows_of(donor: Sequences, index: NDArray[np.int64], *, like: Sequences) -> Sequences:
    rows = donor.rows(index)
    if rows.tensor().shape != like.tensor().shape:
        raise InterventionError(
            f"donor prompts have shape {tuple(rows.tensor().shape)}, the prompts {tuple(like.tensor().shape)}"
        )
    return rows


def _as_units(values: NDArray[np.float64], names: tuple[str, ...], sequences: Sequences) -> UnitValues:
    """[set, unit] as it is; [set, component, unit] flattened, its rows named `set on component number`."""
    if values.ndim == 3:
        names = tuple(f"{name} on {number}" for name in names for number in range(values.shape[1]))
        values = values.reshape(-1, values.shape[-1])
    return UnitValues(values, names, sequences.units, sequences.units)
