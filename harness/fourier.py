"""Fourier analysis of models of addition mod p, in numpy: which waves over the tokens matrices and activations are.

The basis over Z_p (p odd) is orthonormal: the constant, then cosine and sine of each frequency k = 1 ... (p-1)/2. A
frequency's share is the part of the squared norm that lies along its waves. Restricted and excluded loss, the cosine
fit and the tuning of neurons are those of Nanda et al. 2023, "Progress measures for grokking via mechanistic
interpretability", sections 4 and 5.1. What a share means for the model is not answered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import StatisticsError

Array = NDArray[np.float64]


class Bars(TypedDict):
    """What `figures.bars` and `evidence.picture("bars", ...)` take."""

    labels: list[str]
    values: list[float]


@dataclass(frozen=True)
class CosineFit:
    """Logits approximated by a sum of cos(w_k (a + b - c)), one amplitude per frequency, fitted by least squares.

    Attributes:
        frequencies: k of each cosine.
        amplitudes: of each, in logits.
        explained: R^2: the share of the logits' variance over all (a, b, c) that the sum explains.
    """

    frequencies: tuple[int, ...]
    amplitudes: tuple[float, ...]
    explained: float


def basis(p: int) -> Array:
    """[wave, token]: the orthonormal waves: constant, cos 1, sin 1, cos 2, ... as rows."""
    if p < 3 or p % 2 == 0:
        raise StatisticsError(f"the modulus is {p}; waves come in pairs of cosine and sine only for an odd p >= 3")
    k, token = np.arange(1, p // 2 + 1)[:, None], np.arange(p)
    pairs = np.stack([np.cos(2 * np.pi * k * token / p), np.sin(2 * np.pi * k * token / p)], axis=1)
    return np.concatenate([np.full((1, p), p**-0.5), pairs.reshape(p - 1, p) * (2 / p) ** 0.5])


def spectrum(matrix: ArrayLike) -> Array:
    """[p // 2 + 1]: each frequency's share of the squared norm of [token, d]; the constant first. Sums to one."""
    rows = _tokens_first(matrix, what="matrix")
    return _shares(np.square(basis(len(rows)) @ rows.reshape(len(rows), -1)).sum(axis=1))


def without_constant(shares: ArrayLike) -> Array:
    """[p // 2]: shares of the frequencies 1, 2, ... of what is not constant."""
    waves = np.asarray(shares, dtype=np.float64)[1:]
    if not waves.sum() > 1e-12 * np.sum(shares):  # what rounding leaves of a constant
        raise StatisticsError("nothing but a constant: no frequency has a share")
    return np.asarray(waves / waves.sum())


def spectrum_2d(values: ArrayLike) -> Array:
    """[p // 2 + 1, p // 2 + 1]: share of each pair of frequencies in the squared norm of f(a, b, ...)."""
    squared = np.square(transform_2d(values))
    by_first = _by_frequency(squared.sum(axis=tuple(range(2, squared.ndim))))
    power = _by_frequency(by_first.T).T
    return np.asarray(power / power.sum())


def transform_2d(values: ArrayLike) -> Array:
    """[wave, wave, ...]: coefficients of f(a, b, ...) on products of a wave in a and a wave in b."""
    table = _table(values)
    waves = basis(len(table))
    first = np.tensordot(waves, table, axes=(1, 0))
    return np.asarray(np.moveaxis(np.tensordot(waves, first, axes=(1, 1)), 0, 1))


def gini(values: ArrayLike) -> float:
    """The Gini coefficient of values that are not negative: 0 where all are equal, 1 - 1/n where one has it all."""
    row = np.sort(np.asarray(values, dtype=np.float64))
    if row.ndim != 1 or not row.size or not np.isfinite(row).all() or row[0] < 0 or row.sum() == 0:
        raise StatisticsError("a Gini coefficient needs one row of finite values >= 0 that are not all 0")
    ranks = np.arange(1, row.size + 1)
    return float(((2 * ranks - row.size - 1) * row).sum() / (row.size * row.sum()))


def top_share(shares: ArrayLike, count: int) -> float:
    """What the `count` largest shares are together."""
    row = np.asarray(shares, dtype=np.float64)
    if not 1 <= count <= row.size:
        raise StatisticsError(f"the {count} largest of {row.size} shares are asked for")
    return float(np.sort(row)[-count:].sum())


def key_frequencies(matrix: ArrayLike, *, at_least: float) -> tuple[int, ...]:
    """Frequencies with at least so many times an equal share of [token, d], the largest first; never none.

    Where no frequency reaches it (random matrices) it is the largest alone, so that a claim can still be asked.
    """
    shares = without_constant(spectrum(matrix))
    order = np.argsort(-shares, kind="stable")
    reached = [int(place) + 1 for place in order if shares[place] >= at_least / shares.size]
    return tuple(reached) or (int(order[0]) + 1,)


def only(matrix: ArrayLike, frequencies: Sequence[int]) -> Array:
    """[token, d] rebuilt from its constant and these frequencies."""
    rows = _tokens_first(matrix, what="matrix")
    waves = basis(len(rows))[[0, *_wave_rows(frequencies, p=len(rows))]]
    return np.asarray(waves.T @ (waves @ rows))


def without(matrix: ArrayLike, frequencies: Sequence[int]) -> Array:
    """[token, d] without these frequencies."""
    rows = _tokens_first(matrix, what="matrix")
    waves = basis(len(rows))[_wave_rows(frequencies, p=len(rows))]
    return np.asarray(rows - waves.T @ (waves @ rows))


def sum_spectrum(values: ArrayLike) -> Array:
    """[p // 2]: share of each frequency's cos(w_k (a + b)) and sin(w_k (a + b)) in the variance of f(a, b, ...)."""
    table = _table(values)
    p = len(table)
    by_sum = _over_sums(table)
    squared = np.square(basis(p) @ by_sum).sum(axis=1) / p
    variance = np.square(table - table.mean(axis=(0, 1))).sum()
    if not variance > 0:
        raise StatisticsError("f(a, b) does not vary over a and b")
    return np.asarray(_by_frequency(squared[:, None])[1:, 0] / variance)


def sum_waves(values: ArrayLike, frequencies: Sequence[int]) -> Array:
    """The part of f(a, b, ...) along cos(w_k (a + b)) and sin(w_k (a + b)) of these frequencies, [a, b, ...]."""
    table = _table(values)
    p = len(table)
    waves = basis(p)[_wave_rows(frequencies, p=p)]
    part = waves.T @ (waves @ _over_sums(table)) / p
    total = np.add.outer(np.arange(p), np.arange(p)) % p
    return np.asarray(part[total].reshape(table.shape))


def restricted(logits: ArrayLike, frequencies: Sequence[int]) -> Array:
    """Logits [a, b, c] of which only the mean and the waves in a + b of these frequencies are left (Nanda et al.)."""
    table = _table(logits)
    return np.asarray(sum_waves(table, frequencies) + table.mean(axis=(0, 1)))


def excluded(logits: ArrayLike, frequencies: Sequence[int]) -> Array:
    """Logits [a, b, c] without the waves in a + b of these frequencies, everything else left (Nanda et al.)."""
    table = _table(logits)
    return np.asarray(table - sum_waves(table, frequencies))


def losses_nats(logits: ArrayLike) -> Array:
    """[a, b]: cross entropy of the answer (a + b) mod p under logits [a, b, c]."""
    table = _cube(logits)
    # exp of differences to the right answer: under a good model they are tiny, and log1p keeps what 1 + x would lose.
    apart = table - correct_logits(table)[..., None]
    first, second = np.indices(table.shape[:2])
    apart[first, second, (first + second) % len(table)] = -np.inf
    most = np.maximum(apart.max(axis=2), 0)
    others = np.exp(apart - most[..., None]).sum(axis=2)
    return np.asarray(np.where(most > 0, most + np.log(others + np.exp(-most)), np.log1p(others)))


def correct_logits(logits: ArrayLike) -> Array:
    """[a, b]: the logit of (a + b) mod p, of logits centred over c or not."""
    table = _cube(logits)
    first, second = np.indices(table.shape[:2])
    return np.asarray(table[first, second, (first + second) % len(table)])


def cosine_fit(logits: ArrayLike, frequencies: Sequence[int]) -> CosineFit:
    """The least-squares fit of logits [a, b, c] by one cos(w_k (a + b - c)) per frequency and a constant."""
    table = _cube(logits)
    p, chosen = len(table), tuple(int(k) for k in frequencies)
    variance = np.square(table - table.mean()).sum()
    if not variance > 0:
        raise StatisticsError("the logits do not vary; no fit explains them")
    _wave_rows(chosen, p=p)  # refuses frequencies that there are not
    total, answer = np.indices((p, p))
    # The cosines are constant where a + b - c is, and orthogonal to each other: what is fitted is a row of p means.
    by_distance = np.bincount(((total - answer) % p).ravel(), _over_sums(table).ravel(), p) / p**2
    cosines = np.cos(2 * np.pi * np.outer(chosen, np.arange(p)) / p)
    amplitudes = cosines @ by_distance * 2 / p
    explained = float(np.square(amplitudes).sum() * p**3 / 2 / variance)
    return CosineFit(chosen, tuple(float(each) for each in amplitudes), explained)


def tuning(neurons: ArrayLike) -> Array:
    """[p // 2, neuron]: share of the variance of f(a, b) [a, b, neuron] that each frequency alone explains.

    A frequency explains with its waves in a, its waves in b, and their products: 8 directions (Nanda et al. 2023,
    section 4.3: polynomials of degree two in its sines and cosines). A neuron that is constant has no share anywhere.
    """
    table = np.asarray(neurons)
    if table.ndim != 3 or table.shape[0] != table.shape[1]:
        raise StatisticsError(f"neurons have shape {table.shape}; they are [a, b, neuron] over all pairs")
    p, n = len(table), table.shape[2]
    waves = basis(p).astype(table.dtype)
    in_a = (waves @ table.reshape(p, p * n)).reshape(p, p, n)
    shares = np.zeros((p // 2, n))
    for row in range(p // 2):
        chosen = [0, 2 * row + 1, 2 * row + 2]
        both = np.matmul(waves[chosen], in_a[chosen]).astype(np.float64)
        shares[row] = np.square(both).sum(axis=(0, 1)) - np.square(both[0, 0])
    flat = table.reshape(p * p, n)
    variance = np.square(flat - flat.mean(axis=0)).sum(axis=0, dtype=np.float64)
    return np.asarray(np.divide(shares, variance, out=np.zeros_like(shares), where=variance > 0))


def spectrum_bars(shares: ArrayLike, *, first: int = 1, most: int = 12) -> Bars:
    """The largest shares with their frequencies and the sum of the others, for `figures.bars`.

    Args:
        shares: one per frequency.
        first: the frequency of the first share: 0 where the constant is among them.
        most: how many are shown apart.
    """
    row = np.asarray(shares, dtype=np.float64)
    order = np.argsort(-row, kind="stable")
    labels = [f"frequency {place + first}" for place in order[:most]]
    rest = order[most:]
    if not rest.size:
        return {"labels": labels, "values": row[order].tolist()}
    return {
        "labels": [*labels, f"the other {rest.size} together"],
        "values": [*row[order[:most]].tolist(), float(row[rest].sum())],
    }


def _tokens_first(matrix: ArrayLike, *, what: str) -> Array:
    rows = np.asarray(matrix, dtype=np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise StatisticsError(f"the {what} has shape {rows.shape}; it is [token, d], and finite")
    return rows


def _table(values: ArrayLike) -> Array:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim < 2 or table.shape[0] != table.shape[1] or not np.isfinite(table).all():
        raise StatisticsError(f"f(a, b) has shape {table.shape}; it is [a, b, ...] over all pairs, and finite")
    return table


def _cube(logits: ArrayLike) -> Array:
    table = _table(logits)
    if table.ndim != 3 or table.shape[2] != len(table):
        raise StatisticsError(f"logits have shape {table.shape}; they are [a, b, c] over all numbers")
    return table


def _over_sums(table: Array) -> Array:
    """[(a + b) mod p, entry]: f summed over the pairs of each sum."""
    p = len(table)
    token = np.arange(p)
    flat = table.reshape(p, p, -1)
    return np.asarray(sum(flat[a, (token - a) % p] for a in range(p)))


def _shares(by_wave: Array) -> Array:
    power = _by_frequency(by_wave[:, None])[:, 0]
    if not power.sum() > 0:
        raise StatisticsError("the matrix is all 0 and has no spectrum")
    return np.asarray(power / power.sum())


def _by_frequency(by_wave: Array) -> Array:
    """[frequency, ...] from [wave, ...]: cosine and sine of a frequency together, the constant first."""
    return np.concatenate([by_wave[:1], by_wave[1::2] + by_wave[2::2]])


def _wave_rows(frequencies: Sequence[int], *, p: int) -> list[int]:
    wrong = [k for k in frequencies if not 1 <= k <= p // 2]
    if wrong or not len(frequencies) or len(set(frequencies)) != len(frequencies):
        raise StatisticsError(f"frequencies are {list(frequencies)}; name different ones from 1 to {p // 2}")
    return [row for k in frequencies for row in (2 * k - 1, 2 * k)]
