"""What holds of the engine by itself: restarts, null edits, causality, determinism, bounds of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import harness.interventions.readout as readout_module
from harness.interventions import Add, Engine, Replace
from tests.interventions.bridges import largest, normal, some_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

EVERYTHING = ("resid_pre", "z", "v", "pattern")


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_restart_at_any_layer_gives_the_same_bits(bridge: TransformerBridge, layer: int) -> None:
    engine = Engine.of(bridge)
    run = engine.run(some_tokens(), keep=("resid_pre", "z"))
    again = engine.resume(run, layer=layer, keep=("z",))
    assert (again.resid == run.resid).all()
    assert set(again.z) == set(range(layer, 2))
    assert all((again.z[index] == run.z[index]).all() for index in again.z)


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_stopped_run_can_be_resumed_where_it_stopped(bridge: TransformerBridge, stop: int) -> None:
    engine = Engine.of(bridge)
    half = engine.run(some_tokens(), stop_at_layer=stop)
    whole = engine.run(some_tokens(), keep=("resid_pre",))
    assert half.next_layer == stop
    assert (half.resid == whole.resid_at(stop)).all()
    assert (engine.resume(half, layer=stop).resid == whole.resid).all()


def test_an_edited_run_can_be_restarted_after_its_edit(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    edits = [Replace.z(0, 1, normal(3, 11, 8))]
    edited = engine.run(some_tokens(), edits=edits, keep=("resid_pre",))
    assert (engine.resume(edited, layer=1).resid == edited.resid).all()
    assert largest(engine.resume(edited, layer=0).resid - edited.resid) > 1e-3  # without the edit again


def test_edits_that_change_nothing_change_nothing(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    run = engine.run(some_tokens(), keep=EVERYTHING)
    null = [
        Replace.z(1, 3, run.z_of(1, 3)),
        Add(1, run.resid * 0),
        Replace(1, "pattern", run.pattern[1]),
        Replace.v(1, run.v[1][:, :, 1], kv_head=1),
    ]
    for edit in null:
        again = engine.resume(run, layer=1, edits=[edit])
        assert (again.resid == run.resid).all(), edit
        assert largest(again.change_norm[1]) == 0.0, edit
    # Values repeated for each query head are multiplied in another order: equal up to rounding only.
    by_head = engine.resume(run, layer=1, edits=[Replace.v(1, run.v[1][:, :, engine.n_kv_heads // 2], head=2)])
    assert largest(by_head.resid - run.resid) <= 2e-6


def test_replacing_all_z_by_another_runs_gives_the_other_runs_attention(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    clean, other = (engine.run(some_tokens(seed=seed), keep=EVERYTHING) for seed in (0, 1))
    edits = [Replace.z(1, head, other.z_of(1, head)) for head in range(4)]
    patched = engine.resume(clean, layer=1, edits=edits, keep=("z",))
    assert (patched.z[1] == other.z[1]).all()


def test_tokens_after_a_position_do_not_change_it(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    tokens = some_tokens(pos=12)
    padded = tokens.clone()
    padded[:, 7:] = 1
    # Another length takes another routine of the matrix library: rounding differs.
    short = engine.logits(engine.run(tokens[:, :7]))
    assert largest(engine.logits(engine.run(padded))[:, :7] - short) <= 1e-5
    assert (engine.logits(engine.run(padded))[:, :7] == engine.logits(engine.run(tokens))[:, :7]).all()


def test_a_prompt_does_not_see_its_batch(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    tokens = some_tokens(batch=8)
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    assert (engine.run(tokens[order]).resid == engine.run(tokens).resid[order]).all()


def test_the_number_of_threads_changes_no_bit(bridge: TransformerBridge) -> None:
    import torch

    engine = Engine.of(bridge)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            run = engine.run(some_tokens(batch=16, pos=20), edits=[Replace.z(0, 1, normal(16, 20, 8))])
            found.append((run.resid, engine.log_probs_of_next(run)))
    finally:
        torch.set_num_threads(threads)
    assert (found[0][0] == found[1][0]).all()
    assert (found[0][1] == found[1][1]).all()


def test_what_is_kept_changes_no_bit_and_can_be_bounded_by_layer(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    bare, full = engine.run(some_tokens()), engine.run(some_tokens(), keep=EVERYTHING)
    assert (bare.resid == full.resid).all()
    bounded = engine.run(some_tokens(), keep={"z": [1], "pattern": []})
    assert (set(bounded.z), set(bounded.pattern), set(bounded.resid_pre)) == ({1}, set(), set())


def test_the_change_norm_is_the_length_of_what_the_edits_write(bridge: TransformerBridge) -> None:
    engine = Engine.of(bridge)
    clean = engine.run(some_tokens(), keep=("z",))
    z, vector = normal(3, 11, 8), normal(3, 11, 32, seed=1)
    written = (z - clean.z_of(0, 2)) @ engine.W_O(0)[2] + vector
    edits = [Replace.z(0, 2, z), Add(0, vector), Add(1, vector)]
    edited = engine.run(some_tokens(), edits=edits)
    assert largest(edited.change_norm[0] - written.norm(dim=-1)) <= 1e-5
    assert largest(edited.change_norm[1] - vector.norm(dim=-1)) <= 1e-5
    assert not clean.change_norm


def test_the_change_norm_of_a_pattern_edit_counts_what_attention_would_have_written(llama: TransformerBridge) -> None:
    engine = Engine.of(llama)
    clean, other = (engine.run(some_tokens(seed=seed), keep=EVERYTHING) for seed in (0, 1))
    edited = engine.resume(clean, layer=1, edits=[Replace(1, "pattern", other.pattern[1])], keep=("z",))
    written = sum((edited.z_of(1, head) - clean.z_of(1, head)) @ engine.W_O(1)[head] for head in range(4))
    assert largest(edited.change_norm[1] - written.norm(dim=-1)) <= 1e-5


def test_log_probabilities_in_parts_equal_those_at_once(
    bridge: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.of(bridge)
    run = engine.run(some_tokens(batch=5, pos=13))
    at_once = engine.log_probs_of_next(run)
    monkeypatch.setattr(readout_module, "LOGIT_BYTES", 8 * 40 * 4)  # eight rows of a vocabulary of 40 in float32
    assert largest(engine.log_probs_of_next(run) - at_once) <= 1e-6


def test_logits_and_log_probabilities_at_positions_are_rows_of_the_full_ones(bridge: TransformerBridge) -> None:
    import torch

    engine = Engine.of(bridge)
    run = engine.run(some_tokens())
    positions = torch.tensor([[9, 0], [3, 3], [1, 8]])
    rows = torch.arange(3).unsqueeze(1)
    assert largest(engine.logits_at(run, positions) - engine.logits(run)[rows, positions]) <= 1e-5
    assert largest(engine.log_probs_at(run, positions) - engine.log_probs_of_next(run)[rows, positions]) <= 1e-5


def test_one_token_has_no_next(attention_only: TransformerBridge) -> None:
    engine = Engine.of(attention_only)
    assert engine.log_probs_of_next(engine.run(some_tokens(pos=1))).shape == (3, 0)
