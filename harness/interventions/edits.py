"""Edits as frozen values: what one intervention changes at one site of one layer. They compute no effect.

An edit says where it acts (`layer`, `site`), what it writes (`targets`, so that two edits of one target are refused),
checks itself against the run (`check`) and returns the changed activation (`apply`, which never writes in place).
`Replace` and `Add` do everything that this package offers; README.md shows how to write another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from harness.errors import InterventionError
from harness.interventions.sites import SITES, Frame, name_of, part_axis, part_kind, position_axis

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


@runtime_checkable
class Edit(Protocol):
    """What the engine needs of an intervention; any frozen dataclass with these five members is one."""

    @property
    def layer(self) -> int:
        """The layer in which it acts."""

    @property
    def site(self) -> str:
        """The site at which it acts, one of `SITES`."""

    def targets(self, frame: Frame) -> frozenset[str]:
        """Names of what it writes; two edits with a common target are refused."""

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless it fits the model and the batch (layer and site are checked already)."""

    def apply(self, activation: Tensor) -> Tensor:
        """The activation with the edit made, in a new tensor of the same shape."""


@runtime_checkable
class Narrowable(Protocol):
    """An edit that can be made on some prompts and on the positions from `start` on: what the fast path saves by."""

    def first_position(self) -> int:
        """Positions before this one are left as they are in every prompt."""

    def narrowed(self, prompts: slice, start: int) -> Edit:
        """The same edit for these prompts and for activations that begin at position `start`."""


Seen = Callable[[str, int], "Tensor | None"]
"""(site, layer) -> what this pass computed there for the edit's own prompts; None where it is as in the clean pass."""


@runtime_checkable
class Reading(Protocol):
    """An edit that depends on what the pass computed before it; it is applied with `apply_seen`."""

    @property
    def needs(self) -> frozenset[tuple[str, int]]:
        """(site, layer) of what it reads."""

    def apply_seen(self, activation: Tensor, seen: Seen) -> Tensor:
        """The activation with the edit made, in a new tensor of the same shape."""


