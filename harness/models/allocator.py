"""Freed memory is kept for the next tensor: 6 to 10 % of a claim's time on SmolLM2.

glibc maps large blocks anew each time they are asked for and gives them back when they are freed. Interventions ask for
the same few megabytes thousands of times; with these settings (malloc(3), mallopt) they get the same pages again. No
value changes by it: torch aligns its tensors either way. Where the heap once was large it stays so, up to 2 GiB.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
MIB = 1024 * 1024


@cache
def keep_freed_memory() -> bool:
    """Ask the C library to reuse memory up to 1 GiB a block; whether it does (glibc), once for the process."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library, musl for one
        return False
    asked = {_MMAP_THRESHOLD: 1024 * MIB, _TRIM_THRESHOLD: 2047 * MIB, _TOP_PAD: 64 * MIB}
    return all(mallopt(which, size) == 1 for which, size in asked.items())
