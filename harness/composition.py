"""How strongly a head reads what an earlier head writes, from the weights alone: composition scores.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", section on composition: for an earlier head s
and a later head t, the Frobenius norm of the product of t's reading circuit and s's OV circuit, divided by the product
of their norms. The paper multiplies columns; here vectors are rows (q = x W_Q), so that with

    W_QK = W_Q W_K^T   (from the query's position to the key's)      W_OV = W_V W_O

a residual x at the query and y at the key score x W_QK y^T, and s moves y to y W_OV. What s wrote stands on

    the key side:    x W_QK (y W_OV)^T     K-composition: ||W_QK W_OV^T||  / (||W_QK|| ||W_OV||)
    the query side:  x W_OV W_QK y^T       Q-composition: ||W_QK^T W_OV^T|| / (||W_QK|| ||W_OV||)
    the value side:  x W_OV^s W_OV^t       V-composition: ||W_OV^s W_OV^t|| / (||W_OV^s|| ||W_OV^t||)

Scores lie in [0, 1]. Unrelated heads do not score 0: for a random rotation between the two the root mean square is
1 / sqrt(dimensions of the residual stream), 0.036 for 768. A score says that a path exists in the weights, not that any
input uses it; ablation says that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import ModelError
from harness.weights import AttentionWeights

Mode = Literal["q", "k", "v"]


@dataclass(frozen=True)
class CompositionScores:
    """Composition of every head in an earlier layer with each target.

    Attributes:
        mode: through the target's queries, keys or values.
        targets: `"l.h"` of the later heads.
        scores: for each target [source layer, source head], for all layers before the target's and no others.
        notes: how the weights were processed (`AttentionWeights.notes`).
    """

    mode: Mode
    targets: tuple[str, ...]
    scores: tuple[NDArray[np.float64], ...]
    notes: tuple[str, ...]

    def of(self, target: str) -> NDArray[np.float64]:
        """Scores with one target, [source layer, source head]."""
        if target not in self.targets:
            raise ModelError(f"no composition was computed with {target!r}; there are {', '.join(self.targets)}")
        return self.scores[self.targets.index(target)]

    def by_source(self, target: str) -> dict[str, float]:
        """Scores with one target by the source's name, strongest first."""
        return _strongest_first(self.of(target))

    def rank(self, source: str, *, target: str) -> int:
        """The source's place among all earlier heads, 1 for the strongest; ties count against it."""
        scores = self.by_source(target)
        if source not in scores:
            raise ModelError(f"{source!r} is not in a layer before {target!r}, so the two cannot compose")
        return sum(score >= scores[source] for score in scores.values())

    def mean_over_targets(self) -> dict[str, float]:
        """Mean score over all targets of each head that is earlier than every one of them, strongest first.

        Several targets make one statistic (an exact claim has no units); only heads that can compose with all of them
        are comparable.
        """
        shared = min(len(scores) for scores in self.scores)
        return _strongest_first(np.mean([scores[:shared] for scores in self.scores], axis=0))


def k_composition(weights: AttentionWeights, *, source: str, target: str) -> float:
    """K-composition score of one earlier head with one later head, in [0, 1].

    Raises:
        ModelError: a head does not exist, the source is not in an earlier layer, or a circuit is all zero.
    """
    return _pair(weights, source=source, target=target, mode="k")


def q_composition(weights: AttentionWeights, *, source: str, target: str) -> float:
    """Q-composition score of one earlier head with one later head, in [0, 1]. Raises as `k_composition`."""
    return _pair(weights, source=source, target=target, mode="q")


def v_composition(weights: AttentionWeights, *, source: str, target: str) -> float:
    """V-composition score of one earlier head with one later head, in [0, 1]. Raises as `k_composition`."""
    return _pair(weights, source=source, target=target, mode="v")


def k_composition_matrix(weights: AttentionWeights, *, targets: Sequence[str]) -> CompositionScores:
    """K-composition of every earlier head with each target. Raises as `k_composition`."""
    return composition_matrix(weights, targets=targets, mode="k")


