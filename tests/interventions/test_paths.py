"""Path patching: fast against hooks, and what freezing the other heads and the MLPs means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import InterventionError
from harness.interventions import Edge, Engine, HookEngine, Runs, edge_patch, measure, path_patch, path_patches
from tests.interventions.bridges import some_tokens, tiny_bridge
from tests.interventions.test_edges import difference

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def the_runs(engine: Engine | HookEngine) -> Runs:
    clean, other = some_tokens(), some_tokens(seed=5)
    other[:, :4] = clean[:, :4]
    keep = ("resid_pre", "z", "attn_out", *(("mlp_out",) if engine.d_mlp else ()))
    return Runs.of(engine, clean, corrupted=other, keep=keep)


@pytest.mark.parametrize("mlps", ["recomputed", "frozen"])
def test_paths_equal_those_made_with_hooks(bridge: TransformerBridge, mlps: str) -> None:
    import torch

    late = torch.zeros(3, 11, dtype=torch.bool)
    late[:, 6:] = True
    has_mlp = not bridge.cfg.attn_only
    grouped = (getattr(bridge.cfg, "n_key_value_heads", None) or 4) == 2
    shared = ["1.kv1.k", "1.kv0.v"] if grouped else ["1.kv3.k", "1.kv0.v"]
    cases = [
        (["0.1"], ["1.2.q"], None),
        (["0.1", "0.3"], ["1.2.q", *shared], None),
        (["0.attn"], ["1.0.q"], late),
        (["0.0"], ["logits"], late),
        (["1.0"], ["logits"], None),
        *([(["0.mlp"], ["1.mlp", "logits"], None), (["0.2", "0.mlp"], ["0.mlp", "1.1.q"], None)] if has_mlp else []),
    ]
    values = []
    for engine in (Engine.of(bridge), HookEngine.of(bridge)):
        runs = the_runs(engine)
        sweep = [
            path_patch(runs, senders, receivers=receivers, mlps=mlps, positions=positions, name=str(number))
            for number, (senders, receivers, positions) in enumerate(cases)
        ]
        values.append(measure(runs, sweep, metric=difference()))
    fast, slow = values
    assert abs(fast.values - slow.values).max() < 1e-5
    assert (abs(fast.effects).max(axis=1) > 2e-6).all()  # the attention-only weights are small


def test_with_nothing_between_a_path_is_an_edge(attention_only: TransformerBridge) -> None:
    # Two layers without MLPs: from layer 0 to a query of layer 1 there is one path.
    runs = the_runs(Engine.of(attention_only))
    path = path_patch(runs, ["0.1"], receivers=["1.2.q", "1.2.k"], mlps="frozen", name="path")
    edges = edge_patch(runs, [Edge("0.1", "1.2.q"), Edge("0.1", "1.2.k")], name="edges")
    found = measure(runs, [path, edges], metric=difference())
    assert abs(found.of("path") - found.of("edges")).max() < 1e-6


def test_recomputed_mlps_carry_what_frozen_ones_do_not() -> None:
    runs = the_runs(Engine.of(tiny_bridge("llama", n_layers=3)))
    paths = [path_patch(runs, ["0.1"], receivers=["2.2.q"], mlps=mlps, name=mlps) for mlps in ("recomputed", "frozen")]
    edge = edge_patch(runs, [Edge("0.1", "2.2.q")], name="edge")
    found = measure(runs, [*paths, edge], metric=difference())
    assert abs(found.of("frozen") - found.of("edge")).max() < 1e-5  # only the direct edge is left
    assert abs(found.of("recomputed") - found.of("frozen")).max() > 1e-4


@pytest.mark.parametrize("engine", [Engine, HookEngine])
def test_positions_that_would_broadcast_are_refused(llama: TransformerBridge, engine: type) -> None:
    import torch

    runs = the_runs(engine.of(llama))
    mask = torch.ones(1, 11, dtype=torch.bool)
    with pytest.raises(InterventionError, match=r"positions \(1, 11\)"):
        path_patch(runs, ["0.1"], receivers=["1.2.q"], mlps="recomputed", positions=mask)


@pytest.mark.parametrize(
    ("senders", "receivers", "message"),
    [
        ([], ["1.2.q"], "at least one sender"),
        (["0.1"], [], "at least one sender and one receiver"),
        (["1.1"], ["1.2.q"], "comes before every sender"),
        (["0.1.q"], ["1.2.q"], "sends nothing"),
        (["0.1"], ["1.2.pattern"], "receives nothing"),
        (["0.1"], ["2.2.q"], "does not exist"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(
    llama: TransformerBridge, senders: list[str], receivers: list[str], message: str
) -> None:
    runs = the_runs(Engine.of(llama))
    with pytest.raises(InterventionError, match=message):
        path_patch(runs, senders, receivers=receivers, mlps="recomputed")


def test_paths_of_many_senders_equal_those_of_each_alone(bridge: TransformerBridge) -> None:
    runs = the_runs(Engine.of(bridge))
    sets = {"other": ["0.2"], "one": ["0.1"], "two": ["0.0", "0.3"], "layer": ["0.attn"]}
    together = path_patches(runs, sets, receivers=["1.2.q", "logits"], mlps="recomputed")
    alone = [
        path_patch(runs, senders, receivers=["1.2.q", "logits"], mlps="recomputed", name=name)
        for name, senders in sets.items()
    ]
    first, second = (measure(runs, each, metric=difference()) for each in (together, alone))
    assert abs(first.values - second.values).max() < 1e-6
