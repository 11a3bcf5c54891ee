"""Other weights in a model's own layout, made one block at a time: in another precision, or drawn anew.

They serve checks of a model (`harness.sanity`): a copy of SmolLM2 in float64 would take a gigabyte, and its untrained
twin, booted and folded, seventeen seconds. Here one block lives at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, cast, overload

from harness.interventions.engine import Engine
from harness.interventions.run import Run
from harness.interventions.weights import Block, Linear, Norm
from harness.seeding import derive_seed

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor

GPT2 = "GPT2LMHeadModel"


def log_probs_in(
    engine: Engine, tokens: Int[Tensor, "batch pos"], *, dtype: torch.dtype
) -> Float[Tensor, "batch pos-1"]:
    """`engine.log_probs_of_next` of the same weights, computed in another precision."""
    import torch

    weights = engine.weights
    other = replace(
        weights,
        blocks=_made(weights.blocks, lambda block, _: _mapped(block, lambda tensor: tensor.to(dtype))),
        norm_final=_mapped(weights.norm_final, lambda tensor: tensor.to(dtype)),
        unembed=_mapped(weights.unembed, lambda tensor: tensor.to(dtype)),
    )
    with torch.inference_mode():
        resid = weights.embed[tokens].to(dtype)  # of the embedding only the rows that are read
        if weights.pos_embed is not None:
            resid = resid + weights.pos_embed[: tokens.shape[1]].to(dtype)
    made = Engine(other)
    return made.log_probs_of_next(made.resume(Run(tokens=tokens, resid=resid, next_layer=0), layer=0))


def drawn_anew(engine: Engine, *, std: float, tied: bool, seed: int) -> Engine:
    """An untrained model of the same shape: every matrix normal with this deviation, biases 0, norms 1.

    That is how transformers initialises GPT-2 and Llama (`initializer_range`); what GPT-2 writes into the residual
    stream is smaller by the root of the number of its writing layers (Radford et al. 2019, section 2.3).

    Args:
        engine: gives the shapes.
        std: `initializer_range`.
        tied: whether the unembedding is the embedding.
        seed: of the weights; another one is another twin.
    """
    weights = engine.weights
    deep = (2 * len(weights.blocks)) ** -0.5 if weights.architecture == GPT2 else 1.0

    def block(old: Block, layer: int) -> Block:
        draw = _Draw(std, seed=derive_seed("redrawn", seed, layer))
        mlp = old.mlp and replace(
            old.mlp,
            inward=draw.linear(old.mlp.inward),
            gate=old.mlp.gate and draw.linear(old.mlp.gate),
            outward=draw.linear(old.mlp.outward, scale=deep),
        )
        return Block(
            norm_attn=_fresh(old.norm_attn),
            q=draw.linear(old.q),
            k=draw.linear(old.k),
            v=draw.linear(old.v),
            o=draw.linear(old.o, scale=deep),
            norm_mlp=old.norm_mlp and _fresh(old.norm_mlp),
            mlp=mlp,
        )

    draw = _Draw(std, seed=derive_seed("redrawn", seed, "ends"))
    embed = draw.tensor(weights.embed)
    return Engine(
        replace(
            weights,
            embed=embed,
            pos_embed=None if weights.pos_embed is None else draw.tensor(weights.pos_embed),
            blocks=_made(weights.blocks, block),
            norm_final=_fresh(weights.norm_final),
            unembed=Linear(embed if tied else draw.tensor(weights.unembed.weight), None),
        )
    )


def _made(originals: Sequence[Block], make: Callable[[Block, int], Block]) -> tuple[Block, ...]:
    return cast("tuple[Block, ...]", _Blocks(originals, make))


class _Blocks(Sequence[Block]):
    """Blocks made from others when they are asked for; the last one is kept, for a layer asks several times."""

    def __init__(self, originals: Sequence[Block], make: Callable[[Block, int], Block]) -> None:
        self._originals, self._make = originals, make
        self._last: tuple[int, Block] | None = None

    def __len__(self) -> int:
        return len(self._originals)

    @overload
    def __getitem__(self, layer: int) -> Block: ...

    @overload
    def __getitem__(self, layer: slice) -> Sequence[Block]: ...

    def __getitem__(self, layer: int | slice) -> Block | Sequence[Block]:
        if isinstance(layer, slice):
            return [self[number] for number in range(*layer.indices(len(self)))]
        if self._last is None or self._last[0] != layer:
            self._last = None  # two blocks are never held at once
            self._last = (layer, self._make(self._originals[layer], layer))
        return self._last[1]

    def __iter__(self) -> Iterator[Block]:
        return (self[layer] for layer in range(len(self)))


class _Draw:
    """Normal tensors, one after the other, from a generator of their own."""

    def __init__(self, std: float, *, seed: int) -> None:
        import torch

        self._std = std
        self._generator = torch.Generator().manual_seed(seed % 2**63)

    def tensor(self, like: Tensor, *, scale: float = 1.0) -> Tensor:
        import torch

        drawn = torch.empty(like.shape, dtype=like.dtype).normal_(std=self._std * scale, generator=self._generator)
        return drawn.to(like.device)

    def linear(self, like: Linear, *, scale: float = 1.0) -> Linear:
        return Linear(self.tensor(like.weight, scale=scale), None)


def _fresh(norm: Norm) -> Norm:
    """The norm as it was before training."""
    weight = None if norm.weight is None else norm.weight.new_ones(norm.weight.shape)
    return replace(norm, weight=weight, bias=None if norm.bias is None else norm.bias.new_zeros(norm.bias.shape))


def _mapped(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A block, or a part of one, with every tensor in it changed."""
    import torch

    if isinstance(part, torch.Tensor):
        return change(part)
    if not is_dataclass(part) or isinstance(part, type):
        return part
    return replace(part, **{each.name: _mapped(getattr(part, each.name), change) for each in fields(part)})
