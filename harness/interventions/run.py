"""What a forward pass leaves behind: the residual stream, and the activations that were asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import InterventionError, did_you_mean
from harness.interventions.sites import SITES

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

KEEPABLE = tuple(site for site in SITES if not site.endswith("_by_head"))

Keep = Collection[str] | Mapping[str, Collection[int]]
"""Names of activations to keep in every computed layer, or for each name the layers, which bounds memory."""


@dataclass(frozen=True, eq=False)
class Run:
    """One forward pass over a batch, up to `next_layer`. Kept tensors hold the values after the edits.

    `change_norm[layer]` [batch pos] is the length of what that layer's edits wrote into the residual stream directly,
    given the stream that reached the layer: the dose. Tensors are inference tensors: clone before writing into them.
    """

    tokens: Int[Tensor, "batch pos"]
    resid: Float[Tensor, "batch pos d_model"]
    next_layer: int
    resid_pre: dict[int, Float[Tensor, "batch pos d_model"]] = field(default_factory=dict)
    q: dict[int, Float[Tensor, "batch pos head d_head"]] = field(default_factory=dict)
    k: dict[int, Float[Tensor, "batch pos kv_head d_head"]] = field(default_factory=dict)
    v: dict[int, Float[Tensor, "batch pos kv_head d_head"]] = field(default_factory=dict)
    pattern: dict[int, Float[Tensor, "batch head query_pos key_pos"]] = field(default_factory=dict)
    z: dict[int, Float[Tensor, "batch pos head d_head"]] = field(default_factory=dict)
    attn_out: dict[int, Float[Tensor, "batch pos d_model"]] = field(default_factory=dict)
    resid_mid: dict[int, Float[Tensor, "batch pos d_model"]] = field(default_factory=dict)
    mlp_in: dict[int, Float[Tensor, "batch pos d_model"]] = field(default_factory=dict)
    mlp_post: dict[int, Float[Tensor, "batch pos neuron"]] = field(default_factory=dict)
    mlp_out: dict[int, Float[Tensor, "batch pos d_model"]] = field(default_factory=dict)
    resid_post: dict[int, Float[Tensor, "batch pos d_model"]] = field(default_factory=dict)
    change_norm: dict[int, Float[Tensor, "batch pos"]] = field(default_factory=dict)

    def resid_at(self, layer: int) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream that enters a layer; InterventionError where it was not kept."""
        if layer in self.resid_pre:
            return self.resid_pre[layer]
        if layer == self.next_layer:
            return self.resid
        raise InterventionError(
            f"resid_pre of layer {layer} was not kept, so no pass can restart there; this run has layers "
            f"{sorted({*self.resid_pre, self.next_layer})}. Run with keep={{'resid_pre': [{layer}]}}."
        )

    def kept(self, site: str, layer: int) -> Tensor:
        """The activation at a site; InterventionError where it was not kept."""
        found: Tensor | None = getattr(self, site).get(layer) if site in KEEPABLE else None
        if found is None:
            raise InterventionError(
                f"{site} of layer {layer} was not kept; this run has layers {sorted(getattr(self, site, ()))}. "
                f"Run with keep=({site!r},)."
            )
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of the streams and of everything that was kept."""
        found = [self.resid, *(each for name in KEEPABLE for each in getattr(self, name).values())]
        return sum(int(each.numel() * each.element_size()) for each in found)

    def z_of(self, layer: int, head: int) -> Float[Tensor, "batch pos d_head"]:
        """One head's z; InterventionError where it was not kept or does not exist."""
        z = self.kept("z", layer)
        if not 0 <= head < z.shape[2]:
            raise InterventionError(f"head {layer}.{head} does not exist, the layer has {z.shape[2]} heads.")
        return z[:, :, head]


def require_tokens(tokens: Tensor, *, n_ctx: int, d_vocab: int) -> None:
    """Raise InterventionError unless a model of this context and vocabulary can read the tokens [batch pos]."""
    if tokens.ndim != 2 or 0 in tokens.shape or tokens.is_floating_point() or str(tokens.dtype) == "torch.bool":
        raise InterventionError(f"tokens {tuple(tokens.shape)} {tokens.dtype} are not integers [batch pos].")
    if tokens.shape[1] > n_ctx:
        raise InterventionError(f"prompts of {tokens.shape[1]} tokens are longer than n_ctx = {n_ctx}.")
    low, high = int(tokens.min()), int(tokens.max())
    if not 0 <= low <= high < d_vocab:
        raise InterventionError(f"tokens {low} to {high} are not all in the vocabulary (0 to {d_vocab - 1}).")


def layers_to_keep(keep: Keep, *, layers: range) -> dict[str, frozenset[int]]:
    """For each activation name the layers in which it is kept; InterventionError for an unknown name or layer."""
    if isinstance(keep, str):
        raise InterventionError(f"keep is the string {keep!r}; write keep=({keep!r},).")
    wanted = {
        name: frozenset(keep[name]) if isinstance(keep, Mapping) else frozenset(layers)  # one rule for both spellings
        for name in keep
    }
    for name, kept in wanted.items():
        if name not in KEEPABLE:
            raise InterventionError(
                f"{name!r} cannot be kept; known are {', '.join(KEEPABLE)}.{did_you_mean(name, KEEPABLE)}"
            )
        if not kept <= frozenset(layers):
            raise InterventionError(
                f"keep names layers {sorted(kept - frozenset(layers))} for {name!r}, but this pass computes "
                f"layers {layers.start} to {layers.stop - 1}."
            )
    return wanted
