"""Answer digits of an addition model while some heads take what they have on other sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.sums import ANSWERS, DIGITS, POSITIONS, Sums, answer_position, operand_positions
from harness.errors import InterventionError
from harness.interventions import (
    DIRECTIONS,
    Engine,
    Intervention,
    Replace,
    Run,
    Runs,
    head_change,
    measure,
    same_dose_edits,
    same_dose_factor,
)
from harness.interventions.readout import Readout, require_positions
from harness.metrics import Metric
from harness.subjects import parse_head

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

KEPT = ("resid_pre", "k", "v", "z")


@dataclass(frozen=True, eq=False)
class MostLikely:
    """The most likely token at one position of each prompt, as a number."""

    positions: Int[Tensor, "batch 1"] = field(repr=False)
    name: str = "most likely token"
    unit: str = "token"

    def check(self, *, batch: int, pos: int, d_vocab: int) -> None:
        """Raise InterventionError unless the position is one of the prompts'."""
        require_positions(self.positions, batch=batch, pos=pos)

    def __call__(self, read: Readout) -> Float[Tensor, "intervention prompt"]:
        """The token of every prompt under every stacked intervention."""
        return read.logits(self.positions)[:, :, 0].argmax(-1).float()


@dataclass(frozen=True, eq=False)
class TokenLogOdds:
    """Log-odds of a token at one position of each prompt: its logit above all others'.

    Where a model is sure, float32 rounds every probability to 1; of log-odds nothing is lost.
    """

    tokens: Int[Tensor, " batch"] = field(repr=False)
    positions: Int[Tensor, "batch 1"] = field(repr=False)
    name: str = "log-odds"
    unit: str = "logits"

    def check(self, *, batch: int, pos: int, d_vocab: int) -> None:
        """Raise InterventionError unless there are a token and a position for each prompt."""
        require_positions(self.positions, batch=batch, pos=pos)
        if tuple(self.tokens.shape) != (batch,) or not 0 <= int(self.tokens.min()) <= int(self.tokens.max()) < d_vocab:
            raise InterventionError(f"tokens {tuple(self.tokens.shape)} are not one of the vocabulary for each prompt.")

    def __call__(self, read: Readout) -> Float[Tensor, "intervention prompt"]:
        """The log-odds for every prompt under every stacked intervention."""
        logits = read.logits(self.positions)[:, :, 0]
        tokens = read.of_prompts(self.tokens).expand(logits.shape[:-1]).unsqueeze(-1)
        others = logits.scatter(-1, tokens, -float("inf")).logsumexp(dim=-1)
        return logits.gather(-1, tokens).squeeze(-1) - others


def passed(engine: Engine, sums: Sums) -> Run:
    """The pass over sums, with what interventions read."""
    return engine.run(sums.tensor(), keep=KEPT)


def answer(engine: Engine, run: Run) -> NDArray[np.int64]:
    """[sum, 6], the most likely token at each answer place."""
    return np.asarray(engine.logits(run)[:, answer_position(0) :].argmax(-1).cpu().numpy())


def leads(engine: Engine, run: Run, sums: Sums) -> NDArray[np.float64]:
    """[sum, 6], the right digit's logit above the best other token's."""
    logits = engine.logits(run)[:, answer_position(0) :].double().cpu().numpy()
    right = sums.answers[..., None]
    others = logits.copy()
    np.put_along_axis(others, right, -np.inf, axis=-1)
    return np.asarray(np.take_along_axis(logits, right, axis=-1)[..., 0] - others.max(axis=-1))


def answers_patched(
    engine: Engine, clean: Run, donor: Run, *, sets: Mapping[str, Sequence[str]], place: int
) -> dict[str, NDArray[np.int64]]:
    """[sum], the digit at a place when each set of heads takes, at that place, its output of the donors, row by row."""
    import torch

    metric = MostLikely(torch.full((len(clean.tokens), 1), answer_position(place)))
    found = _measured(engine, clean, _patches(clean, donor, sets, place=place), metric=metric)
    return {name: values.astype(np.int64) for name, values in found.items()}


def probs_patched(
    engine: Engine,
    clean: Run,
    donor: Run,
    *,
    sets: Mapping[str, Sequence[str]],
    place: int,
    digits: NDArray[np.int64],
) -> dict[str, NDArray[np.float64]]:
    """As `answers_patched`, the probability of given digits [sum] at the place."""
    distinct = _distinct(sets)
    found = _probs(engine, clean, _patches(clean, donor, distinct, place=place), place=place, digits=digits)
    return {name: found["+".join(heads)] for name, heads in sets.items()}