@dataclass(frozen=True, eq=False)
class Replace:
    """Activations are moved to `value` by `scale` of the way: every ablation, patch and frozen pattern.

    Attributes:
        layer: the layer.
        site: one of `SITES`.
        value: what stands there instead, in the site's own shape; along heads or neurons it may hold `parts` only.
        parts: the heads, key-value heads or neurons concerned; None for all.
        positions: where it is true the value is replaced; None for everywhere. Of a pattern, the querying positions.
        scale: 1 for the whole way.
    """

    layer: int
    site: str
    value: Float[Tensor, "batch ..."] = field(repr=False)
    parts: tuple[int, ...] | None = field(default=None, kw_only=True)
    positions: Bool[Tensor, "batch pos"] | None = field(default=None, kw_only=True, repr=False)
    scale: float = field(default=1.0, kw_only=True)

    @classmethod
    def z(
        cls,
        layer: int,
        head: int,
        value: Float[Tensor, "batch pos d_head"],
        *,
        positions: Bool[Tensor, "batch pos"] | None = None,
    ) -> Replace:
        """One head's z is replaced."""
        return cls(layer, "z", value.unsqueeze(2), parts=(head,), positions=positions)

    @classmethod
    def v(
        cls,
        layer: int,
        value: Float[Tensor, "batch pos d_head"],
        *,
        head: int | None = None,
        kv_head: int | None = None,
    ) -> Replace:
        """Values are replaced for all readers of `kv_head`, or as the query head `head` alone sees them.

        Raises:
            InterventionError: not exactly one of the two is given. Without grouped queries they mean the same.
        """
        if head is None and kv_head is not None:
            return cls(layer, "v", value.unsqueeze(2), parts=(kv_head,))
        if head is not None and kv_head is None:
            return cls(layer, "v_by_head", value.unsqueeze(2), parts=(head,))
        raise InterventionError(
            f"Replace.v(layer={layer}): give either head= (only this query head sees the values) "
            "or kv_head= (all its readers do)."
        )

    def targets(self, frame: Frame) -> frozenset[str]:
        """The parts that are written; keys and values as each query head sees them."""
        kind = part_kind(self.site)
        if kind is None:
            return frozenset({f"{self.site} of layer {self.layer}"})
        parts = range(frame.count(kind)) if self.parts is None else self.parts
        if kind == "neuron":
            return frozenset(f"neuron {self.layer}.{part}" for part in parts)
        heads = [head for part in parts for head in frame.heads_of(part)] if kind == "kv_head" else parts
        return frozenset(f"{self.site.removesuffix('_by_head')} of head {self.layer}.{head}" for head in heads)

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless parts, value, positions and scale fit the run."""
        kind = part_kind(self.site)
        if self.parts is not None:
            if kind is None or not self.parts:
                raise InterventionError(f"{name_of(self)}: name parts where a site has them, and at least one.")
            if len(set(self.parts)) < len(self.parts):
                raise InterventionError(f"{name_of(self)}: a part is named twice.")
            for part in self.parts:
                frame.require_index(kind, part, edit=self)
        axes = " ".join(SITES[self.site])
        frame.require_tensor(self.value, axes, edit=self, or_size=self._or_size())
        if self.positions is not None:
            frame.require_tensor(self.positions, "batch pos", edit=self, dtype="torch.bool")
        if not 0 <= self.scale <= 1:
            raise InterventionError(f"{name_of(self)}: scale is the share of the change that is made, 0 to 1.")
        if self.site == "pattern" and bool((self.value.triu(1) != 0).any()):
            raise InterventionError(f"{name_of(self)}: the pattern attends to a later position.")

    def apply(self, activation: Tensor) -> Tensor:
        """The activation with the parts replaced at the positions."""
        if self.parts is None:
            return self.replacement(activation)
        axis = part_axis(self.site)
        assert axis is not None, "checked"
        here = (slice(None),) * axis + (list(self.parts),)
        edited: Tensor = activation.clone()
        edited[here] = self.replacement(activation[here])
        return edited

    def replacement(self, old: Tensor) -> Tensor:
        """What stands at the parts after the edit, given what stood there before."""
        new = self.value
        axis = part_axis(self.site)
        if self.parts is not None and axis is not None and new.shape[axis] != len(self.parts):
            new = new[(slice(None),) * axis + (list(self.parts),)]
        if self.scale != 1:
            new = old.lerp(new, self.scale)
        if self.positions is None:
            return new
        shape = [1] * old.ndim
        shape[0], shape[position_axis(self.site)] = self.positions.shape
        return new.where(self.positions.view(shape), old)

    def first_position(self) -> int:
        """The first position at which any prompt is changed; the length where none is."""
        if self.positions is None:
            return 0
        somewhere = self.positions.any(dim=0).nonzero()
        return int(somewhere[0]) if len(somewhere) else int(self.positions.shape[1])

    def narrowed(self, prompts: slice, start: int) -> Replace:
        """The same edit for these prompts and the positions from `start` on, as views."""
        here = [slice(None)] * self.value.ndim
        here[0], here[position_axis(self.site)] = prompts, slice(start, None)
        positions = None if self.positions is None else self.positions[prompts, start:]
        return Replace(
            self.layer, self.site, self.value[tuple(here)], parts=self.parts, positions=positions, scale=self.scale
        )

    def _or_size(self) -> dict[str, int]:
        kind = part_kind(self.site)
        return {} if self.parts is None or kind is None else {kind: len(self.parts)}


@dataclass(frozen=True, eq=False)
class Add:
    """A vector is added at a site of the residual stream's width: steering, and the same-dose control."""

    layer: int
    vector: Float[Tensor, "batch pos d_model"] = field(repr=False)
    site: str = field(default="attn_out", kw_only=True)

    def targets(self, frame: Frame) -> frozenset[str]:
        """The site: two vectors for one place are to be summed by the caller, so that none counts twice."""
        return frozenset({f"{self.site} of layer {self.layer}"})

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless the site takes vectors and the vector fits the run."""
        if SITES[self.site] != ("batch", "pos", "d_model"):
            wide = ", ".join(name for name, axes in SITES.items() if axes == ("batch", "pos", "d_model"))
            raise InterventionError(f"{name_of(self)}: {self.site!r} takes no vector; these do: {wide}.")
        frame.require_tensor(self.vector, "batch pos d_model", edit=self)

    def apply(self, activation: Tensor) -> Tensor:
        """The activation plus the vector."""
        return activation + self.vector

    def first_position(self) -> int:
        """The first position at which any prompt's vector is not zero; the length where all are."""
        somewhere = (self.vector != 0).any(dim=-1).any(dim=0).nonzero()
        return int(somewhere[0]) if len(somewhere) else int(self.vector.shape[1])

    def narrowed(self, prompts: slice, start: int) -> Add:
        """The same edit for these prompts and the positions from `start` on, as a view."""
        return Add(self.layer, self.vector[prompts, start:], site=self.site)


def check_edits(edits: Sequence[Edit], *, frame: Frame, restart_layer: int, stop_at_layer: int) -> None:
    """Raise InterventionError, naming the edit, unless all of them fit the model, the batch and the layers computed."""
    owner: dict[str, Edit] = {}
    for edit in edits:
        if not isinstance(edit, Edit):
            raise InterventionError(f"{edit!r} is no edit: it lacks one of layer, site, targets, check, apply.")
        frame.require_index("layer", edit.layer, edit=edit)
        frame.require_site(edit.site, edit=edit)
        if not restart_layer <= edit.layer < stop_at_layer:
            raise InterventionError(
                f"{name_of(edit)}: layer {edit.layer} is not computed, this pass runs layers {restart_layer} to "
                f"{stop_at_layer - 1}. Restart at or before the first edit and stop after the last."
            )
        edit.check(frame)
        for target in edit.targets(frame):
            if target in owner:
                raise InterventionError(
                    f"{name_of(owner[target])} and {name_of(edit)} both write the {target}: merge them."
                )
            owner[target] = edit
