"""Random generators derived from what they are for, so that order, `-k` and workers change no number.

A stream is sha256 over its parts. `Streams.for_("prompts")` and `Streams.for_("shuffle")` are independent; asking
twice for the same purpose gives the same numbers again. There is no global generator anywhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


def derive_seed(*parts: object) -> int:
    """A 128-bit seed: sha256 over the parts, which are separated so that ("ab", "c") differs from ("a", "bc")."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:16], "big")


@dataclass(frozen=True)
class Streams:
    """The random streams of one claim on one model: (data seed, split, claim id, declaration, model).

    `key` identifies the family of streams. In the confirmation split it holds the claim's id, version and
    declaration hash, so that its prompts do not exist before the declaration is fixed.
    """

    key: tuple[str, ...]

    def for_(self, purpose: str) -> np.random.Generator:
        """A fresh generator for one purpose: the same numbers on every call."""
        return np.random.default_rng(derive_seed(*self.key, purpose))
