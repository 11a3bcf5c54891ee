"""The places in a block that an edit can change, with their shapes, and the checks that edits share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InterventionError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

SITES: dict[str, tuple[str, ...]] = {
    "resid_pre": ("batch", "pos", "d_model"),
    "q": ("batch", "pos", "head", "d_head"),
    "k": ("batch", "pos", "kv_head", "d_head"),
    "v": ("batch", "pos", "kv_head", "d_head"),
    "k_by_head": ("batch", "pos", "head", "d_head"),
    "v_by_head": ("batch", "pos", "head", "d_head"),
    "pattern": ("batch", "head", "query_pos", "key_pos"),
    "z": ("batch", "pos", "head", "d_head"),
    "attn_out": ("batch", "pos", "d_model"),
    "resid_mid": ("batch", "pos", "d_model"),
    "mlp_in": ("batch", "pos", "d_model"),
    "mlp_post": ("batch", "pos", "neuron"),
    "mlp_out": ("batch", "pos", "d_model"),
    "resid_post": ("batch", "pos", "d_model"),
}
"""Sites in the order in which a block computes them, with their axes.

They carry the bridge's own names (`q` is `attn.hook_q`, before rotation). `k_by_head` and `v_by_head` are ours: keys
and values after each key-value head has been repeated for the query heads that share it. `mlp_post` are the neurons:
what the MLP's output matrix reads, gate included. `mlp_in` is the residual stream as the MLP reads it, before its
norm, and `resid_mid` the stream itself. The bridge's `hook_resid_mid` is the former (what is changed there does not
reach the stream), so that its `get_act_patch_resid_mid` is our `mlp_in`; without gradients it writes in place, into the
stream itself, and is our `resid_mid`.
"""

MLP_SITES = frozenset({"resid_mid", "mlp_in", "mlp_post", "mlp_out"})
"""Sites that an attention-only model does not have."""

_PARTS = ("head", "kv_head", "neuron")
_POSITIONS = ("pos", "query_pos")


def part_axis(site: str) -> int | None:
    """The axis of a site that tells heads, key-value heads or neurons apart; None where there is none."""
    return next((axis for axis, name in enumerate(SITES[site]) if name in _PARTS), None)


def part_kind(site: str) -> str | None:
    """What stands along that axis: `head`, `kv_head`, `neuron` or None."""
    axis = part_axis(site)
    return None if axis is None else SITES[site][axis]


def position_axis(site: str) -> int:
    """The axis of a site along which positions are counted; of a pattern, the querying positions."""
    return next(axis for axis, name in enumerate(SITES[site]) if name in _POSITIONS)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The sizes of one model and one batch: what an edit is checked against."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_mlp: int
    dtype: str
    batch: int
    pos: int

    def shape(self, site: str) -> tuple[int, ...]:
        """The shape of the activation at a site, over all heads."""
        return self._sizes(SITES[site])

    def count(self, kind: str) -> int:
        """How many layers, heads, key-value heads or neurons (of one layer) there are."""
        counts = {"layer": self.n_layers, "head": self.n_heads, "kv_head": self.n_kv_heads, "neuron": self.d_mlp}
        return counts[kind]

    def heads_of(self, kv_head: int) -> range:
        """The query heads that read one key-value head."""
        group = self.n_heads // self.n_kv_heads
        return range(kv_head * group, (kv_head + 1) * group)

    def require_site(self, site: str, *, edit: object) -> None:
        """Raise InterventionError unless this model has the site."""
        if site not in SITES:
            raise InterventionError(
                f"{name_of(edit)}: there is no site {site!r}; known are {', '.join(SITES)}.{did_you_mean(site, SITES)}"
            )
        if site in MLP_SITES and not self.d_mlp:
            raise InterventionError(f"{name_of(edit)}: the model is attention-only, it has no {site!r}.")

    def require_index(self, kind: str, index: int, *, edit: object) -> None:
        """Raise InterventionError unless the layer, head, key-value head or neuron exists."""
        size = self.count(kind)
        if not 0 <= index < size:
            raise InterventionError(
                f"{name_of(edit)}: {kind} {index} does not exist, the model has {size} (0 to {size - 1})."
            )

    def require_tensor(
        self,
        value: Tensor,
        axes: str,
        *,
        edit: object,
        dtype: str | None = None,
        or_size: Mapping[str, int] | None = None,
    ) -> None:
        """Raise InterventionError unless a tensor has these axes ("batch pos d_head"), this type, and finite values.

        `or_size` gives axes that may be of another size instead.
        """
        expected = self._sizes(axes.split())
        others = tuple((or_size or {}).get(axis, size) for axis, size in zip(axes.split(), expected, strict=True))
        if tuple(value.shape) not in (expected, others):
            raise InterventionError(
                f"{name_of(edit)}: shape {tuple(value.shape)} is not [{axes}] = {others} of this run. "
                "Edits do not broadcast: expand the tensor to the run's batch and length."
            )
        if str(value.dtype) != (dtype or self.dtype):
            raise InterventionError(
                f"{name_of(edit)}: the tensor [{axes}] is {value.dtype}, not {dtype or self.dtype}."
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise InterventionError(f"{name_of(edit)}: the tensor [{axes}] holds NaN or infinity.")

    def require_mask(self, positions: Tensor) -> None:
        """Raise InterventionError unless positions say of each token of each prompt whether it is meant."""
        if tuple(positions.shape) != (self.batch, self.pos) or str(positions.dtype) != "torch.bool":
            raise InterventionError(
                f"positions {tuple(positions.shape)} {positions.dtype} are not booleans [batch pos] = "
                f"({self.batch}, {self.pos})."
            )

    def _sizes(self, axes: Iterable[str]) -> tuple[int, ...]:
        sizes = {"batch": self.batch, "head": self.n_heads, "kv_head": self.n_kv_heads}
        sizes |= dict.fromkeys(("pos", "query_pos", "key_pos"), self.pos)
        sizes |= {"d_head": self.d_head, "d_model": self.d_model, "neuron": self.d_mlp}
        return tuple(sizes[axis] for axis in axes)


def name_of(edit: object) -> str:
    """An edit as it stands in an error, without its tensors: `Replace(layer=3, site='z', parts=(2,))`."""
    fields = ((key, value) for key, value in vars(edit).items() if isinstance(value, (int, str, tuple)))
    return f"{type(edit).__name__}({', '.join(f'{key}={value!r}' for key, value in fields)})"
