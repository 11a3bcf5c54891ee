"""The weights of a model as plain tensors, by reference, and the few functions that apply them.

What it does not know: bridges, edits, batches. `reading.py` fills these records from a bridge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Linear:
    """An affine map; `weight` is a view of the model's own parameter, whichever way that one is stored."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None

    def __call__(self, x: Tensor) -> Tensor:
        """The map applied to the last axis."""
        from torch.nn.functional import linear

        return linear(x, self.weight, self.bias)


@dataclass(frozen=True, eq=False)
class Norm:
    """A normalisation; after folding its weight is one and its bias zero, but whatever it has is applied."""

    kind: Literal["layer", "rms", "none"]
    weight: Float[Tensor, " d_model"] | None = None
    bias: Float[Tensor, " d_model"] | None = None
    eps: float = 1e-5

    def __call__(self, x: Tensor) -> Tensor:
        """The normalised residual stream."""
        from torch.nn.functional import layer_norm, rms_norm

        if self.kind == "none":
            return x
        if self.kind == "rms":
            return rms_norm(x, x.shape[-1:], self.weight, self.eps)
        return layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)

    def scale(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos"]:
        """What the (for LayerNorm: centred) stream is divided by: one where there is no normalisation."""
        if self.kind == "none":
            return x.new_ones(x.shape[:-1])
        centred = x - x.mean(dim=-1, keepdim=True) if self.kind == "layer" else x
        return (centred.square().mean(dim=-1) + self.eps).sqrt()


@dataclass(frozen=True, eq=False)
class Mlp:
    """A feed-forward layer, gated (SwiGLU and kin: `gate` is not None) or plain."""

    inward: Linear
    outward: Linear
    gate: Linear | None
    activation: Callable[[Tensor], Tensor]

    def neurons(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos neuron"]:
        """What the output matrix reads, given the normalised residual stream."""
        import torch

        if self.gate is None:
            return self.activation(self.inward(x))
        gate = self.activation(self.gate(x))
        # The widest product of a block: written over its factor, unless a gradient will ask for it.
        return gate * self.inward(x) if torch.is_grad_enabled() else gate.mul_(self.inward(x))

    def __call__(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What the layer writes, given the normalised residual stream."""
        return self.outward(self.neurons(x))


@dataclass(frozen=True, eq=False)
class Rotary:
    """Rotary positions (Su et al. 2021) on the first `d_rotary` entries of q and k.

    `adjacent` pairs (0,1), (2,3) ... as TransformerLens' native models do; otherwise halves, as Hugging Face's
    Llama does: entry i with entry i + d_rotary / 2. `tables` gives cos and sin [pos d_rotary] for a length.
    """

    tables: Callable[[int], tuple[Tensor, Tensor]]
    adjacent: bool

    def __call__(
        self, x: Float[Tensor, "batch pos head d_head"], *, start: int = 0
    ) -> Float[Tensor, "batch pos head d_head"]:
        """Queries or keys, rotated by their position; the first stands at position `start`."""
        import torch

        cos, sin = (table[start:].unsqueeze(1) for table in self.tables(start + x.shape[1]))
        d_rotary = cos.shape[-1]
        turned, rest = x[..., :d_rotary], x[..., d_rotary:]
        if self.adjacent:
            quarter = torch.stack((-turned[..., 1::2], turned[..., 0::2]), dim=-1).flatten(-2)
        else:
            quarter = turned.roll(d_rotary // 2, dims=-1)
            sin = torch.cat((-sin[..., : d_rotary // 2], sin[..., d_rotary // 2 :]), dim=-1)
        rotated = torch.addcmul(turned * cos, quarter, sin)
        return torch.cat((rotated, rest), dim=-1) if rest.shape[-1] else rotated


@dataclass(frozen=True, eq=False)
class Block:
    """One layer; an attention-only one has neither `norm_mlp` nor `mlp`."""

    norm_attn: Norm
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    norm_mlp: Norm | None
    mlp: Mlp | None


@dataclass(frozen=True, eq=False)
class Weights:
    """A whole model: its weights by reference, and its sizes."""

    architecture: str
    embed: Float[Tensor, "d_vocab d_model"]
    pos_embed: Float[Tensor, "n_ctx d_model"] | None
    rotary: Rotary | None
    blocks: tuple[Block, ...]
    norm_final: Norm
    unembed: Linear
    attn_scale: float
    n_ctx: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int

    @property
    def d_mlp(self) -> int:
        """Neurons of a layer; 0 in an attention-only model."""
        mlp = self.blocks[0].mlp
        return 0 if mlp is None else int(mlp.outward.weight.shape[1])
