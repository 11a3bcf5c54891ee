"""Edge attribution against receivers computed by hand, node attribution, and TransformerLens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.attribution import attribution
from harness.edge_attribution import edge_attribution
from harness.errors import InterventionError
from harness.interventions import Engine, Intervention, Replace, Runs, Target
from harness.interventions.paths import parse_receiver
from tests.attribution_runs import (
    by_transformer_lens,
    double_bridge,
    logit_difference,
    loss,
    runs_of,
    slopes,
    some_runs,
)
from tests.interventions.bridges import KINDS, some_tokens

if TYPE_CHECKING:
    from torch import Tensor

RECEIVERS = ("0.1.q", "0.kv1.v", "1.0.q", "1.2.k", "1.3.v", "1.kv0.k", "1.kv1.v", "logits")


def edges_of(runs: Runs) -> list[tuple[str, str]]:
    """Every edge between some senders and some receivers."""
    senders = ["embed", *(f"{layer}.{head}" for layer in (0, 1) for head in (0, 3))]
    receivers = list(RECEIVERS)
    if runs.frame.d_mlp:
        senders, receivers = [*senders, "0.mlp", "1.mlp"], [*receivers, "0.mlp", "1.mlp"]
    return [(sender, receiver) for sender in senders for receiver in receivers if comes_before(sender, receiver)]


def comes_before(sender: str, receiver: str) -> bool:
    if sender == "embed" or receiver == "logits":
        return True
    writing = (int(sender[0]), 3 if sender.endswith("mlp") else 1)
    return writing < (int(receiver[0]), 2 if receiver.endswith("mlp") else 0)


def carried(runs: Runs, edge: tuple[str, str], share: float, *, where: Tensor | None = None) -> Intervention:
    """One receiver computed by hand from the clean stream plus a share of the sender's change."""
    import torch

    engine, (sender, receiver) = runs.engine, edge
    assert isinstance(engine, Engine)
    if sender == "embed":
        change = runs.source().kept("resid_pre", 0) - runs.clean.resid_at(0)
    else:
        sent = Target.parse(sender)
        change = runs.source().kept(sent.site, sent.layer) - runs.clean.kept(sent.site, sent.layer)
        if sent.part is not None:
            change = change[:, :, sent.part] @ engine.W_O(sent.layer)[sent.part]
    if where is not None:
        change = change * where.unsqueeze(-1)
    reads = parse_receiver(receiver)
    if reads is None:
        return Intervention(str(edge), (Replace(1, "resid_post", runs.clean.resid + share * change),))
    if reads.part is None:
        stream = runs.clean.kept("resid_mid", reads.layer) + share * change
        return Intervention(str(edge), (Replace(reads.layer, "mlp_in", stream),))
    block = engine.weights.blocks[reads.layer]
    with torch.inference_mode():
        normed = block.norm_attn(runs.clean.resid_at(reads.layer) + share * change)
        value = {"q": block.q, "k": block.k, "v": block.v}[reads.site[0]](normed)
    value = value.unflatten(-1, (-1, engine.d_head))
    if reads.site.endswith("_by_head"):
        value = value.repeat_interleave(engine.n_heads // engine.n_kv_heads, dim=2)
    return Intervention(str(edge), (Replace(reads.layer, reads.site, value, parts=(reads.part,)),))


@pytest.mark.parametrize("kind", KINDS)
def test_edge_scores_are_the_slopes_of_receivers_computed_by_hand(kind: str) -> None:
    runs, metric = runs_of(kind), logit_difference()
    edges = edges_of(runs)
    found = edge_attribution(runs, edges, metric=metric)
    expected = slopes(runs, lambda share: [carried(runs, edge, share) for edge in edges], metric=metric)
    assert found.names[0] == "embed -> 0.1.q"
    assert (np.abs(found.scores).max(axis=1) > 1e-8).mean() > 0.9  # nearly every edge carries something
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)


def test_positions_of_edges_are_where_the_receiver_reads() -> None:
    import torch

    runs, metric = runs_of("llama"), logit_difference()
    edges = edges_of(runs)
    where = torch.zeros(3, 11, dtype=torch.bool)
    where[:, 6:8] = True
    found = edge_attribution(runs, edges, metric=metric, positions=where)
    expected = slopes(runs, lambda share: [carried(runs, edge, share, where=where) for edge in edges], metric=metric)
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)


