"""Edits as frozen values: what one intervention changes at one site of one layer. They compute no effect.

An edit says where it acts (`layer`, `site`), what it writes (`targets`, so that two edits of one target are refused),
checks itself against the run (`check`) and returns the changed activation (`apply`, which never writes in place).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from harness.errors import InterventionError
from harness.interventions.sites import Frame, name_of

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


@dataclass(frozen=True, eq=False)
class ReplaceZ:
    """A head's z is replaced, at all positions or where `positions` is true. Every ablation and patch of a head."""

    layer: int
    head: int
    z: Float[Tensor, "batch pos d_head"] = field(repr=False)
    positions: Bool[Tensor, "batch pos"] | None = field(default=None, kw_only=True, repr=False)
    site: ClassVar[str] = "z"

    def targets(self, frame: Frame) -> frozenset[str]:
        """The head's z."""
        return frozenset({f"z of head {self.layer}.{self.head}"})

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless head, z and positions fit the run."""
        frame.require_index("head", self.head, edit=self)
        frame.require_tensor(self.z, "batch pos d_head", edit=self)
        if self.positions is not None:
            frame.require_tensor(self.positions, "batch pos", edit=self, dtype="torch.bool")

    def apply(self, activation: Tensor) -> Tensor:
        """The layer's z [batch pos head d_head] with this head's rows replaced."""
        edited = activation.clone()
        edited[:, :, self.head] = self.replacement(activation[:, :, self.head])
        return edited

    def replacement(self, old: Float[Tensor, "batch pos d_head"]) -> Float[Tensor, "batch pos d_head"]:
        """The head's z after the edit, given the one before it."""
        return self.z if self.positions is None else self.z.where(self.positions.unsqueeze(-1), old)


@dataclass(frozen=True, eq=False)
class AddToAttention:
    """A vector is added to the attention output: the same-dose control of an ablation."""

    layer: int
    vector: Float[Tensor, "batch pos d_model"] = field(repr=False)
    site: ClassVar[str] = "attn_out"

    def targets(self, frame: Frame) -> frozenset[str]:
        """The attention output: two vectors for one layer are to be summed by the caller, so that none counts twice."""
        return frozenset({f"attention output of layer {self.layer}"})

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless the vector fits the run."""
        frame.require_tensor(self.vector, "batch pos d_model", edit=self)

    def apply(self, activation: Tensor) -> Tensor:
        """Attention output [batch pos d_model] plus the vector."""
        return activation + self.vector


@dataclass(frozen=True, eq=False)
class FreezePattern:
    """The attention pattern of all heads of a layer is forced."""

    layer: int
    pattern: Float[Tensor, "batch head query_pos key_pos"] = field(repr=False)
    site: ClassVar[str] = "pattern"

    def targets(self, frame: Frame) -> frozenset[str]:
        """The layer's pattern."""
        return frozenset({f"pattern of layer {self.layer}"})

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless the pattern fits the run and looks at no later position."""
        frame.require_tensor(self.pattern, "batch head query_pos key_pos", edit=self)
        if bool((self.pattern.triu(1) != 0).any()):
            raise InterventionError(f"{name_of(self)}: the pattern attends to a later position.")

    def apply(self, activation: Tensor) -> Tensor:
        """The forced pattern."""
        return self.pattern


@dataclass(frozen=True, eq=False)
class ReplaceV:
    """Values are replaced at all positions: for all readers of `kv_head`, or as the query head `head` alone sees them.

    Exactly one of the two is given. Without grouped queries they mean the same.
    """

    layer: int
    v: Float[Tensor, "batch pos d_head"] = field(repr=False)
    head: int | None = field(default=None, kw_only=True)
    kv_head: int | None = field(default=None, kw_only=True)

    @property
    def site(self) -> str:
        """`v` for a key-value head, `v_by_head` for a single query head."""
        return "v" if self.head is None else "v_by_head"

    def targets(self, frame: Frame) -> frozenset[str]:
        """The values as seen by each query head that is concerned."""
        heads = [self.head] if self.head is not None else frame.heads_of(self._index)
        return frozenset(f"v seen by head {self.layer}.{head}" for head in heads)

    def check(self, frame: Frame) -> None:
        """Raise InterventionError unless one of head and kv_head is given and exists, and the values fit the run."""
        if (self.head is None) == (self.kv_head is None):
            raise InterventionError(
                f"{name_of(self)}: give either head= (only this query head sees the values) "
                "or kv_head= (all its readers do)."
            )
        frame.require_index("kv_head" if self.head is None else "head", self._index, edit=self)
        frame.require_tensor(self.v, "batch pos d_head", edit=self)

    def apply(self, activation: Tensor) -> Tensor:
        """The layer's v [batch pos head d_head] (query or key-value heads, as `site` says) with this one replaced."""
        edited = activation.clone()
        edited[:, :, self._index] = self.v
        return edited

    @property
    def _index(self) -> int:
        return next(index for index in (self.head, self.kv_head) if index is not None)


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
