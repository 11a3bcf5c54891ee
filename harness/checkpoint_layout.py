"""Where a checkpoint keeps each head's W_Q, W_K, W_V and W_O, found from the names of its tensors.

Three layouts: GPT-2 (query, key and value side by side in one [d_model, 3 d_model] matrix), Llama and its like
([out, in] matrices, grouped queries, RMSNorm), and the native models of TransformerLens as this project ships them
(their configuration in the file's metadata). Weights are handed out as stored; `weights.py` folds and centres them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ModelError
from harness.tensor_file import TensorFile

Part = Literal["q", "k", "v", "o"]
Norm = Literal["LayerNorm", "RMSNorm", "none"]

_SUPPORTED = {
    "GPT-2": re.compile(r"(?P<prefix>(?:transformer\.)?)h\.(?P<layer>\d+)\.attn\.c_attn\.weight"),
    "Llama": re.compile(r"(?P<prefix>(?:model\.)?)layers\.(?P<layer>\d+)\.self_attn\.q_proj\.weight"),
    "native": re.compile(r"(?P<prefix>)blocks\.(?P<layer>\d+)\.attn\.q\.weight"),
}
# Tensor names after the prefix; `norm` is the gain of the norm before attention.
_TEMPLATES: dict[str, dict[str, str]] = {
    "GPT-2": {
        **dict.fromkeys("qkv", "h.{layer}.attn.c_attn.weight"),
        "o": "h.{layer}.attn.c_proj.weight",
        "norm": "h.{layer}.ln_1.weight",
    },
    "Llama": {
        **{part: f"layers.{{layer}}.self_attn.{part}_proj.weight" for part in "qkvo"},
        "norm": "layers.{layer}.input_layernorm.weight",
    },
    "native": {
        **{part: f"blocks.{{layer}}.attn.{part}.weight" for part in "qkvo"},
        "norm": "blocks.{layer}.ln1.weight",
    },
}
# Models that share these names but not the arithmetic would get wrong numbers, not an error: Gemma adds 1 to its gain,
# Cohere and StableLM use LayerNorm, Qwen 3 and OLMo 2 normalise queries and keys.
_MODEL_TYPES = {"GPT-2": ("gpt2",), "Llama": ("llama", "mistral", "mixtral", "qwen2")}
_NOT_LLAMA = (
    "self_attn.q_norm.weight",
    "input_layernorm.bias",
    "pre_feedforward_layernorm.weight",
    "post_feedforward_layernorm.weight",
)
_NATIVE_NORMS: dict[str | None, tuple[Norm, bool]] = {
    None: ("none", False),
    "LN": ("LayerNorm", True),
    "LNPRE": ("LayerNorm", False),
    "RMS": ("RMSNorm", True),
    "RMSPRE": ("RMSNorm", False),
}


class _Place(NamedTuple):
    """Where one head's matrix lies in one tensor of this whole shape; `transposed` where it is stored [out, in]."""

    shape: tuple[int, int]
    rows: slice
    columns: slice
    transposed: bool


