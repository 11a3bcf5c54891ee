"""Where all of a layer's z is replaced and nobody asks what stood there, its attention is not computed: same values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.interventions import Engine, Intervention, Replace, Runs, ablate, measure, zero
from harness.interventions.forward import ForwardPass
from harness.metrics import LogitDifference
from tests.interventions.bridges import normal, some_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ALL = [f"{layer}.{head}" for layer in range(2) for head in range(4)]


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Layers whose attention was computed."""
    layers: list[int] = []
    original = ForwardPass._mix

    def counted(self: ForwardPass, *args: object, **kwargs: object) -> object:
        layers.append(kwargs["layer"])  # type: ignore[arg-type]
        return original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ForwardPass, "_mix", counted)
    return layers


def runs_of(bridge: TransformerBridge) -> Runs:
    return Runs.of(Engine.of(bridge), some_tokens(), keep=("z",))


def metric(runs: Runs) -> LogitDifference:
    import torch

    batch, pos = runs.clean.tokens.shape
    tokens = torch.zeros(batch, dtype=torch.long)
    return LogitDifference(tokens, tokens + 1, tokens + pos - 1)


def test_layers_that_are_wholly_replaced_are_skipped_without_doses_and_values_stay(
    bridge: TransformerBridge, attended: list[int]
) -> None:
    runs = runs_of(bridge)
    sets = {"all": ALL, "all but one": ALL[:-1], "first layer": ALL[:4]}
    made = [ablate(runs, heads, by=zero(runs), name=name) for name, heads in sets.items()]
    with_doses = measure(runs, made, metric=metric(runs))
    attended.clear()
    without = measure(runs, made, metric=metric(runs), doses=False)
    # Layer 0 is wholly replaced by all three, layer 1 by the first one only.
    assert attended == [1]
    np.testing.assert_allclose(without.values, with_doses.values, rtol=0, atol=1e-6)
    assert np.isnan(without.change_norm).all()
    assert np.isfinite(with_doses.change_norm).all()


@pytest.mark.parametrize(
    ("partly", "computed"),
    [
        pytest.param({"scale": 0.5}, [1], id="half way"),
        pytest.param({"parts": (0, 1, 2)}, [1], id="three of four heads"),
        pytest.param({"above": 0.0}, [1], id="at some positions"),
        pytest.param({"above": -9.0}, [], id="at all positions, by a mask"),
    ],
)
def test_what_is_replaced_in_part_is_computed(
    bridge: TransformerBridge, attended: list[int], partly: dict[str, Any], computed: list[int]
) -> None:
    runs, how = runs_of(bridge), dict(partly)
    if "above" in how:
        how = {"positions": normal(3, 11, seed=1) > how["above"]}
    made = [Intervention("part", (Replace(1, "z", normal(3, 11, 4, 8, seed=3), **how),))]
    expected = measure(runs, made, metric=metric(runs))
    attended.clear()
    found = measure(runs, made, metric=metric(runs), doses=False)
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-6)
    assert attended == computed
