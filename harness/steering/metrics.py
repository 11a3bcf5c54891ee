"""What a steered model says next: log-odds of one set of tokens against another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import InterventionError
from harness.interventions.readout import Readout, require_positions

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class TokenSetLogOdds:
    """Log of the odds, in nats, that the next token is one of a positive set rather than one of a negative set.

    log(sum of P over positive / sum of P over negative): the logsumexp of the positive logits minus that of the
    negative ones, since the rest of the vocabulary cancels.

    Attributes:
        positive: ids of the positive tokens.
        negative: ids of the negative tokens; none stands in both.
        positions: where each prompt is read.
    """

    positive: Int[Tensor, " token"] = field(repr=False)
    negative: Int[Tensor, " token"] = field(repr=False)
    positions: Int[Tensor, " batch"] = field(repr=False)
    name: str = "token-set log-odds"
    unit: str = "nats"

    def check(self, *, batch: int, pos: int, d_vocab: int) -> None:
        """Raise InterventionError unless two disjoint sets of tokens and a position for each prompt are given."""
        for name, tokens in (("positive", self.positive), ("negative", self.negative)):
            if tokens.ndim != 1 or not tokens.numel() or tokens.is_floating_point():
                raise InterventionError(
                    f"the {name} tokens {tuple(tokens.shape)} {tokens.dtype} are not some integers."
                )
            if not 0 <= int(tokens.min()) <= int(tokens.max()) < d_vocab:
                raise InterventionError(f"the {name} tokens are not all in the vocabulary (0 to {d_vocab - 1}).")
        listed = [*self.positive.tolist(), *self.negative.tolist()]
        if len(set(listed)) < len(listed):
            twice = next(token for token in listed if listed.count(token) > 1)
            raise InterventionError(
                f"token {twice} stands twice in the two sets: its odds would count twice or cancel."
            )
        require_positions(self.positions.unsqueeze(1), batch=batch, pos=pos)

    def __call__(self, read: Readout) -> Float[Tensor, "intervention prompt"]:
        """The log-odds."""
        import torch

        positions = self.positions.unsqueeze(1)
        tokens = torch.cat((self.positive, self.negative)).to(positions.device)
        logits = read.logits_of(positions, tokens.expand(len(positions), 1, -1))[:, :, 0]
        split = len(self.positive)
        return logits[..., :split].logsumexp(dim=-1) - logits[..., split:].logsumexp(dim=-1)
