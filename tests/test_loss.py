"""Losses against torch's cross entropy on the bridge's own logits, one unpadded sequence at a time."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.prompts.repeated import random_blocks
from harness.errors import InterventionError, StatisticsError
from harness.interventions import Engine
from harness.loss import losses, row_losses
from harness.sequences import Positions
from tests.interventions.bridges import tiny_bridge
from tests.one_thread import one_thread  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("one_thread")


def sequences(n=9, lengths=(4, 6, 10)):
    return random_blocks(range(3, 40), n=n, rng=np.random.default_rng(0), lengths=lengths, bos=0)


@pytest.fixture(scope="module", params=["gpt2", "llama", "attention-only"])
def bridge(request):
    return tiny_bridge(request.param)


def cross_entropy(bridge, some, row, queries):
    """Mean over the queries of torch's cross entropy, in nats."""
    import torch

    tokens = torch.from_numpy(some.tokens[row, : some.start + 2 * some.lengths[row]])
    with torch.inference_mode():
        logits = bridge(tokens[None])[0].double()
        queries = torch.from_numpy(queries)
        return float(torch.nn.functional.cross_entropy(logits[queries], tokens[queries + 1]))


@pytest.mark.parametrize("where", ["second_copy", "first_copy"])
def test_the_loss_is_torchs_cross_entropy_at_those_positions(bridge, where):
    some = sequences()
    at = getattr(some, where)()
    found = losses(bridge, some, at=at)
    expected = [cross_entropy(bridge, some, row, at.queries[at.rows == row]) for row in range(len(some))]
    assert (found.components, found.units) == (("model",), some.units)
    np.testing.assert_allclose(found.values[0], expected, atol=1e-4)


def test_several_sets_of_positions_are_read_in_one_pass_and_may_overlap(bridge):
    some = sequences()
    index, batch = next(iter(some.batches()))
    engine = Engine.of(bridge)
    run = engine.run(batch.tensor())
    second, first = some.second_copy().for_rows(index), some.first_copy().for_rows(index)
    everything = Positions(np.r_[first.rows, second.rows], np.r_[first.queries, second.queries])
    found = row_losses(engine, run, {"first": first, "second": second, "all": everything}, count=len(index))
    alone = row_losses(engine, run, {"second": second}, count=len(index))
    np.testing.assert_allclose(found["second"], alone["second"], atol=1e-6)
    np.testing.assert_allclose(found["all"], (found["first"] + found["second"]) / 2, atol=1e-6)  # equally many of both


def test_padding_and_the_other_rows_of_a_batch_change_nothing(bridge):
    some = sequences()
    together = losses(bridge, some, at=some.second_copy())
    alone = some.rows(np.array([int(np.argmin(some.lengths))]))
    found = losses(bridge, alone, at=alone.second_copy())
    assert found.values[0, 0] == pytest.approx(together.values[0, int(np.argmin(some.lengths))], abs=1e-5)


def test_a_model_that_knows_nothing_loses_the_logarithm_of_the_vocabulary():
    bridge = tiny_bridge("attention-only")
    import torch

    with torch.no_grad():
        for parameter in bridge.unembed.parameters():
            parameter.zero_()
    some = sequences()
    # 40 tokens, all equally likely: log 40 nats each
    np.testing.assert_allclose(losses(bridge, some, at=some.second_copy()).values, np.log(40), atol=1e-5)


def test_a_row_without_positions_is_refused(bridge):
    some = sequences(n=2)
    with pytest.raises(StatisticsError, match="no position at which its loss is read"):
        losses(bridge, some, at=Positions(np.array([0, 0]), np.array([1, 2])))


def test_the_last_token_of_a_prompt_predicts_nothing_that_could_be_scored(bridge):
    some = sequences(n=1, lengths=(4,))
    with pytest.raises(InterventionError, match="no token follows"):
        losses(bridge, some, at=Positions(np.array([0]), np.array([8])))
