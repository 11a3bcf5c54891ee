"""Direct logit attribution: what each head, neuron or layer adds to a logit itself, without what it does to others.

The final stream is a sum of what the components wrote, and the final norm divides it by one number per position. With
that number held as it is, logits are a sum too: these effects, the embeddings' and the biases' (`CONSTANT`) together
are the logit exactly. What a component does by changing later ones is not in it; for that, patch (`effects_over`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import InterventionError, did_you_mean
from harness.interventions import Engine
from harness.interventions.readout import require_positions
from harness.values import UnitValues

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interventions import Run
    from harness.models.model import Model
    from harness.roles import Prompts

Kind = Literal["head", "neuron", "attn", "mlp"]
EMBEDDINGS, CONSTANT = "embeddings", "constant"
_KEPT: dict[str, str] = {"head": "z", "neuron": "mlp_post", "attn": "attn_out", "mlp": "mlp_out"}


def direct_logits(
    model: Model,
    prompts: Prompts,
    *,
    of: Sequence[Kind],
    positions: ArrayLike,
    tokens: ArrayLike,
    against: ArrayLike | None = None,
) -> UnitValues:
    """What components add to the logit of a token, or to its difference from another: [component, prompt], in logits.

    Rows are named `5.1`, `5.neuron12`, `5.attn`, `5.mlp`; `embeddings` and `constant` come last. The constant holds the
    biases of the unembedding and the norm, and those of the layers whose heads or neurons are listed one by one. The
    sum of the rows of `("head", "neuron")`, or of `("attn", "mlp")`, is the logit.

    Args:
        model: the model; only what the fast engine covers.
        prompts: the prompts, one unit each.
        of: kinds of components; not both heads and `attn`, nor both neurons and `mlp`, which would count twice.
        positions: one position, or one per prompt: where the logit is read.
        tokens: [prompt], whose logit.
        against: [prompt], a token whose logit is taken from it.

    Raises:
        InterventionError: prompts that lack a member, unknown or overlapping kinds, no such position or token, or an
            architecture not covered.
    """
    _require_members(prompts)
    engine = Engine.of(model)
    kinds = _checked_kinds(engine, of)
    where = np.broadcast_to(np.asarray(positions, dtype=np.int64), (len(prompts),))
    pair = [_checked_tokens(each, engine, count=len(prompts)) for each in (tokens, against) if each is not None]
    names = [name for kind in kinds for name in _names(engine, kind)]
    values = np.zeros((len(names) + 2, len(prompts)))
    for index, batch in prompts.batches():
        run = engine.run(batch.tensor(), keep=("resid_pre", *(_KEPT[kind] for kind in kinds)))
        at, asked = where[index], [each[index] for each in pair]
        values[:, index] = _effects(engine, run, kinds, positions=at, tokens=asked)
    return UnitValues(values, (*names, EMBEDDINGS, CONSTANT), prompts.units, prompts.templates)


def _effects(
    engine: Engine, run: Run, kinds: Sequence[Kind], *, positions: NDArray[np.int64], tokens: list[NDArray[np.int64]]
) -> NDArray[np.float64]:
    import torch

    at = torch.from_numpy(np.ascontiguousarray(positions)).to(run.resid.device)
    require_positions(at.unsqueeze(1), batch=run.resid.shape[0], pos=run.resid.shape[1])
    chosen = [torch.from_numpy(np.ascontiguousarray(each)).to(run.resid.device) for each in tokens]
    rows = torch.arange(len(at), device=run.resid.device)
    with torch.inference_mode():
        reading, constant = _reading(engine, chosen)
        reading = reading / engine.final_scale(run)[rows, at].double().unsqueeze(1)  # [row d_model]
        found: list[Tensor] = []
        for kind in kinds:
            for layer, block in enumerate(engine.weights.blocks):
                activation = run.kept(_KEPT[kind], layer)[rows, at].double()
                if kind == "head":
                    found.append(torch.einsum("rhd,hdm,rm->hr", activation, engine.W_O(layer).double(), reading))
                elif kind == "neuron":
                    assert block.mlp is not None, "checked by direct_logits"
                    found.append(activation.T * (reading @ block.mlp.outward.weight.double()).T)
                else:
                    found.append((activation * reading).sum(dim=1).unsqueeze(0))
                bias = block.o.bias if kind == "head" else block.mlp.outward.bias if kind == "neuron" else None  # type: ignore[union-attr]
                if bias is not None:
                    constant = constant + reading @ bias.double()
        embedded = (run.kept("resid_pre", 0)[rows, at].double() * reading).sum(dim=1)
        effects: NDArray[np.float64] = torch.cat([*found, embedded[None], constant[None]]).cpu().numpy()
    return effects


def _reading(engine: Engine, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What the stream is multiplied by before it is scaled [row d_model], and what is added whatever it holds [row]."""
    unembed, norm = engine.weights.unembed, engine.weights.norm_final
    columns = [unembed.weight[token].double() for token in tokens]
    biases = [engine.b_U[token].double() for token in tokens]
    direction, constant = columns[0], biases[0]
    if len(tokens) > 1:
        direction, constant = direction - columns[1], constant - biases[1]
    if norm.bias is not None:
        constant = constant + direction @ norm.bias.double()
    if norm.weight is not None:
        direction = direction * norm.weight.double()
    if norm.kind == "layer":  # LayerNorm reads the centred stream
        direction = direction - direction.mean(dim=1, keepdim=True)
    return direction, constant


