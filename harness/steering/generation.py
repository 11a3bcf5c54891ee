"""Continuations of a steered model: deterministic, batched by prompt length, equal to recomputing the whole text.

Steering acts from the last prompt token on, which predicts the first new token, and on every new token; what the prompt
says before it is read unsteered (Rimsky et al. 2024 add to all positions after the prompt). Each prompt draws with a
generator of its own, seeded with the prompt, so that neither order nor company changes a text, and the steered and the
unsteered continuation of a prompt draw the same numbers. Two prompts of the same tokens are continued alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import InterventionError, NotSuited
from harness.interventions import Engine, HookEngine, engine_of, memory_budget
from harness.interventions.sweeps import progress_bar
from harness.seeding import derive_seed
from harness.steering.activations import batches_of_one_length
from harness.steering.arguments import shown, token_ids
from harness.steering.decoding import CachedDecoder, Decoder, RecomputingDecoder, Steering
from harness.steering.edits import AddDirection, Project

if TYPE_CHECKING:
    from harness.models.model import Model

MOST_ROWS = 256
"""Texts that grow together: with more, products are no faster."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are taken; the arguments of `generate`.

    Raises:
        InterventionError: a number of tokens, a temperature or a stop token is none.
    """

    new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    stop_tokens: Collection[int] | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        whole, warm = isinstance(self.new_tokens, Integral), isinstance(self.temperature, Real)
        if not whole or self.new_tokens < 1 or not warm or not 0 <= self.temperature < float("inf"):
            raise InterventionError(
                f"{shown(self.new_tokens)} new tokens at temperature {shown(self.temperature)}: give a whole number of "
                "at least 1, and a temperature of 0 or more."
            )
        stops: object = () if self.stop_tokens is None else self.stop_tokens
        if not isinstance(stops, Collection) or not all(isinstance(token, Integral) for token in stops):
            raise InterventionError(f"stop_tokens are {shown(stops)}: give a collection of token ids, or none.")


@dataclass(frozen=True)
class Generated:
    """What was generated for each prompt, in the order of the prompts.

    Attributes:
        prompts: the prompts' tokens.
        continuations: new tokens; the stop token is not among them.
        stopped: whether a stop token ended the continuation.
    """

    prompts: tuple[tuple[int, ...], ...] = field(repr=False)
    continuations: tuple[tuple[int, ...], ...] = field(repr=False)
    stopped: tuple[bool, ...] = field(repr=False)

    def texts(self, model: Model) -> tuple[str, ...]:
        """The continuations as text; NotSuited where the model has no tokenizer."""
        if model.tokenizer is None:
            raise NotSuited(f"model {model.id!r} has no tokenizer: its continuations are token ids.")
        decode = model.tokenizer.decode
        return tuple(str(decode(list(each), skip_special_tokens=True)) for each in self.continuations)


def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    steering: Sequence[Steering] = (),
    new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    stop_tokens: Collection[int] | None = None,
) -> Generated:
    """The continuation of every prompt under these edits.

    Args:
        model: the model.
        prompts: token rows, as `model.token_lists(texts, bos=True)` makes them of texts.
        steering: a list of edits without positions, each with one dose for all prompts: `[add(direction, dose=4)]`;
            none for the model alone.
        new_tokens: at most so many.
        temperature: 0 takes the likeliest token; above 0 tokens are drawn.
        seed: of the draws.
        stop_tokens: what ends a text; the tokenizer's own by default.

    Raises:
        InterventionError: a prompt, an edit or a number does not fit, or logits are not finite; it names the doses.
    """
    given = Sampling(new_tokens, temperature, seed, stop_tokens)
    return generate_each(model, prompts, steerings={"": steering}, sampling=given)[""]


def generate_each(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    steerings: Mapping[str, Sequence[Steering]],
    sampling: Sampling,
) -> dict[str, Generated]:
    """The continuations of the same prompts under each of several steerings, side by side; otherwise as `generate`."""
    engine, rows = engine_of(model), token_ids(prompts, what="prompts")
    steerings = _edits_by_name(steerings)
    _check(engine, rows, steerings=steerings, sampling=sampling)
    stops = _stops(model) if sampling.stop_tokens is None else frozenset(sampling.stop_tokens)
    texts = {
        name: [_Text(np.random.default_rng(derive_seed("generation", sampling.seed, *row))) for row in rows]
        for name in steerings
    }
    size = _rows_at_once(engine, longest=max(map(len, rows)) + sampling.new_tokens)
    for some in _groups(tuple(steerings), most=1 if isinstance(engine, HookEngine) else size):
        for index in progress_bar(batches_of_one_length(rows, size=max(1, size // len(some)))):
            decoder = _decoder(
                engine, [rows[row] for row in index], steerings=[steerings[name] for name in some],
                new_tokens=sampling.new_tokens,
            )  # fmt: skip
            batch = [texts[name][row] for name in some for row in index]
            _grow(batch, decoder, sampling=sampling, stops=stops)
    return {
        name: Generated(rows, tuple(tuple(text.tokens) for text in own), tuple(text.stopped for text in own))
        for name, own in texts.items()
    }


def chosen_tokens(
    logits: NDArray[np.float64], *, temperature: float, uniforms: NDArray[np.float64]
) -> NDArray[np.int64]:
    """[row], the next token of each row of logits [row d_vocab].

    At temperature 0 the likeliest, the first of equal ones. Above it the token at which the cumulated probability
    passes the row's uniform number in [0, 1).
    """
    import torch

    if temperature == 0:
        return np.asarray(logits.argmax(axis=-1))
    given = torch.from_numpy(logits)
    # torch shares the rows out among its threads; over a whole vocabulary this takes as long as a layer of the model.
    cumulated = ((given - given.amax(dim=-1, keepdim=True)) / temperature).exp_().cumsum_(dim=-1)
    total = cumulated[:, -1:].contiguous()
    found = torch.searchsorted(cumulated, torch.from_numpy(uniforms)[:, None] * total, right=True)
    # An aim that rounding put on the total still finds the last token that can be drawn.
    return np.asarray(torch.minimum(found, torch.searchsorted(cumulated, total))[:, 0].numpy())


@dataclass
class _Text:
    """One continuation as it grows, and what draws for it."""

    generator: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    stopped: bool = False

    def append(self, token: int, stops: Collection[int]) -> None:
        """Add the token, unless the text has ended or ends with it."""
        self.stopped = self.stopped or token in stops
        if not self.stopped:
            self.tokens.append(token)


def _grow(batch: list[_Text], decoder: Decoder, *, sampling: Sampling, stops: Collection[int]) -> None:
    """Let texts of one length grow until all have stopped or are long enough."""
    for _ in range(sampling.new_tokens):
        uniforms = np.array([text.generator.random() for text in batch])
        chosen = chosen_tokens(decoder.logits(), temperature=sampling.temperature, uniforms=uniforms)
        for text, token in zip(batch, chosen.tolist(), strict=True):
            text.append(token, stops)
        if all(text.stopped for text in batch):
            return
        decoder.append(chosen)


def _groups(names: tuple[str, ...], *, most: int) -> list[tuple[str, ...]]:
    """Steerings that grow side by side."""
    return [names[first : first + most] for first in range(0, len(names), most)]


def _decoder(
    engine: Engine | HookEngine,
    rows: list[tuple[int, ...]],
    *,
    steerings: Sequence[Sequence[Steering]],
    new_tokens: int,
) -> Decoder:
    import torch

    tokens = torch.tensor(rows, dtype=torch.long)
    if isinstance(engine, HookEngine):
        (steering,) = steerings
        return RecomputingDecoder(engine, tokens, steering=steering)
    return CachedDecoder(engine, tokens, steerings=steerings, new_tokens=new_tokens)


def _stops(model: Model) -> frozenset[int]:
    token = None if model.tokenizer is None else model.tokenizer.eos_token_id
    return frozenset() if token is None else frozenset({int(token)})


def _rows_at_once(engine: Engine | HookEngine, *, longest: int) -> int:
    """From declared sizes alone, so that the batches are the same on every machine."""
    per_row = 8 * longest * engine.n_layers * engine.n_kv_heads * engine.d_head + 32 * engine.d_vocab
    return max(1, min(MOST_ROWS, memory_budget() // per_row))


def _edits_by_name(steerings: object) -> dict[str, tuple[Steering, ...]]:
    """The edits of each steering, which are read once."""
    if not isinstance(steerings, Mapping):
        raise InterventionError(f"steerings are {shown(steerings)}: give a dict from each one's name to its edits.")
    if not steerings:
        raise InterventionError("there are no steerings: name at least one, with no edits for the model alone.")
    found: dict[str, tuple[Steering, ...]] = {}
    for name, given in steerings.items():
        edits = tuple(given) if isinstance(given, Iterable) else (None,)
        if not all(isinstance(edit, AddDirection | Project) for edit in edits):
            what = f"steering {name!r}" if name else "steering"
            raise InterventionError(f"{what} is {shown(given)}: give a list of edits, as in [add(direction, dose=4)].")
        found[name] = edits
    return found


def _check(
    engine: Engine | HookEngine,
    rows: Sequence[tuple[int, ...]],
    *,
    steerings: Mapping[str, Sequence[Steering]],
    sampling: Sampling,
) -> None:
    if not rows or not all(rows):
        raise InterventionError(f"{len(rows)} prompts, some empty: give token rows of at least one token each.")
    longest = max(map(len, rows))
    if longest + sampling.new_tokens > engine.n_ctx:
        raise InterventionError(
            f"a prompt of {longest} tokens and {sampling.new_tokens} new ones are more than the {engine.n_ctx} that "
            "the model reads; ask for fewer."
        )
    low, high = min(map(min, rows)), max(map(max, rows))
    if not 0 <= low <= high < engine.d_vocab:
        raise InterventionError(f"tokens {low} to {high} are not all in the vocabulary (0 to {engine.d_vocab - 1}).")
    for edit in (edit for steering in steerings.values() for edit in steering):
        if edit.positions is not None:
            raise InterventionError(
                "generation steers every position from the last prompt token on; give its edits without positions."
            )
        # Prompts of one length run together: numbers for all of them would fit some groups and be dealt out anew.
        numbers = edit.length if isinstance(edit, AddDirection) else edit.center
        if numbers.numel() > 1:
            raise InterventionError(
                f"{numbers.numel()} doses ({edit.dose}) for {len(rows)} prompts: generation takes one dose for all "
                "prompts of a steering. Give one number, or each dose a steering of its own in generate_each."
            )
