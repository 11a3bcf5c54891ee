"""Whether a claim's model can be asked anything: the sanity battery of the model, also where only its weights are read.

A claim on weights alone reads a file and loads no model; that the weights are those of a sound model is asked all the
same, once for each model. Where that cannot be, the record says so.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from harness.bound_claim import BoundClaim
from harness.errors import ModelError
from harness.memory import Loaded
from harness.models.registry import find

_UNASKED = "The sanity battery was not asked"
_COPIES = 4
"""How many times a model's size on disk loading may take in memory: read, converted, folded."""


class Soundness(NamedTuple):
    """Why no claim can be asked, a note for the record, and the model that was asked; each None where there is none."""

    problem: str | None = None
    note: str | None = None
    model: Any = None


def soundness_of(bound: BoundClaim, target: Any, *, loaded: Loaded) -> Soundness:
    """What the battery says of the model that a claim is about.

    Args:
        bound: the claim, the model's id and the options.
        target: the loaded model, or its weights.
        loaded: what keeps one model and its battery.
    """
    if not bound.needs_weights_only:
        return Soundness(loaded.problem(target), model=target)
    if not loaded.asks:
        return Soundness()
    options = bound.options
    if bound.model_id in options.weights:
        return Soundness(note=f"{_UNASKED}: these weights come from a file of the user's, which is no model.")
    why = f"`mechclaims sanity {bound.model_id}` asks, or says why not"
    if _COPIES * find(bound.model_id).size_bytes > _memory_bytes():
        return Soundness(note=f"{_UNASKED}: the model is too large to be loaded here; {why}.")
    try:
        model = loaded.get(bound.model_id, device=options.device, dtype=options.dtype)
    except ModelError:
        return Soundness(note=f"{_UNASKED}: the weights cannot be loaded as a model; {why}.")
    return Soundness(loaded.problem(model), model=model)


def _memory_bytes() -> float:
    """Of this machine; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return float("inf")
