"""How well a model predicts: loss in nats per token at given positions, one value per sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.interventions import Engine, HookEngine, Run, engine_of
from harness.sequences import Positions, Sequences
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.models.model import Model


def losses(model: Model, sequences: Sequences, *, at: Positions) -> UnitValues:
    """Mean loss in nats of the tokens that follow the given positions: one row, `model`."""
    engine = engine_of(model)
    values = np.zeros((1, len(sequences)))
    for index, batch in sequences.batches():
        values[0, index] = row_losses(engine, engine.run(batch.tensor()), {"at": at.for_rows(index)}, count=len(index))[
            "at"
        ]
    return UnitValues(values, ("model",), sequences.units, sequences.units)


def row_losses(
    engine: Engine | HookEngine, run: Run, at: Mapping[str, Positions], *, count: int
) -> dict[str, NDArray[np.float64]]:
    """For each named set of positions the mean loss per row in nats; logits are read only where one is named."""
    import torch

    wanted = np.unique(np.concatenate([np.stack([p.rows, p.queries], axis=1) for p in at.values()]), axis=0)
    per_row = [wanted[wanted[:, 0] == row, 1] for row in range(count)]
    if any(not len(queries) for queries in per_row):
        empty = next(row for row, queries in enumerate(per_row) if not len(queries))
        raise StatisticsError(f"row {empty} of the batch has no position at which its loss is read")
    width = max(len(queries) for queries in per_row)
    positions = np.stack([np.pad(queries, (0, width - len(queries)), mode="edge") for queries in per_row])
    found = engine.log_probs_at(run, torch.from_numpy(positions)).double().cpu().numpy()
    table = np.full((count, run.tokens.shape[1]), np.nan)
    for row, queries in enumerate(per_row):
        table[row, queries] = -found[row, : len(queries)]
    return {name: p.mean_by_row(table[p.rows, p.queries], count=count) for name, p in at.items()}
