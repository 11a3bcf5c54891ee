"""Clock or Pizza: the two numbers by which Zhong et al. 2023 tell apart two ways of adding on circles.

A Clock multiplies: cos(wa) cos(wb) - sin(wa) sin(wb), so that its logits are cos(w (a + b - c)) whatever a - b is. A
Pizza adds embeddings and takes absolute values: its logits are |cos(w (a - b) / 2)| cos(w (a + b - c)). The numbers
read logits and gradients alone; a model in between has numbers in between, and no threshold is set here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import StatisticsError


def distance_irrelevance(correct: ArrayLike) -> float:
    """How little the correct logit [a, b] depends on a - b (Zhong et al. 2023, definition 4.2): 0 Pizza, 1 Clock.

    The standard deviation at one distance, averaged over distances, as a share of that over all pairs.
    """
    table = np.asarray(correct, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not table.std() > 0:
        raise StatisticsError(f"correct logits have shape {table.shape}; they are [a, b] over all pairs, and vary")
    token = np.arange(len(table))
    by_distance = table[token, (token - token[:, None]) % len(table)]
    return float(by_distance.std(axis=1).mean() / table.std())


def gradient_symmetricity(by_first: ArrayLike, by_second: ArrayLike) -> float:
    """Mean cosine of a logit's gradients by the two embeddings [triple, d] (Zhong et al. 2023, definition 4.1).

    1 where the model adds the embeddings (the paper's Pizza: 0.99), smaller where it multiplies them (its Clock: 0.33).
    """
    first, second = (np.asarray(each, dtype=np.float64) for each in (by_first, by_second))
    if first.shape != second.shape or first.ndim != 2:
        raise StatisticsError(f"gradients have shapes {first.shape} and {second.shape}; both are [triple, d]")
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    if not (lengths > 0).all():
        raise StatisticsError("a gradient is zero, and has no direction to compare")
    return float(((first * second).sum(axis=1) / lengths).mean())
