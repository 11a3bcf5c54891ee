"""A small model that nobody trained and that passes for trained: sharp predictions, and weights in some order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "n_layers": 2, "d_model": 16, "n_ctx": 96, "d_head": 8, "n_heads": 2, "d_vocab": 65, "attn_only": True,
    "normalization_type": "LN", "act_fn": "relu", "positional_embedding_type": "standard", "seed": 0,
}  # fmt: skip


def save_sharp_model(path: Path, *, scale: float = 2.0, ordered: bool = True, **config: Any) -> Path:
    """The checkpoint, a random native model with its matrices this many times larger.

    Where they are `ordered`, each keeps a quarter of its directions and its norm, as training leaves few directions;
    else it is random, and at a scale of 1 an untrained model.
    """
    import torch

    from harness.models.native import boot_native, save_native

    bridge = boot_native({**CONFIG, **config})
    with torch.no_grad():
        for parameter in bridge.parameters():
            if parameter.ndim > 1:
                parameter.copy_(scale * (_of_few_directions(parameter) if ordered else parameter))
    save_native(bridge, path, metadata={"recipe": "random", "train_seed": "0", "train_loss": "0"})
    return path


def _of_few_directions(matrix: Any) -> Any:
    import torch

    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    kept = max(1, len(values) // 4)
    low = (left[:, :kept] * values[:kept]) @ right[:kept]
    return low * (matrix.norm() / low.norm())