def composition_matrix(weights: AttentionWeights, *, targets: Sequence[str], mode: Mode) -> CompositionScores:
    """Composition of every earlier head with each target.

    Memory holds one source head and a [d_head d_model] matrix per target: sources are read once, layer by layer.

    Raises:
        ModelError: no target, one named twice or in layer 0, one that does not exist, or a circuit that is all zero.
    """
    layers = _target_layers(targets)
    readers = [_reader(weights, target, mode=mode) for target in targets]
    scores = [np.zeros((layer, weights.n_heads)) for layer in layers]
    for layer in range(max(layers)):
        for head in range(weights.n_heads):
            writer = _writer(weights, f"{layer}.{head}")
            for reader, found in zip(readers, scores, strict=True):
                if layer < len(found):
                    found[layer, head] = _score(reader, writer)
    return CompositionScores(mode=mode, targets=tuple(targets), scores=tuple(scores), notes=weights.notes)


def _pair(weights: AttentionWeights, *, source: str, target: str, mode: Mode) -> float:
    if _parse(source)[0] >= _parse(target)[0]:
        raise ModelError(f"{source!r} is not in a layer before {target!r}, so the two cannot compose")
    return _score(_reader(weights, target, mode=mode), _writer(weights, source))


def _target_layers(targets: Sequence[str]) -> list[int]:
    if isinstance(targets, str) or not targets or len(set(targets)) < len(targets):
        raise ModelError(f"targets must be one or more different heads such as ('5.1', '5.5'), not {targets!r}")
    layers = [_parse(target)[0] for target in targets]
    if 0 in layers:
        raise ModelError(f"target {targets[layers.index(0)]!r} is in layer 0: no earlier head can compose with it")
    return layers


def _parse(name: str) -> tuple[int, int]:
    layer, dot, head = name.partition(".")
    if not (dot and layer.isdecimal() and head.isdecimal()):
        raise ModelError(f"{name!r} names no head; write layer.head, such as '5.1'")
    return int(layer), int(head)


# A score is a ratio of Frobenius norms of [d_model d_model] products of rank d_head, and none of those is ever formed.
# With the QR decomposition A = U R (U^T U = 1), ||A B|| = ||R B|| for every B: so W_OV is replaced by its writer
# R_V W_O, W_QK^T by its reader R_Q W_K^T, both [d_head d_model] and of the same norm, and ||W_QK W_OV^T|| by
# ||reader writer^T||, a [d_head d_head] product.


def _reader(weights: AttentionWeights, name: str, *, mode: Mode) -> NDArray[np.float64]:
    layer, head = _parse(name)
    if mode == "v":
        w_v, w_o = weights.ov(layer, head)
        return _factor(w_o.T, w_v.T, what=f"W_OV of {name}")
    w_q, w_k = weights.qk(layer, head)
    left, right = (w_q, w_k) if mode == "k" else (w_k, w_q)
    return _factor(left, right.T, what=f"W_QK of {name}")


def _writer(weights: AttentionWeights, name: str) -> NDArray[np.float64]:
    w_v, w_o = weights.ov(*_parse(name))
    return _factor(w_v, w_o, what=f"W_OV of {name}")


def _factor(left: NDArray[np.float64], right: NDArray[np.float64], *, what: str) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused here, by name
        factor = np.linalg.qr(left, mode="r") @ right
        norm = np.linalg.norm(factor)
    if not 0 < norm < np.inf:
        raise ModelError(f"{what} has norm {norm}; a composition score with it is not defined")
    return np.asarray(factor / norm)


def _score(reader: NDArray[np.float64], writer: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(reader @ writer.T))


def _strongest_first(scores: NDArray[np.float64]) -> dict[str, float]:
    named = {f"{layer}.{head}": float(score) for (layer, head), score in np.ndenumerate(scores)}
    return dict(sorted(named.items(), key=lambda item: -item[1]))
