"""The slowest forward pass: every reader sums the contributions of every writer for itself. The oracle for edges."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interventions import Engine


def edge_level_logits(
    engine: Engine, tokens: Tensor, other: Tensor, edges: Collection[tuple[str, str]], positions: Tensor
) -> Tensor:
    """Logits of `tokens` where each (sender, receiver) of `edges` carries what the sender writes on `other`."""
    corrupted = _contributions(engine, other, {}, frozenset(), positions)[1]
    return _contributions(engine, tokens, corrupted, frozenset(edges), positions)[0]


def _contributions(
    engine: Engine, tokens: Tensor, corrupted: dict[str, Tensor], edges: frozenset[tuple[str, str]], positions: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    weights, d = engine.weights, engine.d_head
    group = engine.n_heads // engine.n_kv_heads
    embed = weights.embed[tokens]
    if weights.pos_embed is not None:
        embed = embed + weights.pos_embed[: tokens.shape[1]]
    written: dict[str, Tensor] = {"embed": embed}

    def read(*names: str) -> Tensor:
        total = embed * 0
        for sender, value in written.items():
            carried = any((sender, name) in edges for name in names)
            total = total + (value.where(~positions.unsqueeze(-1), corrupted[sender]) if carried else value)
        return total

    for layer, block in enumerate(weights.blocks):
        new: dict[str, Tensor] = {}
        for head in range(engine.n_heads):
            kv = head // group
            parts = {}
            for name, linear, part, names in (
                ("q", block.q, head, (f"{layer}.{head}.q",)),
                ("k", block.k, kv, (f"{layer}.{head}.k", f"{layer}.kv{kv}.k")),
                ("v", block.v, kv, (f"{layer}.{head}.v", f"{layer}.kv{kv}.v")),
            ):
                parts[name] = linear(block.norm_attn(read(*names)))[:, :, part * d : (part + 1) * d]
            q, k = (parts[name].unsqueeze(2) for name in "qk")
            if weights.rotary is not None:
                q, k = weights.rotary(q), weights.rotary(k)
            scores = q[:, :, 0] @ k[:, :, 0].transpose(1, 2) * weights.attn_scale
            pattern = scores.masked_fill(scores.new_ones(scores.shape[1:]).triu(1).bool(), -1e30).softmax(-1)
            new[f"{layer}.{head}"] = pattern @ parts["v"] @ block.o.weight[:, head * d : (head + 1) * d].t()
        if block.o.bias is not None:
            new[f"{layer}.bias"] = block.o.bias.expand_as(embed)
        written |= new
        if block.mlp is not None:
            written[f"{layer}.mlp"] = block.mlp(block.norm_mlp(read(f"{layer}.mlp")))
    return weights.unembed(weights.norm_final(read("logits"))), written
