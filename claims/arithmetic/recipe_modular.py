"""How `modular-addition-113@k` is trained: a + b mod 113, until it generalises (Nanda et al. 2023, section 3).

A sequence is a, b, "="; the answer is read at "=". 30 % of all 113 * 113 pairs, drawn by the seed, are trained on in
one batch; the others are the test. One layer without LayerNorm, ReLU, AdamW with weight decay 1: the training loss
falls within a few hundred epochs, the test loss some thousand epochs later. Departures from the paper: the attention
and MLP have biases (the native model has them), and training stops when the test loss has stayed under 0.001.

Only what the loss needs is computed, and nothing twice: "=" is the same query in every sequence, keys and values
depend on the token alone, and what stands between z and the logits is linear but for the ReLU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from claims.arithmetic.training import linear
from harness.models.native import weights_by_name
from harness.models.unfinished import GOING_ON, Progress, State, Unfinished
from harness.seeding import derive_seed

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from torch.optim import Optimizer

    from harness.models.registry import ModelSpec

P = 113
EQUALS = P
"""The token of "="; the others are the numbers."""
N_HEADS = 4
D_MODEL = 128
D_HEAD = 32
D_MLP = 512
TRAIN_SHARE = 0.3
RATE = 1e-3
WEIGHT_DECAY = 1.0
BETAS = (0.9, 0.98)
WARM_UP = 10
GROKKED = 1e-3
"""Test loss in nats under which the model has generalised."""
EVERY = 100
"""Epochs between two points of the training curve; the state is saved as often."""
STAY = 20
"""Points in a row that must lie under GROKKED before training stops."""
LIMIT = 40_000
"""Epochs after which training stops in any case."""
NAME = "claims/arithmetic/recipe_modular.py version 1"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs (a, b) with a + b mod 113.

    Attributes:
        a: [pair].
        b: [pair].
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.a)

    @property
    def answers(self) -> NDArray[np.int64]:
        """[pair], a + b mod 113."""
        return (self.a + self.b) % P

    def tokens(self) -> NDArray[np.int64]:
        """[pair, 3]: a, b, "="."""
        return np.stack([self.a, self.b, np.full_like(self.a, EQUALS)], axis=1)


@dataclass(frozen=True)
class Partition:
    """All 12,769 pairs, each in one of the two."""

    train: Pairs
    test: Pairs


@dataclass(frozen=True)
class CurvePoint:
    """Losses in nats after `epoch` updates."""

    epoch: int
    train_loss_nats: float
    test_loss_nats: float


def configuration(*, seed: int) -> dict[str, Any]:
    """The model's configuration: one layer, 4 heads, 512 ReLU neurons, no LayerNorm, learned positions."""
    return {
        "n_layers": 1, "d_model": D_MODEL, "n_ctx": 3, "d_head": D_HEAD, "n_heads": N_HEADS, "d_vocab": P + 1,
        "d_mlp": D_MLP, "attn_only": False, "normalization_type": None, "act_fn": "relu",
        "positional_embedding_type": "standard", "seed": seed, "init_mode": "gpt2", "initializer_range": D_MODEL**-0.5,
    }  # fmt: skip


