"""Edits along a direction: by hand, on both paths, narrowed, and what is refused; the log-odds that read them."""

from __future__ import annotations

import numpy as np
import pytest

from harness import effects
from harness.effects import effects_over, mask
from harness.errors import InterventionError
from harness.interventions import Engine, HookEngine, Intervention, Runs, measure
from harness.interventions.edits import Edit, Narrowable
from harness.steering import Direction, TokenSetLogOdds, add, additions, at_dose, clamp, project_out
from tests.interventions.bridges import SLOW_KINDS, largest, native_bridge, some_tokens, tiny_bridge
from tests.interventions.conftest import bridge, llama  # noqa: F401
from tests.one_thread import one_thread  # noqa: F401
from tests.steering_prompts import TokenRows, some_rows

pytestmark = pytest.mark.usefixtures("one_thread")


def a_direction(engine, *, layer: int = 1, site: str = "resid_pre", seed: int = 0, norm: float = 10.0) -> Direction:
    vector = np.random.default_rng(seed).standard_normal(engine.d_model)
    return Direction(vector / np.linalg.norm(vector), site, layer, norm, "planted", 2)


def last_log_odds(prompts: TokenRows, *, positive=(5, 6), negative=(7,)) -> TokenSetLogOdds:
    import torch

    return TokenSetLogOdds(torch.tensor(positive), torch.tensor(negative), torch.from_numpy(prompts.end))


def in_three_dimensions():
    """A direction along the second axis with norm 20, so that dose 1 is 2 long."""
    return Direction(np.array([0.0, 1.0, 0.0]), "resid_pre", 0, 20.0, "by hand", 1)


def test_an_addition_is_the_dose_in_tenths_of_the_norm_by_hand():
    import torch

    stream = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[0.0, 0.0, 0.0], [7.0, 8.0, 9.0]]])
    everywhere = add(in_three_dimensions(), dose=4).apply(stream)
    assert everywhere[0].tolist() == [[1.0, 10.0, 3.0], [4.0, 13.0, 6.0]]  # 4 doses of 2
    here = torch.tensor([[False, True], [True, False]])
    some = add(in_three_dimensions(), dose=[1.0, -3.0], positions=here).apply(stream)
    assert some[:, :, 1].tolist() == [[2.0, 7.0], [-6.0, 8.0]]  # +2 at one place of the first, -6 of the second
    assert some[:, :, 0].tolist() == stream[:, :, 0].tolist()


def test_a_projection_moves_the_component_by_hand():
    import torch

    stream = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    direction = in_three_dimensions()
    assert project_out(direction).apply(stream)[0, :, 1].tolist() == [0.0, 0.0]
    assert project_out(direction, center=0.5).apply(stream)[0, :, 1].tolist() == [1.0, 1.0]  # half a dose of 2
    assert project_out(direction, scale=0.5).apply(stream)[0, :, 1].tolist() == [1.0, 2.5]
    assert clamp(direction, dose=-4).apply(stream)[0, :, 1].tolist() == [-8.0, -8.0]
    elsewhere = Direction(np.array([0.0, 0.0, 1.0]), "resid_pre", 0, 20.0, "by hand", 1)
    moved = project_out(direction, along=elsewhere).apply(stream)  # by -2 and -5, along the third axis
    assert moved[0].tolist() == [[1.0, 2.0, 1.0], [4.0, 5.0, 1.0]]
    only = torch.tensor([[False, True]])
    assert clamp(direction, dose=[3.0], positions=only).apply(stream)[0].tolist() == [[1.0, 2.0, 3.0], [4.0, 6.0, 6.0]]


def test_a_skew_direction_is_projected_out_and_put_back():
    import torch

    generator = torch.Generator().manual_seed(0)
    stream = torch.randn((2, 5, 16), generator=generator)
    vector = np.random.default_rng(0).standard_normal(16)
    direction = Direction(vector / np.linalg.norm(vector), "resid_pre", 0, 3.0, "planted", 1)
    without = project_out(direction).apply(stream)
    assert largest(without @ torch.tensor(direction.vector).float()) < 1e-6
    np.testing.assert_allclose(direction.components(clamp(direction, dose=2).apply(without).numpy()), 2.0, atol=1e-5)
    again = project_out(direction).apply(without)
    assert largest(again - without) < 1e-6


