"""How much memory interventions may take beyond the loaded model and the unedited passes.

It follows from what the user declared (`--memory-budget`) and never from what is free: the plan decides rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from harness.errors import InterventionError

MIB = 2**20
MEMORY_BUDGET = 2**30
"""Bytes, where nobody says otherwise."""

_declared: ContextVar[int] = ContextVar("memory budget in bytes", default=MEMORY_BUDGET)


def memory_budget() -> int:
    """The bytes that were declared last."""
    return _declared.get()


@contextmanager
def budget_of(n_bytes: int | None) -> Iterator[None]:
    """Within the block interventions keep to this many bytes; None changes nothing.

    Raises:
        InterventionError: under 1 MiB.
    """
    if n_bytes is None:
        yield
        return
    token = _declared.set(checked(n_bytes))
    try:
        yield
    finally:
        _declared.reset(token)


def checked(n_bytes: int) -> int:
    """The number again; InterventionError where it is under 1 MiB."""
    if n_bytes < MIB:
        raise InterventionError(f"a memory budget of {n_bytes} bytes is too small: give 1 MiB or more.")
    return n_bytes
