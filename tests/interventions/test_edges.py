"""Edges against a pass in which every reader sums for itself, and against TransformerLens' direct path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import InterventionError
from harness.interventions import Edge, Engine, HookEngine, Runs, all_edges, edge_patch, measure, patch
from harness.metrics import LogitDifference
from tests.interventions.bridges import KINDS, some_tokens, tiny_bridge
from tests.interventions.edge_level import edge_level_logits

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

KEEP = ("z", "resid_pre")


def the_runs(engine: Engine) -> Runs:
    clean, other = some_tokens(), some_tokens(seed=5)
    other[:, :4] = clean[:, :4]
    return Runs.of(engine, clean, corrupted=other, keep=(*KEEP, *(("mlp_out",) if engine.d_mlp else ())))


def difference() -> LogitDifference:
    import torch

    return LogitDifference(torch.tensor([3, 4, 5]), torch.tensor([6, 7, 8]), torch.tensor([10, 10, 7]))


def of_logits(logits: Tensor) -> Tensor:
    import torch

    metric, rows = difference(), torch.arange(3)
    last = logits[rows, metric.positions]
    return last[rows, metric.correct] - last[rows, metric.wrong]


def nodes(engine: Engine) -> tuple[list[str], list[str]]:
    layers, heads = range(engine.n_layers), range(engine.n_heads)
    mlps = [f"{layer}.mlp" for layer in layers] if engine.d_mlp else []
    senders = ["embed", *(f"{layer}.{head}" for layer in layers for head in heads), *mlps]
    parts = [f"{layer}.{head}.{of}" for layer in layers for head in heads for of in "qkv"]
    return senders, [*parts, *mlps, "logits"]


_ENGINES: dict[str, Engine] = {}


def engine_of(kind: str) -> Engine:
    if kind not in _ENGINES:
        _ENGINES[kind] = Engine.of(tiny_bridge(kind))
    return _ENGINES[kind]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_any_set_of_edges_equals_the_pass_in_which_every_reader_sums_for_itself(kind: str, data: st.DataObject) -> None:
    import torch

    engine = engine_of(kind)
    runs = the_runs(engine)
    every = all_edges(*nodes(engine))
    chosen = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=8, unique=True))
    positions = torch.ones(3, 11, dtype=torch.bool)
    if data.draw(st.booleans()):
        positions[:, data.draw(st.integers(4, 10)) :] = False
    found = measure(
        runs,
        [edge_patch(runs, chosen, positions=positions, name="set"), patch(runs, ["1.1"])],
        metric=difference(),
    )
    corrupted = runs.source().tokens
    with torch.inference_mode():
        logits = edge_level_logits(
            engine, runs.clean.tokens, corrupted, {(e.sender, e.receiver) for e in chosen}, positions
        )
    assert abs(found.of("set") - of_logits(logits).numpy()).max() < 1e-5


# TransformerLens has no direct path to keys and values that query heads share.
@pytest.mark.parametrize(("kind", "component"), [("gpt2", "q"), ("gpt2", "k"), ("gpt2", "v"), ("llama", "q")])
def test_a_single_edge_is_transformer_lens_direct_path(kind: str, component: str) -> None:
    import torch
    from transformer_lens.patching import get_act_patch_direct_path

    bridge = tiny_bridge(kind, n_layers=3)
    engine = Engine.of(bridge)
    runs = the_runs(engine)
    # Theirs patches clean activations into the corrupted pass: the roles are exchanged.
    base, source = (run.tokens.clone() for run in (runs.clean, runs.source()))
    caches = [bridge.run_with_cache(tokens, names_filter="blocks.0.attn.hook_z")[1] for tokens in (source, base)]
    theirs = torch.stack(
        [
            get_act_patch_direct_path(
                bridge, base, *caches, lambda logits, row=row: of_logits(logits)[row], 0, 1, component, verbose=False
            )
            for row in range(3)
        ],
        dim=-1,
    )
    places = [(layer, head) for layer in (1, 2) for head in range(4)]
    sweep = [edge_patch(runs, [Edge("0.1", f"{layer}.{head}.{component}")]) for layer, head in places]
    ours = measure(runs, sweep, metric=difference())
    for (layer, head), row in zip(places, ours.values, strict=True):
        assert abs(row - theirs[layer, head].numpy()).max() < 1e-4
    assert abs(ours.effects).max() > 1e-3


def test_all_edges_at_once_are_the_corrupted_run(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    runs = the_runs(engine)
    found = measure(runs, [edge_patch(runs, all_edges(*nodes(engine)), name="all")], metric=difference())
    assert abs(found.of("all") - found.corrupted).max() < 1e-5


def test_an_edge_between_equal_prompts_changes_nothing(llama: TransformerBridge) -> None:
    tokens = some_tokens()
    runs = Runs.of(Engine.of(llama), tokens, corrupted=tokens, keep=KEEP)
    found = measure(runs, [edge_patch(runs, [Edge("0.1", "1.2.q")])], metric=difference())
    assert (found.effects == 0).all()


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([], "at least one edge"),
        ([Edge("0.1", "1.2.q")] * 2, "each of them once"),
        ([Edge("1.1", "1.2.q")], "does not come after"),
        ([Edge("0.mlp", "0.mlp")], "does not come after"),
        ([Edge("0.attn", "1.2.q")], "senders are heads"),
        ([Edge("0.1", "1.2")], "receives nothing"),
        ([Edge("0.7", "1.2.q")], "4 heads"),
        ([Edge("0.1", "1.9.q")], "head 9 does not exist"),
    ],
)
def test_an_edge_that_leads_nowhere_is_refused(llama: TransformerBridge, edges: list[Edge], message: str) -> None:
    runs = the_runs(Engine.of(llama))
    with pytest.raises(InterventionError, match=message):
        measure(runs, [edge_patch(runs, edges)], metric=difference())


def test_the_slow_engine_has_no_edges(llama: TransformerBridge) -> None:
    runs = Runs.of(HookEngine.of(llama), some_tokens(), corrupted=some_tokens(seed=5), keep=KEEP)
    with pytest.raises(InterventionError, match="only the fast engine"):
        edge_patch(runs, [Edge("0.1", "1.2.q")])
    made_for_the_fast = edge_patch(the_runs(Engine.of(llama)), [Edge("0.1", "1.2.q")])
    with pytest.raises(InterventionError, match="exist in the fast engine only"):
        measure(runs, [made_for_the_fast], metric=difference())
