"""Changing a lock file: one command at a time, and the stamp that its change gets."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import StoreError
from harness.lock import NAME, Stamp


def stamp_of(claims: Path) -> Stamp:
    """Now, at the commit of the folder's repository; no commit where it is in none."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(claims), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    try:
        changed = git("status", "--porcelain", "--", ".", f":(exclude){NAME}")
        return Stamp(now, git("rev-parse", "HEAD"), uncommitted=bool(changed))
    except (OSError, subprocess.CalledProcessError):
        return Stamp(now, "", uncommitted=True)


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold the right to change a lock file: of two commands at once the second waits and then reads the first's."""
    from filelock import FileLock

    from harness.models.folders import cache_folder

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
