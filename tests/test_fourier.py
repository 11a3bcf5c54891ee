"""Fourier analysis over Z_p against numpy.fft, hand-made waves, and models of addition known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import fourier
from harness.clock_pizza import distance_irrelevance, gradient_symmetricity
from harness.errors import StatisticsError
from harness.report import figures

P = 23
TOKEN = np.arange(P)
KEYS = (3, 7)


def wave(k, phase=0.0):
    return np.cos(2 * np.pi * k * TOKEN / P + phase)


def planted(form, keys=KEYS, amplitudes=(5.0, 3.0)):
    """Logits [a, b, c] of a model that adds by construction."""
    a, b, c = np.indices((P, P, P))
    angle = 2 * np.pi * (a + b - c) / P
    half = np.pi * (a - b) / P
    pizza = {"clock": lambda k: 1.0, "pizza": lambda k: np.abs(np.cos(k * half))}[form]
    return sum(size * pizza(k) * np.cos(k * angle) for k, size in zip(keys, amplitudes, strict=True))


@given(st.sampled_from([3, 5, 23, 113]))
def test_the_basis_is_orthonormal(p):
    waves = fourier.basis(p)
    assert np.allclose(waves @ waves.T, np.eye(p), atol=1e-12)


def test_the_spectrum_is_that_of_the_fast_fourier_transform():
    matrix = np.random.default_rng(0).normal(size=(P, 6))
    squared = np.abs(np.fft.rfft(matrix, axis=0)) ** 2
    squared[1:] *= 2  # each frequency but 0 stands there twice: at k and at p - k
    expected = squared.sum(axis=1) / squared.sum()
    assert np.allclose(fourier.spectrum(matrix), expected)


def test_the_spectrum_of_planted_cosines_is_the_planted_one():
    matrix = np.stack([2 * wave(3), wave(7, phase=1.0), np.ones(P)], axis=1)
    shares = fourier.spectrum(matrix)
    # Squared norms: 4 p/2, p/2, p; the constant has 2 of 7 parts, frequency 3 has 4, frequency 7 has 1.
    assert shares[[0, 3, 7]] == pytest.approx([2 / 7, 4 / 7, 1 / 7])
    assert shares.sum() == pytest.approx(1)
    assert fourier.without_constant(shares)[[2, 6]] == pytest.approx([0.8, 0.2])
    assert fourier.key_frequencies(matrix, at_least=2.0) == (3, 7)
    assert fourier.key_frequencies(matrix, at_least=5.0) == (3,)


def test_without_a_large_frequency_the_largest_alone_is_key():
    matrix = np.random.default_rng(1).normal(size=(113, 128))
    shares = fourier.without_constant(fourier.spectrum(matrix))
    assert fourier.key_frequencies(matrix, at_least=3.0) == (int(shares.argmax()) + 1,)
    assert shares.max() * 56 < 1.6


def test_the_two_dimensional_transform_is_that_of_the_fast_fourier_transform():
    table = np.random.default_rng(2).normal(size=(P, P, 4))
    squared = (np.abs(np.fft.fft2(table, axes=(0, 1))) ** 2).sum(axis=2)
    folded = squared[: P // 2 + 1].copy()
    folded[1:] += squared[: P // 2 : -1]
    both = folded[:, : P // 2 + 1].copy()
    both[:, 1:] += folded[:, : P // 2 : -1]
    assert np.allclose(fourier.spectrum_2d(table), both / both.sum())
    back = np.einsum("ia,jb,ijn->abn", fourier.basis(P), fourier.basis(P), fourier.transform_2d(table))
    assert np.allclose(back, table)


def test_gini_of_known_rows():
    assert fourier.gini([1, 1, 1, 1]) == pytest.approx(0)
    assert fourier.gini([0, 0, 0, 5]) == pytest.approx(0.75)  # 1 - 1/4
    # 1, 2, 3: differences |x - y| over all ordered pairs sum to 8; 8 / (2 * 9 * 2) = 2/9
    assert fourier.gini([3, 1, 2]) == pytest.approx(2 / 9)
    assert fourier.gini([1] * 5 + [0] * 51) == pytest.approx(1 - 5 / 56)  # the 0.91 of the claims' SESOI


def test_the_largest_shares_are_added():
    assert fourier.top_share([0.1, 0.5, 0.4], 2) == pytest.approx(0.9)


def test_only_and_without_part_a_matrix_in_two():
    matrix = np.random.default_rng(3).normal(size=(P, 5))
    kept, lost = fourier.only(matrix, KEYS), fourier.without(matrix, KEYS)
    assert np.allclose(kept + lost, matrix + matrix.mean(axis=0))  # the constant stays in both
    assert fourier.without_constant(fourier.spectrum(kept))[[2, 6]].sum() == pytest.approx(1)
    assert fourier.spectrum(lost)[[3, 7]] == pytest.approx([0, 0], abs=1e-12)


def test_waves_in_a_plus_b_are_those_of_a_regression():
    logits = np.random.default_rng(4).normal(size=(P, P, P))
    a, b = np.indices((P, P))
    design = np.stack(
        [f(2 * np.pi * k * (a + b) / P).ravel() for k in KEYS for f in (np.cos, np.sin)] + [np.ones(P * P)], axis=1
    )
    flat = logits.reshape(P * P, P)
    fitted = design @ np.linalg.lstsq(design, flat, rcond=None)[0]
    assert np.allclose(fourier.restricted(logits, KEYS).reshape(P * P, P), fitted)
    assert np.allclose(fourier.excluded(logits, KEYS).reshape(P * P, P), flat - fitted + flat.mean(axis=0))
    explained = np.square(fitted - flat.mean(axis=0)).sum() / np.square(flat - flat.mean(axis=0)).sum()
    assert fourier.sum_spectrum(logits)[[2, 6]].sum() == pytest.approx(explained)


def test_losses_are_the_cross_entropy_of_the_sum():
    logits = 3 * np.random.default_rng(5).normal(size=(P, P, P))
    a, b = np.indices((P, P))
    probs = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    assert np.allclose(fourier.losses_nats(logits), -np.log(probs[a, b, (a + b) % P]))
    assert np.allclose(fourier.losses_nats(np.zeros((P, P, P))), np.log(P))


def test_a_loss_far_below_the_rounding_of_one_is_kept():
    logits = np.zeros((P, P, P))
    a, b = np.indices((P, P))
    logits[a, b, (a + b) % P] = 50.0
    assert fourier.losses_nats(logits) == pytest.approx((P - 1) * np.exp(-50.0))


def test_a_planted_clock_is_a_sum_of_cosines():
    fit = fourier.cosine_fit(planted("clock"), KEYS)
    assert fit.explained == pytest.approx(1)
    assert fit.amplitudes == pytest.approx([5, 3])
    assert fourier.cosine_fit(planted("clock"), (7,)).explained == pytest.approx(9 / 34)  # 3^2 of 5^2 + 3^2
    assert fourier.cosine_fit(planted("clock"), (1, 2)).explained == pytest.approx(0, abs=1e-12)


def test_the_cosine_fit_is_that_of_a_regression():
    logits = planted("pizza") + np.random.default_rng(6).normal(size=(P, P, P))
    a, b, c = np.indices((P, P, P))
    design = np.stack([np.cos(2 * np.pi * k * (a + b - c) / P).ravel() for k in KEYS] + [np.ones(P**3)], axis=1)
    amplitudes, residual, *_ = np.linalg.lstsq(design, logits.ravel(), rcond=None)
    fit = fourier.cosine_fit(logits, KEYS)
    assert fit.amplitudes == pytest.approx(amplitudes[:2])
    assert fit.explained == pytest.approx(1 - residual[0] / np.square(logits - logits.mean()).sum())


def test_permuted_answers_and_tokens_destroy_the_fit():
    order, logits = np.random.default_rng(7).permutation(P), planted("clock")
    assert fourier.cosine_fit(logits[:, :, order], KEYS).explained < 0.2
    assert fourier.sum_spectrum(logits)[[2, 6]].sum() == pytest.approx(1)
    assert fourier.sum_spectrum(logits[np.ix_(order, order)])[[2, 6]].sum() < 0.2


def test_restricted_and_excluded_loss_of_a_planted_clock():
    logits = planted("clock", amplitudes=(30.0, 30.0))
    assert fourier.losses_nats(fourier.restricted(logits, KEYS)).mean() < 0.01
    assert fourier.losses_nats(fourier.excluded(logits, KEYS)).mean() == pytest.approx(np.log(P))
    assert np.allclose(fourier.excluded(logits, (1, 2)), logits)


def test_tuning_is_the_share_that_eight_waves_explain():
    rng = np.random.default_rng(8)
    a, b = np.indices((P, P))
    angle = 2 * np.pi * 3 / P
    tuned = np.cos(angle * a) + np.sin(angle * b) + np.cos(angle * a) * np.cos(angle * b)
    mixed = np.sqrt(3) * np.cos(angle * a) + np.cos(2 * np.pi * 5 * b / P)  # 3 parts of frequency 3, 1 of 5
    neurons = np.stack([tuned, mixed, np.ones((P, P)), rng.normal(size=(P, P))], axis=2)
    shares = fourier.tuning(neurons)
    assert shares[2, :3] == pytest.approx([1, 0.75, 0], abs=1e-12)
    assert shares[4, 1] == pytest.approx(0.25)
    assert shares[:, 3].max() < 0.1  # 8 of 528 directions each
    waves = fourier.transform_2d(neurons[:, :, 3])
    chosen = np.ix_([0, 5, 6], [0, 5, 6])
    power = np.square(waves[chosen]).sum() - waves[0, 0] ** 2
    assert shares[2, 3] == pytest.approx(power / (np.square(waves).sum() - waves[0, 0] ** 2))


def test_distance_irrelevance_tells_a_planted_clock_from_a_planted_pizza():
    noise = 0.2 * np.random.default_rng(9).normal(size=(P, P))
    clock, pizza = (fourier.correct_logits(planted(form)) for form in ("clock", "pizza"))
    assert distance_irrelevance(clock + noise) == pytest.approx(1, abs=0.05)
    assert distance_irrelevance(pizza) == pytest.approx(0, abs=1e-12)
    # Two distances mod 3 would do: by hand, logits that depend on a alone vary as much at every distance.
    assert distance_irrelevance(np.add.outer(TOKEN, np.zeros(P))) == pytest.approx(1)


def test_gradient_symmetricity_is_the_mean_cosine():
    first = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert gradient_symmetricity(first, first * 3) == pytest.approx(1)
    assert gradient_symmetricity(first, [[0.0, 2.0], [1.0, 1.0]]) == pytest.approx(np.sqrt(0.5) / 2)


def test_bars_of_a_spectrum_can_be_drawn():
    shares = fourier.without_constant(fourier.spectrum(np.stack([2 * wave(3), wave(7)], axis=1)))
    bars = fourier.spectrum_bars(shares, most=3)
    assert bars["labels"][:2] == ["frequency 3", "frequency 7"]
    assert bars["labels"][3] == "the other 8 together"
    assert sum(bars["values"]) == pytest.approx(1)
    assert figures.bars(**bars, unit="share").axes


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fourier.basis(4), "modulus is 4"),
        (lambda: fourier.spectrum(np.zeros((5, 2))), "all 0"),
        (lambda: fourier.spectrum(np.ones(5)), r"\[token, d\]"),
        (lambda: fourier.spectrum(np.full((5, 2), np.nan)), "finite"),
        (lambda: fourier.without_constant(fourier.spectrum(np.ones((5, 2)))), "nothing but a constant"),
        (lambda: fourier.gini([]), "one row"),
        (lambda: fourier.gini([-1, 2]), ">= 0"),
        (lambda: fourier.top_share([0.5, 0.5], 3), "3 largest of 2"),
        (lambda: fourier.only(np.ones((5, 2)), (3,)), "from 1 to 2"),
        (lambda: fourier.without(np.ones((5, 2)), (1, 1)), "different ones"),
        (lambda: fourier.sum_spectrum(np.ones((5, 5, 5))), "does not vary"),
        (lambda: fourier.cosine_fit(np.ones((5, 5, 5)), (1,)), "do not vary"),
        (lambda: fourier.losses_nats(np.ones((5, 5, 4))), r"\[a, b, c\]"),
        (lambda: fourier.excluded(np.ones((5, 4, 5)), (1,)), "all pairs"),
        (lambda: fourier.tuning(np.ones((5, 5))), r"\[a, b, neuron\]"),
        (lambda: distance_irrelevance(np.ones((5, 5))), "vary"),
        (lambda: gradient_symmetricity(np.zeros((2, 3)), np.ones((2, 3))), "zero"),
        (lambda: gradient_symmetricity(np.ones((2, 3)), np.ones((3, 3))), "shapes"),
    ],
)
def test_what_is_not_defined_is_refused(call, said):
    with pytest.raises(StatisticsError, match=said):
        call()
