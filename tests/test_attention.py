"""Attention scores against the pattern that the bridge's own hooks show, sequence by sequence."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.prompts.repeated import random_blocks
from harness.attention import attention_scores, averaged, mean_attention
from harness.errors import InterventionError, StatisticsError
from harness.sequences import Positions
from harness.values import UnitValues
from tests.interventions.bridges import tiny_bridge
from tests.one_thread import one_thread  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("one_thread")

BOS = 0


def sequences(n=9, lengths=(4, 6, 10), seed=0):
    """Repeated blocks of several lengths, so that most rows are padded."""
    return random_blocks(range(3, 40), n=n, rng=np.random.default_rng(seed), lengths=lengths, bos=BOS)


@pytest.fixture(scope="module", params=["gpt2", "llama", "attention-only"])
def bridge(request):
    """A tiny random model; the Llama has grouped queries."""
    return tiny_bridge(request.param)


def patterns(bridge, tokens):
    """[layer][head query key] of one unpadded row, read by TransformerLens' hooks."""
    import torch

    seen = {}

    def keep(pattern, hook):
        seen[len(seen)] = pattern[0].double().numpy()

    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(2)]
    with torch.inference_mode():
        bridge.run_with_hooks(torch.from_numpy(tokens)[None], fwd_hooks=[(name, keep) for name in names])
    return seen


def slow_scores(bridge, some, pairs):
    """[head, row]: each row alone, without padding, pair by pair."""
    found = np.zeros((8, len(some)))
    for row in range(len(some)):
        seen = patterns(bridge, some.tokens[row, : some.start + 2 * some.lengths[row]])
        here = pairs.rows == row
        for layer in range(2):
            for head in range(4):
                picked = [seen[layer][head, q, k] for q, k in zip(pairs.queries[here], pairs.keys[here], strict=True)]
                found[4 * layer + head, row] = np.mean(picked)
    return found


@pytest.mark.parametrize("where", ["second_copy", "first_copy", "previous_token"])
def test_scores_are_the_mean_of_the_hooked_pattern_over_each_rows_pairs(bridge, where):
    some = sequences()
    pairs = getattr(some, where)()
    scores = attention_scores(bridge, some, pairs=pairs)
    assert scores.components == tuple(f"{layer}.{head}" for layer in range(2) for head in range(4))
    assert scores.units == some.units
    np.testing.assert_allclose(scores.values, slow_scores(bridge, some, pairs), atol=1e-6)


def test_a_layer_measured_alone_has_the_same_scores_and_later_ones_are_not_computed(bridge):
    some = sequences()
    pairs = some.second_copy()
    everything = attention_scores(bridge, some, pairs=pairs)
    first = attention_scores(bridge, some, pairs=pairs, layers=[0, 0])
    assert first.components == ("0.0", "0.1", "0.2", "0.3")
    np.testing.assert_allclose(first.values, everything.of(first.components).values, atol=1e-7)
    with pytest.raises(InterventionError, match="no layers"):
        attention_scores(bridge, some, pairs=pairs, layers=[])


def test_padding_and_the_other_rows_of_a_batch_change_nothing(bridge):
    some = sequences()
    together = attention_scores(bridge, some, pairs=some.second_copy())
    for row in (0, 4):
        alone = some.rows(np.array([row]))
        scores = attention_scores(bridge, alone, pairs=alone.second_copy())
        np.testing.assert_allclose(scores.values[:, 0], together.values[:, row], atol=1e-6)


def test_mean_attention_of_a_pattern_by_hand():
    import torch

    pattern = torch.zeros(2, 1, 4, 4)  # batch head query key
    pattern[0, 0, 2, 1], pattern[0, 0, 3, 1], pattern[1, 0, 3, 0] = 0.5, 0.1, 0.9
    pairs = Positions(np.array([0, 0, 1]), np.array([2, 3, 3]), np.array([1, 1, 0]))
    # row 0: (0.5 + 0.1) / 2; row 1: 0.9
    np.testing.assert_allclose(mean_attention(pattern, pairs, count=2), [[0.3, 0.9]], atol=1e-7)


def test_attention_needs_keys_and_a_pair_in_every_row():
    import torch

    pattern = torch.zeros(2, 1, 4, 4)
    with pytest.raises(StatisticsError, match="queries only"):
        mean_attention(pattern, Positions(np.array([0, 1]), np.array([2, 3])), count=2)
    with pytest.raises(StatisticsError, match="row 1 has no position"):
        mean_attention(pattern, Positions(np.array([0]), np.array([2]), np.array([1])), count=2)


def test_shuffles_are_averaged_per_unit_and_unpaired_ones_refused():
    def values(rows, units=("a", "b"), components=("0.0",)):
        return UnitValues(np.array(rows, dtype=float), components, units, units)

    assert averaged([values([[1, 2]]), values([[3, 6]])]).values.tolist() == [[2, 4]]
    with pytest.raises(StatisticsError, match="different units"):
        averaged([values([[1, 2]]), values([[3, 6]], units=("a", "c"))])
    with pytest.raises(StatisticsError, match="do not correspond"):
        averaged([values([[1, 2]]), values([[3, 6]], components=("0.1",))])
    with pytest.raises(StatisticsError, match="no measurements"):
        averaged([])
