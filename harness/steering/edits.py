"""Edits along a direction: add to it, project it out, clamp it. Frozen values for `measure`, and for generation.

An edit holds one vector [d_model], whatever the batch: hundreds of directions and doses on a hundred prompts take no
memory until their own turn comes. Doses and components are counted in `Direction.unit`s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import InterventionError
from harness.interventions import SITES, Frame, Intervention
from harness.interventions.sites import name_of
from harness.steering.arguments import shown
from harness.steering.direction import Direction

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Dose = float | Sequence[float] | NDArray[np.float64]
"""One for all prompts, or one for each, [batch]."""
STREAM = ("batch", "pos", "d_model")
_LONGEST = 1e-3
"""Of the root of the largest number: norms square the stream, and a square that overflows makes logits of nothing."""


@dataclass(frozen=True, eq=False)
class AddDirection:
    """A vector is added to the stream: activation addition (Turner et al. 2023).

    Attributes:
        layer: the layer.
        vector: [d_model], of length 1.
        length: how much of it: one number, or one for each prompt.
        site: a site of the stream's width.
        positions: where; None for everywhere.
        dose: the length as it was asked for, for messages.
    """

    layer: int
    vector: Float[Tensor, " d_model"] = field(repr=False)
    length: Float[Tensor, "#batch"] = field(kw_only=True, repr=False)
    site: str = field(kw_only=True)
    positions: Bool[Tensor, "batch pos"] | None = field(default=None, kw_only=True, repr=False)
    dose: str = field(default="", kw_only=True)

    def targets(self, frame: Frame) -> frozenset[str]:
        """The stream at this place: two vectors for one place are to be summed by the caller."""
        return frozenset({f"{self.site} of layer {self.layer}"})

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless the site takes vectors and vector, lengths and positions fit the run."""
        _check(self, frame, numbers=self.length)

    def apply(self, activation: Tensor) -> Tensor:
        """The activation plus the vector."""
        import torch

        length = self.length.to(activation)
        step = self.vector.to(activation)
        if self.positions is None and len(length) == 1:
            return activation + length * step
        return torch.addcmul(activation, _where(self.positions, length), step)

    def first_position(self) -> int:
        """The first position at which any prompt is changed; the length where none is."""
        return _first(self.positions)

    def narrowed(self, prompts: slice, start: int) -> AddDirection:
        """The same edit for these prompts and the positions from `start` on, as views."""
        return replace(
            self, positions=_narrowed(self.positions, prompts, start), length=_for_prompts(self.length, prompts)
        )


