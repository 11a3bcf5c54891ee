"""What sweeps consist of, and circuits scored by a real engine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.circuits import KnockOutScores, completeness, endpoints, minimality
from harness.errors import InterventionError
from harness.interventions import Engine, HookEngine, Runs, ablate, corrupted, mean, measure, patch, sweeps
from tests.interventions.bridges import some_tokens
from tests.interventions.test_edges import difference, the_runs

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def test_the_sweeps_list_what_the_model_has(llama: TransformerBridge, attention_only: TransformerBridge) -> None:
    frame = the_runs(Engine.of(llama)).frame
    assert sweeps.heads(frame) == [f"{layer}.{head}" for layer in (0, 1) for head in range(4)]
    assert sweeps.heads(frame, part="k") == ["0.kv0.k", "0.kv1.k", "1.kv0.k", "1.kv1.k"]
    assert sweeps.heads(frame, part="pattern")[-1] == "1.3.pattern"
    assert sweeps.layers(frame, of="mlp") == ["0.mlp", "1.mlp"]
    with pytest.raises(InterventionError, match="no part 'o'"):
        sweeps.heads(frame, part="o")
    with pytest.raises(InterventionError, match="no 'mlp'"):
        sweeps.layers(the_runs(Engine.of(attention_only)).frame, of="mlp")


def test_leaving_one_out_and_unions_of_classes() -> None:
    assert sweeps.leave_one_out(["0.1", "0.2", "1.0"])["0.2"] == ("0.1", "1.0")
    unions = sweeps.subsets_of_classes({"a": ["0.1"], "b": ["0.2", "0.1"], "c": ["1.0"]})
    assert len(unions) == 7
    assert unions["a + b"] == ("0.1", "0.2")


def test_a_sweep_by_position_is_each_position_on_its_own(llama: TransformerBridge) -> None:
    runs = the_runs(Engine.of(llama))
    found = sweeps.sweep(runs, sweeps.one_by_one(["0.1", "1.2"]), make=patch, metric=difference(), by_position=True)
    assert found.names[:2] == ("0.1 @ 0", "0.1 @ 1")
    assert (found.effects[:4] == 0).all()  # the prompts begin to differ at position 4
    places = sweeps.at_each_position(runs.frame, runs.clean.tokens)
    alone = measure(runs, [patch(runs, ["1.2"], positions=places["7"])], metric=difference())
    assert abs(found.of("1.2 @ 7") - alone.values[0]).max() < 1e-6
    assert abs(alone.effects).max() > 1e-5


def test_a_sweep_of_ablations_equals_one_by_one(llama: TransformerBridge) -> None:
    runs = the_runs(Engine.of(llama))
    by = mean(runs.source(), batch=3)
    sets = {"pair": ("0.1", "1.2"), "single": ("1.3",)}
    found = sweeps.sweep(runs, sets, make=partial(ablate, by=by), metric=difference())
    for name, members in sets.items():
        alone = measure(runs, [ablate(runs, members, by=by, name=name)], metric=difference())
        assert abs(found.of(name) - alone.values[0]).max() < 1e-6


def scores(bridge: TransformerBridge, engine: type[Engine] | type[HookEngine] = Engine) -> KnockOutScores:
    runs = the_runs(engine.of(bridge))
    heads = sweeps.heads(runs.frame)
    return KnockOutScores(runs, difference(), heads, ["a", "b", "c"], ["a", "b", "c"], corrupted(runs))


def test_a_circuit_of_everything_is_the_model_and_of_nothing_the_knocked_out_model(bridge: TransformerBridge) -> None:
    measured = scores(bridge)
    everything, nothing = measured.only([tuple(measured.components), ()])
    clean, without_all = measured.without([(), tuple(measured.components)])
    np.testing.assert_array_equal(everything, clean)
    np.testing.assert_array_equal(nothing, without_all)
    assert abs(clean - without_all).max() > 1e-5


def test_circuit_measures_run_on_an_engine_and_agree_with_hooks(llama: TransformerBridge) -> None:
    circuit = ("0.1", "1.2")
    fast, slow = (
        (
            endpoints(found, circuit).values,
            completeness(found, circuit, sets={"first": ("0.1",)}),
            minimality(found, circuit, classes={"early": ("0.1",), "late": ("1.2",)}),
        )
        for found in (scores(llama), scores(llama, HookEngine))
    )
    np.testing.assert_allclose(fast[0], slow[0], atol=1e-5)
    for ours, theirs in zip(fast[1:], slow[1:], strict=True):
        for name in ours.__dataclass_fields__:
            first, second = getattr(ours, name), getattr(theirs, name)
            if hasattr(first, "values") and isinstance(first.values, np.ndarray):
                np.testing.assert_allclose(first.values, second.values, atol=1e-5)


def test_a_bar_gives_back_what_it_gets() -> None:
    assert list(sweeps.progress_bar(range(5))) == [0, 1, 2, 3, 4]


def test_prompts_of_one_token_have_a_sweep(llama: TransformerBridge) -> None:
    import torch

    from harness.metrics import LogitDifference

    tokens = some_tokens()[:, :1]
    metric = LogitDifference(torch.tensor([3, 4, 5]), torch.tensor([6, 7, 8]), torch.zeros(3, dtype=torch.long))
    runs = Runs.of(Engine.of(llama), tokens, corrupted=tokens + 1, keep=("z",))
    found = sweeps.sweep(runs, sweeps.one_by_one(sweeps.heads(runs.frame)), make=patch, metric=metric)
    assert abs(found.effects).max() > 1e-5
