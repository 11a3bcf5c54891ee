"""Replacements, scales, steering and frozen patterns against numbers worked out by hand or put in through a hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.interventions import (
    Engine,
    Intervention,
    Replace,
    Run,
    ablate,
    freeze_patterns,
    mean,
    patch,
    resample,
    steer,
    together,
    zero,
)
from tests.interventions.bridges import native_bridge, normal, some_tokens
from tests.interventions.runs import (
    BATCH,
    POS,
    ROUNDING,
    SITES_KEPT,
    everywhere,
    measured,
    metric,
    runs_of,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge


def run_by_hand() -> Run:
    """Three prompts of two positions, two query heads of one dimension that share one key-value head."""
    import torch

    z = torch.tensor([[[1.0, 10.0], [2.0, 20.0]], [[3.0, 30.0], [4.0, 40.0]], [[8.0, 80.0], [9.0, 90.0]]])
    k = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]], [[5.0], [6.0]]])
    return Run(torch.zeros(3, 2).long(), torch.zeros(3, 2, 4), 1, z={0: z.unsqueeze(-1)}, k={0: k.unsqueeze(-1)})


def test_the_mean_is_taken_position_by_position() -> None:
    # head 0: position 0 (1+3+8)/3 = 4, position 1 (2+4+9)/3 = 5; head 1 is ten times that
    value = mean(run_by_hand(), batch=5)("z", 0)
    assert value.shape == (5, 2, 2, 1)
    assert all(row.flatten().tolist() == [4.0, 40.0, 5.0, 50.0] for row in value)


def test_the_mean_per_template_is_taken_within_the_label() -> None:
    # prompts 0 and 1 share a template: position 0 (1+3)/2 = 2, position 1 (2+4)/2 = 3; prompt 2 has its own
    value = mean(run_by_hand(), batch=3, groups=["ABBA", "ABBA", "BABA"])("z", 0)
    assert value.flatten(1).tolist() == [[2.0, 20.0, 3.0, 30.0], [2.0, 20.0, 3.0, 30.0], [8.0, 80.0, 9.0, 90.0]]


def test_resampling_takes_the_donors_rows() -> None:
    import torch

    value = resample(run_by_hand(), donors=torch.tensor([2, 2, 0, 1]))("z", 0)
    assert value[:, 0, 0, 0].tolist() == [8.0, 8.0, 1.0, 3.0]


def test_keys_as_query_heads_see_them_are_those_of_their_key_value_head() -> None:
    value = mean(run_by_hand(), batch=1)("k_by_head", 0)
    assert value.flatten(1).tolist() == [[3.0, 3.0, 4.0, 4.0]]  # (1+3+5)/3, (2+4+6)/3, for both heads


def test_zeros_have_the_shape_of_the_site(llama: TransformerBridge) -> None:
    runs = runs_of(llama, "fast")
    for site in SITES_KEPT:
        value = zero(runs)(site, 0)
        assert value.shape == getattr(runs.clean, site)[0].shape
        assert not value.any()


def test_scale_and_positions_by_hand_in_float64() -> None:
    import torch

    old = torch.tensor([[[1.0, 10.0], [2.0, 20.0]]], dtype=torch.float64).unsqueeze(
        -1
    )  # 1 prompt, 2 positions, 2 heads
    value = torch.tensor([[[5.0], [7.0]]], dtype=torch.float64).unsqueeze(-1)  # of head 1 alone
    half = Replace(0, "z", value, parts=(1,), scale=0.5)
    assert half.apply(old).flatten().tolist() == [1.0, 7.5, 2.0, 13.5]  # (10+5)/2, (20+7)/2
    second = Replace(0, "z", value, parts=(1,), positions=torch.tensor([[False, True]]), scale=0.5)
    assert second.apply(old).flatten().tolist() == [1.0, 10.0, 2.0, 13.5]
    assert old.flatten().tolist() == [1.0, 10.0, 2.0, 20.0]


@pytest.mark.parametrize("path", ["fast", "slow"])
@pytest.mark.parametrize("scale", [0.0, 0.25, 0.5, 1.0])
def test_a_head_of_the_last_layer_without_norms_ablated_by_hand(path: str, scale: float) -> None:
    bridge = native_bridge(
        seed=0, n_layers=2, n_heads=4, d_head=8, d_model=32, act_fn="gelu", attn_only=True, normalization_type=None
    )
    bridge.original_model.double()
    runs, reads = runs_of(bridge, path), metric()
    found = measured(runs, ablate(runs, ["1.2"], by=zero(runs), scale=scale, name="ablated"))
    # Logits are linear in what the last layer writes: the effect is what head 2 wrote, read by the two tokens, lost.
    engine, rows = Engine.of(bridge), range(BATCH)
    written = runs.clean.z_of(1, 2)[rows, reads.positions] @ engine.W_O(1)[2]
    lost = -scale * (written * (engine.W_U.T[reads.correct] - engine.W_U.T[reads.wrong])).sum(dim=-1)
    np.testing.assert_allclose(found.effects[0], lost.numpy(), rtol=0, atol=1e-12)
    dose = scale * (runs.clean.z_of(1, 2) @ engine.W_O(1)[2]).flatten(1).norm(dim=-1)
    np.testing.assert_allclose(found.change_norm[0], dose.numpy(), rtol=0, atol=1e-12)


@everywhere
def test_a_mean_per_template_put_in_by_hand_through_a_hook_gives_the_same(bridge: TransformerBridge, path: str) -> None:
    import torch

    runs = runs_of(bridge, path)
    found = measured(runs, ablate(runs, ["1.0", "1.3"], by=mean(runs.source(), batch=BATCH, groups="aab"), name="mean"))
    z = runs.source().z[1]
    means = torch.stack([(z[0] + z[1]) / 2, (z[0] + z[1]) / 2, z[2]])

    def put_in(activation: Tensor, hook: object) -> Tensor:
        edited = activation.clone()
        edited[:, :, [0, 3]] = means[:, :, [0, 3]]
        return edited

    np.testing.assert_allclose(found.values[0], through_hook(bridge, "blocks.1.attn.hook_z", put_in), atol=ROUNDING)


@everywhere
def test_steering_is_a_vector_added_in_a_hook(bridge: TransformerBridge, path: str) -> None:
    import torch

    runs, direction = runs_of(bridge, path), normal(32)
    positions = torch.zeros(BATCH, POS, dtype=torch.bool)
    positions[0, 2:4], positions[1, 3] = True, True
    found = measured(runs, steer(runs, 1, direction=direction, dose=-1.5, positions=positions))
    assert found.names == ("steer 1 by -1.5",)

    def added(activation: Tensor, hook: object) -> Tensor:
        return activation - 1.5 * direction * positions.unsqueeze(-1)

    expected = through_hook(bridge, "blocks.1.hook_resid_pre", added)
    np.testing.assert_allclose(found.values[0], expected, atol=ROUNDING)
    # A vector at two positions of the first prompt, one of the second, none of the third.
    dose = 1.5 * float(direction.norm()) * np.sqrt([2.0, 1.0, 0.0])
    np.testing.assert_allclose(found.change_norm[0], dose, rtol=1e-6, atol=1e-12)
    assert abs(found.effects[0, 2]) <= ROUNDING


def through_hook(bridge: TransformerBridge, name: str, function: Callable[..., Tensor]) -> list[float]:
    """The metric of the clean prompts under one hook of the model's own."""
    import torch

    reads, rows = metric(), range(BATCH)
    with torch.inference_mode():
        logits = bridge.run_with_hooks(some_tokens(batch=BATCH, pos=POS), fwd_hooks=[(name, function)])
    logits = logits[rows, reads.positions]
    difference: list[float] = (logits[rows, reads.correct] - logits[rows, reads.wrong]).tolist()
    return difference