def probs_under_dose(
    engine: Engine,
    clean: Run,
    donor: Run,
    *,
    heads: Sequence[str],
    place: int,
    digits: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """As `probs_patched` for one set, with random vectors as long as the change: [sum], the mean over directions."""
    edits = z_edits(donor, heads, positions=_at(clean, [answer_position(place)]))
    return _dosed(engine, clean, edits, place=place, digits=digits, rng=rng)


def probs_misreading(
    engine: Engine,
    clean: Run,
    donor: Run,
    *,
    sets: Mapping[str, Sequence[str]],
    pair: int,
    place: int,
    digits: NDArray[np.int64],
) -> dict[str, NDArray[np.float64]]:
    """[sum], probability of digits at a place when each set of heads reads the donors' values at one digit pair.

    They do so from every position and attend as before; whoever else reads the pair still reads the sum's own digits.
    """
    here = _at(clean, operand_positions(pair))
    sweep = [
        Intervention(name, tuple(_replaced("v", donor, heads, positions=here)))
        for name, heads in _distinct(sets).items()
    ]
    found = _probs(engine, clean, sweep, place=place, digits=digits)
    return {name: found["+".join(heads)] for name, heads in sets.items()}


def probs_under_misreading_dose(
    engine: Engine,
    clean: Run,
    donor: Run,
    *,
    heads: Sequence[str],
    pair: int,
    place: int,
    digits: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """As `probs_misreading` for one set, with random vectors as long as what that changes in their outputs: [sum]."""
    edits = _replaced("v", donor, heads, positions=_at(clean, operand_positions(pair)))
    misread = engine.run(clean.tokens, edits=edits, keep=("z",))
    whole = z_edits(misread, heads, positions=_at(clean, range(POSITIONS)))
    return _dosed(engine, clean, whole, place=place, digits=digits, rng=rng)


def attention_to_pairs(engine: Engine, sums: Sums) -> NDArray[np.float64]:
    """[head, place, pair, sum]: attention from answer places to digit pairs; heads in the order of the model."""
    run = engine.run(sums.tensor(), keep=("pattern",))
    found = np.zeros((engine.n_layers * engine.n_heads, ANSWERS, DIGITS, len(sums)))
    for layer in range(engine.n_layers):
        pattern = run.kept("pattern", layer).double().cpu().numpy()  # [sum head query_pos key_pos]
        rows = slice(layer * engine.n_heads, (layer + 1) * engine.n_heads)
        for place in range(ANSWERS):
            for pair in range(DIGITS):
                keys = pattern[:, :, answer_position(place), list(operand_positions(pair))]
                found[rows, place, pair] = keys.sum(axis=-1).T
    return found


def z_edits(donor: Run, heads: Sequence[str], *, positions: Bool[Tensor, "batch pos"]) -> list[Replace]:
    """Edits that give heads their output of the donors at some positions."""
    return _replaced("z", donor, heads, positions=positions)


def _replaced(site: str, donor: Run, heads: Sequence[str], *, positions: Bool[Tensor, "batch pos"]) -> list[Replace]:
    by_layer: dict[int, list[int]] = {}
    for layer, head in map(parse_head, heads):
        by_layer.setdefault(layer, []).append(head)
    return [
        Replace(layer, site, donor.kept(site, layer), parts=tuple(sorted(parts)), positions=positions)
        for layer, parts in sorted(by_layer.items())
    ]


def _distinct(sets: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Each set of heads once, under their names: sets that are drawn place by place often agree at a place."""
    return {"+".join(heads): heads for heads in sets.values()}


def _patches(clean: Run, donor: Run, sets: Mapping[str, Sequence[str]], *, place: int) -> list[Intervention]:
    here = _at(clean, [answer_position(place)])
    return [Intervention(name, tuple(z_edits(donor, heads, positions=here))) for name, heads in sets.items()]


def _probs(
    engine: Engine,
    clean: Run,
    sweep: Sequence[Intervention],
    *,
    place: int,
    digits: NDArray[np.int64],
) -> dict[str, NDArray[np.float64]]:
    import torch

    positions = torch.full((len(clean.tokens), 1), answer_position(place))
    metric = TokenLogOdds(torch.from_numpy(np.ascontiguousarray(digits)), positions)
    found = _measured(engine, clean, sweep, metric=metric)
    return {name: 1 / (1 + np.exp(-log_odds)) for name, log_odds in found.items()}


def _measured(
    engine: Engine, clean: Run, sweep: Sequence[Intervention], *, metric: Metric
) -> dict[str, NDArray[np.float64]]:
    found = measure(Runs(engine, clean), sweep, metric=metric, doses=False)
    return dict(zip(found.names, found.values, strict=True))


def _dosed(
    engine: Engine,
    clean: Run,
    edits: Sequence[Replace],
    *,
    place: int,
    digits: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The mean over random directions, each as long in each layer as what the edits of z write there."""
    changes = {edit.layer: head_change(engine, clean, edit) for edit in edits}
    everywhere = _at(clean, range(POSITIONS))
    factors = {layer: same_dose_factor(clean.kept("resid_pre", layer), counted=everywhere) for layer in changes}
    drawn = same_dose_edits(changes, factors=factors, generator=rng, draws=DIRECTIONS)
    sweep = [Intervention(f"direction {number}", each) for number, each in enumerate(drawn)]
    return np.asarray(np.mean(list(_probs(engine, clean, sweep, place=place, digits=digits).values()), axis=0))


def _at(run: Run, positions: Sequence[int]) -> Bool[Tensor, "batch pos"]:
    import torch

    found = torch.zeros_like(run.tokens, dtype=torch.bool)
    found[:, list(positions)] = True
    return found
