"""Where heads attend: attention probability from given queries to given keys, one value per head and sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import InterventionError, StatisticsError
from harness.interventions import engine_of
from harness.sequences import Positions, Sequences
from harness.values import UnitValues

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.model import Model


def attention_scores(
    model: Model, sequences: Sequences, *, pairs: Positions, layers: Sequence[int] | None = None
) -> UnitValues:
    """Mean attention probability over a sequence's (query, key) pairs: [head, sequence].

    Args:
        model: the model; heads of all `layers` are rows, named `layer.head`.
        sequences: the prompts, one unit each.
        pairs: which (row, query, key) triples count; every sequence has at least one.
        layers: which layers to measure (default: all); later layers are not computed.
    """
    return attention_scores_by(model, sequences, pairs={"": pairs}, layers=layers)[""]


def attention_scores_by(
    model: Model, sequences: Sequences, *, pairs: Mapping[str, Positions], layers: Sequence[int] | None = None
) -> dict[str, UnitValues]:
    """As `attention_scores` for several sets of (query, key) pairs by name, from the same passes."""
    engine = engine_of(model)
    chosen = list(range(engine.n_layers)) if layers is None else sorted(set(layers))
    if not chosen:
        raise InterventionError("there are no layers whose attention is to be measured")
    values = {name: np.zeros((len(chosen) * engine.n_heads, len(sequences))) for name in pairs}
    for index, batch in sequences.batches():
        run = engine.run(batch.tensor(), keep={"pattern": chosen}, stop_at_layer=chosen[-1] + 1)
        here = {name: each.for_rows(index) for name, each in pairs.items()}
        for place, layer in enumerate(chosen):
            rows = slice(place * engine.n_heads, (place + 1) * engine.n_heads)
            for name, each in here.items():
                values[name][rows, index] = mean_attention(run.pattern[layer], each, count=len(index))
    names = tuple(f"{layer}.{head}" for layer in chosen for head in range(engine.n_heads))
    return {name: UnitValues(found, names, sequences.units, sequences.units) for name, found in values.items()}


def mean_attention(pattern: Tensor, pairs: Positions, *, count: int) -> NDArray[np.float64]:
    """[head, batch]: mean over each row's pairs of a pattern [batch head query_pos key_pos]."""
    picked = pattern[pairs.rows, :, pairs.queries, pairs.require_keys()].double().cpu().numpy()  # [pair, head]
    return pairs.mean_by_row(picked.T, count=count)


def averaged(several: Sequence[UnitValues]) -> UnitValues:
    """The mean of several measurements on the same units: a control that is drawn more than once per unit."""
    if not several:
        raise StatisticsError("there are no measurements to average")
    first = several[0]
    for other in several[1:]:
        first.require_paired(other)
        if other.components != first.components:
            raise StatisticsError(f"components {first.components} and {other.components} do not correspond")
    mean = np.mean([entry.values for entry in several], axis=0)
    return UnitValues(mean, first.components, first.units, first.clusters)
