"""Copies of a model in which some heads' weights are replaced; the original is never touched.

A copy shares every tensor that it does not change, so that one of SmolLM2 costs some megabytes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.errors import ModelError
from harness.models.fingerprint import tensors_sha256, text_sha256
from harness.models.loaded import Model
from harness.seeding import derive_seed

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

HeadWeight = Literal["W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"]
"""One head's slice of the folded weights: W_Q, W_K, W_V [d_model d_head], W_O [d_head d_model], b_* [d_head]."""
Lesion = Literal["W_O", "W_QK"]

_LINEAR = {"W_Q": "q", "W_K": "k", "W_V": "v", "W_O": "o", "b_Q": "q", "b_K": "k", "b_V": "v"}


def with_head_weights(model: Model, weights: Mapping[tuple[str, HeadWeight], Tensor], *, label: str) -> Model:
    """A copy of the model with these slices of its folded weights replaced.

    With grouped queries the W_K, W_V, b_K, b_V of a head are its key-value head's: all sharers change.

    Args:
        model: stays bit-identical.
        weights: new values by (head, weight), e.g. `("1.5", "W_O")`.
        label: follows `~` in the copy's id.

    Raises:
        ModelError: no such head or weight, a wrong shape, or a value that is not finite.
    """
    named = {f"{head}.{weight}": tensor for (head, weight), tensor in weights.items()}
    return _changed(model, weights, label=label, identity=tensors_sha256(named))


def lesioned(model: Model, heads: Sequence[str], *, which: Lesion, seed: int) -> Model:
    """A copy in which only these heads' W_O, or W_Q and W_K, are Gaussian matrices of equal Frobenius norm.

    With grouped queries a key-value head's W_K is replaced only where all query heads that share it are in `heads`;
    otherwise the lesion is of W_Q alone, because the other sharers must stay as they are. Biases stay.

    Raises:
        ModelError: no heads, a repeated one, or one that the model does not have.
    """
    if not heads or len(set(heads)) != len(heads):
        raise ModelError(f"heads to lesion are {list(heads)}; give at least one, each once.")
    weights = {
        (head, weight): _random_like(model, head, weight, seed=seed)
        for head in heads
        for weight in _lesioned_weights(model, head, heads, which)
    }
    label = f"lesion-{which}-{'-'.join(heads)}@{seed}"
    # the same on every processor: norms may round differently, the recipe of the lesion does not
    return _changed(model, weights, label=label, identity=label)


def head_weight(model: Model, head: str, weight: HeadWeight) -> Tensor:
    """A copy of one head's slice of the folded weights, shaped as `HeadWeight` says."""
    return _slice_of(model.bridge, _Place.of(model, head, weight)).detach().clone()


@dataclass(frozen=True)
class _Place:
    """Where a head's slice lies: the layer, the linear map, its rows along the head axis, matrix or bias."""

    layer: int
    linear: str
    start: int
    stop: int
    bias: bool

    @classmethod
    def of(cls, model: Model, head: str, weight: HeadWeight) -> _Place:
        if weight not in _LINEAR:
            raise ModelError(f"weight {weight!r} of head {head!r} is not one of {', '.join(_LINEAR)}.")
        layer, number = model.layer_and_head(head)
        if _LINEAR[weight] in "kv":
            number = number * model.n_kv_heads // model.n_heads
        start = number * model.d_head
        return cls(layer, _LINEAR[weight], start, start + model.d_head, bias=weight.startswith("b_"))


