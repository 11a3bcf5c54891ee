"""Doses: what a replacement adds, and random vectors of the same length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.errors import InterventionError
from harness.interventions import (
    Add,
    Engine,
    Replace,
    head_change,
    residual_covariance_factor,
    same_dose_vector,
)
from tests.interventions.bridges import largest, normal, some_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def test_adding_the_head_change_does_what_the_replacement_does(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    run = engine.run(some_tokens(), keep=("resid_pre", "z"))
    replace = Replace.z(1, 2, normal(3, 11, 8), positions=normal(3, 11, seed=1) > 0)
    change = head_change(engine, run, replace)
    replaced = engine.resume(run, layer=1, edits=[replace])
    added = engine.resume(run, layer=1, edits=[Add(1, change)])
    assert largest(replaced.resid - added.resid) <= 2e-5
    assert largest(replaced.change_norm[1] - change.norm(dim=-1)) <= 1e-5
    assert largest(change[~replace.positions]) == 0.0
    assert change[replace.positions].norm(dim=-1).min() > 0.0


def test_the_head_change_of_a_head_that_does_not_exist_is_refused(llama: TransformerBridge) -> None:
    engine = Engine.of(llama)
    run = engine.run(some_tokens(), keep=("z",))
    with pytest.raises(InterventionError, match="head 4 does not exist"):
        head_change(engine, run, Replace.z(1, 4, normal(3, 11, 8)))
    with pytest.raises(InterventionError, match="layer 2 does not exist"):
        head_change(engine, run, Replace.z(2, 0, normal(3, 11, 8)))
    with pytest.raises(InterventionError, match="z of layer 1 was not kept"):
        head_change(engine, engine.run(some_tokens()), Replace.z(1, 0, normal(3, 11, 8)))


def test_the_factor_of_a_hand_computed_covariance() -> None:
    import torch

    # Samples (0,0), (2,0), (0,4), (2,4): means (1,2), variances 4/3 and 16/3, covariance 0.
    factor = residual_covariance_factor(torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 4.0], [2.0, 4.0]]]))
    expected = torch.tensor([[4 / 3, 0.0], [0.0, 16 / 3]], dtype=torch.float64).sqrt()
    assert largest(factor - expected) <= 1e-12


def test_the_factor_times_itself_is_the_sample_covariance() -> None:
    samples = normal(50, 6) @ normal(6, 6, seed=1) + 3.0
    expected = np.cov(samples.numpy().astype(np.float64), rowvar=False)  # oracle: numpy
    factor = residual_covariance_factor(samples).numpy()
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-10, atol=1e-12)


def test_the_factor_exists_with_fewer_samples_than_dimensions() -> None:
    samples = normal(4, 20)
    factor = residual_covariance_factor(samples).numpy()
    assert np.linalg.matrix_rank(factor, tol=1e-6) == 3  # four samples around their mean
    np.testing.assert_allclose(factor @ factor.T, np.cov(samples.numpy().astype(np.float64), rowvar=False), atol=1e-12)


def test_drawn_vectors_have_the_length_of_the_change_at_each_position() -> None:
    change = normal(5, 7, 6)
    change[2, 3] = 0.0
    vector = same_dose_vector(
        change, factor=residual_covariance_factor(normal(50, 6)), generator=np.random.default_rng(0)
    )
    assert vector.dtype == change.dtype
    assert largest(vector.norm(dim=-1) - change.norm(dim=-1)) <= 1e-5
    assert largest(vector[2, 3]) == 0.0


def test_drawn_directions_have_the_covariance_of_the_residual_stream() -> None:
    import torch

    # Standard deviations 3, 1 and 0 along the axes. A direction has x^2/(x^2+y^2) with x = 3a, y = b standard normal:
    # its mean is s/(s+1) with s = 3 (E[1/(1+t^2/9)] of a Cauchy t); 20,000 draws, standard error 0.0023.
    factor = torch.diag(torch.tensor([3.0, 1.0, 0.0], dtype=torch.float64))
    change = torch.ones(20_000, 1, 3)
    vector = same_dose_vector(change, factor=factor, generator=np.random.default_rng(0)) / 3**0.5
    share = vector.pow(2).mean(dim=(0, 1))
    assert share.tolist() == pytest.approx([0.75, 0.25, 0.0], abs=0.01)
    assert largest(vector.mean(dim=(0, 1))) <= 0.03  # no sign is preferred; standard error 0.006


def test_the_same_generator_draws_the_same_vectors_whatever_the_dose() -> None:
    factor, change = residual_covariance_factor(normal(50, 6)), normal(5, 7, 6)
    one, two = (same_dose_vector(change, factor=factor, generator=np.random.default_rng(1)) for _ in range(2))
    assert (one == two).all()
    other = change.clone()
    other[0] = 0.0
    three = same_dose_vector(other, factor=factor, generator=np.random.default_rng(1))
    assert (three[1:] == one[1:]).all()
    assert largest(same_dose_vector(change, factor=factor, generator=np.random.default_rng(2)) - one) > 0.1


def test_a_torch_generator_may_draw() -> None:
    import torch

    factor, change = residual_covariance_factor(normal(50, 6)), normal(5, 7, 6)
    one, two = (same_dose_vector(change, factor=factor, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert (one == two).all()


def test_samples_and_changes_on_which_nothing_is_defined_are_refused() -> None:
    import torch

    rng = np.random.default_rng(0)
    with pytest.raises(InterventionError, match="at least two residual stream samples, got 1"):
        residual_covariance_factor(normal(1, 6))
    with pytest.raises(InterventionError, match="NaN or infinity"):
        residual_covariance_factor(normal(5, 6) / 0.0)
    with pytest.raises(InterventionError, match="do not vary"):
        same_dose_vector(normal(2, 2, 6), factor=residual_covariance_factor(torch.ones(5, 6)), generator=rng)
    with pytest.raises(InterventionError, match="d_model 5, the covariance factor 6"):
        same_dose_vector(normal(2, 2, 5), factor=residual_covariance_factor(normal(9, 6)), generator=rng)
    with pytest.raises(InterventionError, match="the change holds NaN"):
        same_dose_vector(normal(2, 2, 6) / 0.0, factor=residual_covariance_factor(normal(9, 6)), generator=rng)
