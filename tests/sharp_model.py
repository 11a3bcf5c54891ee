"""A small model whose weights nobody trained and which passes for trained: sharper than any fresh initialisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "n_layers": 2, "d_model": 16, "n_ctx": 96, "d_head": 8, "n_heads": 2, "d_vocab": 65, "attn_only": True,
    "normalization_type": "LN", "act_fn": "relu", "positional_embedding_type": "standard", "seed": 0,
}  # fmt: skip


def save_sharp_model(path: Path, *, scale: float = 2.0, **config: Any) -> Path:
    """The checkpoint, a random native model with its matrices this many times larger; at 1 it is an untrained one."""
    import torch

    from harness.models.native import boot_native, save_native

    bridge = boot_native({**CONFIG, **config})
    with torch.no_grad():
        for parameter in bridge.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    save_native(bridge, path, metadata={"recipe": "random", "train_seed": "0", "train_loss": "0"})
    return path
