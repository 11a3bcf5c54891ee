"""Next-token logits of growing texts under steering: with keys and values cached, or recomputed as the slow oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import InterventionError
from harness.interventions import Engine, Frame, HookEngine
from harness.interventions.edits import check_edits
from harness.interventions.forward import ForwardPass, Member, Past
from harness.steering.edits import AddDirection, Project

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

Steering = AddDirection | Project


class Decoder(Protocol):
    """Texts of one length that grow token by token."""

    def logits(self) -> NDArray[np.float64]:
        """[row d_vocab], of the next token of each text."""
        ...

    def append(self, tokens: NDArray[np.int64]) -> None:
        """Give each text its next token."""
        ...


class CachedDecoder:
    """The engine's own forward pass, one position at a time, with the keys and values of those before it.

    Several steerings grow side by side from the same prompts, which are read once: rows are those of the first
    steering, then those of the second, and so on. A step reads all weights, whether for ten rows or for two hundred.
    """

    def __init__(
        self,
        engine: Engine,
        tokens: Int[Tensor, "row pos"],
        *,
        steerings: Sequence[Sequence[Steering]],
        new_tokens: int,
    ) -> None:
        """Read the prompts but for their last token, unsteered."""
        import torch

        weights = engine.weights
        self._engine, self._edits = engine, [edit for steering in steerings for edit in steering]
        tokens = tokens.to(weights.embed.device)
        batch, pos = tokens.shape
        for steering in steerings:
            check_edits(steering, frame=_frame(engine, batch), restart_layer=0, stop_at_layer=engine.n_layers)
        self._members = [
            Member(slice(number * batch, (number + 1) * batch), steering) for number, steering in enumerate(steerings)
        ]
        shape = (len(steerings) * batch, weights.n_kv_heads, pos + new_tokens, weights.d_head)
        with torch.inference_mode():
            self._k = [weights.embed.new_empty(shape) for _ in range(engine.n_layers)]
            self._v = [weights.embed.new_empty(shape) for _ in range(engine.n_layers)]
            self._start = 0
            if pos > 1:
                self._forward(tokens[:, :-1], [Member(slice(0, batch), ())])
        self._last = tokens[:, -1:].repeat(len(steerings), 1)

    def logits(self) -> NDArray[np.float64]:
        """[steering * row d_vocab], of the next token; reads the last one, so it is called once for each."""
        import torch

        weights = self._engine.weights
        with torch.inference_mode():
            resid = self._forward(self._last, self._members)
            logits = weights.unembed(weights.norm_final(resid[:, -1]))
        return _finite(logits, self._edits)

    def append(self, tokens: NDArray[np.int64]) -> None:
        """Give each text its next token."""
        import torch

        self._last = torch.from_numpy(tokens).unsqueeze(1).to(self._last.device)

    def _forward(self, tokens: Tensor, members: Sequence[Member]) -> Tensor:
        """The final stream of these positions, whose keys and values join the cache; of prompts for every steering."""
        weights, start = self._engine.weights, self._start
        stop = start + tokens.shape[1]
        resid = weights.embed[tokens]
        if weights.pos_embed is not None:
            resid = resid + weights.pos_embed[start:stop]
        layers = frozenset(range(self._engine.n_layers))
        past = Past(
            start,
            {layer: self._k[layer][:, :, :start] for layer in layers if start},
            {layer: self._v[layer][:, :, :start] for layer in layers if start},
        )
        copies = len(self._k[0]) // len(tokens)
        forward = ForwardPass(weights, members=members, keep={"k": layers, "v": layers}, past=past, doses=False)
        for layer in range(self._engine.n_layers):
            resid = forward.block(resid, layer)
            k, v = forward.kept["k"].pop(layer), forward.kept["v"].pop(layer)
            rotated = k if weights.rotary is None else weights.rotary(k, start=start)
            self._k[layer][:, :, start:stop] = rotated.transpose(1, 2).repeat(copies, 1, 1, 1)
            self._v[layer][:, :, start:stop] = v.transpose(1, 2).repeat(copies, 1, 1, 1)
        self._start = stop
        return resid


class RecomputingDecoder:
    """The whole text, run again for every token, steered from the last prompt token on: slow and obviously right."""

    def __init__(
        self, engine: Engine | HookEngine, tokens: Int[Tensor, "row pos"], *, steering: Sequence[Steering]
    ) -> None:
        self._engine, self._tokens, self._steering = engine, tokens, steering
        self._first = tokens.shape[1] - 1

    def logits(self) -> NDArray[np.float64]:
        """[row d_vocab], of the next token."""
        import torch

        here = torch.zeros_like(self._tokens, dtype=torch.bool)
        here[:, self._first :] = True
        edits = [replace(edit, positions=here) for edit in self._steering]
        if isinstance(self._engine, HookEngine):
            return _finite(self._engine.run_with_logits(self._tokens, edits=edits)[1][:, -1], self._steering)
        run = self._engine.run(self._tokens, edits=edits, doses=False)
        return _finite(self._engine.logits(run)[:, -1], self._steering)

    def append(self, tokens: NDArray[np.int64]) -> None:
        """Give each text its next token."""
        import torch

        self._tokens = torch.cat((self._tokens, torch.from_numpy(tokens).unsqueeze(1)), dim=1)


def _frame(engine: Engine, batch: int) -> Frame:
    return Frame(
        n_layers=engine.n_layers, n_heads=engine.n_heads, n_kv_heads=engine.n_kv_heads, d_head=engine.d_head,
        d_model=engine.d_model, d_mlp=engine.d_mlp, dtype=str(engine.weights.embed.dtype), batch=batch, pos=1,
    )  # fmt: skip


def _finite(logits: Tensor, steering: Sequence[Steering]) -> NDArray[np.float64]:
    if not bool(logits.isfinite().all()):
        doses = ", ".join(edit.dose for edit in steering) or "none"
        raise InterventionError(f"the logits under dose {doses} are not finite; take a smaller dose.")
    found: NDArray[np.float64] = logits.double().cpu().numpy()
    return found
