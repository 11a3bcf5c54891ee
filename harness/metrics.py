"""Metrics of a pass: one value per intervention and prompt, with the unit in the name.

A metric says what it reads when it is called with a `Readout`; it computes no more than that. Any callable object with
`name`, `unit` and `check` is a metric.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.errors import InterventionError
from harness.interventions.readout import Readout, require_positions

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class Metric(Protocol):
    """What `measure` needs: a value per prompt, read from a pass."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def unit(self) -> str:
        """Its unit: logits, nats, probability."""

    def check(self, *, batch: int, pos: int, d_vocab: int) -> None:
        """Raise InterventionError unless it fits the prompts."""

    def __call__(self, read: Readout) -> Float[Tensor, "intervention prompt"]:
        """The value of every prompt under every stacked intervention."""


@dataclass(frozen=True, eq=False)
class LogitDifference:
    """Logit of the correct token minus logit of the wrong one, at one position of each prompt."""

    correct: Int[Tensor, " batch"] = field(repr=False)
    wrong: Int[Tensor, " batch"] = field(repr=False)
    positions: Int[Tensor, " batch"] = field(repr=False)
    name: str = "logit difference"
    unit: str = "logits"

    def check(self, *, batch: int, pos: int, d_vocab: int) -> None:
        """Raise InterventionError unless there are a position and two tokens for each prompt."""
        _require_tokens(self.correct, self.wrong, batch=batch, d_vocab=d_vocab)
        require_positions(self.positions.unsqueeze(1), batch=batch, pos=pos)

    def __call__(self, read: Readout) -> Float[Tensor, "intervention prompt"]:
        """The difference in logits."""
        import torch

        tokens = torch.stack((self.correct, self.wrong), dim=1).unsqueeze(1)  # [batch 1 2]
        logits = read.logits_of(self.positions.unsqueeze(1), tokens)
        return logits[:, :, 0, 0] - logits[:, :, 0, 1]


@dataclass(frozen=True, eq=False)
class LogProb:
    """Log-probability in nats of a token at one position of each prompt."""

    tokens: Int[Tensor, " batch"] = field(repr=False)
    positions: Int[Tensor, " batch"] = field(repr=False)
    name: str = "log-probability"
    unit: str = "nats"

    def check(self, *, batch: int, pos: int, d_vocab: int) -> None:
        """Raise InterventionError unless there are a position and a token for each prompt."""
        _require_tokens(self.tokens, batch=batch, d_vocab=d_vocab)
        require_positions(self.positions.unsqueeze(1), batch=batch, pos=pos)

    def __call__(self, read: Readout) -> Float[Tensor, "intervention prompt"]:
        """The log-probability."""
        return read.log_probs_of(self.positions.unsqueeze(1), self.tokens.unsqueeze(1)).squeeze(-1)


@dataclass(frozen=True, eq=False)
class MeanLoss:
    """Mean cross-entropy in nats of the tokens that follow the positions named, per prompt."""

    positions: Int[Tensor, "batch n"] = field(repr=False)
    following: Int[Tensor, "batch n"] = field(repr=False)
    name: str = "loss"
    unit: str = "nats"

    def check(self, *, batch: int, pos: int, d_vocab: int) -> None:
        """Raise InterventionError unless every position has a following token."""
        require_positions(self.positions, batch=batch, pos=pos)
        if self.following.shape != self.positions.shape or not self.positions.numel():
            raise InterventionError("the loss needs at least one position per prompt, and the token that follows each.")
        _require_vocabulary(self.following, d_vocab=d_vocab)

    def __call__(self, read: Readout) -> Float[Tensor, "intervention prompt"]:
        """The mean loss over the positions."""
        return -read.log_probs_of(self.positions, self.following).mean(dim=-1)


def _require_tokens(*tokens: Tensor, batch: int, d_vocab: int) -> None:
    for each in tokens:
        if tuple(each.shape) != (batch,) or each.is_floating_point():
            raise InterventionError(f"tokens {tuple(each.shape)} {each.dtype} are not integers [batch] = ({batch},).")
        _require_vocabulary(each, d_vocab=d_vocab)


def _require_vocabulary(tokens: Tensor, *, d_vocab: int) -> None:
    if tokens.is_floating_point():
        raise InterventionError(f"tokens {tuple(tokens.shape)} {tokens.dtype} are not integers.")
    low, high = int(tokens.min()), int(tokens.max())
    if not 0 <= low <= high < d_vocab:
        raise InterventionError(f"tokens {low} to {high} are not all in the vocabulary (0 to {d_vocab - 1}).")
