"""How `induction-2l@k` and its one-layer twin `induction-1l@k` are trained: attention-only, on repeated blocks.

Training data. A sequence is BOS, a block of random tokens, and a second part. In the first half of training the second
part always repeats the block. Afterwards it repeats it with probability m / V (m distinct tokens in the block, V in the
vocabulary) and otherwise holds tokens that the block lacks. Then a token's having occurred says nothing about whether
it comes next: given the block every token has probability 1 / V. Only what *followed* it tells, which takes
two layers (a previous-token head and an induction head). The one-layer twin sees the same tokens.

Heads start alike and would all learn the same, which leaves no other heads to compare with. In each layer two heads,
drawn by the seed, learn at the full rate and the others at a fiftieth of it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.models.unfinished import GOING_ON, Progress, State, Unfinished
from harness.seeding import derive_seed

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch.optim import Optimizer
    from transformer_lens.model_bridge import TransformerBridge

    from harness.models.registry import ModelSpec

VOCABULARY = 64
BOS = VOCABULARY
N_HEADS = 8
D_MODEL = 128
LONGEST = 40
POSITIONS = 2 * LONGEST + 1
STEPS = 2_000
ALWAYS_REPEAT = 1_000
BATCH = 48
PEAK_RATE = 2e-3
FAST_HEADS = 2
SLOW_RATE = 0.02
SAVE_EVERY = 100
NAME = "claims/induction/recipe.py version 1"


def configuration(*, layers: int, seed: int) -> dict[str, Any]:
    """The model's configuration: 8 heads a layer, LayerNorm, learned positions, no MLP."""
    return {
        "n_layers": layers, "d_model": D_MODEL, "n_ctx": 96, "d_head": D_MODEL // N_HEADS, "n_heads": N_HEADS,
        "d_vocab": VOCABULARY + 1, "attn_only": True, "normalization_type": "LN", "act_fn": "relu",
        "positional_embedding_type": "standard", "seed": seed, "init_mode": "gpt2", "initializer_range": 0.1,
    }  # fmt: skip


def train(spec: ModelSpec, seed: int, *, out: Path, progress: Progress) -> None:
    """Train one seed and write its checkpoint; an interrupted training goes on after the step that it was stopped in.

    Args:
        spec: `induction-2l@k` or `induction-1l@k`; the number of layers is the spec's.
        seed: training seed: initialisation, which heads are fast, and the data.
        out: the checkpoint's path; `<out>.resume` holds the state of an unfinished training.
        progress: called with steps done, steps in all, and the loss.
    """
    import torch

    from harness.models.native import boot_native, save_native

    bridge = boot_native(configuration(layers=spec.n_layers, seed=seed)).train()
    data = torch.Generator().manual_seed(derive_seed("induction", "data", seed) % 2**63)
    rates = [_head_rates(seed, layer) for layer in range(spec.n_layers)]
    optimizer = torch.optim.AdamW(bridge.parameters(), lr=PEAK_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    unfinished = Unfinished.beside(out, f"{NAME}, {spec.id}, {STEPS} steps")
    done, losses = unfinished.restore(bridge, optimizer, generator=data)
    if done:
        progress(done, STEPS, GOING_ON)
    while done < STEPS:
        loss = _step(bridge, optimizer, batch(step=done, generator=data), rate=_rate(done), rates=rates)
        losses = [*losses[-49:], loss]
        done += 1
        due = done % SAVE_EVERY == 0 or done == STEPS
        with unfinished.saving(bridge, optimizer, state=State(done, losses), due=due, generator=data):
            progress(done, STEPS, f"loss {loss:.3f}")
    metadata = {"recipe": NAME, "train_seed": str(seed), "train_loss": f"{sum(losses) / len(losses):.4f}"}
    save_native(bridge.eval(), out, metadata=metadata)
    unfinished.discard()


def batch(*, step: int, generator: Generator, size: int = BATCH) -> Tensor:
    """Training tokens of one step: [batch, pos], int64."""
    import torch

    lengths = torch.randint(10, LONGEST + 1, (size, 1), generator=generator)
    blocks = torch.randint(0, VOCABULARY, (size, LONGEST), generator=generator)
    positions = torch.arange(POSITIONS - 1)[None]
    inside = (torch.arange(LONGEST)[None] < lengths).float()
    seen = torch.zeros(size, VOCABULARY).scatter_add_(1, blocks, inside) > 0
    chance = torch.ones(size) if step < ALWAYS_REPEAT else seen.float().mean(1)
    repeats = torch.rand(size, generator=generator) < chance
    unseen = torch.multinomial((~seen).float(), POSITIONS - 1, replacement=True, generator=generator)
    repeated = blocks.gather(1, positions % lengths)
    tokens = torch.where((positions < lengths) | repeats[:, None], repeated, unseen)
    return torch.cat([torch.full((size, 1), BOS), tokens], dim=1)


def _step(
    bridge: TransformerBridge, optimizer: Optimizer, tokens: Tensor, *, rate: float, rates: list[Tensor]
) -> float:
    """One update; returns the loss in nats per token."""
    import torch

    logits = bridge.original_model(tokens[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(bridge.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    before = [[p.detach().clone() for p in _projections(bridge, layer)] for layer in range(len(rates))]
    optimizer.step()
    for layer, multiplier in enumerate(rates):
        _slow_down(_projections(bridge, layer), before[layer], multiplier)
    return float(loss.detach())


def _slow_down(after: list[Tensor], before: list[Tensor], multiplier: Tensor) -> None:
    """Scale each head's own update: the step, because Adam's steps do not depend on the gradient's size."""
    import torch

    wide = multiplier.repeat_interleave(D_MODEL // N_HEADS)
    with torch.no_grad():
        for index, (new, old) in enumerate(zip(after, before, strict=True)):
            factor = wide[None, :] if index == 3 else wide[:, None]  # W_O has heads in its columns
            new.copy_(old + factor * (new - old))


def _projections(bridge: TransformerBridge, layer: int) -> list[Tensor]:
    attention = bridge.blocks[layer].attn
    return [getattr(attention, name).weight for name in ("q", "k", "v", "o")]


def _head_rates(seed: int, layer: int) -> Tensor:
    import torch

    generator = torch.Generator().manual_seed(derive_seed("induction", "heads", seed, layer) % 2**63)
    return torch.where(torch.randperm(N_HEADS, generator=generator) < FAST_HEADS, 1.0, SLOW_RATE)


def _rate(step: int) -> float:
    """Linear warm-up over 200 steps, then a cosine to zero."""
    return PEAK_RATE * min(1.0, step / 200) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