@everywhere
def test_frozen_patterns_hold_what_queries_and_keys_would_change(bridge: TransformerBridge, path: str) -> None:
    runs = runs_of(bridge, path)
    moved = patch(runs, ["1.0.q", "1.1.q", "1.kv0.k"], name="moved")
    frozen = together("frozen", [moved], also=freeze_patterns(runs, [1]))
    both = together("values too", [frozen, patch(runs, ["1.kv1.v"])])
    found = measured(runs, moved, frozen, both, patch(runs, ["1.kv1.v"]))
    assert np.abs(found.of("moved") - found.clean).max() > 1e-4
    assert np.abs(found.of("frozen") - found.clean).max() <= ROUNDING
    assert np.abs(found.of("values too") - found.of("1.kv1.v")).max() <= ROUNDING


def test_keys_and_values_for_one_query_head_change_that_heads_pattern_and_z_only(llama: TransformerBridge) -> None:
    # The oracle: all readers of key-value head 0 are patched through hooks, and what head 1 makes of it put in alone.
    runs, slow = runs_of(llama, "fast"), runs_of(llama, "slow")
    shared = {}
    for site in ("k", "v"):
        edits = patch(slow, [f"0.kv0.{site}"]).edits
        shared[site] = slow.engine.run(slow.clean.tokens, edits=edits, keep=("pattern", "z"))
    expected = measured(
        slow,
        Intervention("k", (Replace(0, "pattern", shared["k"].pattern[0][:, [1]], parts=(1,)),)),
        Intervention("v", (Replace.z(0, 1, shared["v"].z_of(0, 1)),)),
    )
    found = measured(runs, patch(runs, ["0.1.k"], name="k"), patch(runs, ["0.1.v"], name="v"))
    np.testing.assert_allclose(found.values, expected.values, atol=ROUNDING)
    np.testing.assert_allclose(found.change_norm, expected.change_norm, atol=ROUNDING)
    assert (np.abs(found.effects).max(axis=1) > 0.01).all()
