"""Token rows of any length as prompts, for tests of steering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenRows:
    """Prompts that begin with a BOS; batches of at most two rows of one length."""

    tokens: tuple[tuple[int, ...], ...]
    units: tuple[str, ...]
    start: int = 1

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> TokenRows:
        return cls(tuple(tuple(row) for row in rows), tuple(f"u{number}" for number in range(len(rows))))

    @property
    def templates(self) -> tuple[str, ...]:
        return self.units

    @property
    def end(self) -> NDArray[np.int64]:
        return np.array([len(row) - 1 for row in self.tokens])

    def __len__(self) -> int:
        return len(self.tokens)

    def tensor(self):
        import torch

        longest = max(map(len, self.tokens))
        return torch.tensor([[*row, *[0] * (longest - len(row))] for row in self.tokens])

    def real_positions(self) -> NDArray[np.bool_]:
        return np.arange(max(map(len, self.tokens))) < self.end[:, None] + 1

    def rows(self, index: NDArray[np.int64]) -> TokenRows:
        return TokenRows(tuple(self.tokens[row] for row in index), tuple(self.units[row] for row in index), self.start)

    def batches(self) -> Iterator[tuple[NDArray[np.int64], TokenRows]]:
        from harness.steering.activations import batches_of_one_length

        for index in batches_of_one_length(self.tokens, size=2):
            yield index, self.rows(index)


def some_rows(lengths: Sequence[int], *, seed: int = 0, vocabulary: int = 40) -> tuple[tuple[int, ...], ...]:
    """Random rows of these lengths behind a BOS (token 0)."""
    rng = np.random.default_rng(seed)
    return tuple((0, *rng.integers(3, vocabulary, length - 1).tolist()) for length in lengths)