def _names(engine: Engine, kind: Kind) -> list[str]:
    layers = range(engine.n_layers)
    if kind == "head":
        return [f"{layer}.{head}" for layer in layers for head in range(engine.n_heads)]
    if kind == "neuron":
        return [f"{layer}.neuron{neuron}" for layer in layers for neuron in range(engine.d_mlp)]
    return [f"{layer}.{kind}" for layer in layers]


def _require_members(prompts: Prompts) -> None:
    """Refuse prompts that would fail after the measurement: attention scores do with fewer members than this."""
    needed = {
        "units": "one id per prompt",
        "templates": "one cluster id per prompt, `units` again where each is its own",
        "batches": "(row numbers, those prompts)",
        "tensor": "the tokens",
    }
    missing = [f"{name!r} ({what})" for name, what in needed.items() if not hasattr(prompts, name)]
    if missing:
        raise InterventionError(
            f"prompts of class {type(prompts).__name__} lack {', '.join(missing)}; direct_logits needs them "
            "(harness.roles.Prompts)"
        )


def _checked_kinds(engine: Engine, of: Sequence[Kind]) -> tuple[Kind, ...]:
    if isinstance(of, str) or not of:
        raise InterventionError("name the kinds of components in a list: of=('head',).")
    kinds = tuple(dict.fromkeys(of))
    known = get_args(Kind)
    for kind in kinds:
        if kind not in known:
            raise InterventionError(
                f"there is no kind of component {kind!r} ({', '.join(known)}).{did_you_mean(kind, known)}"
            )
    for part, whole in (("head", "attn"), ("neuron", "mlp")):
        if {part, whole} <= set(kinds):
            raise InterventionError(f"{part!r} and {whole!r} would count the same writing twice: name one of them.")
    if {"neuron", "mlp"} & set(kinds) and not engine.d_mlp:
        raise InterventionError("the model is attention-only: it has neither neurons nor MLPs.")
    return kinds


def _checked_tokens(tokens: ArrayLike, engine: Engine, *, count: int) -> NDArray[np.int64]:
    array = np.asarray(tokens)
    if array.shape != (count,) or array.dtype.kind != "i" or array.min() < 0 or array.max() >= engine.d_vocab:
        raise InterventionError(
            f"tokens {array.shape} {array.dtype} are not one of 0 to {engine.d_vocab - 1} for each of {count} prompts."
        )
    return array
