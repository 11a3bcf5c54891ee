"""Folders in Hugging Face format: a hub model at its pinned revision, downloaded only where the user asks for it."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import ModelError, ModelNotHere
from harness.models import registry
from harness.models.fingerprint import file_sha256
from harness.models.registry import ModelSpec

_PATTERNS = ["*.json", "merges.txt", "model*.safetensors", "tokenizer.model"]
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def hub_folder(spec: ModelSpec, *, allow_download: bool = False) -> Path:
    """The verified folder of a hub model.

    Args:
        spec: the model, with repository, revision and the hash of its weights.
        allow_download: fetch it if it is not here; the variable MECHCLAIMS_DOWNLOAD=1 means the same. HF_HUB_OFFLINE
            forbids it all the same.

    Raises:
        ModelNotHere: it is not here and may not, or could not, be downloaded.
        ModelError: its weights are not the pinned ones.
    """
    folder = registry.find_snapshot(spec)
    if folder is None:
        folder = _download(spec, allowed=allow_download or os.environ.get("MECHCLAIMS_DOWNLOAD", "") in {"1", "true"})
    _check_weights(folder, spec)
    return folder


def check_folder(folder: Path) -> Path:
    """The folder, which has a configuration, weights and a tokenizer.

    Raises:
        ModelError: one of them is missing.
    """
    if not registry.weight_files(folder):
        raise ModelError(
            f"{folder} holds a config.json but no weights (*.safetensors or pytorch_model*.bin). Copy them into it, as "
            "save_pretrained writes them."
        )
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"{folder} holds no tokenizer (tokenizer.json or tokenizer.model). Save it into the same folder: "
            "AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)."
        )
    return folder


def _download(spec: ModelSpec, *, allowed: bool) -> Path:
    here = f"the weights of {spec.id} ({spec.size_bytes / 1e6:.0f} MB) are not here"
    if not allowed:
        message = f"{here}, and nothing is downloaded unless you ask (MECHCLAIMS_DOWNLOAD=1)."
        raise ModelNotHere(message, remedy=spec.remedy)
    from huggingface_hub import constants, snapshot_download

    if constants.is_offline_mode():
        raise ModelNotHere(f"{here}, and HF_HUB_OFFLINE forbids downloads; unset it first.", remedy=spec.remedy)
    try:
        return Path(snapshot_download(str(spec.repo), revision=spec.revision, allow_patterns=_PATTERNS))
    except Exception as error:  # the hub's client raises OSErrors, its own errors and those of two HTTP libraries
        raise ModelNotHere(
            f"{here}; downloading {spec.repo} at {str(spec.revision)[:7]} failed ({type(error).__name__}: {error}).",
            remedy=spec.remedy,
        ) from error


def _check_weights(folder: Path, spec: ModelSpec) -> None:
    if spec.weights_sha256 is None:
        return
    file = folder / "model.safetensors"
    if not file.is_file():
        raise ModelError(
            f"{folder} holds no model.safetensors, whose hash is pinned for {spec.id}. To bring it: {spec.remedy}"
        )
    found = file_sha256(file)
    if found != spec.weights_sha256:
        raise ModelError(
            f"{file} ({file.stat().st_size:,} bytes) is not {spec.id} at {str(spec.revision)[:7]}: its sha256 is "
            f"{found[:12]}..., not {spec.weights_sha256[:12]}.... Delete it and bring it again: {spec.remedy}. "
            f"To use it as it is: --model path:{folder}"
        )
