"""Models that lack the mechanism, on which no claim may be supported: untrained, lesioned, impostor.

The impostor keeps the trained model and gives the subject's heads a pattern that a careless metric takes for
induction: they attend a fixed number of positions back, whatever stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fixtures.prompts.repeated import repeated_random_tokens
from harness.interventions import Engine
from harness.models.model import Model, lesioned, untrained_twin, with_head_weights
from harness.negatives import Negative
from harness.subjects import Subject, parse_head

if TYPE_CHECKING:
    from torch import Tensor

OFFSET = 24
"""A fixed offset that a repeated block of 25 tokens would turn into a perfect prefix-matching score."""
SHARPNESS = 10.0
"""Scale of the impostor's attention scores: at 10 the offset gets 0.47 of the attention (tested); more adds little."""


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
