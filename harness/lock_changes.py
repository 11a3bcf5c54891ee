"""The stamp that a change of a lock file gets: when, and at which commit."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

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
