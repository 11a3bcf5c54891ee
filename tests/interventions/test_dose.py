"""Doses: what a replacement adds, and random vectors of the same length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.errors import InterventionError
from harness.interventions import (
    DIRECTIONS,
    Add,
    Engine,
    Replace,
    head_change,
    own_positions,
    residual_covariance_factor,
    same_dose_edits,
    same_dose_factor,
    same_dose_vector,
)
from tests.interventions.bridges import largest, normal, some_tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge


class ThreePrompts:
    """Three prompts after a BOS, of six, four and eight tokens with it; the others are padding."""

    start = 1

    def real_positions(self) -> np.ndarray:
        return np.arange(8)[None] < np.array([6, 4, 8])[:, None]


def factor_of(samples: Tensor) -> Tensor:
    """The factor of samples that all count."""
    import torch

    return residual_covariance_factor(samples, counted=torch.ones(samples.shape[:-1], dtype=torch.bool))


def stream_with_bos(*, d_model: int = 6) -> tuple[Tensor, Tensor]:
    """A stream [batch pos d_model] whose first position is BOS, a hundred times as long, and BOS's direction."""
    direction = normal(d_model, seed=7)
    resid = normal(12, 9, d_model, seed=8) @ normal(d_model, d_model, seed=9) + 1.0
    resid[:, 0] = direction / direction.norm() * 100 * resid[:, 1:].norm(dim=-1).mean()
    return resid, direction / direction.norm()


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
    factor = factor_of(torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 4.0], [2.0, 4.0]]]))
    expected = torch.tensor([[4 / 3, 0.0], [0.0, 16 / 3]], dtype=torch.float64).sqrt()
    assert largest(factor - expected) <= 1e-12


def test_the_factor_times_itself_is_the_sample_covariance() -> None:
    samples = normal(50, 6) @ normal(6, 6, seed=1) + 3.0
    expected = np.cov(samples.numpy().astype(np.float64), rowvar=False)  # oracle: numpy
    factor = factor_of(samples).numpy()
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-10, atol=1e-12)


def test_own_positions_are_neither_bos_nor_padding() -> None:
    own = own_positions(ThreePrompts())
    assert own.long().tolist() == [[0, 1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 1, 1]]


def test_only_positions_that_count_enter_the_covariance() -> None:
    resid, own = normal(3, 8, 5), own_positions(ThreePrompts())
    resid[~own] = float("nan")  # what stands there must not matter
    expected = np.cov(resid[own].numpy().astype(np.float64), rowvar=False)  # oracle: numpy
    factor = residual_covariance_factor(resid, counted=own).numpy()
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-10, atol=1e-12)


def test_with_bos_in_the_covariance_all_directions_are_its_own_and_without_they_are_the_other_tokens() -> None:
    import torch

    resid, bos = stream_with_bos()
    everything = torch.ones(resid.shape[:-1], dtype=torch.bool)
    without = everything.clone()
    without[:, 0] = False

    def drawn(counted: Tensor) -> Tensor:
        factor = residual_covariance_factor(resid, counted=counted)
        vectors = same_dose_vector(torch.ones(5000, 1, 6), factor=factor, generator=np.random.default_rng(0))
        return vectors[:, 0].double() / vectors[:, :1].norm(dim=-1)

    # A BOS a hundred times as long as the rest has a standard deviation of about 30 against 1 of each other axis. Were
    # its coordinate standard normal times 30, |cos| would lie below 0.9 in about five draws of a hundred: so most.
    with_bos = (drawn(everything) @ bos.double()).abs()
    assert float(with_bos.median()) > 0.99
    assert float((with_bos > 0.9).double().mean()) > 0.85
    others = resid[:, 1:].reshape(-1, 6).numpy().astype(np.float64)
    root = np.linalg.cholesky(np.cov(others, rowvar=False))  # oracle: numpy's covariance and another factor of it
    noise = np.random.default_rng(1).standard_normal((200_000, 6)) @ root.T
    expected = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    ours = drawn(without).numpy()
    # Second moments of unit vectors: standard error at most 0.5 / sqrt(5000) = 0.007.
    np.testing.assert_allclose(ours.T @ ours / len(ours), expected.T @ expected / len(expected), atol=0.03)
    assert float((drawn(without) @ bos.double()).abs().median()) < 0.9


def test_a_token_with_a_stream_as_long_as_bos_does_not_make_all_directions_its_own() -> None:
    import torch

    resid, bos = stream_with_bos()
    resid[3, 4] = resid[0, 0]  # one ordinary token of 96 takes on the stream of BOS
    own = torch.ones(resid.shape[:-1], dtype=torch.bool)
    own[:, 0] = False

    def cosines(factor: Tensor) -> Tensor:
        vectors = same_dose_vector(torch.ones(5000, 1, 6), factor=factor, generator=np.random.default_rng(0))[:, 0]
        return (vectors.double() @ bos.double()).abs() / vectors.double().norm(dim=-1)

    without = resid.clone()
    without[3, 4] = resid[3, 5]
    usual = cosines(same_dose_factor(without, counted=own)).median()
    assert cosines(residual_covariance_factor(resid, counted=own)).median() > 0.9
    assert abs(cosines(same_dose_factor(resid, counted=own)).median() - usual) < 0.05


