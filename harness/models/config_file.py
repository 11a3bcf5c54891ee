"""What a model's own files say of its shape, read without torch: config.json, or a checkpoint's header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import ModelError

_HEADER_LIMIT = 100_000_000
"""Bytes that the safetensors format allows its header; a larger number means that the file is something else."""


class Shape(NamedTuple):
    """Blocks, query heads of a layer, key-value heads of a layer."""

    n_layers: int
    n_heads: int
    n_kv_heads: int


def shape_of(place: Path) -> Shape:
    """The shape of the model in a Hugging Face folder, or in one of our own .safetensors checkpoints.

    Raises:
        ModelError: it is not there, holds no model, or does not say how many layers and heads it has.
    """
    if place.suffix == ".safetensors" and place.is_file():
        config = native_config(place)
        heads = int(config["n_heads"])
        return Shape(int(config["n_layers"]), heads, int(config.get("n_key_value_heads") or heads))
    outer = _folder_config(place)
    inner = outer.get("text_config") or outer
    layers = inner.get("num_hidden_layers", inner.get("n_layer"))
    n_heads = inner.get("num_attention_heads", inner.get("n_head"))
    if not isinstance(layers, int) or not isinstance(n_heads, int):
        raise ModelError(
            f"{place / 'config.json'} does not say how many layers and heads the model has (num_hidden_layers, "
            f"num_attention_heads); it has {', '.join(sorted(inner)[:6])}. Name the folder of a causal language model."
        )
    return Shape(layers, n_heads, int(inner.get("num_key_value_heads") or n_heads))


def native_config(path: Path) -> dict[str, Any]:
    """The configuration in the header of one of our own checkpoints.

    Raises:
        ModelError: the file is missing, damaged, or no checkpoint of ours.
    """
    text = header(path).get("config")
    if text is None:
        raise ModelError(
            f"{path} is a safetensors file without the metadata entry 'config', so it is no checkpoint of mechclaims. "
            "For a Hugging Face model name its folder: path:DIR."
        )
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(config, dict):
        raise _damaged(path)
    return config


def header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without reading a tensor.

    Raises:
        ModelError: there is no such file, it is shorter than it says, or it is no safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(size - 8, _HEADER_LIMIT):
                raise _damaged(path)
            content = json.loads(file.read(length))
        metadata: dict[str, str] = content.pop("__metadata__", {})
        end = max((entry["data_offsets"][1] for entry in content.values()), default=0)
        whole = isinstance(metadata, dict) and 8 + length + end == size
    except FileNotFoundError as error:
        raise ModelError(
            f"there is no file {path}. Checkpoints of shipped models come with the repository; `mechclaims train ID "
            "--out FILE` writes one."
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}). Name a .safetensors file.") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:  # a header of other things
        raise _damaged(path) from error
    if not whole:
        raise _damaged(path)
    return metadata


def _damaged(path: Path) -> ModelError:
    """The error that a file is not what safetensors files are, with what to do."""
    return ModelError(
        f"{path} ({path.stat().st_size:,} bytes) is truncated or no safetensors file. Delete it and bring it again: "
        "restore it from the repository, or `mechclaims train ID` for one that was trained here."
    )


def _folder_config(place: Path) -> dict[str, Any]:
    if not place.is_dir():
        raise ModelError(
            f"{place} is not a folder. path:DIR takes a folder with config.json, weights and tokenizer, as "
            "save_pretrained writes it, or one .safetensors checkpoint written by `mechclaims train`."
        )
    file = place / "config.json"
    if not file.is_file():
        raise ModelError(
            f"{place} holds no model: there is no config.json in it. path:DIR takes the folder that save_pretrained "
            "writes: config.json, the weights and the tokenizer."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON ({error}). Write the model's folder again.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} is not a model's configuration: it holds a {type(config).__name__}, not an object.")
    return config
