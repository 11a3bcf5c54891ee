"""One pass through blocks with edits: the model's own arithmetic, with one call at every site.

Rows of the batch may belong to several interventions, stacked one after the other, and may begin at a later position
whose past (keys and values of the unedited pass) is given. It neither checks nor plans: `engine.py` and `stacked.py`
have checked the edits and decided which layers, rows and positions to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import InterventionError
from harness.interventions.edits import Edit, Reading, Replace, Seen
from harness.interventions.sites import SITES, name_of
from harness.interventions.weights import Weights

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Touch = Callable[[str, Tensor], Tensor]

# Edits at these sites change z through attention, so that the unedited z has to be computed beside it.
_BEFORE_Z = ("q", "k", "v", "k_by_head", "v_by_head", "pattern")


@dataclass(frozen=True, eq=False)
class Past:
    """Rotated keys and values [batch kv_head pos d_head] of the positions before `start`, by layer."""

    start: int = 0
    k: Mapping[int, Tensor] = field(default_factory=dict)
    v: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Member:
    """Rows of the batch and the edits that are made in them."""

    rows: slice
    edits: Sequence[Edit]


class ForwardPass:
    """Blocks computed one after the other on one batch; what is kept and what the edits changed is collected."""

    def __init__(
        self,
        weights: Weights,
        *,
        members: Sequence[Member],
        keep: Mapping[str, frozenset[int]] | None = None,
        past: Past | None = None,
        doses: bool = True,
    ) -> None:
        """A pass in which members make their edits; without `doses`, `changes` stays empty and some work is saved."""
        self.kept: dict[str, dict[int, Tensor]] = {name: {} for name in SITES}
        self.changes: dict[int, list[tuple[slice, Tensor]]] = {}
        """By layer: rows, and the vectors [row pos d_model] that their edits wrote into the residual stream."""
        self._weights = weights
        self._keep = keep or {}
        self._past = past or Past()
        self._doses = doses
        self._seen: dict[tuple[str, int], Tensor] = {}
        self._needed: set[tuple[str, int]] = set()
        self._edits: dict[tuple[int, str], list[tuple[slice, Edit]]] = {}
        for member in members:
            for edit in member.edits:
                self._edits.setdefault((edit.layer, edit.site), []).append((member.rows, edit))
                self._needed |= edit.needs if isinstance(edit, Reading) else set()

    def block(self, resid: Float[Tensor, "row pos d_model"], layer: int) -> Float[Tensor, "row pos d_model"]:
        """The residual stream after one layer. Where rows belong to several members, it may be written into."""
        block = self._weights.blocks[layer]
        resid = self._touch("resid_pre", resid, layer=layer, written=_difference)
        resid = resid + self._attention(block.norm_attn(resid), layer=layer)
        if block.mlp is not None:
            resid = self._touch("resid_mid", resid, layer=layer, written=_difference)
            resid = resid + self._mlp(resid, layer=layer)
        return self._touch("resid_post", resid, layer=layer, written=_difference)

    def change_norm(self, layer: int) -> Float[Tensor, "row pos"]:
        """The length of what the edits of one layer wrote; only for a pass of one member."""
        changes = [change for _, change in self.changes[layer]]
        norm: Tensor = sum(changes[1:], start=changes[0]).norm(dim=-1)
        return norm

    def _touch(
        self, site: str, value: Tensor, *, layer: int, written: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Tensor:
        # The one place where edits act and activations are kept.
        for rows, edit in self._edits.get((layer, site), ()):
            old = value[rows]
            edited = edit.apply_seen(old, self._seen_by(rows)) if isinstance(edit, Reading) else edit.apply(old)
            if edited.shape != old.shape:
                raise InterventionError(
                    f"{name_of(edit)} returned {tuple(edited.shape)} for {site!r} of layer {layer}, "
                    f"which is {tuple(old.shape)} [{' '.join(SITES[site])}]."
                )
            if written is not None and self._doses:
                self._note(layer, rows, written(old, edited))
            if old.shape[0] == value.shape[0]:
                value = edited
            else:  # a stacked batch, which nobody else holds
                value[rows] = edited
        if layer in self._keep.get(site, ()):
            self.kept[site][layer] = value
        if (site, layer) in self._needed:
            self._seen[site, layer] = value
        return value

    def _seen_by(self, rows: slice) -> Seen:
        """What the pass computed so far, for some rows; nothing in layers before they joined the stack."""

        def seen(site: str, layer: int) -> Tensor | None:
            value = self._seen.get((site, layer))
            return None if value is None or value.shape[0] < rows.stop else value[rows]

        return seen

    def _mlp(self, resid: Tensor, *, layer: int) -> Tensor:
        norm, mlp = self._weights.blocks[layer].norm_mlp, self._weights.blocks[layer].mlp
        assert norm is not None, "a block with an MLP has its norm"
        assert mlp is not None, "the caller has looked"
        read = resid.clone() if (layer, "mlp_in") in self._edits else resid  # the stream itself stays as it is
        read = self._touch("mlp_in", read, layer=layer, written=lambda old, new: mlp(norm(new)) - mlp(norm(old)))
        neurons = self._touch(
            "mlp_post",
            mlp.neurons(norm(read)),
            layer=layer,
            written=lambda old, new: (new - old) @ mlp.outward.weight.t(),
        )
        return self._touch("mlp_out", mlp.outward(neurons), layer=layer, written=_difference)

    def _attention(self, normed: Tensor, *, layer: int) -> Tensor:
        block = self._weights.blocks[layer]
        z = self._unread_z(normed) if self._replaces_z(layer, rows=len(normed)) else self._z(normed, layer=layer)
        z = self._touch("z", z, layer=layer, written=lambda old, new: self._out(new - old, layer=layer))
        return self._touch("attn_out", block.o(z.flatten(-2)), layer=layer, written=_difference)

    def _z(self, normed: Tensor, *, layer: int) -> Float[Tensor, "row pos head d_head"]:
        weights, block = self._weights, self._weights.blocks[layer]
        batch, pos, _ = normed.shape
        q = block.q(normed).view(batch, pos, weights.n_heads, weights.d_head)
        k = block.k(normed).view(batch, pos, weights.n_kv_heads, weights.d_head)
        v = block.v(normed).view(batch, pos, weights.n_kv_heads, weights.d_head)
        early = self._rows_with_edits_before_z(layer) if self._doses else []
        unedited = [self._mix(q[rows], k[rows], v[rows], layer=layer, touch=_untouched) for rows in early]
        z = self._mix(q, k, v, layer=layer, touch=lambda site, value: self._touch(site, value, layer=layer))
        for rows, old in zip(early, unedited, strict=True):
            self._note(layer, rows, self._out(z[rows] - old, layer=layer))
        return z

    def _replaces_z(self, layer: int, *, rows: int) -> bool:
        """Whether the edits replace all of z and nobody asks what stood there: then no attention is computed."""
        asked = any(
            (layer, site) in self._edits or (site, layer) in self._needed or layer in self._keep.get(site, ())
            for site in _BEFORE_Z
        )
        if self._doses or asked:
            return False
        edits = self._edits.get((layer, "z"), ())
        replaced = {where.start: where.stop for where, edit in edits if _replaces_all(edit, self._weights.n_heads)}
        n_replaced: int = sum(stop - start for start, stop in replaced.items())
        return n_replaced == rows

    def _unread_z(self, normed: Tensor) -> Float[Tensor, "row pos head d_head"]:
        """What stands where z will be replaced."""
        return normed.new_zeros(*normed.shape[:2], self._weights.n_heads, self._weights.d_head)

    def _note(self, layer: int, rows: slice, change: Tensor) -> None:
        self.changes.setdefault(layer, []).append((rows, change))

    def _out(self, z: Tensor, *, layer: int) -> Tensor:
        return z.flatten(-2) @ self._weights.blocks[layer].o.weight.t()

    def _rows_with_edits_before_z(self, layer: int) -> list[slice]:
        found = {(rows.start, rows.stop): rows for site in _BEFORE_Z for rows, _ in self._edits.get((layer, site), ())}
        return list(found.values())

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, *, layer: int, touch: Touch) -> Tensor:
        """The heads' z [row pos head d_head] from q, k, v [row pos (kv_)head d_head]."""
        start, group = self._past.start, q.shape[2] // k.shape[2]
        past_k, past_v = self._past.k.get(layer), self._past.v.get(layer)
        q, k, v = touch("q", q), touch("k", k), touch("v", v)
        if touch is not _untouched and any((layer, site) in self._edits for site in ("k_by_head", "v_by_head")):
            k = touch("k_by_head", k.repeat_interleave(group, dim=2))
            v = touch("v_by_head", v.repeat_interleave(group, dim=2))
            past_k = None if past_k is None else past_k.repeat_interleave(group, dim=1)
            past_v = None if past_v is None else past_v.repeat_interleave(group, dim=1)
        if self._weights.rotary is not None:
            q, k = self._weights.rotary(q, start=start), self._weights.rotary(k, start=start)
        pattern = touch("pattern", self._pattern(q, k, past_k))
        mixed = _by_group(pattern[..., start:], v.shape[2]) @ v.transpose(1, 2)
        if past_v is not None:
            mixed = mixed + _shared(_by_group(pattern[..., :start], v.shape[2]), past_v)
        rows, pos, n_heads, d_head = q.shape
        return mixed.view(rows, n_heads, pos, d_head).transpose(1, 2).contiguous()

    def _pattern(self, q: Tensor, k: Tensor, past_k: Tensor | None) -> Float[Tensor, "row head query_pos key_pos"]:
        import torch

        rows, pos, n_heads, _ = q.shape
        # Query heads that share a key-value head are stacked along positions: one product per group, nothing repeated.
        grouped = _by_group(q.transpose(1, 2), k.shape[2])
        scores = (grouped @ k.permute(0, 2, 3, 1)).view(rows, n_heads, pos, pos)
        if pos > 1:
            scores.masked_fill_(torch.ones(pos, pos, dtype=torch.bool, device=q.device).triu(1), -torch.inf)
        if past_k is not None:
            before = _shared(grouped, past_k.transpose(2, 3)).reshape(rows, n_heads, pos, past_k.shape[2])
            scores = torch.cat((before, scores), dim=-1)
        return (scores * self._weights.attn_scale).softmax(dim=-1)


