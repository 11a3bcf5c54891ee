"""What steering costs on text that it is not about: loss, and KL to the unsteered next-token distribution.

One value per intervention and passage, a mean over the passage's own positions that a token follows. The vocabulary is
compared in parts: logits of a whole batch of passages would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.effects import DosedPrompts
from harness.errors import InterventionError
from harness.interventions import HookEngine, Intervention, Runs, engine_of, memory_budget, own_positions, stacked
from harness.interventions.edits import check_edits
from harness.interventions.readout import LOGIT_BYTES
from harness.interventions.sweeps import progress_bar
from harness.values import UnitValues

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor

    from harness.interventions.weights import Weights
    from harness.models.model import Model


class Make(Protocol):
    """Names the interventions of a batch of passages, alike for every batch."""

    def __call__(self, runs: Runs, batch: Any) -> Sequence[Intervention]:
        """The interventions."""
        ...


@dataclass(frozen=True, eq=False)
class Damage:
    """Loss and KL of passages under interventions, in nats per token.

    Attributes:
        names: one per intervention.
        loss: [intervention, passage], mean loss of the tokens that follow.
        kl: [intervention, passage], mean KL(steered || unsteered) of the next-token distribution.
        clean_loss: [passage], the loss of the unsteered model.
        units: one id per passage.
        clusters: one id per passage.
    """

    names: tuple[str, ...]
    loss: NDArray[np.float64] = field(repr=False)
    kl: NDArray[np.float64] = field(repr=False)
    clean_loss: NDArray[np.float64] = field(repr=False)
    units: tuple[str, ...] = field(repr=False)
    clusters: tuple[str, ...] = field(repr=False)

    def rise(self) -> UnitValues:
        """By how much the loss rises, [intervention, passage]."""
        return UnitValues(self.loss - self.clean_loss, self.names, self.units, self.clusters)

    def divergence(self) -> UnitValues:
        """KL to the unsteered distribution, [intervention, passage]."""
        return UnitValues(self.kl, self.names, self.units, self.clusters)


class _Means(NamedTuple):
    """Clean loss [passage], loss and KL [intervention, passage]."""

    clean_loss: NDArray[np.float64]
    loss: NDArray[np.float64]
    kl: NDArray[np.float64]


def damage(model: Model, passages: DosedPrompts, *, make: Make) -> Damage:
    """Loss and KL of every passage under the interventions that `make` names.

    Args:
        model: the model.
        passages: text that the steering is not about.
        make: (runs, passages of the batch) -> interventions; leave BOS alone with
            `own_positions(batch)`, where an edit would change what attention rests on.

    Raises:
        InterventionError: batches differ in their interventions, one does not fit, a passage has no position that a
            token follows, or what comes out is not finite; the message names the intervention.
    """
    engine = engine_of(model)
    names: tuple[str, ...] = ()
    loss = kl = np.zeros((0, 0))
    clean_loss = np.zeros(len(passages))
    for index, batch in progress_bar(list(passages.batches())):
        runs = Runs.of(engine, batch.tensor(), keep=())
        made = list(make(runs, batch))
        if not names:
            names = _names(made)
            loss, kl = np.zeros((len(names), len(passages))), np.zeros((len(names), len(passages)))
        if tuple(each.name for each in made) != names:
            raise InterventionError("make must name the same interventions for every batch of passages.")
        counted = own_positions(batch)[:, :-1]
        if not bool(counted.any(dim=1).all()):
            raise InterventionError("a passage has no position of its own that a token follows: it has no loss.")
        clean_loss[index], loss[:, index], kl[:, index] = _of_batch(runs, made, counted)
    for name, *rows in zip(names, loss, kl, strict=True):
        if not np.isfinite(rows).all():
            raise InterventionError(f"the damage of intervention {name!r} is not finite: its dose is too large.")
    return Damage(names, loss, kl, clean_loss, passages.units, passages.templates)


def _of_batch(runs: Runs, made: Sequence[Intervention], counted: Bool[Tensor, "batch pos-1"]) -> _Means:
    """Means over the counted positions of each passage."""
    import torch

    for each in made:
        try:
            check_edits(each.edits, frame=runs.frame, restart_layer=0, stop_at_layer=runs.frame.n_layers)
        except InterventionError as error:
            raise InterventionError(f"intervention {each.name!r}: {error}") from error
    counted = counted.to(runs.clean.tokens.device)
    with torch.inference_mode():
        passage, position = counted.nonzero().unbind(dim=1)
        following = runs.clean.tokens[:, 1:][counted].unsqueeze(1)
        # Four tensors of this many rows over the vocabulary are held at once.
        size = max(1, LOGIT_BYTES // (4 * 4 * runs.engine.d_vocab))
        clean = _unsteered(runs)
        parts = torch.arange(len(passage), device=passage.device).split(size)
        clean_loss = torch.cat([-clean(passage[part], position[part]).gather(1, following[part]) for part in parts])
        loss = clean_loss.T.repeat(len(made), 1).double()
        kl = torch.zeros_like(loss)
        for done in _passes(runs, made):
            for part in done.changed(passage, position).split(size):
                before = clean(passage[part], position[part])
                for number, read in zip(done.numbers, done.log_probs, strict=True):
                    after = read(passage[part], position[part])
                    kl[number, part] = (after.exp() * (after - before)).sum(dim=-1).double()
                    loss[number, part] = -after.gather(1, following[part])[:, 0].double()
        rows = torch.cat((clean_loss.T.double(), loss, kl))
        sums = rows.new_zeros(len(rows), len(counted)).index_add(1, passage, rows)
        means = (sums / counted.sum(dim=1)).cpu().numpy()
    return _Means(means[0], means[1 : 1 + len(made)], means[1 + len(made) :])


LogProbs = Callable[["Tensor", "Tensor"], "Tensor"]
"""(passage [row], position [row]) -> log-probabilities of the next token [row d_vocab]."""


@dataclass(frozen=True, eq=False)
class _Pass:
    """Interventions that were computed together, for some passages, from the first position that they change on."""

    numbers: tuple[int, ...]
    log_probs: tuple[LogProbs, ...]
    prompts: slice
    start: int

    def changed(self, passage: Tensor, position: Tensor) -> Tensor:
        """Numbers of the rows that may differ from the unsteered ones."""
        inside = (passage >= self.prompts.start) & (passage < self.prompts.stop) & (position >= self.start)
        rows: Tensor = inside.nonzero()[:, 0]
        return rows


def _unsteered(runs: Runs) -> LogProbs:
    if isinstance(runs.engine, HookEngine):
        return _of_logits(runs.engine.run_with_logits(runs.clean.tokens)[1])
    return _of_stream(runs.engine.weights, runs.clean.resid)


def _passes(runs: Runs, made: Sequence[Intervention]) -> Iterator[_Pass]:
    """Stack by stack on the fast engine; one by one through the model's own hooks."""
    engine, tokens = runs.engine, runs.clean.tokens
    if isinstance(engine, HookEngine):
        for number, each in enumerate(made):
            logits = engine.run_with_logits(tokens, edits=each.edits)[1]
            yield _Pass((number,), (_of_logits(logits),), slice(0, len(tokens)), 0)
        return
    stacks = stacked.plan(made, frame=runs.frame, memory_budget=memory_budget())
    for done in stacked.compute(engine, runs.clean, made, stacks, doses=False):
        prompts, start = done.stack.prompts, done.stack.start
        read = tuple(_of_stream(engine.weights, resid, first=prompts.start, start=start) for resid in done.resid)
        yield _Pass(done.stack.numbers, read, prompts, start)


def _of_stream(weights: Weights, resid: Tensor, *, first: int = 0, start: int = 0) -> LogProbs:
    """Reads a final stream [passage pos d_model] that begins with passage `first` at position `start`."""

    def log_probs(passage: Tensor, position: Tensor) -> Tensor:
        here = weights.norm_final(resid[passage - first, position - start])
        found: Tensor = weights.unembed(here).log_softmax(dim=-1)
        return found

    return log_probs


def _of_logits(logits: Tensor) -> LogProbs:
    return lambda passage, position: logits[passage, position].log_softmax(dim=-1)


def _names(made: Sequence[Intervention]) -> tuple[str, ...]:
    names = tuple(each.name for each in made)
    if not names or len(set(names)) < len(names):
        raise InterventionError(
            f"{len(names)} interventions, {len(set(names))} names: give at least one, each its own."
        )
    return names