@dataclass(frozen=True)
class Layout:
    """One checkpoint's geometry, and how to read single heads from it. Made by `find_layout`.

    Attributes:
        name: `GPT-2`, `Llama` or `native`.
        norm: the norm before attention, which decides whether the residual stream is centred.
        has_gain: whether that norm has a gain to fold.
        rotary: whether positions are rotations between W_Q and W_K.
    """

    name: str
    tensors: TensorFile
    templates: Mapping[str, str]
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    norm: Norm
    has_gain: bool
    rotary: bool

    def head(self, part: Part, *, layer: int, head: int) -> NDArray[np.float64]:
        """One head's matrix as stored: [d_model d_head] for q, k, v (k, v: the group's) and [d_head d_model] for o."""
        place = self._fused_place(part, head) if self.name == "GPT-2" else self._split_place(part, head)
        name = self.templates[part].format(layer=layer)
        self._require_shape(name, place.shape)
        values = self.tensors.read(name, rows=place.rows, columns=place.columns)
        return values.T if place.transposed else values

    def gain(self, layer: int) -> NDArray[np.float64] | None:
        """The gain of the norm before attention, [d_model]; None where that norm has none."""
        if not self.has_gain:
            return None
        name = self.templates["norm"].format(layer=layer)
        self._require_shape(name, (self.d_model,))
        return self.tensors.read(name)

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """Every tensor that is read from, over all layers, sorted."""
        templates = {part: name for part, name in self.templates.items() if part != "norm" or self.has_gain}
        return tuple(sorted({name.format(layer=n) for name in templates.values() for n in range(self.n_layers)}))

    def _fused_place(self, part: Part, head: int) -> _Place:
        whole = slice(None)
        if part == "o":
            return _Place((self.d_model, self.d_model), self._span(head), whole, transposed=False)
        columns = self._span(head, start="qkv".index(part) * self.d_model)
        return _Place((self.d_model, 3 * self.d_model), whole, columns, transposed=False)

    def _split_place(self, part: Part, head: int) -> _Place:
        whole = slice(None)
        if part == "o":
            return _Place((self.d_model, self.n_heads * self.d_head), whole, self._span(head), transposed=True)
        heads, index = (self.n_heads, head) if part == "q" else (self.n_kv_heads, self._group(head))
        return _Place((heads * self.d_head, self.d_model), self._span(index), whole, transposed=True)

    def _span(self, head: int, *, start: int = 0) -> slice:
        return slice(start + head * self.d_head, start + (head + 1) * self.d_head)

    def _group(self, head: int) -> int:
        # Neighbouring query heads share a key-value head (repeat_interleave in the models' own code).
        return head // (self.n_heads // self.n_kv_heads)

    def _require_shape(self, name: str, expected: tuple[int, ...]) -> None:
        shape = self.tensors.shape(name)
        if shape != expected:
            raise ModelError(
                f"tensor {name!r} in {self.tensors.path} has shape {shape}, expected {expected} for {self.n_heads} "
                f"heads ({self.n_kv_heads} for keys and values) of {self.d_head} in a residual stream of {self.d_model}"
            )


def find_layout(tensors: TensorFile, *, n_heads: int | None = None) -> Layout:
    """The layout of a checkpoint; `n_heads` is needed where no configuration tells how a matrix splits into heads.

    Raises:
        ModelError: the layout is unknown or not one of ours, layers are missing, or shapes and head counts disagree.
    """
    name, prefix, n_layers = _recognise(tensors)
    templates = {part: prefix + template for part, template in _TEMPLATES[name].items()}
    config = _native_config(tensors) if name == "native" else _config_beside(tensors, layout=name)
    if name == "Llama":
        _refuse_relatives(tensors, prefix)
    heads = _agreed_heads(config, n_heads, tensors=tensors)
    sizes = _fused_sizes(tensors, templates, heads) if name == "GPT-2" else _split_sizes(tensors, templates, heads)
    _require_config(config, sizes, tensors=tensors)
    norm, has_gain = _norm(name, config, tensors=tensors)
    rotary = name == "Llama" or config.get("positional_embedding_type") == "rotary"
    return Layout(
        name, tensors, templates, n_layers, heads, **sizes._asdict(), norm=norm, has_gain=has_gain, rotary=rotary
    )


class _Sizes(NamedTuple):
    n_kv_heads: int
    d_head: int
    d_model: int


def _recognise(tensors: TensorFile) -> tuple[str, str, int]:
    for layout, pattern in _SUPPORTED.items():
        matches = [match for match in map(pattern.fullmatch, tensors.names) if match]
        if not matches:
            continue
        layers = {int(match["layer"]) for match in matches}
        gap = next((layer for layer in range(len(layers)) if layer not in layers), None)
        if gap is not None:
            raise ModelError(f"{tensors.path} has attention up to layer {max(layers)}, but none of layer {gap}")
        return layout, matches[0]["prefix"], len(layers)
    some = ", ".join(sorted(tensors.names)[:5]) or "no tensors at all"
    raise ModelError(
        f"{tensors.path} has no attention in a layout known here; it holds {some}. Known: "
        + "; ".join(f"{layout} ({_TEMPLATES[layout]['q'].format(layer='N')})" for layout in _SUPPORTED)
    )


def _native_config(tensors: TensorFile) -> dict[str, Any]:
    if "config" not in tensors.metadata:
        raise ModelError(f"{tensors.path} is a native checkpoint without 'config' in its metadata; save it again")
    return _parse(tensors.metadata["config"], where=f"'config' in the metadata of {tensors.path}")