def _by_group(x: Float[Tensor, "row head pos n"], n_groups: int) -> Float[Tensor, "row group head_pos n"]:
    return x.reshape(x.shape[0], n_groups, -1, x.shape[-1])


def _shared(x: Float[Tensor, "row group m n"], past: Float[Tensor, "batch group n p"]) -> Tensor:
    """`x @ past` where every stacked intervention meets the same past: one product for all of them."""
    rows, groups, m, n = x.shape
    batch = past.shape[0]
    if rows == batch:
        return x @ past
    together = x.view(-1, batch, groups, m, n).permute(1, 2, 0, 3, 4).reshape(batch, groups, -1, n)
    product = (together @ past).view(batch, groups, -1, m, past.shape[-1])
    return product.permute(2, 0, 1, 3, 4).reshape(rows, groups, m, past.shape[-1])


def _replaces_all(edit: Edit, n_heads: int) -> bool:
    """Whether an edit replaces every head at every position, whatever stood there."""
    return (
        isinstance(edit, Replace)
        and edit.scale == 1
        and (edit.parts is None or len(edit.parts) == n_heads)
        and (edit.positions is None or bool(edit.positions.all()))
    )


def _difference(old: Tensor, new: Tensor) -> Tensor:
    return new - old


def _untouched(site: str, value: Tensor) -> Tensor:
    return value
