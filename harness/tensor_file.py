"""Tensors of a safetensors checkpoint, read slice by slice from a memory map. It knows no model.

Why not `safetensors.safe_open`: its torch side maps the file privately and writably, which Linux refuses for a file
larger than memory (measured: a file of 400 GB, "unable to mmap ... Cannot allocate memory"), and its numpy side cannot
read bfloat16 (0.8.0: "data type 'bfloat16' not understood"). Here every read maps its one tensor read-only, copies the
slice that was asked for, and lets the map go, so that memory holds one slice at a time. The format: eight bytes with
the length of the header, the header in JSON, the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ModelError, did_you_mean

INDEX_NAME = "model.safetensors.index.json"
"""What Hugging Face calls the file that says which shard holds which tensor."""

# bfloat16 is the upper half of a float32; numpy has no type for it, so its bits are read as integers.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# The format's own limit; it keeps eight stray bytes from asking for all memory.
_MAX_HEADER_BYTES = 100_000_000
_WHOLE = slice(None)


@dataclass(frozen=True)
class _Entry:
    """Where one tensor lies in its file; `offset` counts from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class _Header:
    """What one file says about itself."""

    metadata: Mapping[str, str]
    entries: Mapping[str, _Entry]


@dataclass(frozen=True)
class TensorFile:
    """The tensors of one checkpoint, in one file or in shards. Made by `open_tensors`.

    Attributes:
        path: the file as it was found: a `.safetensors`, or the index of a sharded checkpoint.
        files: which file holds each tensor.
        metadata: the free strings of the header; empty for a sharded checkpoint.
    """

    path: Path
    files: Mapping[str, Path]
    metadata: Mapping[str, str]
    _headers: dict[Path, _Header] = field(default_factory=dict, repr=False, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors."""
        return tuple(self.files)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor, from the header alone."""
        return self._entry(name).shape

    def read(self, name: str, *, rows: slice = _WHOLE, columns: slice = _WHOLE) -> NDArray[np.float64]:
        """A copy of these rows and columns of one tensor, in float64; `columns` has no meaning for a vector.

        Raises:
            ModelError: the tensor is missing, empty or not finite, or is stored in a type that holds no plain floats.
        """
        stored = self._map(name)
        cut = stored[rows, columns] if stored.ndim > 1 else stored[rows]
        values = _to_float64(cut, self._entry(name).dtype)
        if not np.isfinite(values).all():
            raise ModelError(f"tensor {name!r} in {self.files[name]} holds NaN or infinity; fetch the file again")
        return values

    def sha256(self, names: Iterable[str]) -> str:
        """sha256 over name, type, shape and stored bytes of these tensors, in their order. Raises as `read`."""
        digest = hashlib.sha256()
        for name in names:
            entry = self._entry(name)
            digest.update(f"{name}\x1f{entry.dtype}\x1f{list(entry.shape)}\x1e".encode())
            digest.update(self._map(name).data)
        return digest.hexdigest()

    def _map(self, name: str) -> NDArray[Any]:
        entry = self._entry(name)
        if entry.dtype not in _DTYPES:
            raise ModelError(
                f"tensor {name!r} in {self.files[name]} is stored as {entry.dtype}; only {', '.join(_DTYPES)} can be "
                "read: convert a quantised checkpoint to floats first"
            )
        if not entry.n_bytes:
            raise ModelError(f"tensor {name!r} in {self.files[name]} is empty: its shape is {entry.shape}")
        dtype = _DTYPES[entry.dtype]
        # asarray, because slices of a memmap are memmaps again, also once they have been copied.
        return np.asarray(np.memmap(self.files[name], dtype=dtype, mode="r", offset=entry.offset, shape=entry.shape))

    def _entry(self, name: str) -> _Entry:
        if name not in self.files:
            raise ModelError(f"{self.path} has no tensor {name!r}.{did_you_mean(name, self.files)}")
        shard = self.files[name]
        if shard not in self._headers:
            self._headers[shard] = _read_header(shard)
        entries = self._headers[shard].entries
        if name not in entries:
            raise ModelError(f"{self.path} says that {shard} holds tensor {name!r}, but it does not")
        return entries[name]


def open_tensors(path: Path) -> TensorFile:
    """The tensors of a `.safetensors` file, of a sharded checkpoint's index, or of a folder that holds either.

    Of a sharded checkpoint only the shards that are read from need to be there.

    Raises:
        ModelError: there is no such file, or it is truncated or is no safetensors file.
    """
    found = _locate(path)
    if found.suffix == ".json":
        return TensorFile(path=found, files=_read_index(found), metadata={})
    header = _read_header(found)
    return TensorFile(
        path=found, files=dict.fromkeys(header.entries, found), metadata=header.metadata, _headers={found: header}
    )


def _locate(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in ("model.safetensors", INDEX_NAME):
        if (path / name).is_file():
            return path / name
    raise ModelError(f"folder {path} holds neither model.safetensors nor {INDEX_NAME}; name the file itself")


def _read_index(path: Path) -> dict[str, Path]:
    try:
        shards = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        pairs = [(str(name), str(shard)) for name, shard in shards.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not the index of a sharded checkpoint: {error!r}") from error
    for name, shard in pairs:
        if shard in ("", "..") or Path(shard).name != shard:
            raise ModelError(f"{path} places tensor {name!r} in {shard!r}; a shard is a file beside its index")
    return {name: path.parent / shard for name, shard in pairs}


def _read_header(path: Path) -> _Header:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
                raise ModelError(f"{path} is no safetensors file, or is truncated: header of {length} bytes in {size}")
            fields = json.loads(file.read(length))
        metadata = {str(key): str(value) for key, value in fields.pop("__metadata__", {}).items()}
        entries = {name: _parse_entry(value, start=8 + length) for name, value in fields.items()}
    except FileNotFoundError as error:
        raise ModelError(f"there is no file {path}; fetch it, or name another") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(f"{path} is no safetensors file, or is damaged: {error!r}; fetch it again") from error
    needed = max((entry.offset + entry.n_bytes for entry in entries.values()), default=0)
    if needed > size:
        raise ModelError(f"{path} is truncated: its tensors end at byte {needed}, the file at {size}; fetch it again")
    return _Header(metadata=metadata, entries=entries)


def _parse_entry(value: Mapping[str, Any], *, start: int) -> _Entry:
    shape = tuple(int(size) for size in value["shape"])
    first, last = (int(end) for end in value["data_offsets"])
    dtype = str(value["dtype"])
    if min((first, last - first, *shape)) < 0:
        raise ValueError(f"shape {shape} at bytes {first} to {last}")
    # Types that are not read here may stand beside those that are, in whatever encoding.
    if dtype in _DTYPES and math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize != last - first:
        raise ValueError(f"{dtype} of shape {shape} does not fill bytes {first} to {last}")
    return _Entry(dtype=dtype, shape=shape, offset=start + first, n_bytes=last - first)


def _to_float64(stored: NDArray[Any], dtype: str) -> NDArray[np.float64]:
    if dtype == "BF16":
        return (stored.astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.array(stored, dtype=np.float64)