def _config_beside(tensors: TensorFile, *, layout: str) -> dict[str, Any]:
    path = tensors.path.parent / "config.json"
    if not path.is_file():
        return {}
    config = _parse(path.read_bytes(), where=str(path))
    known = _MODEL_TYPES[layout]
    if config.get("model_type", known[0]) not in known:
        raise ModelError(
            f"{path} says model_type {config['model_type']!r}: its tensors are named as {layout}'s, but only "
            f"{', '.join(known)} are known to compute as {layout} does"
        )
    return config


def _parse(text: str | bytes, *, where: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{where} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{where} holds {type(config).__name__}, expected a JSON object")
    return config


def _refuse_relatives(tensors: TensorFile, prefix: str) -> None:
    for foreign in _NOT_LLAMA:
        if (name := f"{prefix}layers.0.{foreign}") in tensors.files:
            raise ModelError(f"{tensors.path} has {name!r}, which Llama has not; this kind of model is not supported")


def _agreed_heads(config: Mapping[str, Any], n_heads: int | None, *, tensors: TensorFile) -> int:
    told = [config[key] for key in ("n_head", "n_heads", "num_attention_heads") if config.get(key) is not None]
    told += [] if n_heads is None else [n_heads]
    if not told:
        raise ModelError(
            f"{tensors.path} does not say how many heads a layer has; put the model's config.json beside it, or pass "
            "n_heads="
        )
    if any(type(count) is not int or count < 1 for count in told) or len(set(told)) > 1:
        raise ModelError(f"{tensors.path}: the number of heads is given as {' and as '.join(map(repr, told))}")
    return int(told[0])


def _fused_sizes(tensors: TensorFile, templates: Mapping[str, str], n_heads: int) -> _Sizes:
    d_model = _matrix(tensors, templates["q"].format(layer=0))[0]
    _require_divisible(d_model, n_heads, what="d_model", tensors=tensors)
    return _Sizes(n_kv_heads=n_heads, d_head=d_model // n_heads, d_model=d_model)


def _split_sizes(tensors: TensorFile, templates: Mapping[str, str], n_heads: int) -> _Sizes:
    query_rows, d_model = _matrix(tensors, templates["q"].format(layer=0))
    _require_divisible(query_rows, n_heads, what="the query matrix's rows", tensors=tensors)
    d_head = query_rows // n_heads
    key_rows = _matrix(tensors, templates["k"].format(layer=0))[0]
    _require_divisible(key_rows, d_head, what="the key matrix's rows", tensors=tensors, by="d_head")
    _require_divisible(n_heads, key_rows // d_head, what="n_heads", tensors=tensors, by="n_kv_heads")
    return _Sizes(n_kv_heads=key_rows // d_head, d_head=d_head, d_model=d_model)


def _matrix(tensors: TensorFile, name: str) -> tuple[int, int]:
    shape = tensors.shape(name)
    if len(shape) != 2 or 0 in shape:
        raise ModelError(f"tensor {name!r} in {tensors.path} has shape {shape}, expected a matrix")
    return shape[0], shape[1]


def _require_divisible(size: int, parts: int, *, what: str, tensors: TensorFile, by: str = "n_heads") -> None:
    if parts < 1 or size % parts:
        raise ModelError(f"{tensors.path}: {what} = {size} is not a multiple of {by} = {parts}")


def _require_config(config: Mapping[str, Any], sizes: _Sizes, *, tensors: TensorFile) -> None:
    named = {
        "n_kv_heads": ("num_key_value_heads", "n_key_value_heads"),
        "d_head": ("head_dim", "d_head"),
        "d_model": ("n_embd", "hidden_size", "d_model"),
    }
    for size, keys in named.items():
        for key in keys:
            if config.get(key) is not None and config[key] != getattr(sizes, size):
                raise ModelError(
                    f"{tensors.path}: its configuration says {key} = {config[key]!r}, its tensors {size} = "
                    f"{getattr(sizes, size)}; the two belong to different models"
                )


def _norm(layout: str, config: Mapping[str, Any], *, tensors: TensorFile) -> tuple[Norm, bool]:
    if layout != "native":
        return ("LayerNorm", True) if layout == "GPT-2" else ("RMSNorm", True)
    kind = config.get("normalization_type")
    key = kind.upper() if isinstance(kind, str) else kind
    if key not in _NATIVE_NORMS:
        raise ModelError(f"{tensors.path}: normalization_type {kind!r} is not one of None, LN, LNPre, RMS, RMSPre")
    return _NATIVE_NORMS[key]
