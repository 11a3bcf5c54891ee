"""What a metric may read of a pass: logits and log-probabilities, only at the positions and tokens it names.

Values come as [intervention, prompt, n]: metrics are written once and read one pass or a stack of many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from harness.errors import InterventionError

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from harness.interventions.weights import Weights

LOGIT_BYTES = 64 * 2**20  # logits held at once while log-probabilities are read; softmax doubles it


class Readout(Protocol):
    """Reads a pass. Arguments cover all prompts of the batch, even where only some of them are in this pass."""

    def logits_of(
        self, positions: Int[Tensor, "batch n"], tokens: Int[Tensor, "batch n k"]
    ) -> Float[Tensor, "intervention prompt n k"]:
        """Logits of some tokens at some positions."""

    def log_probs_of(
        self, positions: Int[Tensor, "batch n"], tokens: Int[Tensor, "batch n"]
    ) -> Float[Tensor, "intervention prompt n"]:
        """Log-probabilities in nats of one token at each position."""

    def logits(self, positions: Int[Tensor, "batch n"]) -> Float[Tensor, "intervention prompt n d_vocab"]:
        """Logits of the whole vocabulary at some positions."""

    def of_prompts(self, values: Tensor) -> Tensor:
        """The rows of a tensor [batch ...] that belong to the prompts of this pass."""


class StreamReadout:
    """Reads the final residual stream: unembeds only what is asked for."""

    def __init__(
        self,
        weights: Weights,
        resid: Float[Tensor, "intervention prompt suffix d_model"],
        *,
        clean: Float[Tensor, "prompt pos d_model"],
        start: int,
        prompts: slice,
    ) -> None:
        """A readout of streams that begin at position `start`; what is read before it stands in the clean stream."""
        self._weights, self._resid, self._clean = weights, resid, clean
        self._start, self._prompts = start, prompts

    def logits_of(self, positions: Tensor, tokens: Tensor) -> Tensor:
        """Logits of some tokens at some positions."""
        import torch

        normed = self._normed(positions)
        tokens = self.of_prompts(tokens)
        columns = self._weights.unembed.weight[tokens]  # [prompt n k d_model]
        logits = torch.einsum("ipnd,pnkd->ipnk", normed, columns)
        return logits if self._weights.unembed.bias is None else logits + self._weights.unembed.bias[tokens]

    def log_probs_of(self, positions: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities in nats of one token at each position."""
        normed = self._normed(positions)
        following = self.of_prompts(tokens).expand(normed.shape[:-1])
        return log_probs(self._weights, normed.flatten(0, -2), following.flatten()).view(following.shape)

    def logits(self, positions: Tensor) -> Tensor:
        """Logits of the whole vocabulary at some positions."""
        return self._weights.unembed(self._normed(positions))

    def of_prompts(self, values: Tensor) -> Tensor:
        """The rows of a tensor [batch ...] that belong to the prompts of this pass."""
        return values[self._prompts].to(self._resid.device)

    def _normed(self, positions: Tensor) -> Tensor:
        import torch

        here = self.of_prompts(positions)
        rows = torch.arange(len(here), device=here.device).unsqueeze(1)
        resid = self._resid[:, rows, (here - self._start).clamp_min(0)]
        if self._start and bool((here < self._start).any()):
            resid = torch.where((here < self._start).unsqueeze(-1), self._clean[rows, here], resid)
        return self._weights.norm_final(resid)


class LogitReadout:
    """Reads logits that the model computed itself: the slow path's."""

    def __init__(self, logits: Float[Tensor, "prompt pos d_vocab"]) -> None:
        self._logits = logits

    def logits_of(self, positions: Tensor, tokens: Tensor) -> Tensor:
        """Logits of some tokens at some positions."""
        return self.logits(positions).gather(-1, tokens.unsqueeze(0))

    def log_probs_of(self, positions: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities in nats of one token at each position."""
        return self.logits(positions).log_softmax(dim=-1).gather(-1, tokens.view(1, *tokens.shape, 1)).squeeze(-1)

    def logits(self, positions: Tensor) -> Tensor:
        """Logits of the whole vocabulary at some positions."""
        import torch

        rows = torch.arange(len(positions), device=positions.device).unsqueeze(1)
        return self._logits[rows, positions].unsqueeze(0)

    def of_prompts(self, values: Tensor) -> Tensor:
        """All of them: the slow path runs the whole batch."""
        return values


def log_probs(
    weights: Weights, normed: Float[Tensor, "row d_model"], tokens: Int[Tensor, " row"]
) -> Float[Tensor, " row"]:
    """Log-probability in nats of one token for each normalised row; the vocabulary is never held for all of them."""
    import torch

    bytes_per_row = weights.unembed.weight.shape[0] * normed.element_size()
    # Parts of even size: a last part of a few rows would be multiplied by another routine, with other rounding.
    parts = max(1, -(-normed.shape[0] * bytes_per_row // LOGIT_BYTES))
    read: list[Tensor] = []
    for part, token in zip(normed.tensor_split(parts), tokens.tensor_split(parts), strict=True):
        logits = weights.unembed(part)
        read.append(logits.gather(1, token.unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=-1))
    return torch.cat(read)


def require_positions(positions: Tensor, *, batch: int, pos: int) -> None:
    """Raise InterventionError unless positions are integers [batch n] inside the prompts."""
    if positions.ndim != 2 or positions.shape[0] != batch or positions.is_floating_point():
        raise InterventionError(f"positions {tuple(positions.shape)} {positions.dtype} are not integers [{batch} n].")
    if positions.numel() and not 0 <= int(positions.min()) <= int(positions.max()) < pos:
        raise InterventionError(f"positions must lie in 0 to {pos - 1}, got {positions.min()} to {positions.max()}.")