@dataclass(frozen=True, eq=False)
class Project:
    """The stream's component along a direction is moved to `center`: directional ablation, and clamping.

    With `along` the stream moves as far, position by position, in that direction instead: a control of the same dose.

    Attributes:
        layer: the layer.
        vector: [d_model], of length 1.
        center: what the component becomes: one number, or one for each prompt; 0 takes the direction out.
        site: a site of the stream's width.
        positions: where; None for everywhere. BOS is best left out: its stream is a hundred times as long as others',
            and attention rests on it.
        scale: the share of the way that it is moved, 0 to 1.
        along: [d_model], of length 1, where the stream moves; None for the direction itself.
        dose: the center as it was asked for, for messages.
    """

    layer: int
    vector: Float[Tensor, " d_model"] = field(repr=False)
    center: Float[Tensor, "#batch"] = field(kw_only=True, repr=False)
    site: str = field(kw_only=True)
    positions: Bool[Tensor, "batch pos"] | None = field(default=None, kw_only=True, repr=False)
    scale: float = field(default=1.0, kw_only=True)
    along: Float[Tensor, " d_model"] | None = field(default=None, kw_only=True, repr=False)
    dose: str = field(default="", kw_only=True)

    def targets(self, frame: Frame) -> frozenset[str]:
        """The stream at this place."""
        return frozenset({f"{self.site} of layer {self.layer}"})

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless the site takes vectors and everything fits the run."""
        _check(self, frame, numbers=self.center)
        if self.along is not None and self.along.shape != self.vector.shape:
            raise InterventionError(f"{name_of(self)}: along {tuple(self.along.shape)} is no direction of this model.")
        if not 0 <= self.scale <= 1:
            raise InterventionError(f"{name_of(self)}: scale is {self.scale}; it is the share of the change, 0 to 1.")

    def apply(self, activation: Tensor) -> Tensor:
        """The activation with its component moved."""
        import torch

        vector = self.vector.to(activation)
        center = self.center.to(activation).view(-1, 1)
        change = self.scale * (center - activation @ vector).unsqueeze(-1)
        if self.positions is not None:
            change = change * self.positions.unsqueeze(-1)
        return torch.addcmul(activation, change, vector if self.along is None else self.along.to(activation))

    def first_position(self) -> int:
        """The first position at which any prompt is changed; the length where none is."""
        return _first(self.positions)

    def narrowed(self, prompts: slice, start: int) -> Project:
        """The same edit for these prompts and the positions from `start` on, as views."""
        return replace(
            self, positions=_narrowed(self.positions, prompts, start), center=_for_prompts(self.center, prompts)
        )


def add(direction: Direction, *, dose: Dose, positions: Bool[Tensor, "batch pos"] | None = None) -> AddDirection:
    """The edit that adds a dose of the direction where it was found.

    Args:
        direction: what is added.
        dose: in tenths of the mean norm there, one number or one per prompt; negative for the other way.
        positions: where; everywhere by default.

    Raises:
        InterventionError: a dose is not a finite number.
    """
    length, said = _lengths(direction, dose)
    vector = _vector(direction)
    return AddDirection(direction.layer, vector, length=length, site=direction.site, positions=positions, dose=said)


def project_out(
    direction: Direction,
    *,
    center: Dose = 0.0,
    scale: float = 1.0,
    along: Direction | None = None,
    positions: Bool[Tensor, "batch pos"] | None = None,
) -> Project:
    """The edit that removes the component along the direction (directional ablation, Arditi et al. 2024, eq. 4).

    Args:
        direction: what is removed.
        center: what remains, in doses: 0, or the component's mean over both classes (mean ablation).
        scale: the share that is removed.
        along: moves the stream as far in another direction instead, position by position, and removes nothing.
        positions: where; everywhere by default.

    Raises:
        InterventionError: a center is not a finite number.
    """
    value, said = _lengths(direction, center)
    return Project(
        direction.layer, _vector(direction), center=value, site=direction.site, positions=positions, scale=scale,
        along=None if along is None else _vector(along), dose=said,
    )  # fmt: skip


def clamp(direction: Direction, *, dose: Dose, positions: Bool[Tensor, "batch pos"] | None = None) -> Project:
    """The edit that sets the component along the direction to a value in doses, whatever it was.

    That is to project it out and to add `dose` of it in its place: what restores a behaviour after ablation.
    """
    return project_out(direction, center=dose, positions=positions)


def additions(
    directions: Mapping[str, Direction],
    *,
    doses: Sequence[float],
    positions: Bool[Tensor, "batch pos"] | None = None,
) -> list[Intervention]:
    """Every direction at every dose, each an intervention called `at_dose(name, dose)`.

    Raises:
        InterventionError: two would have one name, which shows six digits of a dose, or a dose is not a finite number.
    """
    made: dict[str, AddDirection] = {}
    for name, direction in directions.items():
        for dose in doses:
            edit, called = add(direction, dose=dose, positions=positions), at_dose(name, dose)
            if called in made:
                raise InterventionError(
                    f"two additions are called {called!r} (doses {', '.join(repr(float(each)) for each in doses)}): "
                    "names tell them apart. Give doses that differ in their first six digits."
                )
            made[called] = edit
    return [Intervention(called, (edit,)) for called, edit in made.items()]


def at_dose(name: str, dose: float) -> str:
    """What an addition is called: `sentiment at dose 4`."""
    return f"{name} at dose {dose:g}"


def _vector(direction: Direction) -> Tensor:
    import torch

    return torch.from_numpy(direction.vector.copy())


def _lengths(direction: Direction, dose: Dose) -> tuple[Tensor, str]:
    """Lengths [1] or [batch] in the stream's unit, and the dose in words."""
    import torch

    try:
        doses = np.atleast_1d(np.asarray(dose, dtype=np.float64))
    except (TypeError, ValueError):
        doses = np.empty(0)
    if doses.ndim != 1 or not len(doses):
        raise InterventionError(f"dose {shown(dose)} is not a number: give one number, or one for each prompt.")
    if not np.isfinite(doses).all():
        wrong = doses[~np.isfinite(doses)][0]
        raise InterventionError(f"dose {wrong:g} is not a finite number: give one number, or one for each prompt.")
    said = f"{doses[0]:g}" if len(doses) == 1 else f"{doses.min():g} to {doses.max():g}"
    return torch.from_numpy(doses * direction.unit), said


def _check(edit: AddDirection | Project, frame: Frame, *, numbers: Tensor) -> None:
    import torch

    if SITES[edit.site] != STREAM:
        wide = ", ".join(name for name, axes in SITES.items() if axes == STREAM)
        raise InterventionError(f"{name_of(edit)}: {edit.site!r} takes no vector; these do: {wide}.")
    if tuple(edit.vector.shape) != (frame.d_model,) or not bool(edit.vector.isfinite().all()):
        raise InterventionError(
            f"{name_of(edit)}: the vector {tuple(edit.vector.shape)} is not finite or not [d_model] = "
            f"({frame.d_model},) of this model."
        )
    if tuple(numbers.shape) not in ((1,), (frame.batch,)):
        raise InterventionError(f"{name_of(edit)}: {numbers.numel()} doses for {frame.batch} prompts; give one or all.")
    most = _LONGEST * torch.finfo(getattr(torch, frame.dtype.removeprefix("torch."))).max ** 0.5
    longest = float(numbers.abs().max())
    if not longest <= most:
        raise InterventionError(
            f"dose {edit.dose} is {longest:.3g} long, and the logits would not be finite: squares of more than "
            f"{most:.3g} leave {frame.dtype}. Take a smaller dose at {edit.site} of layer {edit.layer}."
        )
    if edit.positions is not None:
        frame.require_tensor(edit.positions, "batch pos", edit=edit, dtype="torch.bool")


def _where(positions: Tensor | None, length: Tensor) -> Tensor:
    """[batch pos 1] or [batch 1 1]: how much of the vector each position gets."""
    by_prompt = length.view(-1, 1, 1)
    return by_prompt if positions is None else by_prompt * positions.unsqueeze(-1)


def _first(positions: Tensor | None) -> int:
    if positions is None:
        return 0
    somewhere = positions.any(dim=0).nonzero()
    return int(somewhere[0]) if len(somewhere) else int(positions.shape[1])


def _narrowed(positions: Tensor | None, prompts: slice, start: int) -> Tensor | None:
    return None if positions is None else positions[prompts, start:]


def _for_prompts(numbers: Tensor, prompts: slice) -> Tensor:
    return numbers if len(numbers) == 1 else numbers[prompts]
