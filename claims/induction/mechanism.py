"""Which heads play the parts of an induction circuit, found on the discovery split by attention alone.

Induction heads attend to the token after the match; previous-token heads attend one position back and stand in layers
before the induction heads. Both are selected by attention, so claims about that attention are tier `reliability`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from claims.induction.recipe import train
from fixtures.prompts.repeated import RepeatedTokens, repeated_random_tokens
from harness.attention import attention_scores, averaged
from harness.mechanism import Discovery
from harness.models.recipes import Recipe, register_recipe

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams

INDUCTION_SCORE = 0.4
"""Least prefix-matching score over shuffled sequences; shuffling leaves under 0.1 in trained and untrained models."""
PREVIOUS_SCORE = 0.3
"""Least attention to the position before; a uniform head has about 0.04."""
MOST_HEADS = 4
"""At most this many heads of a class, the highest first."""
SEQUENCES = 32

pilots = contextlib.nullcontext
"""Sequences are random: the splits differ by the seed alone (`harness.pilot`)."""

for _family in ("induction-2l", "induction-1l"):
    register_recipe(Recipe(_family, train, minutes=8, loss_tolerance_nats=0.1))


def discovery_sequences(model: Model, streams: Streams) -> RepeatedTokens:
    """The repeated sequences of the discovery split; disjoint from every claim's by the seed that draws them."""
    return repeated_random_tokens(model, n=SEQUENCES, rng=streams.for_("sequences"))


def discover(model: Model, streams: Streams, *, thresholds: bool = True) -> Discovery:
    """Induction and previous-token heads of a model, with the scores of every head.

    A class is empty where no head reaches its threshold; a claim on it then says so. Null worlds switch `thresholds`
    off: the highest heads of an untrained model are then asked what trained ones are.
    """
    least = (INDUCTION_SCORE, PREVIOUS_SCORE) if thresholds else (-1.0, -1.0)
    sequences = discovery_sequences(model, streams)
    pairs = sequences.second_copy()
    repeated = attention_scores(model, sequences, pairs=pairs)
    shuffles = [sequences.shuffled_second(streams.for_(f"shuffle {number}")) for number in range(2)]
    shuffled = averaged([attention_scores(model, each, pairs=pairs) for each in shuffles])
    matching = dict(zip(repeated.components, repeated.minus(shuffled).mean().tolist(), strict=True))
    previous = attention_scores(model, sequences, pairs=sequences.previous_token())
    stepping = dict(zip(previous.components, previous.mean().tolist(), strict=True))
    can_be_fed = {head: score for head, score in matching.items() if not head.startswith("0.")}
    induction = _highest(can_be_fed, at_least=least[0])
    first = min((int(head.split(".")[0]) for head in induction), default=model.n_layers)
    earlier = {head: score for head, score in stepping.items() if int(head.split(".")[0]) < first}
    return Discovery(
        classes={"induction": induction, "previous-token": _highest(earlier, at_least=least[1])},
        selected_by={"induction": "prefix-matching score", "previous-token": "attention to the previous position"},
        scores={"prefix-matching score": matching, "attention to the previous position": stepping},
    )


def _highest(scores: dict[str, float], *, at_least: float) -> tuple[str, ...]:
    order = np.argsort([-score for score in scores.values()], kind="stable")
    ranked = [list(scores)[place] for place in order]
    return tuple(head for head in ranked if scores[head] >= at_least)[:MOST_HEADS]
