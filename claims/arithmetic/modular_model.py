"""The one-layer modular model in numpy: its logits, neurons and gradients for all 113 * 113 pairs at once.

Only the position of "=" is computed, and everything that depends on one token alone only once per token, so that a
pass over every input there is takes a fraction of a second. It is tested against `Engine` and against torch's own
gradients. Changed embeddings and frozen attention are arguments: the interventions of the claims here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.modular import EQUALS, P, all_pairs
from harness.errors import NotSuited

if TYPE_CHECKING:
    from harness.models.model import Model

Floats = NDArray[np.floating]
PAIRS = all_pairs()


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of one logit per pair, [pair, d_model] each: by the embedding of a (with its position), and of b."""

    by_a: Floats
    by_b: Floats


@dataclass(frozen=True, eq=False)
class OneLayer:
    """Folded weights as arrays, inputs on the left: x @ W. Vectors of heads stand side by side.

    Attributes:
        embed: [token, d_model], the numbers; `equals` [d_model] is that of "=", `positions` [3, d_model].
        query: [head, d_head], of "=", times the scale of attention scores.
        key, value: [d_model, head, d_head], with their biases [head, d_head].
        out: [head, d_head, d_model], with bias.
        inward, outward: of the MLP, with biases.
        unembed: [d_model, P], the numbers only.
    """

    embed: Floats
    equals: Floats
    positions: Floats
    query: Floats
    key: Floats
    key_bias: Floats
    value: Floats
    value_bias: Floats
    out: Floats
    out_bias: Floats
    inward: Floats
    inward_bias: Floats
    outward: Floats
    outward_bias: Floats
    unembed: Floats
    unembed_bias: Floats

    def patterns(self, embed: Floats | None = None) -> Floats:
        """[pair, head, 3]: attention of "=" to a, b and itself, pairs as in `all_pairs`."""
        a, b, last = (
            np.einsum("thd,hd->th", np.tensordot(x, self.key, axes=1) + self.key_bias, self.query)
            for x in self._inputs(embed)
        )
        scores = np.stack([a[PAIRS.a], b[PAIRS.b], np.broadcast_to(last, (len(PAIRS), a.shape[1]))], axis=2)
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        return np.asarray(weights / weights.sum(axis=2, keepdims=True))

    def neurons(self, embed: Floats | None = None, pattern: Floats | None = None) -> Floats:
        """[pair, neuron] after the ReLU. `pattern` [head, 3] freezes attention for all pairs, `embed` replaces W_E."""
        return np.maximum(self._stream(embed, pattern) @ self.inward + self.inward_bias, 0)

    def logits(self, embed: Floats | None = None, pattern: Floats | None = None) -> Floats:
        """[a, b, c] for all numbers; arguments as for `neurons`."""
        stream = self._stream(embed, pattern)
        neurons = np.maximum(stream @ self.inward + self.inward_bias, 0)
        constant = self.outward_bias @ self.unembed + self.unembed_bias
        logits = neurons @ (self.outward @ self.unembed) + stream @ self.unembed + constant
        return np.asarray(logits.reshape(P, P, P))

    def gradients(self, answers: NDArray[np.int64], pattern: Floats | None = None) -> Gradients:
        """Of the logit of `answers[pair]` on each pair; with `pattern` [head, 3] attention is frozen at it."""
        active = self._stream(None, pattern) @ self.inward + self.inward_bias > 0
        read = self.unembed.T[answers]
        by_stream = read + (((self.outward @ self.unembed).T[answers]) * active) @ self.inward.T
        by_z = np.einsum("pm,hdm->phd", by_stream, self.out, optimize=True)
        by_key = np.einsum("mhd,hd->hm", self.key, self.query)
        weights = self._weights(None, pattern)
        values = self._values(None)
        seen = (values[0][PAIRS.a], values[1][PAIRS.b], values[2])
        z = sum(weights[:, :, place, None] * value for place, value in enumerate(seen))
        found = []
        for place in (0, 1):
            share = weights[:, :, place]
            gradient = np.einsum("phd,mhd->pm", share[..., None] * by_z, self.value, optimize=True)
            if pattern is None:  # the score of a token is changed by its embedding too, and the softmax with it
                gradient = gradient + (share * ((seen[place] - z) * by_z).sum(axis=2)) @ by_key
            found.append(gradient)
        return Gradients(*found)

    def _inputs(self, embed: Floats | None) -> tuple[Floats, Floats, Floats]:
        """What stands at a, at b (for every number) and at "=" ([1, d_model])."""
        table = self.embed if embed is None else embed.astype(self.embed.dtype)
        return (*(table + self.positions[place] for place in (0, 1)), (self.equals + self.positions[2])[None])

    def _values(self, embed: Floats | None) -> list[Floats]:
        return [np.tensordot(x, self.value, axes=1) + self.value_bias for x in self._inputs(embed)]

    def _weights(self, embed: Floats | None, pattern: Floats | None) -> Floats:
        if pattern is None:
            return self.patterns(embed)
        return np.asarray(np.broadcast_to(pattern.astype(self.embed.dtype), (len(PAIRS), *pattern.shape)))

    def _stream(self, embed: Floats | None, pattern: Floats | None) -> Floats:
        """[pair, d_model] at "=" after attention."""
        weights = self._weights(embed, pattern)
        # z of a head is a weighted sum of what one token gives; W_O is applied to that, token by token.
        a, b, last = (np.einsum("thd,hdm->htm", value, self.out) for value in self._values(embed))
        stream = self.equals + self.positions[2] + self.out_bias + np.zeros((len(PAIRS), 1), self.embed.dtype)
        for head in range(weights.shape[1]):
            at = weights[:, head]
            stream += at[:, :1] * a[head][PAIRS.a] + at[:, 1:2] * b[head][PAIRS.b] + at[:, 2:] * last[head]
        return np.asarray(stream)


