"""How `addition-5d-1l@k` and `addition-5d-2l@k` are trained: `12345+67890=080235`, loss on the six answer digits.

Quirke and Barez 2024 enrich their training data with sums of nine, because a carry that passes through digit pairs
that sum to nine is rare among uniform sums. Half of our sums are uniform. In a quarter each pair sums to nine with
probability 1/4. In the last quarter a run of one to four pairs sums to nine, and the pair to its right makes a carry
half of the time. Sums are drawn by seed and step from all 10^10: nothing is held out, and fresh sums are new only
because 10^10 is far more than what was trained on.

Only what the loss needs is computed: the last layer's queries and MLP at the six positions that answer, and the first
layer's queries, keys and values once for each token at each position instead of for each sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claims.arithmetic.accuracy import accuracy_metadata
from claims.arithmetic.training import cosine_rate, linear
from fixtures.prompts.sums import DIGITS, EQUALS, PLUS, POSITIONS, VOCABULARY, answer_position
from harness.models.native import weights_by_name
from harness.models.unfinished import GOING_ON, Progress, State, Unfinished
from harness.seeding import derive_seed

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from torch.optim import Optimizer

    from harness.models.registry import ModelSpec

FIRST_ANSWER = answer_position(0)
"""The position of "=", which predicts the first of the six answer digits."""
N_HEADS = 4
D_MODEL = 128
D_HEAD = 32
D_MLP = 512
BATCH = 256
STEPS = {1: 8_000, 2: 2_500}
"""By number of layers."""
PEAK_RATE = 2e-3
WARM_UP = 200
LONGEST_RUN = 4
SAVE_EVERY = 100
NAME = "claims/arithmetic/recipe_addition.py version 1"


def configuration(*, layers: int, seed: int) -> dict[str, Any]:
    """The model's configuration: 4 heads and 512 ReLU neurons a layer, LayerNorm, learned positions."""
    return {
        "n_layers": layers, "d_model": D_MODEL, "n_ctx": POSITIONS + 1, "d_head": D_HEAD, "n_heads": N_HEADS,
        "d_vocab": VOCABULARY, "d_mlp": D_MLP, "attn_only": False, "normalization_type": "LN", "act_fn": "relu",
        "positional_embedding_type": "standard", "seed": seed, "init_mode": "gpt2", "initializer_range": 0.06,
    }  # fmt: skip


def batch(*, seed: int, step: int, size: int = BATCH) -> Int[Tensor, "batch 18"]:
    """The training sums of one step as tokens, answers included."""
    import torch

    generator = torch.Generator().manual_seed(derive_seed("arithmetic", "addition", seed, step) % 2**63)
    first = torch.randint(0, 10, (size, DIGITS), generator=generator)
    second = torch.randint(0, 10, (size, DIGITS), generator=generator)
    half, quarter = size // 2, size // 4
    nines = torch.zeros(size, DIGITS, dtype=torch.bool)
    nines[:quarter] = torch.rand(quarter, DIGITS, generator=generator) < 0.25
    # Places count from the left. The run ends at `last`, and the pair after it decides whether it is carried into.
    length = torch.randint(1, LONGEST_RUN + 1, (quarter, 1), generator=generator)
    last = length - 1 + (torch.rand(quarter, 1, generator=generator) * (DIGITS - length)).long()
    place = torch.arange(DIGITS)[None]
    nines[quarter:half] = (place <= last) & (place > last - length)
    second = torch.where(nines, 9 - first, second)
    carry = torch.rand(quarter, 1, generator=generator) < 0.5
    low, high = 10 - first[quarter:half], 9 - first[quarter:half]  # the least partner that carries; how many do not
    share = torch.rand(quarter, DIGITS, generator=generator)
    carrying, resting = low + (share * (10 - low)).long(), (share * high).long()
    decided = torch.where(carry & (low < 10), carrying, torch.where(high > 0, resting, carrying % 10))
    second[quarter:half] = torch.where(place == last + 1, decided, second[quarter:half])
    return _with_answers(first, second)


def _with_answers(first: Tensor, second: Tensor) -> Int[Tensor, "batch 18"]:
    import torch

    sums, carry, answers = first + second, torch.zeros_like(first[:, 0]), []
    for place in reversed(range(DIGITS)):
        total = sums[:, place] + carry
        answers.append(total % 10)
        carry = total // 10
    answers.append(carry)
    plus, equals = (torch.full_like(first[:, :1], token) for token in (PLUS, EQUALS))
    return torch.cat([first, plus, second, equals, torch.stack(answers[::-1], dim=1)], dim=1)


