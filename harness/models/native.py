"""Our own small models as safetensors files: weights, with configuration, recipe and their hash in the header."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.models.config_file import header, native_config
from harness.models.fingerprint import tensors_sha256

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

CONFIG_KEYS = (
    "n_layers", "d_model", "n_ctx", "d_head", "n_heads", "n_key_value_heads", "d_vocab", "d_mlp", "act_fn", "attn_only",
    "normalization_type", "positional_embedding_type", "gated_mlp", "eps", "init_mode", "initializer_range", "seed",
)  # fmt: skip
"""What of TransformerLens' configuration is written: the architecture, and how it was initialised."""

_RESTORE = "Restore the file from the repository, or train it again with `mechclaims train`."
_WRAPPED = "._original_component"


@dataclass(frozen=True)
class NativeCheckpoint:
    """A checkpoint that was read and verified: raw tensors under the bridge's names, and what its header says."""

    path: Path
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    metadata: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """sha256 of the tensors in canonical order."""
        return self.metadata["sha256"]


def save_native(bridge: TransformerBridge, path: Path, *, metadata: Mapping[str, str]) -> str:
    """sha256 of the tensors written to `path`, which appears whole or not at all.

    Args:
        bridge: a native bridge, before compatibility mode: folded weights cannot be loaded back.
        path: the file; its folder is made.
        metadata: more header entries, e.g. `recipe`, `train_seed`, `train_loss`.

    Raises:
        ModelError: the bridge is already folded, a reserved metadata key is given, or nothing can be written there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if getattr(bridge, "_weights_processed", False):
        raise ModelError(f"the model for {path} is already folded; save it before enable_compatibility_mode().")
    reserved = {"config", "sha256"} & set(metadata)
    if reserved:
        raise ModelError(f"metadata key {min(reserved)!r} for {path} is written by save_native itself; leave it out.")
    untyped: Any = bridge
    state: Mapping[str, Tensor] = untyped.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    sha = tensors_sha256(tensors)
    config = json.dumps(_plain_config(bridge.cfg), sort_keys=True)
    try:
        with _replaced_whole(path) as partial:
            save_file(tensors, partial, metadata={**metadata, "config": config, "sha256": sha})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: the checkpoint cannot be written ({error}); name another file.") from error
    return sha


def read_native(path: Path) -> NativeCheckpoint:
    """The checkpoint, its tensors verified against the hash in its header.

    Raises:
        ModelError: the file is missing, damaged, no checkpoint of ours, or holds other tensors than it says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config, metadata = native_config(path), header(path)
    if "sha256" not in metadata:
        raise ModelError(f"{path} does not say the sha256 of its weights, so they cannot be verified. {_RESTORE}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path}: its header does not describe its tensors ({error}). {_RESTORE}") from error
    found, expected = tensors_sha256(tensors), metadata["sha256"]
    if found != expected:
        raise ModelError(
            f"{path} holds other weights than its header says: sha256 {found[:12]}..., expected "
            f"{expected[:12]}... {_RESTORE}"
        )
    return NativeCheckpoint(path=path, tensors=tensors, config=config, metadata=metadata)


def boot_native(
    config: Mapping[str, Any], *, tensors: Mapping[str, Tensor] | None = None, where: str = "the checkpoint"
) -> TransformerBridge:
    """A native bridge in eval mode, raw (before compatibility mode), with these weights or freshly initialised ones.

    Args:
        config: the architecture.
        tensors: the weights, by the bridge's names.
        where: the file that they come from, for the error.

    Raises:
        ModelError: the configuration makes no model, or a tensor is missing, unknown or of another shape.
    """
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources.native import boot

    try:
        # a seed forks the generator, so that booting never moves the global one
        seeded = {**config, "seed": config.get("seed") or 0}
        bridge: Any = boot(TransformerBridgeConfig.from_dict(seeded))
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"configuration {dict(config)} makes no native model: {error}") from error
    if tensors is not None:
        _require_shapes(tensors, bridge.state_dict(), where=where)
        bridge.load_state_dict(dict(tensors), strict=True)
    bridge.eval()  # boot returns it in training mode
    booted: TransformerBridge = bridge
    return booted


def load_native(path: Path) -> TransformerBridge:
    """The verified checkpoint as a bridge in eval mode and compatibility mode; errors as `read_native`."""
    checkpoint = read_native(path)
    bridge = boot_native(checkpoint.config, tensors=checkpoint.tensors, where=str(path))
    bridge.enable_compatibility_mode()
    return bridge


def weights_by_name(bridge: TransformerBridge) -> dict[str, Tensor]:
    """The bridge's own parameters, before folding, under the native model's names: `layers.0.attn.q.weight`."""
    untyped: Any = bridge
    named = untyped.original_model.named_parameters()
    return {name.replace(_WRAPPED, ""): parameter for name, parameter in named}


@contextmanager
def _replaced_whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to be written, which takes its place at the end or leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)  # mkstemp makes it private
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _require_shapes(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, where: str) -> None:
    """Raise ModelError that names what does not fit: the first three tensors, with both shapes."""
    problems = [f"{name!r} is missing" for name in expected if name not in tensors]
    problems += [f"{name!r} is not of this architecture" for name in tensors if name not in expected]
    problems += [
        f"{name!r} has shape {list(tensors[name].shape)} instead of {list(each.shape)}"
        for name, each in expected.items()
        if name in tensors and tensors[name].shape != each.shape
    ]
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(
            f"{where} does not hold the weights that its configuration describes: {'; '.join(problems[:3])}{more}. "
            f"{_RESTORE}"
        )


def _plain_config(cfg: Any) -> dict[str, Any]:
    config = {key: getattr(cfg, key, None) for key in CONFIG_KEYS}
    if isinstance(config["initializer_range"], float):  # numpy's float64 is one, and is no JSON
        config["initializer_range"] = float(config["initializer_range"])
    return {key: value for key, value in config.items() if value is not None or key == "normalization_type"}
