"""One pass through blocks with edits: the model's own arithmetic, with one call at every site.

It neither checks nor plans: `engine.py` has checked the edits and decided which layers to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.errors import InterventionError
from harness.interventions.edits import Edit
from harness.interventions.sites import SITES, name_of
from harness.interventions.weights import Weights

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Touch = Callable[[str, Tensor], Tensor]

# Edits at these sites change z through attention, so that the unedited z has to be computed beside it.
_BEFORE_Z = frozenset({"q", "k", "v", "v_by_head", "pattern"})
_ATTENTION = _BEFORE_Z | {"z", "attn_out"}


class ForwardPass:
    """Blocks computed one after the other on one batch; what is kept and what the edits changed is collected."""

    def __init__(self, weights: Weights, *, edits: Sequence[Edit], keep: Mapping[str, frozenset[int]]) -> None:
        self.kept: dict[str, dict[int, Tensor]] = {name: {} for name in ("resid_pre", "z", "v", "pattern")}
        self.change_norm: dict[int, Tensor] = {}
        self._weights = weights
        self._keep = keep
        self._edits: dict[tuple[int, str], list[Edit]] = {}
        for edit in edits:
            self._edits.setdefault((edit.layer, edit.site), []).append(edit)

    def block(self, resid: Float[Tensor, "batch pos d_model"], layer: int) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream after one layer."""
        block = self._weights.blocks[layer]
        changes: list[Tensor] = []

        def written(site: str, value: Tensor) -> Tensor:
            edited = self._touch(site, value, layer=layer)
            if edited is not value:
                changes.append(edited - value)
            return edited

        resid = written("resid_pre", resid)
        resid = resid + self._attention(block.norm_attn(resid), layer=layer, changes=changes)
        if block.mlp is not None and block.norm_mlp is not None:
            resid = resid + written("mlp_out", block.mlp(block.norm_mlp(resid)))
        if changes:
            self.change_norm[layer] = sum(changes[1:], start=changes[0]).norm(dim=-1)
        return resid

    def _touch(self, site: str, value: Tensor, *, layer: int) -> Tensor:
        # The one place where edits act and activations are kept.
        for edit in self._edits.get((layer, site), ()):
            edited = edit.apply(value)
            if edited.shape != value.shape:
                raise InterventionError(
                    f"{name_of(edit)} returned {tuple(edited.shape)} for {site!r} of layer {layer}, "
                    f"which is {tuple(value.shape)} [{' '.join(SITES[site])}]."
                )
            value = edited
        if layer in self._keep.get(site, ()):
            self.kept[site][layer] = value
        return value

    def _attention(self, normed: Tensor, *, layer: int, changes: list[Tensor]) -> Tensor:
        weights, block = self._weights, self._weights.blocks[layer]
        batch, pos, _ = normed.shape
        q = block.q(normed).view(batch, pos, weights.n_heads, weights.d_head)
        k = block.k(normed).view(batch, pos, weights.n_kv_heads, weights.d_head)
        v = block.v(normed).view(batch, pos, weights.n_kv_heads, weights.d_head)
        edited_sites = {site for site in _ATTENTION if (layer, site) in self._edits}

        def touch(site: str, value: Tensor) -> Tensor:
            return self._touch(site, value, layer=layer)

        z = self._mix(q, k, v, touch=touch, by_head="v_by_head" in edited_sites)
        attn_out = touch("attn_out", block.o(touch("z", z).flatten(-2)))
        if edited_sites:
            if edited_sites & _BEFORE_Z:
                z = self._mix(q, k, v, touch=lambda _site, value: value, by_head=False)
            changes.append(attn_out - block.o(z.flatten(-2)))
        return attn_out

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, *, touch: Touch, by_head: bool) -> Tensor:
        """The heads' z [batch pos head d_head] from q, k, v [batch pos (kv_)head d_head]."""
        import torch

        batch, pos, n_heads, d_head = q.shape
        q, k, v = touch("q", q), touch("k", k), touch("v", v)
        if self._weights.rotary is not None:
            q, k = self._weights.rotary(q), self._weights.rotary(k)
        # Query heads that share a key-value head are stacked along positions: one product per group, nothing repeated.
        grouped = q.transpose(1, 2).reshape(batch, k.shape[2], -1, d_head)
        scores = (grouped @ k.permute(0, 2, 3, 1)).view(batch, n_heads, pos, pos) * self._weights.attn_scale
        later = torch.ones(pos, pos, dtype=torch.bool, device=q.device).triu(1)
        pattern = touch("pattern", scores.masked_fill_(later, -torch.inf).softmax(dim=-1))
        if by_head:
            v = touch("v_by_head", v.repeat_interleave(n_heads // v.shape[2], dim=2))
        mixed = pattern.reshape(batch, v.shape[2], -1, pos) @ v.transpose(1, 2)
        return mixed.view(batch, n_heads, pos, d_head).transpose(1, 2).contiguous()
