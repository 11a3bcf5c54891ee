"""Architectures that the fast engine does not cover: metrics run through hooks, and the evidence says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fixtures.prompts.repeated import random_blocks
from harness.ablation import Ablation, damage
from harness.attention import attention_scores
from harness.claim import Evidence
from harness.errors import InterventionError, NotCovered
from harness.interventions import Engine, HookEngine, budget_of, engine_of, memory_budget, slow_path_note
from harness.loss import losses
from harness.seeding import Streams
from harness.session import asking
from tests.interventions.bridges import tiny_bridge
from tests.toy_claim import CLAIM

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@pytest.fixture(scope="module")
def gemma() -> TransformerBridge:
    return tiny_bridge("gemma")


def blocks(n: int = 3) -> object:
    return random_blocks(range(2, 40), n=n, rng=np.random.default_rng(0), lengths=[5], bos=0)


def test_attention_and_losses_are_those_of_the_model(gemma: TransformerBridge) -> None:
    import torch

    model, sequences = SimpleNamespace(bridge=gemma), blocks()
    pairs = sequences.second_copy()
    with torch.inference_mode():
        logits, cache = gemma.run_with_cache(sequences.tensor(), names_filter="blocks.1.attn.hook_pattern")
    pattern = cache["blocks.1.attn.hook_pattern"]
    scores = attention_scores(model, sequences, pairs=pairs)
    for head in range(4):
        here = pattern[pairs.rows, head, pairs.queries, pairs.keys].double().numpy()
        np.testing.assert_allclose(
            scores.of([f"1.{head}"]).values[0], pairs.mean_by_row(here[None], count=3)[0], atol=1e-6
        )
    at = sequences.second_copy()
    following = sequences.tokens[at.rows, at.queries + 1]
    nats = -logits.log_softmax(-1)[at.rows, at.queries, following].double().numpy()
    np.testing.assert_allclose(
        losses(model, sequences, at=at).values[0], at.mean_by_row(nats[None], count=3)[0], atol=1e-5
    )


def test_the_engine_is_the_fast_one_where_it_can_be(gemma: TransformerBridge, llama: TransformerBridge) -> None:
    assert isinstance(engine_of(llama), Engine)
    assert isinstance(engine_of(gemma), HookEngine)
    assert slow_path_note(SimpleNamespace(bridge=llama)) is None
    assert "not covered by the fast engine" in str(slow_path_note(SimpleNamespace(bridge=gemma)))
    assert slow_path_note(SimpleNamespace()) is None


def test_a_claim_that_needs_the_fast_engine_is_invalid_without_it(gemma: TransformerBridge) -> None:
    evidence = Evidence(CLAIM, 24, Streams(("test",)))
    with asking(evidence):
        damage(
            SimpleNamespace(bridge=gemma),
            blocks(),
            sets={"1.0": ("1.0",)},
            ablation=Ablation("resample", [blocks()]),
            measure=lambda engine, run, index: {},
        )
    assert evidence.decided
    assert "not covered by the fast engine" in str(evidence.sections["judgement"])
    with pytest.raises(NotCovered):
        Engine.of(gemma)


def test_the_declared_budget_holds_within_its_block() -> None:
    before = memory_budget()
    with budget_of(2**21):
        assert memory_budget() == 2**21
        with budget_of(None):
            assert memory_budget() == 2**21
    assert memory_budget() == before
    with pytest.raises(InterventionError, match="1 MiB or more"), budget_of(100):
        pass