def test_the_factor_of_directions_is_the_covariance_of_samples_of_length_one() -> None:
    import torch

    samples = normal(50, 6) @ normal(6, 6, seed=1) + 3.0
    array = samples.numpy().astype(np.float64)
    expected = np.cov(array / np.linalg.norm(array, axis=1, keepdims=True), rowvar=False)  # oracle: numpy
    factor = same_dose_factor(samples, counted=torch.ones(50, dtype=torch.bool)).numpy()
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-4, atol=1e-7)


def test_the_factor_exists_with_fewer_samples_than_dimensions() -> None:
    samples = normal(4, 20)
    factor = factor_of(samples).numpy()
    assert np.linalg.matrix_rank(factor, tol=1e-6) == 3  # four samples around their mean
    np.testing.assert_allclose(factor @ factor.T, np.cov(samples.numpy().astype(np.float64), rowvar=False), atol=1e-12)


def test_drawn_vectors_have_the_length_of_the_change_at_each_position() -> None:
    change = normal(5, 7, 6)
    change[2, 3] = 0.0
    vector = same_dose_vector(change, factor=factor_of(normal(50, 6)), generator=np.random.default_rng(0))
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
    factor, change = factor_of(normal(50, 6)), normal(5, 7, 6)
    one, two = (same_dose_vector(change, factor=factor, generator=np.random.default_rng(1)) for _ in range(2))
    assert (one == two).all()
    other = change.clone()
    other[0] = 0.0
    three = same_dose_vector(other, factor=factor, generator=np.random.default_rng(1))
    assert (three[1:] == one[1:]).all()
    assert largest(same_dose_vector(change, factor=factor, generator=np.random.default_rng(2)) - one) > 0.1


def test_a_torch_generator_may_draw() -> None:
    import torch

    factor, change = factor_of(normal(50, 6)), normal(5, 7, 6)
    one, two = (same_dose_vector(change, factor=factor, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert (one == two).all()


def test_every_draw_adds_one_vector_per_layer_as_long_as_the_change_there() -> None:
    changes = {0: normal(3, 4, 6), 2: 5 * normal(3, 4, 6, seed=1)}
    factors = {0: factor_of(normal(50, 6, seed=2)), 2: factor_of(normal(50, 6, seed=3))}
    made = same_dose_edits(changes, factors=factors, generator=np.random.default_rng(0), site="resid_post")
    assert [[(edit.layer, edit.site) for edit in each] for each in made] == [
        [(0, "resid_post"), (2, "resid_post")] for _ in range(DIRECTIONS)
    ]
    for edit in (edit for each in made for edit in each):
        assert largest(edit.vector.norm(dim=-1) - changes[edit.layer].norm(dim=-1)) <= 1e-4
    # The generator goes through the layers of one draw before the next: one vector after another.
    rng = np.random.default_rng(0)
    for each in made:
        for edit in each:
            one = same_dose_vector(changes[edit.layer], factor=factors[edit.layer], generator=rng)
            assert (one == edit.vector).all()
    assert largest(made[0][0].vector - made[1][0].vector) > 0.1


def test_samples_and_changes_on_which_nothing_is_defined_are_refused() -> None:
    import torch

    rng = np.random.default_rng(0)
    with pytest.raises(InterventionError, match="at least two residual stream samples, got 1"):
        factor_of(normal(1, 6))
    with pytest.raises(InterventionError, match="NaN or infinity"):
        factor_of(normal(5, 6) / 0.0)
    with pytest.raises(InterventionError, match="do not vary"):
        same_dose_vector(normal(2, 2, 6), factor=factor_of(torch.ones(5, 6)), generator=rng)
    with pytest.raises(InterventionError, match="d_model 5, the covariance factor 6"):
        same_dose_vector(normal(2, 2, 5), factor=factor_of(normal(9, 6)), generator=rng)
    with pytest.raises(InterventionError, match="the change holds NaN"):
        same_dose_vector(normal(2, 2, 6) / 0.0, factor=factor_of(normal(9, 6)), generator=rng)
    with pytest.raises(InterventionError, match="draws is 0"):
        same_dose_edits({0: normal(2, 2, 6)}, factors={0: factor_of(normal(9, 6))}, generator=rng, draws=0)
    for wrong in (torch.ones(3, 9, dtype=torch.bool), torch.ones(3, 8)):
        with pytest.raises(InterventionError, match="one bool for each of the residual stream's places"):
            residual_covariance_factor(normal(3, 8, 6), counted=wrong)
    none = torch.zeros(3, 8, dtype=torch.bool)
    with pytest.raises(InterventionError, match="at least two residual stream samples, got 0"):
        residual_covariance_factor(normal(3, 8, 6), counted=none)
