"""What metrics ask of prompts: batches of tokens, and the positions that count in each row. numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


class Sequences(Protocol):
    """Prompts of one claim; any class with these members will do."""

    @property
    def units(self) -> tuple[str, ...]:
        """One id per sequence."""
        ...

    def __len__(self) -> int:
        """Number of sequences."""
        ...

    def tensor(self) -> Int[Tensor, "batch pos"]:
        """Right-padded tokens."""
        ...

    def real_positions(self) -> NDArray[np.bool_]:
        """[batch, pos]: true where the sequence has a token of its own, false in the padding."""
        ...

    def rows(self, index: NDArray[np.int64]) -> Self:
        """Some of the sequences, without padding that none of them needs."""
        ...

    def batches(self) -> Iterator[tuple[NDArray[np.int64], Self]]:
        """(row numbers, those sequences), the same cut on every machine."""
        ...


@dataclass(frozen=True)
class Positions:
    """Positions that count: parallel arrays of rows, queries and, for attention, keys."""

    rows: NDArray[np.int64]
    queries: NDArray[np.int64]
    keys: NDArray[np.int64] | None = None

    def for_rows(self, index: NDArray[np.int64]) -> Positions:
        """The positions of these rows, which are then numbered as in `index`."""
        place = np.full(int(max(self.rows.max(), index.max())) + 1, -1)
        place[index] = np.arange(len(index))
        here = place[self.rows] >= 0
        keys = None if self.keys is None else self.keys[here]
        return Positions(place[self.rows[here]], self.queries[here], keys)

    def with_keys(self, keys: NDArray[np.int64]) -> Positions:
        """The same queries with other keys."""
        return replace(self, keys=keys)

    def require_keys(self) -> NDArray[np.int64]:
        """The keys; StatisticsError where there are none."""
        if self.keys is None:
            raise StatisticsError("these positions have queries only; attention is between a query and a key")
        return self.keys

    def mean_by_row(self, values: NDArray[np.float64], *, count: int) -> NDArray[np.float64]:
        """[..., row]: the mean of values [..., position] over the positions of each of `count` rows."""
        sizes = np.bincount(self.rows, minlength=count)
        if (sizes == 0).any():
            raise StatisticsError(f"row {int(np.argmin(sizes))} has no position that counts")
        flat = values.reshape(-1, values.shape[-1])
        sums = np.stack([np.bincount(self.rows, weights=line, minlength=count) for line in flat])
        return (sums / sizes).reshape(*values.shape[:-1], count)
