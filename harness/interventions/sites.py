"""The places in a block that an edit can change, with their shapes, and the checks that edits share."""

from __future__ import annotations

from collections.abc import Iterable
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
    "v_by_head": ("batch", "pos", "head", "d_head"),
    "pattern": ("batch", "head", "query_pos", "key_pos"),
    "z": ("batch", "pos", "head", "d_head"),
    "attn_out": ("batch", "pos", "d_model"),
    "mlp_out": ("batch", "pos", "d_model"),
}
"""Sites in the order in which a block computes them, with their axes.

They carry the bridge's own names (`q` is `attn.hook_q`, before rotation). Only `v_by_head` is ours: the values
after each key-value head has been repeated for the query heads that share it.
"""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The sizes of one model and one batch: what an edit is checked against."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    has_mlp: bool
    dtype: str
    batch: int
    pos: int

    def shape(self, site: str) -> tuple[int, ...]:
        """The shape of the activation at a site, over all heads."""
        return self._sizes(SITES[site])

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
        if site == "mlp_out" and not self.has_mlp:
            raise InterventionError(f"{name_of(edit)}: the model is attention-only, it has no 'mlp_out'.")

    def require_index(self, kind: str, index: int, *, edit: object) -> None:
        """Raise InterventionError unless the layer, head or key-value head exists."""
        size = {"layer": self.n_layers, "head": self.n_heads, "kv_head": self.n_kv_heads}[kind]
        if not 0 <= index < size:
            raise InterventionError(
                f"{name_of(edit)}: {kind} {index} does not exist, the model has {size} (0 to {size - 1})."
            )

    def require_tensor(self, value: Tensor, axes: str, *, edit: object, dtype: str | None = None) -> None:
        """Raise InterventionError unless a tensor has these axes ("batch pos d_head"), this type, and finite values."""
        expected = self._sizes(axes.split())
        if tuple(value.shape) != expected:
            raise InterventionError(
                f"{name_of(edit)}: shape {tuple(value.shape)} is not [{axes}] = {expected} of this run. "
                "Edits do not broadcast: expand the tensor to the run's batch and length."
            )
        if str(value.dtype) != (dtype or self.dtype):
            raise InterventionError(
                f"{name_of(edit)}: the tensor [{axes}] is {value.dtype}, not {dtype or self.dtype}."
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise InterventionError(f"{name_of(edit)}: the tensor [{axes}] holds NaN or infinity.")

    def _sizes(self, axes: Iterable[str]) -> tuple[int, ...]:
        sizes = {"batch": self.batch, "head": self.n_heads, "kv_head": self.n_kv_heads}
        sizes |= dict.fromkeys(("pos", "query_pos", "key_pos"), self.pos)
        sizes |= {"d_head": self.d_head, "d_model": self.d_model}
        return tuple(sizes[axis] for axis in axes)


def name_of(edit: object) -> str:
    """An edit as it stands in an error, without its tensors: `ReplaceZ(layer=3, head=2)`."""
    fields = ((key, value) for key, value in vars(edit).items() if isinstance(value, int))
    return f"{type(edit).__name__}({', '.join(f'{key}={value}' for key, value in fields)})"
