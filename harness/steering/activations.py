"""Activations of texts at chosen layers and positions, and the norms that doses are counted in.

Texts are token rows of any length; rows of one length are run together, so that nothing is padded. The norm of a layer
is a mean over ordinary positions of the texts: the first one is left out, BOS or not, because models park a massive
activation there (SmolLM2: 25,000 where other positions have 160), and so are others beyond `MASSIVE` medians
(Sun et al. 2024, arXiv 2402.17762).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.effects import DosedPrompts
from harness.errors import InterventionError
from harness.interventions import SITES, Engine, HookEngine, engine_of
from harness.steering.arguments import token_ids
from harness.steering.direction import Place

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.model import Model

SITE = "resid_pre"
"""Where directions live unless said otherwise: the residual stream that enters a layer, as `interventions.steer` has
it. Rimsky et al. add to what leaves a layer: their layer l is our l + 1."""
MASSIVE = 4.0
"""Positions whose stream is longer than this many medians of its layer do not count for the mean norm; the length of
ordinary positions varies by a factor of two."""
BATCH = 32


@dataclass(frozen=True)
class ContrastPairs:
    """Pairs of token rows that differ in what a contrast is about.

    Attributes:
        positive: one row of token ids per pair, as `model.token_lists(texts, bos=True)` makes them of texts; BOS
            included where the model has one.
        negative: their partners.
        positions: for each pair where the positive and the negative row are read; None for their last tokens.
    """

    positive: Sequence[Sequence[int]] = field(repr=False)
    negative: Sequence[Sequence[int]] = field(repr=False)
    positions: tuple[tuple[int, int], ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse text, an empty class and rows without a partner; rows are kept as tuples."""
        for name, given in (("positive", self.positive), ("negative", self.negative)):
            rows = token_ids(given, what=f"the {name} rows of a contrast")
            object.__setattr__(self, name, rows)
            if not rows:
                raise InterventionError(f"the {name} class of a contrast is empty: give at least one pair.")
        numbers = len(self.positive), len(self.negative)
        if len(set(numbers)) > 1 or (self.positions is not None and len(self.positions) != numbers[0]):
            raise InterventionError(f"{numbers[0]} positive and {numbers[1]} negative texts do not pair up.")

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.positive)


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations [layer, text, d_model], float64, of texts at one position each.

    Attributes:
        values: the activations.
        layers: the layers, as they were asked for.
        site: the site.
        norms: by layer, the mean norm over ordinary positions.
    """

    values: NDArray[np.float64] = field(repr=False)
    layers: tuple[int, ...]
    site: str
    norms: tuple[float, ...]

    def at(self, layer: int) -> NDArray[np.float64]:
        """[text, d_model] in one layer."""
        return np.asarray(self.values[self._row(layer)])

    def place(self, layer: int) -> Place:
        """Site, layer and norm."""
        return Place(self.site, layer, self.norms[self._row(layer)])

    def _row(self, layer: int) -> int:
        if layer not in self.layers:
            raise InterventionError(
                f"no activations of layer {layer} were read; there are layers {', '.join(map(str, self.layers))}."
            )
        return self.layers.index(layer)


@dataclass(frozen=True, eq=False)
class PairActivations:
    """Activations of the positive and the negative texts of pairs, in the same layers and with the same norms."""

    positive: Activations
    negative: Activations

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers."""
        return self.positive.layers

    def __len__(self) -> int:
        """Number of pairs."""
        return int(self.positive.values.shape[1])

    def at(self, layer: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positive and negative activations [pair, d_model] in one layer."""
        return self.positive.at(layer), self.negative.at(layer)

    def both(self, layer: int) -> NDArray[np.float64]:
        """[text, d_model], the positive texts and then the negative ones."""
        return np.concatenate(self.at(layer))

    def place(self, layer: int) -> Place:
        """Site, layer and norm."""
        return self.positive.place(layer)

    def rows(self, index: NDArray[np.integer]) -> PairActivations:
        """Some of the pairs; norms stay those of all."""
        return self._with(self.positive.values[:, index], self.negative.values[:, index])

    def swapped(self, where: NDArray[np.bool_]) -> PairActivations:
        """The labels of some pairs exchanged: what was positive is negative where it is true."""
        if where.shape != (len(self),) or where.dtype != np.bool_:
            raise InterventionError(f"{where.shape} {where.dtype} does not say of {len(self)} pairs which are swapped.")
        mask = where[None, :, None]
        one, other = self.positive.values, self.negative.values
        return self._with(np.where(mask, other, one), np.where(mask, one, other))

    def _with(self, positive: NDArray[np.float64], negative: NDArray[np.float64]) -> PairActivations:
        return PairActivations(replace(self.positive, values=positive), replace(self.negative, values=negative))


def read_activations(
    model: Model,
    rows: Sequence[Sequence[int]],
    *,
    layers: Sequence[int],
    site: str = SITE,
    positions: Sequence[int] | None = None,
) -> Activations:
    """Activations of token rows at one position each, and the mean norms over their ordinary positions.

    Args:
        model: the model.
        rows: token ids, as `model.token_lists(texts, bos=True)` makes them of texts.
        layers: the layers to read, each once.
        site: a site of the residual stream's width.
        positions: where each row is read; its last token by default.

    Raises:
        InterventionError: there are no rows, one is empty or text, or a layer, site or position does not exist.
    """
    engine, rows = engine_of(model), token_ids(rows, what="rows")
    where = [len(row) - 1 for row in rows] if positions is None else [int(position) for position in positions]
    _check(engine, rows, layers=layers, site=site, where=where)
    values = np.empty((len(layers), len(rows), engine.d_model))
    norms: list[NDArray[np.float64]] = []
    for index in batches_of_one_length(rows, size=BATCH):
        for number, stream in enumerate(_streams(engine, [rows[row] for row in index], layers=layers, site=site)):
            at = np.array([where[row] for row in index])
            values[number, index] = stream[np.arange(len(index)), at]
            norms.append(np.linalg.norm(stream[:, 1:], axis=-1).ravel())
    by_layer = [np.concatenate(norms[number :: len(layers)]) for number in range(len(layers))]
    return Activations(values, tuple(layers), site, tuple(_ordinary_mean(each) for each in by_layer))


def pair_activations(model: Model, pairs: ContrastPairs, *, layers: Sequence[int], site: str = SITE) -> PairActivations:
    """Activations of both sides of pairs; norms are those of all their texts together. Errors as `read_activations`."""
    n = len(pairs)
    at = None if pairs.positions is None else [*(a for a, _ in pairs.positions), *(b for _, b in pairs.positions)]
    found = read_activations(model, (*pairs.positive, *pairs.negative), layers=layers, site=site, positions=at)
    positive, negative = (replace(found, values=half) for half in (found.values[:, :n], found.values[:, n:]))
    return PairActivations(positive, negative)


def stream_samples(model: Model, rows: Sequence[Sequence[int]], *, layer: int, site: str = SITE) -> NDArray[np.float64]:
    """[sample, d_model], the stream at every position of the texts but their first: what covariances are taken of.

    Errors as `read_activations`.
    """
    engine, rows = engine_of(model), token_ids(rows, what="rows")
    _check(engine, rows, layers=[layer], site=site, where=[0] * len(rows))
    found = [
        _streams(engine, [rows[row] for row in index], layers=[layer], site=site)[0][:, 1:].reshape(-1, engine.d_model)
        for index in batches_of_one_length(rows, size=BATCH)
    ]
    return np.concatenate(found)


def token_rows(prompts: DosedPrompts) -> tuple[tuple[int, ...], ...]:
    """The tokens of each prompt without its padding."""
    tokens, real = prompts.tensor().cpu().numpy(), prompts.real_positions()
    return tuple(tuple(row[own].tolist()) for row, own in zip(tokens, real, strict=True))


def batches_of_one_length(rows: Sequence[Sequence[int]], *, size: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of rows that are equally long, at most `size` at once, the same on every machine."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    for length in np.unique(lengths):
        here = np.flatnonzero(lengths == length)
        for first in range(0, len(here), size):
            yield here[first : first + size]


def _check(
    engine: Engine | HookEngine, rows: Sequence[Sequence[int]], *, layers: Sequence[int], site: str, where: list[int]
) -> None:
    if not rows or any(not len(row) for row in rows):
        raise InterventionError(f"{len(rows)} texts, some empty: give token rows of at least one token each.")
    if SITES.get(site) != ("batch", "pos", "d_model"):
        wide = ", ".join(name for name, axes in SITES.items() if axes == ("batch", "pos", "d_model"))
        raise InterventionError(f"directions do not live at {site!r}; the sites of the stream's width are {wide}.")
    if not layers or len(set(layers)) < len(layers):
        raise InterventionError(f"layers are {list(layers)}; name at least one, and each once.")
    for layer in layers:
        if not 0 <= layer < engine.n_layers:
            raise InterventionError(
                f"layer {layer} does not exist, the model has {engine.n_layers} layers (0 to {engine.n_layers - 1})."
            )
    if len(where) != len(rows) or any(not 0 <= at < len(row) for at, row in zip(where, rows, strict=False)):
        raise InterventionError(f"{len(where)} positions for {len(rows)} texts: give each one of its own tokens'.")


def _streams(
    engine: Engine | HookEngine, rows: list[Sequence[int]], *, layers: Sequence[int], site: str
) -> list[NDArray[np.float64]]:
    """[text, pos, d_model] in each layer."""
    import torch

    tokens = torch.tensor([list(row) for row in rows], dtype=torch.long)
    run = engine.run(tokens, keep={site: list(layers)}, stop_at_layer=max(layers) + 1)
    kept: list[Tensor] = [run.kept(site, layer) for layer in layers]
    return [each.double().cpu().numpy() for each in kept]


def _ordinary_mean(norms: NDArray[np.float64]) -> float:
    if not norms.size:
        raise InterventionError(
            "every text is a single token: mean norms, which doses are counted in, leave the first position out."
        )
    return float(norms[norms <= MASSIVE * np.median(norms)].mean())
