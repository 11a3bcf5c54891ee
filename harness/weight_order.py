"""Whether a model's matrices hold more than random numbers: whether shuffling their entries changes their spectra.

A matrix of independent numbers has the spectrum of the same entries in any other order, whatever their scale and
distribution; what training writes into a matrix lies along few directions. What this does not answer: whether the model
was trained well, or at all. Weights that were given an order by hand are in order too, and so may be random ones behind
random gains of very different size: folding a LayerNorm centres what was scaled, and faint rows then share what was
subtracted (with gains of exp of a standard normal one of ten models of width 64 reached 1.54, the others 1.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ModelError
from harness.seeding import Streams

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.model import Model

IN_ORDER = 1.5
"""How many times more concentrated some matrix of a trained model is than with its entries shuffled.

Measured, the largest of each model: 3.1 to 3.4 for `induction-1l`, 2.2 to 2.6 for `induction-2l`, 6.8 to 7.6 for
`addition-5d-1l`, 4.4 to 5.0 for `addition-5d-2l`, 62 to 65 for `modular-addition-113` (five training seeds each), 8.4
for SmolLM2. Their untrained twins reach 1.03 (five each). Normal weights of deviation 0.02, 0.1, 0.3 and 1 in three of
these architectures (five seeds each) reach 1.04, the same at every deviation and with random gains and biases as well;
in the shape of SmolLM2 1.01, in models of width 16 (40 seeds) 1.16."""
LEAST = 8
"""Rows and columns of the smallest matrix that is asked: of 300 normal ones of 8 x 8 none reaches 1.43."""
SHUFFLES = 3
"""How often the entries of a small matrix are shuffled; the most concentrated order counts."""
_LARGE = 64
"""Rows and columns from which one order of the entries is as concentrated as another, to 5 %: one is drawn."""
_MOST_ROWS = 512
"""Of a larger matrix so many rows and columns are asked, drawn at random."""
_FAINT = 1 / 3
"""Rows and columns with less than this share of the median norm are left out: to scale them up scales up rounding, and
what folding subtracted."""
_ROUNDS = 3
_ROUNDING = 1e-9
"""What is left of a matrix whose rows and columns are alike, all of them of norm 1 before they were centred."""


class Order(NamedTuple):
    """The matrix whose spectrum depends most on the order of its entries, and how many were asked."""

    ratio: float
    name: str
    n_matrices: int


def order_of_weights(model: Model) -> Order | None:
    """The most ordered matrix of a model; None where it has none of at least `LEAST` rows and columns.

    Its ratio is the matrix's concentration over that of the same entries in random order: 1 for random numbers.

    Raises:
        ModelError: an entry is not a finite number.
    """
    rng = Streams(("weight order", model.fingerprint)).for_("shuffles")
    named = _matrices(model)
    found = [(_ratio(_part(matrix, name=name, rng=rng), rng=rng), name) for name, matrix in named.items()]
    return Order(*max(found), len(found)) if found else None


def permuted_weights(model: Model) -> tuple[bool | None, float | None, str]:
    """Whether the weights are in any order, the largest ratio, and the sentence that says so; None where not asked."""
    found = order_of_weights(model)
    if found is None:
        return None, None, f"not asked: no matrix has {LEAST} rows and columns"
    spread = f"concentrated as with its entries shuffled, the most of {found.n_matrices} matrices"
    said = f"{found.name} is {found.ratio:.3g} times as {spread}"
    holds = found.ratio >= IN_ORDER
    wanted = f"; less than {IN_ORDER:g} times, as random numbers of any scale are: nothing shows its training"
    return holds, found.ratio, said if holds else said + wanted


def _matrices(model: Model) -> dict[str, Tensor]:
    """The model's own matrices by name."""
    untyped: Any = model.bridge.original_model
    return {
        name.replace("._original_component", ""): parameter.detach()
        for name, parameter in untyped.named_parameters()
        if parameter.ndim == 2 and min(parameter.shape) >= LEAST
    }


def _part(matrix: Tensor, *, name: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """At most `_MOST_ROWS` rows and columns of a matrix, but for those next to nothing."""
    import torch

    for axis, size in enumerate(matrix.shape):
        chosen = torch.from_numpy(np.sort(rng.permutation(size)[:_MOST_ROWS]))
        matrix = matrix.index_select(axis, chosen.to(matrix.device))
    values: NDArray[np.float64] = matrix.double().cpu().numpy()
    if not np.isfinite(values).all():
        raise ModelError(f"the entries of {name} are not finite numbers")
    columns, rows = (_norms(values, axis).ravel() for axis in (0, 1))
    return values[np.ix_(_clear(rows), _clear(columns))]


def _clear(norms: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (norms > 0) & (norms >= _FAINT * np.median(norms))


def _ratio(values: NDArray[np.float64], *, rng: np.random.Generator) -> float:
    """Concentration over the largest of shuffled entries; 0 for a matrix of which nothing is left."""
    if min(values.shape) < LEAST:
        return 0.0
    own = _levelled(values)
    if float(np.abs(own).max()) < _ROUNDING:
        return 0.0
    shuffles = 1 if min(own.shape) >= _LARGE else SHUFFLES
    shuffled = [_levelled(rng.permutation(own.ravel()).reshape(own.shape)) for _ in range(shuffles)]
    return _concentration(own) / max(map(_concentration, shuffled))


def _levelled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows and columns scaled alike and centred: random gains and offsets of a random matrix are no order."""
    for axis in (1, 0) * _ROUNDS:
        norms = _norms(values, axis)
        values = values / np.where(norms > 0, norms, 1.0)
    for axis in (1, 0):
        values = values - values.mean(axis=axis, keepdims=True)
    return values


def _norms(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.sqrt(np.square(values).mean(axis=axis, keepdims=True))
    return found


def _concentration(values: NDArray[np.float64]) -> float:
    """The sum of the fourth powers of the singular values over the square of that of their squares.

    It is 1 for a single direction and 1/n for n equal ones.
    """
    gram = values @ values.T if values.shape[0] <= values.shape[1] else values.T @ values
    return float(np.square(gram).sum() / np.trace(gram) ** 2)