@pytest.mark.parametrize("site", ["resid_pre", "resid_post", "attn_out"])
def test_both_paths_agree_on_every_edit(bridge, site):  # noqa: F811
    engine = Engine.of(bridge)
    tokens = some_tokens()
    prompts = TokenRows.of(tokens.tolist())
    direction, here = a_direction(engine, site=site), tokens > 12
    made = [
        Intervention("add", (add(direction, dose=3),)),
        Intervention("add some", (add(direction, dose=[1.0, -2.0, 0.5], positions=here),)),
        Intervention("out", (project_out(direction, center=0.3),)),
        Intervention("clamp some", (clamp(direction, dose=[2.0, 3.0, 4.0], positions=here),)),
    ]
    fast, slow = (
        measure(Runs.of(each, tokens, keep=()), made, metric=last_log_odds(prompts))
        for each in (engine, HookEngine.of(bridge))
    )
    np.testing.assert_allclose(fast.values, slow.values, atol=1e-4)
    np.testing.assert_allclose(fast.change_norm, slow.change_norm, rtol=1e-4, atol=1e-4)
    assert (np.abs(fast.effects).max(axis=1) > 1e-3).all(), "every one changes something"


@pytest.mark.parametrize("kind", SLOW_KINDS)
def test_models_that_only_the_slow_path_runs_can_be_steered(kind):
    engine = HookEngine.of(tiny_bridge(kind))
    prompts = TokenRows.of(some_tokens().tolist())
    runs = Runs.of(engine, prompts.tensor(), keep=())
    found = measure(runs, additions({"d": a_direction(engine)}, doses=[0, 4]), metric=last_log_odds(prompts))
    assert np.abs(found.effects[0]).max() < 1e-5
    assert np.abs(found.effects[1]).max() > 1e-3


def test_a_planted_direction_raises_its_tokens_by_what_the_unembedding_says():
    # No layer norm: at the last layer's end the logits are linear in the stream, so that the log-odds of token 5
    # against token 7 rise by length * (u . (W_U[5] - W_U[7])) = length * |W_U[5] - W_U[7]|.
    engine = Engine.of(native_bridge(seed=0, n_layers=2, n_heads=4, d_head=8, d_model=32, act_fn="gelu",
                                     attn_only=True, normalization_type=None))  # fmt: skip
    difference = (engine.W_U[:, 5] - engine.W_U[:, 7]).double().numpy()
    length = np.linalg.norm(difference)
    direction = Direction(difference / length, "resid_post", 1, 10.0, "planted", 1)
    prompts = TokenRows.of(some_tokens().tolist())
    runs = Runs.of(engine, prompts.tensor(), keep=())
    metric = last_log_odds(prompts, positive=(5,), negative=(7,))
    found = measure(runs, additions({"planted": direction}, doses=[-2, 1, 4]), metric=metric)
    for dose in (-2, 1, 4):
        np.testing.assert_allclose(found.of(at_dose("planted", dose)) - found.clean, dose * length, atol=1e-4)


def test_an_addition_at_dose_0_and_a_projection_of_scale_0_change_nothing(llama):  # noqa: F811
    engine = Engine.of(llama)
    prompts = TokenRows.of(some_tokens().tolist())
    runs = Runs.of(engine, prompts.tensor(), keep=())
    direction = a_direction(engine)
    made = [Intervention("0", (add(direction, dose=0),)), Intervention("no share", (project_out(direction, scale=0),))]
    assert np.abs(measure(runs, made, metric=last_log_odds(prompts)).effects).max() == 0.0


def test_a_direction_points_where_it_says_and_components_add_up(llama):  # noqa: F811
    engine = Engine.of(llama)
    direction = a_direction(engine)
    before, after = (
        direction.components(engine.run(some_tokens(), edits=edits, keep=("resid_pre",)).resid_pre[1].numpy())
        for edits in ((), (add(direction, dose=2.5),))
    )
    np.testing.assert_allclose(after - before, 2.5, atol=1e-5)