def one_layer(model: Model) -> OneLayer:
    """The model's weights as arrays.

    Raises:
        NotSuited: it is no one-layer ReLU model without norms over 113 numbers and "=".
    """
    from harness.interventions import Engine

    weights = Engine.of(model).weights
    block, mlp = weights.blocks[0], weights.blocks[0].mlp
    shape = (len(weights.blocks), weights.embed.shape[0], weights.n_kv_heads)
    expected = (1, P + 1, weights.n_heads)
    activation = getattr(getattr(mlp, "activation", None), "__name__", "none")
    if shape != expected or mlp is None or activation != "relu" or block.norm_attn.kind != "none":
        raise NotSuited(
            f"{model.id} has {shape[0]} layers over {shape[1]} tokens and activation {activation!r}; claims on modular "
            f"addition are about one layer without norms over {P + 1} tokens with 'relu'."
        )
    if weights.pos_embed is None:
        raise NotSuited(f"{model.id} has no learned positions; claims on modular addition are about models with them.")
    heads = (weights.n_heads, weights.d_head)
    linears = {"key": block.k, "value": block.v, "inward": mlp.inward, "outward": mlp.outward}
    arrays = {name: _array(linear.weight).T for name, linear in linears.items()}
    biases = {f"{name}_bias": _bias(linear) for name, linear in linears.items()}
    for name in ("key", "value"):
        arrays[name] = arrays[name].reshape(-1, *heads)
        biases[f"{name}_bias"] = biases[f"{name}_bias"].reshape(heads)
    embed, positions = _array(weights.embed), _array(weights.pos_embed)
    query = (embed[EQUALS] + positions[2]) @ _array(block.q.weight).T + _bias(block.q)
    return OneLayer(
        embed=embed[:P], equals=embed[EQUALS], positions=positions,
        query=query.reshape(heads) * np.float32(weights.attn_scale), **arrays, **biases,
        out=_array(block.o.weight).T.reshape(*heads, -1), out_bias=_bias(block.o),
        unembed=_array(weights.unembed.weight).T[:, :P], unembed_bias=_bias(weights.unembed)[:P],
    )  # fmt: skip


def _array(tensor: object) -> Floats:
    return np.asarray(tensor.detach().cpu().float().numpy())  # type: ignore[attr-defined]


def _bias(linear: object) -> Floats:
    bias, weight = linear.bias, linear.weight  # type: ignore[attr-defined]
    return _array(bias) if bias is not None else np.zeros(len(weight), np.float32)
