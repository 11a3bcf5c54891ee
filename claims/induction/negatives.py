"""Models that lack the mechanism, on which no claim may be supported: untrained, lesioned, impostor.

The impostor keeps the trained model and gives the subject's heads a pattern that a careless metric takes for
induction: they attend a fixed number of positions back, whatever stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.repeated import repeated_random_tokens
from harness.evidence import Record
from harness.interventions import Engine
from harness.models.lesion import head_weight
from harness.models.model import Model, lesioned, untrained_twin, with_head_weights
from harness.session import BoundClaim, Loaded, measure
from harness.subjects import Subject, parse_head
from harness.weights import OutputValue, QueryKey

if TYPE_CHECKING:
    from torch import Tensor

OFFSET = 24
"""A fixed offset that a repeated block of 25 tokens would turn into a perfect prefix-matching score."""
SHARPNESS = 10.0
"""Scale of the impostor's attention scores: at 10 the offset gets 0.47 of the attention (tested); more adds little."""


@dataclass(frozen=True)
class Negative:
    """A model without the mechanism, and the heads that the claims are asked about on it."""

    name: str
    model: Model
    subject_heads: tuple[str, ...]


def negatives(model: Model, subject: Subject, *, seed: int = 0) -> tuple[Negative, ...]:
    """Untrained; the subject's W_O random; its W_Q and W_K random; its attention a fixed offset."""
    return (
        Negative("untrained", untrained_twin(model, seed), subject.heads),
        Negative("lesioned W_O", lesioned(model, subject.heads, which="W_O", seed=seed), subject.heads),
        Negative("lesioned W_QK", lesioned(model, subject.heads, which="W_QK", seed=seed), subject.heads),
        Negative("fixed-offset impostor", fixed_offset_impostor(model, subject.heads, seed=seed), subject.heads),
    )


def fixed_offset_impostor(model: Model, heads: Sequence[str], *, seed: int = 0) -> Model:
    """The model with these heads attending `OFFSET` positions back; their values and outputs stay as trained.

    W_Q and W_K are fitted to read the position from the residual stream of random sequences (ridge regression) and to
    write it as waves, the key's shifted by the offset.
    """
    import torch

    sequences = repeated_random_tokens(model, n=128, rng=np.random.default_rng(seed))
    engine = Engine.of(model)
    weights: dict[tuple[str, Any], Tensor] = {}
    for layer in sorted({parse_head(head)[0] for head in heads}):
        with torch.inference_mode():
            run = engine.run(sequences.tensor(), keep={"resid_pre": [layer]}, stop_at_layer=layer + 1)
            read = _normed(run.resid_pre[layer]).double()
        positions = torch.arange(read.shape[1]).repeat(read.shape[0]).double()
        query, key = (_fit(read.flatten(0, 1), _waves(positions + shift, model.d_head)) for shift in (0, OFFSET))
        for head in heads:
            if parse_head(head)[0] == layer:
                weights[head, "W_Q"], weights[head, "W_K"] = SHARPNESS * model.d_head**0.5 * query.float(), key.float()
                weights[head, "b_Q"] = weights[head, "b_K"] = torch.zeros(model.d_head)
    return with_head_weights(model, weights, label="impostor")


@dataclass(frozen=True)
class ModelWeights:
    """The folded attention weights of a loaded model, for claims that read weights alone."""

    model: Model

    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def fingerprint(self) -> str:
        """The model's."""
        return self.model.fingerprint

    @property
    def n_layers(self) -> int:
        """Blocks."""
        return self.model.n_layers

    @property
    def n_heads(self) -> int:
        """Query heads per layer."""
        return self.model.n_heads

    @property
    def n_kv_heads(self) -> int:
        """Key-value heads per layer."""
        return self.model.n_kv_heads

    @property
    def d_head(self) -> int:
        """Width of a head."""
        return self.model.d_head

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.model.d_model

    def qk(self, layer: int, head: int) -> QueryKey:
        """W_Q and W_K."""
        return QueryKey(w_q=self._weight(layer, head, "W_Q"), w_k=self._weight(layer, head, "W_K"))

    def ov(self, layer: int, head: int) -> OutputValue:
        """W_V and W_O."""
        return OutputValue(w_v=self._weight(layer, head, "W_V"), w_o=self._weight(layer, head, "W_O"))

    def _weight(self, layer: int, head: int, name: Any) -> NDArray[np.float64]:
        return head_weight(self.model, f"{layer}.{head}", name).double().numpy()


def measured_on(bound: BoundClaim, target: Model, *, subject: Subject) -> Record:
    """The claim measured on another model than the registered one, its preconditions recorded and ignored."""
    without = replace(bound, options=replace(bound.options, ignore_preconditions=True))
    place: Model | ModelWeights = ModelWeights(target) if bound.needs_weights_only else target
    return measure(without, loaded=Loaded(), target=place, subject=subject if bound.claim.subject else None)


def _normed(resid: Tensor) -> Tensor:
    """What a folded LayerNorm passes on."""
    centred = resid - resid.mean(dim=-1, keepdim=True)
    return centred / centred.pow(2).mean(dim=-1, keepdim=True).add(1e-5).sqrt()


def _waves(positions: Tensor, size: int) -> Tensor:
    """[sample, size]: cosines and sines of the position at wavelengths from 3 to 60."""
    import torch

    lengths = torch.logspace(np.log10(3), np.log10(60), size // 2, dtype=torch.float64)
    angles = 2 * np.pi * positions[:, None] / lengths
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _fit(read: Tensor, target: Tensor) -> Tensor:
    """Ridge regression without intercept: [d_model, size]."""
    import torch

    gram = read.T @ read + 1e-3 * len(read) * torch.eye(read.shape[1], dtype=torch.float64)
    fitted: Tensor = torch.linalg.solve(gram, read.T @ target)
    return fitted