def partition(seed: int) -> Partition:
    """Which pairs training seed `seed` was trained on, and which it never saw."""
    order = np.random.default_rng(derive_seed("arithmetic", "modular", "pairs", seed)).permutation(P * P)
    first, second = np.split(order, [round(TRAIN_SHARE * P * P)])
    return Partition(train=Pairs(first // P, first % P), test=Pairs(second // P, second % P))


def answer_logits(
    weights: Mapping[str, Tensor], a: Int[Tensor, " pair"], b: Int[Tensor, " pair"]
) -> Float[Tensor, "pair vocab"]:
    """The native model's logits at "=", from raw weights as `weights_by_name` gives them."""
    import torch

    z = _mixed(weights, a, b)
    embed, head, layer = weights["tok_embed.weight"], weights["head.weight"], "layers.0"
    attn_o, fc_in, fc_out = (weights[f"{layer}.{name}.weight"] for name in ("attn.o", "mlp.fc_in", "mlp.fc_out"))
    # The stream at "=" is `constant` plus W_O z: maps on it are applied to z at once, without the stream between.
    constant = embed[EQUALS] + weights["pos.weight"][2] + weights[f"{layer}.attn.o.bias"]
    before = fc_in @ constant + weights[f"{layer}.mlp.fc_in.bias"]
    neurons = torch.addmm(before, z, (fc_in @ attn_o).t()).relu_()
    direct = torch.addmm(head @ (constant + weights[f"{layer}.mlp.fc_out.bias"]), z, (head @ attn_o).t())
    return torch.addmm(direct, neurons, (head @ fc_out).t())


def _mixed(weights: Mapping[str, Tensor], a: Tensor, b: Tensor) -> Float[Tensor, "pair head_dim"]:
    """The z of all heads at "=": three scores and three values a head, looked up by token."""
    import torch
    from torch.nn.functional import embedding

    embed, pos = weights["tok_embed.weight"], weights["pos.weight"]
    query = linear(weights, "layers.0.attn.q", embed[EQUALS] + pos[2]).view(N_HEADS, D_HEAD) * D_HEAD**-0.5
    at = torch.cat([embed[:P] + pos[0], embed[:P] + pos[1], (embed[EQUALS] + pos[2])[None]])
    keys = linear(weights, "layers.0.attn.k", at).view(-1, N_HEADS, D_HEAD)
    values = linear(weights, "layers.0.attn.v", at)
    scores = (keys * query).sum(-1)
    seen = (scores[:P].index_select(0, a), scores[P:-1].index_select(0, b), scores[-1].expand(len(a), -1))
    pattern = torch.stack(seen, dim=-1).softmax(-1).unsqueeze(2)
    first, second = (embedding(index, table) for index, table in ((a, values[:P]), (b, values[P:-1])))
    first, second = first.view(-1, N_HEADS, D_HEAD), second.view(-1, N_HEADS, D_HEAD)
    last = values[-1].view(1, N_HEADS, D_HEAD)
    mixed = pattern[..., 0] * first + pattern[..., 1] * second + pattern[..., 2] * last
    return mixed.flatten(1)


def loss_nats(logits: Float[Tensor, "pair vocab"], answers: Int[Tensor, " pair"]) -> Tensor:
    """Mean cross entropy, in float64: float32 cannot tell losses under 1e-7 from zero, and training then jumps."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits.double(), answers)


def train(spec: ModelSpec, seed: int, *, out: Path, progress: Progress, limit: int = LIMIT, every: int = EVERY) -> None:
    """Train one seed and write its checkpoint; an interrupted training goes on after the step that it was stopped in.

    Args:
        spec: `modular-addition-113@k`.
        seed: training seed: initialisation, and which pairs are trained on.
        out: the checkpoint's path; `<out>.resume` holds the state of an unfinished training.
        progress: called with epochs done, the limit of epochs, and the losses.
        limit: epochs after which training stops in any case.
        every: epochs between two points of the curve.
    """
    import torch

    from harness.models.native import boot_native, save_native

    torch.set_flush_denormal(True)  # weight decay shrinks unused weights to denormals, which are slow
    bridge = boot_native(configuration(seed=seed)).train()
    weights = weights_by_name(bridge)
    optimizer = torch.optim.AdamW(weights.values(), lr=RATE, weight_decay=WEIGHT_DECAY, betas=BETAS, fused=True)
    unfinished = Unfinished.beside(out, f"{NAME}, {spec.id}, every {every}")
    done, history = unfinished.restore(bridge, optimizer)
    pairs = partition(seed)
    data, held_out = _tensors(pairs.train), _tensors(pairs.test)
    curve = _curve(history)
    if done:
        progress(done, limit, GOING_ON)
    while done < limit and not finished(curve):
        train_loss = _epoch(weights, optimizer, data, rate=RATE * min(1.0, (done + 1) / WARM_UP))
        done += 1
        due = done % every == 0 or done == limit
        if due:
            test_loss = measured_loss(weights, held_out)
            history += [float(done), measured_loss(weights, data), test_loss]
            curve = _curve(history)
        with unfinished.saving(bridge, optimizer, state=State(done, history), due=due):
            progress(done, limit, f"train {train_loss:.1e}, test {curve[-1].test_loss_nats if curve else 9.9:.1e}")
    save_native(bridge.eval(), out, metadata=_metadata(seed, weights, curve=curve, held_out=held_out))
    unfinished.discard()


def finished(curve: list[CurvePoint]) -> bool:
    """Whether the last STAY points of the curve all lie under GROKKED."""
    return len(curve) >= STAY and all(point.test_loss_nats < GROKKED for point in curve[-STAY:])


def read_curve(metadata: Mapping[str, str]) -> list[CurvePoint]:
    """The training curve in a checkpoint's header."""
    return [CurvePoint(int(epoch), train, test) for epoch, train, test in json.loads(metadata["curve"])]


def measured_loss(weights: Mapping[str, Tensor], data: tuple[Tensor, Tensor, Tensor]) -> float:
    """The loss on (a, b, answers), in nats."""
    import torch

    a, b, answers = data
    with torch.no_grad():
        return float(loss_nats(answer_logits(weights, a, b), answers))


def _epoch(
    weights: Mapping[str, Tensor], optimizer: Optimizer, data: tuple[Tensor, Tensor, Tensor], *, rate: float
) -> float:
    """One update on all training pairs; returns the loss before it."""
    a, b, answers = data
    loss = loss_nats(answer_logits(weights, a, b), answers)
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return float(loss.detach())


def _tensors(pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    import torch

    return torch.from_numpy(pairs.a), torch.from_numpy(pairs.b), torch.from_numpy(pairs.answers)


def _curve(history: list[float]) -> list[CurvePoint]:
    triples = zip(history[::3], history[1::3], history[2::3], strict=True)
    return [CurvePoint(int(epoch), train_loss, test_loss) for epoch, train_loss, test_loss in triples]


def _metadata(
    seed: int, weights: Mapping[str, Tensor], *, curve: list[CurvePoint], held_out: tuple[Tensor, Tensor, Tensor]
) -> dict[str, str]:
    import torch

    a, b, answers = held_out
    with torch.no_grad():
        wrong = int((answer_logits(weights, a, b).argmax(-1) != answers).sum())
    last = curve[-1]
    points = [[p.epoch, float(f"{p.train_loss_nats:.4g}"), float(f"{p.test_loss_nats:.4g}")] for p in curve]
    return {
        "recipe": NAME,
        "train_seed": str(seed),
        "data_seed": f"arithmetic modular pairs {seed}",
        "epochs": str(last.epoch),
        "train_loss": f"{last.train_loss_nats:.3e}",
        "test_loss": f"{last.test_loss_nats:.3e}",
        "test_errors": f"{wrong} of {len(answers)}",
        "curve": json.dumps(points, separators=(",", ":")),
    }