@pytest.mark.parametrize("method", ["gradient", "integrated-gradients"])
@pytest.mark.parametrize("kind", ["llama", "native-rotary-gated", "attention-only-ln"])
def test_scores_of_all_edges_of_a_sender_add_up_to_its_own(kind: str, method: Any) -> None:
    runs, metric = runs_of(kind), loss()
    groups = range(runs.frame.n_kv_heads)
    senders = {"embed": "0.resid_pre", "0.1": "0.1", "1.3": "1.3"}
    receivers = [f"{layer}.{head}.q" for layer in (0, 1) for head in range(4)] + ["logits"]
    receivers += [f"{layer}.kv{group}.{part}" for layer in (0, 1) for group in groups for part in "kv"]
    if runs.frame.d_mlp:
        senders, receivers = senders | {"0.mlp": "0.mlp"}, [*receivers, "0.mlp", "1.mlp"]
    for sender, node in senders.items():
        edges = [(sender, receiver) for receiver in receivers if comes_before(sender, receiver)]
        total = edge_attribution(runs, edges, metric=metric, method=method).scores.sum(axis=0)
        np.testing.assert_allclose(total, attribution(runs, [node], metric=metric, method=method).scores[0], atol=1e-12)
        assert np.abs(total).max() > 1e-4


@pytest.mark.parametrize(("kind", "sizes"), [("gpt2", {}), ("llama", {"n_kv_heads": 4})])
def test_edges_agree_with_transformer_lens_without_grouped_queries(kind: str, sizes: dict[str, int]) -> None:
    bridge, metric = double_bridge(kind, **sizes), logit_difference()
    runs = some_runs(Engine.of(bridge))
    _, theirs = by_transformer_lens(bridge, runs, prompt=1, granularity="edge")
    found = edge_attribution(runs, list(theirs), metric=metric)
    # Queries, keys and values of 4 heads in 2 layers have 1 and 6 senders, the MLPs 5 and 10, the logits 11.
    assert len(theirs) == 12 * (1 + 6) + 5 + 10 + 11
    np.testing.assert_allclose(found.scores[:, 1], list(theirs.values()), rtol=1e-5, atol=1e-6)


def test_corrupted_prompts_equal_to_the_clean_ones_give_zeros() -> None:
    runs = some_runs(Engine.of(double_bridge("llama")), corrupted=some_tokens())
    assert (edge_attribution(runs, edges_of(runs), metric=logit_difference()).scores == 0).all()


def test_a_small_memory_budget_changes_nothing() -> None:
    runs, metric = runs_of("llama"), logit_difference()
    options = {"metric": metric, "method": "integrated-gradients", "steps": 2}
    whole, single = (edge_attribution(runs, edges_of(runs), **options, **more) for more in ({}, {"memory_budget": 1}))
    np.testing.assert_allclose(single.scores, whole.scores, atol=1e-12)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([], "at least one edge"),
        ([("0.1", "logits"), ("0.1", "logits")], "each of them once"),
        ([("0.1.q", "logits")], "senders are heads"),
        ([("0.1", "1.2")], "receives nothing"),
        ([("0.1", "0.2.q")], "does not come after"),
        ([("1.mlp", "1.mlp")], "does not come after"),
        ([("1.1", "0.mlp")], "does not come after"),
        ([("0.9", "logits")], "head 9 does not exist"),
        ([("0.1", "1.kv3.k")], "kv_head 3 does not exist"),
        ([("0.1", "4.mlp")], "layer 4 does not exist"),
    ],
)
def test_edges_that_lead_nowhere_are_refused_by_name(edges: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(InterventionError, match=message):
        edge_attribution(runs_of("llama"), edges, metric=logit_difference())


def test_positions_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(InterventionError, match=r"positions \(3, 11\) torch.int64 are not booleans"):
        edge_attribution(runs_of("llama"), [("0.1", "1.2.q")], metric=logit_difference(), positions=some_tokens())