def test_edits_are_what_the_engine_asks_for_and_can_be_narrowed(llama):  # noqa: F811
    import torch

    engine = Engine.of(llama)
    direction = a_direction(engine)
    positions = torch.zeros(3, 11, dtype=torch.bool)
    positions[:, 9:] = True
    stream = torch.randn(3, 11, engine.d_model, generator=torch.Generator().manual_seed(0))
    for edit in (add(direction, dose=[1, 2, 3], positions=positions), clamp(direction, dose=2, positions=positions)):
        assert isinstance(edit, Edit)
        assert isinstance(edit, Narrowable)
        assert edit.first_position() == 9
        part = edit.narrowed(slice(1, 3), 9).apply(stream[1:, 9:])
        assert (part == edit.apply(stream)[1:, 9:]).all()
    assert add(direction, dose=1).first_position() == 0
    assert add(direction, dose=1, positions=positions & False).first_position() == 11


def test_hundreds_of_directions_and_doses_hold_one_vector_each(llama):  # noqa: F811
    import torch

    engine = Engine.of(llama)
    batch, pos = 100, 20
    last = torch.zeros(batch, pos, dtype=torch.bool)
    last[:, -1] = True
    directions = {f"d{seed}": a_direction(engine, seed=seed) for seed in range(100)}
    made = additions(directions, doses=(-4, 4), positions=last)
    edits = [edit for each in made for edit in each.edits]
    assert len(edits) == 200
    own = sum(tensor.numel() for edit in edits for tensor in (edit.vector, edit.length))
    assert own == 200 * (engine.d_model + 1), "no tensor of [batch pos d_model]"
    assert {edit.positions.data_ptr() for edit in edits} == {last.data_ptr()}, "one mask for all of them"


def test_effects_over_prompts_of_different_lengths_are_those_of_each_alone(llama):  # noqa: F811
    prompts = TokenRows.of(some_rows([5, 7, 5, 9, 7]))
    engine = Engine.of(llama)
    directions = {"a": a_direction(engine), "b": a_direction(engine, seed=1)}

    def make(runs, batch):
        return additions(directions, doses=(2, 4), positions=mask(batch.end, runs))

    found = effects_over(llama, prompts, make=make, metric=last_log_odds, keep=())
    assert found.names == ("a at dose 2", "a at dose 4", "b at dose 2", "b at dose 4")
    for row in range(len(prompts)):
        alone = effects_over(llama, prompts.rows(np.array([row])), make=make, metric=last_log_odds, keep=())
        np.testing.assert_allclose(found.values[:, row], alone.values[:, 0], atol=1e-4)


def test_what_the_stream_is_moved_along_is_a_direction_of_the_model(llama):  # noqa: F811
    engine = Engine.of(llama)
    edit = project_out(a_direction(engine), along=in_three_dimensions())
    with pytest.raises(InterventionError, match=r"along \(3,\) is no direction of this model"):
        engine.run(some_tokens(), edits=[edit])


@pytest.mark.parametrize(("budget", "passes"), [(1 << 30, 3), (0, 6)])
def test_shared_clean_passes_are_run_once_while_memory_lasts_and_change_no_value(
    llama,  # noqa: F811
    monkeypatch,
    budget,
    passes,
):
    prompts, engine = TokenRows.of(some_rows([5, 7, 9])), Engine.of(llama)
    runs = []
    run = Runs.of
    monkeypatch.setattr(Runs, "of", lambda *given, **options: runs.append(1) or run(*given, **options))
    monkeypatch.setattr(effects, "declared_budget", lambda: budget)

    def found(dose, **options):
        def make(batch_runs, batch):
            return additions({"a": a_direction(engine)}, doses=(dose,), positions=mask(batch.end, batch_runs))

        return effects_over(llama, prompts, make=make, metric=last_log_odds, keep=(), **options)

    shared = [found(dose, share_clean=True) for dose in (2, 4)]
    assert len(runs) == passes, "three lengths, three batches"
    for each, dose in zip(shared, (2, 4), strict=True):
        np.testing.assert_array_equal(each.values, found(dose).values)
        np.testing.assert_array_equal(each.clean, found(dose).clean)