def answer_logits(
    weights: Mapping[str, Tensor], tokens: Int[Tensor, "batch pos"], *, layers: int
) -> Float[Tensor, "batch 6 vocab"]:
    """The native model's logits at the six positions that answer, from raw weights as `weights_by_name` gives them."""
    import torch

    positions = torch.arange(POSITIONS)
    index = tokens[:, :POSITIONS] + VOCABULARY * positions  # into tables with one row for each token at each position
    table = (weights["tok_embed.weight"][None] + weights["pos.weight"][:POSITIONS, None]).flatten(0, 1)
    seen = slice(FIRST_ANSWER, None) if layers == 1 else slice(None)
    resid = torch.nn.functional.embedding(index[:, seen], table)
    for layer in range(layers):
        if layer == 0:
            q, k, v = _from_table(weights, table, index=index, queries=seen)
        else:
            last = layer == layers - 1
            normed = _norm(weights, f"layers.{layer}.ln1", resid)
            resid, read = (resid[:, FIRST_ANSWER:], normed[:, FIRST_ANSWER:]) if last else (resid, normed)
            inputs = {"q": read, "k": normed, "v": normed}
            q, k, v = (linear(weights, f"layers.{layer}.attn.{name}", x) for name, x in inputs.items())
        resid = resid + linear(weights, f"layers.{layer}.attn.o", _attend(q, k, v))
        neurons = linear(weights, f"layers.{layer}.mlp.fc_in", _norm(weights, f"layers.{layer}.ln2", resid)).relu_()
        resid = resid + linear(weights, f"layers.{layer}.mlp.fc_out", neurons)
    return linear(weights, "head", _norm(weights, "ln_out", resid))


def _from_table(weights: Mapping[str, Tensor], table: Tensor, *, index: Tensor, queries: slice) -> list[Tensor]:
    """The first layer's q, k, v [batch pos head_dim]: computed for the table's rows, then looked up."""
    from torch.nn.functional import embedding

    normed = _norm(weights, "layers.0.ln1", table)
    at = {"q": index[:, queries], "k": index, "v": index}
    return [embedding(where, linear(weights, f"layers.0.attn.{name}", normed)) for name, where in at.items()]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Float[Tensor, "batch query_pos head_dim"]:
    """Causal attention of the last positions (as many as there are queries) to all positions."""
    import torch

    q, k, v = (x.unflatten(-1, (N_HEADS, D_HEAD)).transpose(1, 2) for x in (q, k, v))
    later = torch.ones(k.shape[2], k.shape[2], dtype=torch.bool).triu(1)[-q.shape[2] :]
    scores = ((q * D_HEAD**-0.5) @ k.transpose(-1, -2)).masked_fill(later, -torch.inf)
    z: Tensor = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return z


def _norm(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    from torch.nn.functional import layer_norm

    return layer_norm(x, (D_MODEL,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)


def train(spec: ModelSpec, seed: int, *, out: Path, progress: Progress, steps: int | None = None) -> None:
    """Train one seed and write its checkpoint; an interrupted training goes on after the step that it was stopped in.

    Args:
        spec: `addition-5d-1l@k` or `addition-5d-2l@k`; the number of layers is the spec's.
        seed: training seed: initialisation and data.
        out: the checkpoint's path; `<out>.resume` holds the state of an unfinished training.
        progress: called with steps done, steps in all, and the loss.
        steps: how many updates; the recipe's number without it.
    """
    import torch

    from harness.models.native import boot_native, save_native

    torch.set_flush_denormal(True)
    steps = steps or STEPS[spec.n_layers]
    bridge = boot_native(configuration(layers=spec.n_layers, seed=seed)).train()
    weights = weights_by_name(bridge)
    optimizer = torch.optim.AdamW(weights.values(), lr=PEAK_RATE, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    unfinished = Unfinished.beside(out, f"{NAME}, {spec.id}, {steps} steps")
    done, losses = unfinished.restore(bridge, optimizer)
    if done:
        progress(done, steps, GOING_ON)
    while done < steps:
        rate = cosine_rate(done, steps=steps, warm_up=WARM_UP, peak=PEAK_RATE)
        loss = _step(weights, optimizer, batch(seed=seed, step=done), layers=spec.n_layers, rate=rate)
        done, losses = done + 1, [*losses[-49:], loss]
        due = done % SAVE_EVERY == 0 or done == steps
        with unfinished.saving(bridge, optimizer, state=State(done, losses), due=due):
            progress(done, steps, f"loss {loss:.4f}")
    metadata = {
        "recipe": NAME,
        "train_seed": str(seed),
        "data_seed": f"arithmetic addition {seed}",
        "steps": str(steps),
        "train_loss": f"{sum(losses) / len(losses):.3e}",
    }
    answer = partial(answer_logits, weights, layers=spec.n_layers)
    save_native(bridge.eval(), out, metadata={**metadata, **accuracy_metadata(answer, model_id=spec.id)})
    unfinished.discard()


def _step(weights: Mapping[str, Tensor], optimizer: Optimizer, tokens: Tensor, *, layers: int, rate: float) -> float:
    """One update; returns the loss in nats per answer digit."""
    import torch

    logits = answer_logits(weights, tokens, layers=layers)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, FIRST_ANSWER + 1 :].flatten())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return float(loss.detach())
