"""The right to change a file or folder: of two commands at once the second waits, then reads what the first wrote."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from harness.errors import StoreError
from harness.models.folders import cache_folder


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold the right to read and then replace what lies at a path. The holder must not ask for it again.

    Raises:
        StoreError: the lock cannot be held.
    """
    from filelock import FileLock

    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    guard = cache_folder() / "locks" / f"{name}.lock"  # not beside the file: a clone stays as git knows it
    try:
        guard.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(guard)
        held.acquire()
    except OSError as error:
        raise StoreError(f"{path}: cannot be changed: {guard} cannot be held ({error.strerror or error})") from error
    try:
        yield
    finally:
        held.release()