def test_log_odds_are_those_of_the_summed_probabilities(llama):  # noqa: F811
    prompts = TokenRows.of(some_tokens().tolist())
    engine = Engine.of(llama)
    runs = Runs.of(engine, prompts.tensor(), keep=())
    found = measure(
        runs, [Intervention("nothing", ())], metric=last_log_odds(prompts, positive=(5, 9), negative=(7, 3))
    )
    p = engine.logits(runs.clean)[:, -1].softmax(dim=-1).double()
    oracle = (p[:, [5, 9]].sum(dim=1) / p[:, [7, 3]].sum(dim=1)).log()  # the definition, from whole distributions
    np.testing.assert_allclose(found.clean, oracle.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("positive", "negative", "said"),
    [
        ([], [1], "positive tokens .0,. torch.float32 are not some integers"),
        ([1], [40], "negative tokens are not all in the vocabulary"),
        ([1, 2], [3, 2], "token 2 stands twice"),
        ([1, 1], [3], "token 1 stands twice"),
    ],
)
def test_token_sets_that_do_not_make_odds_are_refused(llama, positive, negative, said):  # noqa: F811
    prompts = TokenRows.of(some_tokens().tolist())
    runs = Runs.of(Engine.of(llama), prompts.tensor(), keep=())
    with pytest.raises(InterventionError, match=said):
        measure(
            runs, [Intervention("nothing", ())], metric=last_log_odds(prompts, positive=positive, negative=negative)
        )


def refusal(engine, edit) -> str:
    prompts = TokenRows.of(some_tokens().tolist())
    runs = Runs.of(engine, prompts.tensor(), keep=())
    with pytest.raises(InterventionError) as refused:
        measure(runs, [Intervention("tried", (edit,))], metric=last_log_odds(prompts))
    return str(refused.value)


def test_what_does_not_fit_is_refused_by_name(llama):  # noqa: F811
    import torch

    engine = Engine.of(llama)
    assert "layer 7 does not exist, the model has 2" in refusal(engine, add(a_direction(engine, layer=7), dose=1))
    assert "'z' takes no vector; these do: resid_pre" in refusal(engine, add(a_direction(engine, site="z"), dose=1))
    assert "2 doses for 3 prompts" in refusal(engine, add(a_direction(engine), dose=[1, 2]))
    small = Direction(np.array([1.0, 0.0]), "resid_pre", 0, 1.0, "m", 1)
    assert "[d_model] = (32,)" in refusal(engine, clamp(small, dose=1))
    assert "scale is 1.5" in refusal(engine, project_out(a_direction(engine), scale=1.5))
    elsewhere = torch.ones(3, 5, dtype=torch.bool)
    assert "is not [batch pos]" in refusal(engine, add(a_direction(engine), dose=1, positions=elsewhere))
    twice = Intervention("twice", (add(a_direction(engine), dose=1), project_out(a_direction(engine))))
    runs = Runs.of(engine, some_tokens(), keep=())
    with pytest.raises(InterventionError, match=r"both write the resid_pre of layer 1: merge them"):
        measure(runs, [twice], metric=last_log_odds(TokenRows.of(some_tokens().tolist())))


def test_a_dose_whose_square_leaves_float32_is_refused_by_its_dose(llama):  # noqa: F811
    # A norm divides by the root of the mean square: infinity there would make finite logits of 0 out of any stream.
    said = refusal(Engine.of(llama), add(a_direction(Engine.of(llama)), dose=1e30))
    assert "dose 1e+30 is 1e+30 long, and the logits would not be finite" in said
    assert "AddDirection(" not in said, "a dose is said in words"


def test_a_dose_that_makes_the_metric_infinite_is_named():
    # Without norms a gated MLP squares what is added, and the next layer's attention does so again.
    engine = Engine.of(native_bridge(seed=0, n_layers=2, n_heads=4, d_head=8, d_model=32, act_fn="silu",
                                     gated_mlp=True, normalization_type=None))  # fmt: skip
    prompts = TokenRows.of(some_tokens().tolist())
    runs = Runs.of(engine, prompts.tensor(), keep=())
    made = additions({"sentiment": a_direction(engine, layer=0, norm=1e10)}, doses=[1e-9, 1e6])
    with pytest.raises(InterventionError, match=r"intervention 'sentiment at dose 1e\+06' is not finite"):
        measure(runs, made, metric=last_log_odds(prompts))
