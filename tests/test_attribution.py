"""Node attribution against finite differences, exact patching, TransformerLens, and a model that saturates."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.attribution import attribution
from harness.edge_attribution import edge_attribution
from harness.errors import InterventionError
from harness.interventions import Engine, HookEngine, Intervention, Replace, Runs, measure, patch
from harness.interventions.weights import Block, Linear, Mlp, Norm, Weights
from harness.metrics import LogitDifference, LogProb
from harness.ranking import agreement
from tests.attribution_runs import (
    by_transformer_lens,
    corrupted_tokens,
    double_bridge,
    exact,
    logit_difference,
    loss,
    positions_of,
    runs_of,
    slopes,
    some_runs,
    targets_of,
)
from tests.interventions.bridges import KINDS, some_tokens, tiny_bridge

if TYPE_CHECKING:
    from torch import Tensor

    from harness.metrics import Metric


@pytest.mark.parametrize("metric", [logit_difference(), loss()], ids=lambda metric: metric.name)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_slopes_of_exact_patching(kind: str, metric: Metric) -> None:
    runs = runs_of(kind)
    targets = targets_of(runs)
    found = attribution(runs, targets, metric=metric)
    expected = slopes(runs, lambda share: [patch(runs, [target], scale=share) for target in targets], metric=metric)
    assert found.names == targets
    assert found.scores.shape == (len(targets), 3)
    assert np.abs(found.scores).max() > 1e-3
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)


def test_positions_are_where_the_patch_is_made() -> None:
    import torch

    runs, metric = runs_of("llama"), logit_difference()
    targets = targets_of(runs)
    positions = torch.zeros(3, 11, dtype=torch.bool)
    positions[:, 5] = positions[1, 8] = True
    found = attribution(runs, targets, metric=metric, positions=positions)
    expected = slopes(
        runs,
        lambda share: [patch(runs, [target], scale=share, positions=positions) for target in targets],
        metric=metric,
    )
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    assert not np.allclose(found.scores, attribution(runs, targets, metric=metric).scores, atol=1e-4)


def test_scores_over_positions_add_up() -> None:
    import torch

    runs, metric = runs_of("llama"), logit_difference()
    each = [attribution(runs, ["0.1", "1.mlp"], metric=metric, positions=here.expand(3, 11)).scores
            for here in torch.eye(11, dtype=torch.bool)]  # fmt: skip
    np.testing.assert_allclose(sum(each), attribution(runs, ["0.1", "1.mlp"], metric=metric).scores, atol=1e-12)


def test_key_value_head_has_the_scores_of_its_readers_together() -> None:
    runs = runs_of("llama")  # query heads 0 and 1 share key-value head 0
    for part in ("k", "v"):
        found = attribution(runs, [f"0.kv0.{part}", f"0.0.{part}", f"0.1.{part}"], metric=logit_difference()).scores
        np.testing.assert_allclose(found[0], found[1] + found[2], atol=1e-12)
        assert np.abs(found[1:]).max() > 1e-4


def test_last_heads_of_a_linear_model_are_scored_exactly() -> None:
    # After the last layer's z come W_O and W_U alone: no norm, no MLP.
    runs, metric = runs_of("attention-only"), logit_difference()
    targets = ("1.0", "1.1", "1.2", "1.3", "1.attn", "1.2.v", "1.kv3.v", "1.3.pattern", "1.resid_post")
    expected = exact(runs, targets, metric=metric)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(attribution(runs, targets, metric=metric).scores, expected, atol=1e-12)


def test_corrupted_prompts_equal_to_the_clean_ones_give_zeros() -> None:
    engine = Engine.of(double_bridge("llama"))
    runs = some_runs(engine, corrupted=some_tokens())
    targets = targets_of(runs)
    for method in ("gradient", "integrated-gradients"):
        found = attribution(runs, targets, metric=logit_difference(), method=method)
        assert (found.scores == 0).all()
        assert found.method == method


def test_a_small_memory_budget_changes_nothing() -> None:
    runs, metric = runs_of("llama"), logit_difference()
    targets = targets_of(runs)
    single = attribution(runs, targets, metric=metric, memory_budget=1)
    np.testing.assert_allclose(single.scores, attribution(runs, targets, metric=metric).scores, atol=1e-12)


def test_single_precision_agrees_with_double() -> None:
    metric = logit_difference()
    runs = some_runs(Engine.of(tiny_bridge("gpt2")))
    found = attribution(runs, targets_of(runs), metric=metric).scores
    np.testing.assert_allclose(found, attribution(runs_of("gpt2"), targets_of(runs), metric=metric).scores, atol=1e-5)


def test_ranked_is_by_the_absolute_mean() -> None:
    runs = runs_of("llama")
    found = attribution(runs, [f"{layer}.{head}" for layer in (0, 1) for head in range(4)], metric=logit_difference())
    sizes = [abs(found.of(name).mean()) for name in found.ranked()]
    assert sorted(found.ranked()) == sorted(found.names)
    assert all(first >= second for first, second in pairwise(sizes))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "native-mlp", "native-rotary-gated"])
def test_heads_mlps_and_embedding_agree_with_transformer_lens(kind: str) -> None:
    runs, metric = runs_of(kind), logit_difference()
    heads = [f"{layer}.{head}" for layer in (0, 1) for head in range(4)]
    found = attribution(runs, [*heads, "0.mlp", "1.mlp", "0.resid_pre"], metric=metric)
    for prompt in range(3):
        scores, _ = by_transformer_lens(double_bridge(kind), runs, prompt=prompt, granularity="node")
        for name in found.names:
            # The bridge's RMSNorm computes in float32 also where the model is in float64.
            assert found.of(name)[prompt] == pytest.approx(scores[name], abs=1e-6), name


def test_attribution_agrees_with_exact_patching_of_all_heads() -> None:
    runs, metric = runs_of("gpt2"), logit_difference()
    heads = tuple(f"{layer}.{head}" for layer in (0, 1) for head in range(4))
    found = agreement(attribution(runs, heads, metric=metric).scores, exact(runs, heads, metric=metric), k=[2, 4])
    assert found.spearman > 0.8
    assert found.at[0].recall_by_chance == 0.25


# Integrated gradients


def saturated(gain: float) -> Runs:
    """A model of one layer whose attention writes nothing and whose MLP writes tanh(gain x), to be read as a logit.

    Token 0 embeds as x = 1 and token 1 as x = -1, where the tanh is flat.
    """
    import torch

    def linear(rows: list[list[float]]) -> Linear:
        return Linear(torch.tensor(rows, dtype=torch.float64), None)

    nothing = linear([[0.0, 0.0], [0.0, 0.0]])
    mlp = Mlp(linear([[gain, 0.0]]), linear([[0.0], [1.0]]), gate=None, activation=torch.tanh)
    engine = Engine(
        Weights(
            "toy", torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64), None, None,
            (Block(Norm("none"), nothing, nothing, nothing, nothing, Norm("none"), mlp),),
            Norm("none"), linear([[0.0, 1.0], [0.0, 0.0]]),
            attn_scale=1.0, n_ctx=4, n_heads=1, n_kv_heads=1, d_head=2, d_model=2,
        )
    )  # fmt: skip
    return Runs.of(engine, torch.tensor([[0]]), corrupted=torch.tensor([[1]]), keep=("z", "mlp_in", "mlp_out"))


def test_integrated_gradients_see_through_saturation() -> None:
    import torch

    runs = saturated(gain=4.0)
    metric = LogitDifference(torch.tensor([0]), torch.tensor([1]), torch.tensor([0]))
    targets = ("0.mlp_in", "0.mlp")
    truth = exact(runs, targets, metric=metric)[:, 0]
    plain = attribution(runs, targets, metric=metric).scores[:, 0]
    few, many = (
        attribution(runs, targets, metric=metric, method="integrated-gradients", steps=steps).scores[:, 0]
        for steps in (5, 50)
    )
    assert truth[0] == pytest.approx(-2 * np.tanh(4))  # from tanh(4) to tanh(-4)
    assert plain[0] == pytest.approx(-2 * 4 / np.cosh(4) ** 2)  # change of x, times the slope of tanh(4 x) at 1
    assert abs(many[0] - truth[0]) < abs(few[0] - truth[0]) < abs(plain[0] - truth[0])
    assert many[0] == pytest.approx(truth[0], abs=1e-3)
    assert [plain[1], few[1]] == pytest.approx([truth[1], truth[1]])  # what follows the MLP is linear


@pytest.mark.parametrize("kind", ["gpt2", "llama", "attention-only"])
def test_integrated_gradients_are_complete_at_the_embedding(kind: str) -> None:
    import torch

    runs = runs_of(kind)
    metric = LogProb(torch.tensor([1, 2, 3]), torch.tensor([10, 10, 8]))
    whole = measure(runs, [patch(runs, ["0.attn"])], metric=metric)
    assert whole.corrupted is not None
    change = whole.corrupted - whole.clean
    errors = []
    for steps in (4, 16, 64):
        found = attribution(runs, ["0.resid_pre"], metric=metric, method="integrated-gradients", steps=steps)
        errors.append(np.abs(found.scores[0] - change).max())
    # Four times the steps, a sixteenth of the error.
    assert errors[2] < errors[1] / 10 < errors[0] / 100
    assert errors[2] < 1e-3 * np.abs(change).max()


def test_integrated_gradients_average_gradients_at_the_midpoints() -> None:
    # A single step takes the derivative half way between the embeddings: here by hand, with the whole change of z.
    runs, metric = runs_of("gpt2"), logit_difference()
    engine = runs.engine
    assert isinstance(engine, Engine)
    found = attribution(runs, ["1.2"], metric=metric, method="integrated-gradients", steps=1)
    clean, corrupted = runs.clean.resid_at(0), runs.source().kept("resid_pre", 0)
    half_way = [Replace(0, "resid_pre", (clean + corrupted) / 2)]
    z = engine.run(runs.clean.tokens, edits=half_way, keep=("z",)).z_of(1, 2)
    change = runs.source().z_of(1, 2) - runs.clean.z_of(1, 2)

    def moved(share: float) -> list[Intervention]:
        return [Intervention("moved", (*half_way, Replace.z(1, 2, z + share * change)))]

    values = [measure(runs, moved(share), metric=metric).values for share in (-1e-5, 1e-5)]
    np.testing.assert_allclose(found.scores, (values[1] - values[0]) / 2e-5, atol=1e-6)


# What it leaves behind, and what it refuses


def test_attribution_leaves_the_model_as_it_was_and_no_gradient_on_it() -> None:
    bridge = tiny_bridge("llama")
    before = {name: each.clone() for name, each in bridge.original_model.state_dict().items()}
    runs = some_runs(Engine.of(bridge))
    stream = runs.clean.resid.clone()
    attribution(runs, targets_of(runs), metric=loss(), method="integrated-gradients")
    edge_attribution(runs, [("0.1", "1.2.q"), ("embed", "0.kv0.k"), ("0.mlp", "1.mlp")], metric=loss())
    assert all(each.grad is None for each in bridge.original_model.parameters())
    after = bridge.original_model.state_dict()
    assert all(bool((after[name] == each).all()) for name, each in before.items())
    assert bool((runs.clean.resid == stream).all())


def test_attribution_works_within_inference_mode() -> None:
    import torch

    runs, metric, edges = runs_of("gpt2"), logit_difference(), [("0.1", "1.2.q"), ("embed", "0.mlp")]
    with torch.inference_mode():
        inside = attribution(runs, ["0.1"], metric=metric), edge_attribution(runs, edges, metric=metric)
    assert (inside[0].scores == attribution(runs, ["0.1"], metric=metric).scores).all()
    assert (inside[1].scores == edge_attribution(runs, edges, metric=metric).scores).all()


class Steps(LogitDifference):
    """A metric without a derivative."""

    def __call__(self, read: Any) -> Tensor:
        return (super().__call__(read) > 0).double()


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (["0.9"], {}, "head 9 does not exist"),
        (["7.1"], {}, "layer 7 does not exist"),
        (["0.kv2.k"], {}, "kv_head 2 does not exist"),
        (["0.1", "0.1.z"], {}, "named more than once"),
        ([], {"positions": some_tokens() > 3}, "name at least one target"),
        (["0.1"], {"method": "gradients"}, "'gradients' is neither"),
        (["0.1"], {"method": "integrated-gradients", "steps": 0}, "at least one step"),
        (["0.1"], {"positions": some_tokens() > 3, "metric": Steps(*(positions_of([1])[:, 0],) * 3)}, "no derivative"),
        (["0.1"], {"positions": some_tokens()}, "not torch.bool"),
        (["0.1"], {"positions": some_tokens(pos=5) > 3}, "not \\[batch pos\\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(targets: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InterventionError, match=message):
        attribution(runs_of("llama"), targets, **{"metric": logit_difference(), **options})


def test_missing_passes_sites_and_slow_engines_are_refused_by_name() -> None:
    metric, engine = logit_difference(), Engine.of(double_bridge("gpt2"))
    tokens, other = some_tokens(), corrupted_tokens(some_tokens())
    with pytest.raises(InterventionError, match="give Runs"):
        attribution(Runs.of(engine, tokens), ["0.1"], metric=metric)
    with pytest.raises(InterventionError, match="mlp_out of layer 0 was not kept"):
        attribution(Runs.of(engine, tokens, corrupted=other), ["0.mlp"], metric=metric)
    with pytest.raises(InterventionError, match="mlp_out of layer 0 was not kept"):
        edge_attribution(Runs.of(engine, tokens, corrupted=other), [("0.mlp", "logits")], metric=metric)
    with pytest.raises(InterventionError, match="attention-only"):
        attribution(runs_of("attention-only"), ["0.mlp"], metric=metric)
    slow = Runs.of(HookEngine.of(double_bridge("gpt2")), tokens, corrupted=other)
    with pytest.raises(InterventionError, match="attribution does not cover GPT2LMHeadModel"):
        attribution(slow, ["0.1"], metric=metric)
    with pytest.raises(InterventionError, match="attribution does not cover GPT2LMHeadModel"):
        edge_attribution(slow, [("0.1", "1.2.q")], metric=metric)