def _changed(model: Model, weights: Mapping[tuple[str, HeadWeight], Tensor], *, label: str, identity: str) -> Model:
    import torch

    places = {key: _Place.of(model, *key) for key in weights}
    bridge = _copy_sharing_weights(model)
    with torch.no_grad():
        owners = {(place.layer, place.linear, place.bias): _owner(bridge, place) for place in places.values()}
        for module, name in owners.values():
            setattr(module, name, torch.nn.Parameter(getattr(module, name).detach().clone()))
        for key, place in places.items():
            _write(_slice_of(bridge, place), weights[key], what=f"{key[1]} of head {key[0]!r} in {model.id!r}")
    _check_in_use(bridge, places, weights)
    model_id = f"{model.id}~{label}"
    return replace(
        model, id=model_id, bridge=bridge, fingerprint=text_sha256(f"{model.fingerprint}\x1f{label}\x1f{identity}"),
        float32_fingerprint=None,
        spec=replace(model.spec, id=model_id, note=f"{model.note}; changed copy: {label}"),
    )  # fmt: skip


def _copy_sharing_weights(model: Model) -> TransformerBridge:
    """A deep copy whose parameters, buffers and tokenizers are the original's own objects."""
    kept = [*model.bridge.parameters(), *model.bridge.buffers(), model.bridge.tokenizer]
    return copy.deepcopy(model.bridge, {id(each): each for each in kept})


def _owner(bridge: TransformerBridge, place: _Place) -> tuple[Any, str]:
    """The torch module that holds the parameter, and the parameter's name in it."""
    module = getattr(bridge.blocks[place.layer].attn, place.linear).original_component
    name = "bias" if place.bias else "weight"
    if getattr(module, name, None) is None:
        raise ModelError(f"layer {place.layer} has no {name} in its {place.linear} projection: nothing to replace.")
    return module, name


def _slice_of(bridge: TransformerBridge, place: _Place) -> Tensor:
    """A view of the slice, [d_model d_head] for q, k, v and [d_head d_model] for o."""
    module, name = _owner(bridge, place)
    parameter: Tensor = getattr(module, name)
    if place.bias:
        return parameter[place.start : place.stop]
    transposed = type(module).__name__ == "Conv1D"  # GPT-2's stores [in out], nn.Linear [out in]
    matrix = parameter if transposed else parameter.T  # [in out]
    return matrix[place.start : place.stop] if place.linear == "o" else matrix[:, place.start : place.stop]


def _write(target: Tensor, value: Tensor, *, what: str) -> None:
    if tuple(value.shape) != tuple(target.shape) or not bool(value.isfinite().all()):
        raise ModelError(f"{what} must have shape {list(target.shape)} and be finite; it has {list(value.shape)}.")
    target.copy_(value.to(target))


def _check_in_use(bridge: TransformerBridge, places: Mapping[Any, _Place], weights: Mapping[Any, Tensor]) -> None:
    """The bridge itself must report the new matrices: else an architecture keeps its weights somewhere else."""
    for (head, weight), place in places.items():
        if place.bias:
            continue
        reported = getattr(bridge.blocks[place.layer].attn, weight)[place.start // (place.stop - place.start)]
        if not bool((reported == weights[head, weight].to(reported)).all()):
            raise ModelError(f"replacing {weight} of head {head!r} does not reach the bridge of this architecture.")


def _lesioned_weights(model: Model, head: str, heads: Sequence[str], which: Lesion) -> tuple[HeadWeight, ...]:
    if which == "W_O":
        return ("W_O",)
    if which != "W_QK":
        raise ModelError(f"lesion {which!r} is not one of 'W_O', 'W_QK'.")
    sharers = model.sharers(head)
    whole_group = set(sharers) <= set(heads) and head == sharers[0]  # the shared matrix once, under its first head
    return ("W_Q", "W_K") if whole_group else ("W_Q",)


def _random_like(model: Model, head: str, weight: HeadWeight, *, seed: int) -> Tensor:
    import torch

    old = head_weight(model, head, weight).double()
    noise = np.random.default_rng(derive_seed("lesion", seed, head, weight)).standard_normal(tuple(old.shape))
    matrix: Tensor = torch.from_numpy(noise).to(old)
    scale: Tensor = old.norm() / matrix.norm()
    return matrix * scale
