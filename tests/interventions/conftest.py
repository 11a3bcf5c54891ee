"""One tiny bridge of each kind, built once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interventions.bridges import KINDS, tiny_bridge

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

_BUILT: dict[str, TransformerBridge] = {}


@pytest.fixture(params=KINDS)
def bridge(request: pytest.FixtureRequest) -> TransformerBridge:
    """A tiny random bridge of every covered kind, two layers of four heads."""
    return _built(request.param)


@pytest.fixture
def llama() -> TransformerBridge:
    """The tiny Llama: four query heads share two key-value heads, and it has an MLP."""
    return _built("llama")


@pytest.fixture
def attention_only() -> TransformerBridge:
    """The tiny attention-only model without norms."""
    return _built("attention-only")


def _built(kind: str) -> TransformerBridge:
    if kind not in _BUILT:
        _BUILT[kind] = tiny_bridge(kind)
    return _BUILT[kind]
