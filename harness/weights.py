"""Attention weights of single heads, straight from a checkpoint: no model is built and no forward pass is run.

Only the slices that are asked for are read, so a checkpoint may be larger than memory, or hold attention tensors only.
Vectors are rows throughout: a head reads q = x W_Q, k = x W_K, v = x W_V from the residual stream x and writes z W_O to
it. Weights come processed as everywhere in this project: the norm's gain is folded into what reads, and for LayerNorm,
which removes the mean of whatever is read, the mean over d_model is removed from what reads and from what is written;
an RMSNorm keeps the mean, and nothing is removed. Biases play no part in what composes and are not read.

What this does not do: say what a head computes on any input. Rotary positions act between W_Q and W_K by an angle that
depends on the offset; these are the weights at offset 0, and `notes` says so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.checkpoint_layout import Layout, Part, find_layout
from harness.errors import ModelError, ModelNotHere
from harness.models.identity import require_identity
from harness.models.registry import availability, find
from harness.tensor_file import open_tensors


class QueryKey(NamedTuple):
    """What one head compares: both [d_model d_head], float64."""

    w_q: NDArray[np.float64]
    w_k: NDArray[np.float64]


class OutputValue(NamedTuple):
    """What one head moves: w_v is [d_model d_head], w_o is [d_head d_model], float64."""

    w_v: NDArray[np.float64]
    w_o: NDArray[np.float64]


class AttentionWeights(Protocol):
    """Processed attention weights, one head at a time, from wherever they come."""

    @property
    def n_layers(self) -> int:
        """How many layers have attention."""
        ...

    @property
    def n_heads(self) -> int:
        """Query heads per layer."""
        ...

    @property
    def n_kv_heads(self) -> int:
        """Key-value heads per layer: `n_heads`, or fewer where queries are grouped."""
        ...

    @property
    def d_head(self) -> int:
        """Width of one head."""
        ...

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of any number from these weights must know."""
        ...

    def qk(self, layer: int, head: int) -> QueryKey:
        """W_Q of this head and W_K of its key-value head."""
        ...

    def ov(self, layer: int, head: int) -> OutputValue:
        """W_V of this head's key-value head and W_O of this head."""
        ...


@dataclass(frozen=True)
class CheckpointWeights:
    """Attention weights that lie in a checkpoint and are read head by head. Made by `read_attention`."""

    layout: Layout

    @property
    def n_layers(self) -> int:
        """How many layers have attention."""
        return self.layout.n_layers

    @property
    def n_heads(self) -> int:
        """Query heads per layer."""
        return self.layout.n_heads

    @property
    def n_kv_heads(self) -> int:
        """Key-value heads per layer: `n_heads`, or fewer where queries are grouped."""
        return self.layout.n_kv_heads

    @property
    def d_head(self) -> int:
        """Width of one head."""
        return self.layout.d_head

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.layout.d_model

    @property
    def notes(self) -> tuple[str, ...]:
        """How the weights were processed, and what they leave out."""
        layout = self.layout
        folded = f"{layout.norm} folded" if layout.has_gain else "no gain to fold"
        centred = "residual stream centred" if self._centred else "residual stream not centred"
        notes = [f"{layout.name} layout; {folded}; {centred}; biases left out"]
        if layout.rotary:
            notes.append("rotary positions: W_QK is taken at relative offset 0")
        if layout.n_kv_heads < layout.n_heads:
            shared = layout.n_heads // layout.n_kv_heads
            notes.append(f"grouped queries: {shared} neighbouring heads share W_K and W_V and are not independent")
        return tuple(notes)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the stored attention and norm tensors and their processing: it identifies no more than these.

        It reads every attention tensor once, also those that a single score does not need.
        """
        content = (*self.notes, str(self.n_heads), self.layout.tensors.sha256(self.layout.tensor_names))
        return hashlib.sha256("\x1f".join(content).encode()).hexdigest()

    def qk(self, layer: int, head: int) -> QueryKey:
        """W_Q of this head and W_K of its key-value head.

        Raises:
            ModelError: the model has no such head, or its tensors are missing, misshapen or not finite.
        """
        self._require_head(layer, head)
        return QueryKey(w_q=self._reading("q", layer, head), w_k=self._reading("k", layer, head))

    def ov(self, layer: int, head: int) -> OutputValue:
        """W_V of this head's key-value head and W_O of this head.

        Raises:
            ModelError: the model has no such head, or its tensors are missing, misshapen or not finite.
        """
        self._require_head(layer, head)
        w_o = self.layout.head("o", layer=layer, head=head)
        if self._centred:
            w_o = w_o - w_o.mean(axis=1, keepdims=True)
        return OutputValue(w_v=self._reading("v", layer, head), w_o=w_o)

    @property
    def _centred(self) -> bool:
        return self.layout.norm == "LayerNorm"

    def _require_head(self, layer: int, head: int) -> None:
        if not (0 <= layer < self.n_layers and 0 <= head < self.n_heads):
            raise ModelError(
                f"head '{layer}.{head}' is not in {self.layout.tensors.path} ({self.n_layers} layers of {self.n_heads} "
                "heads, both counted from 0)"
            )

    def _reading(self, part: Part, layer: int, head: int) -> NDArray[np.float64]:
        weights = self.layout.head(part, layer=layer, head=head)
        gain = self.layout.gain(layer)
        if gain is not None:
            weights = gain[:, None] * weights
        # LayerNorm's input has mean zero, so a constant column reads nothing: the mean is taken out of the weights too.
        return weights - weights.mean(axis=0) if self._centred else weights


def read_attention(path: Path, *, n_heads: int | None = None) -> CheckpointWeights:
    """The attention weights of a checkpoint: a `.safetensors`, the index of a sharded one, or a folder with either.

    Args:
        path: GPT-2, Llama-like, or a native checkpoint of this project.
        n_heads: heads per layer, for a file that has no `config.json` beside it; a file cannot tell by itself.

    Raises:
        ModelError: no such file, truncated, of no known layout, or shapes and head counts disagree.
    """
    return CheckpointWeights(find_layout(open_tensors(path), n_heads=n_heads))


def open_weights(model_id: str, *, file: Path | None = None) -> CheckpointWeights:
    """The attention weights of a model of the registry, from `file` or from where the registry finds them.

    Raises:
        ModelNotHere: no file is given and the model's safetensors are not on this machine.
        ModelError: the file cannot be used, or is another model's.
    """
    spec = find(model_id)
    path = file or availability(spec).where
    if path is None or path.suffix == ".gguf":
        raise ModelNotHere(
            f"the weights of {model_id} are not here as safetensors, and claims about weights alone read no other.",
            remedy=f"--weights {model_id}=FILE, where attention tensors are enough; or {spec.remedy}",
        )
    if file is None:
        require_identity(spec, path)
    weights = read_attention(path, n_heads=spec.n_heads)
    found, expected = (weights.n_layers, weights.n_kv_heads), (spec.n_layers, spec.n_kv_heads)
    if found != expected:
        raise ModelError(
            f"{path} has {found[0]} layers and {found[1]} key-value heads, but {model_id} has {expected[0]} and "
            f"{expected[1]}; it is another model's file"
        )
    return weights
