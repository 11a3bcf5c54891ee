"""The induction measurements by hand: on a planted copying head, and on random models by TransformerLens' hooks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from claims.induction.measurements import (
    DONORS,
    attention_damage,
    chosen,
    copy_damage,
    copying_scores,
    describe,
    donors_of,
    second_copy_loss,
    weaker,
)
from claims.induction.swap import Swap, draw_swap, swap_effects
from fixtures.prompts.repeated import random_blocks
from harness.ablation import Ablation
from harness.attention import attention_scores
from harness.loss import losses
from harness.seeding import Streams
from harness.values import UnitValues
from tests.interventions.bridges import native_bridge, tiny_bridge
from tests.one_thread import one_thread  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("one_thread")

POOL = range(3, 40)


def sequences(n=6, lengths=(4, 6, 9), seed=0):
    return random_blocks(POOL, n=n, rng=np.random.default_rng(seed), lengths=lengths, bos=0)


def model_of(bridge):
    return SimpleNamespace(bridge=bridge, random_token_pool=lambda: list(POOL))


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request):
    return model_of(tiny_bridge(request.param))


@pytest.fixture(scope="module")
def gpt2():
    return model_of(tiny_bridge("gpt2"))


@pytest.fixture(scope="module")
def copier():
    """One head that copies exactly what it reads: W_E W_V W_O W_U is the identity over the 40 tokens.

    With more dimensions than tokens W_V = pinv(W_E) pinv(W_U) and W_O = 1 do it; positions are taken away.
    """
    import torch

    bridge = native_bridge(
        seed=0, n_layers=1, n_heads=1, d_head=64, d_model=64, act_fn="relu", attn_only=True, normalization_type=None
    )
    w_e, w_u = (part.original_component.weight for part in (bridge.embed, bridge.unembed))  # both [token d_model]
    attention = bridge.blocks[0].attn
    with torch.no_grad():
        for parameter in (bridge.pos_embed.original_component.weight, attention.v.bias, attention.o.bias):
            parameter.zero_()
        attention.o.weight.copy_(torch.eye(64))
        attention.v.weight.copy_((torch.linalg.pinv(w_e) @ torch.linalg.pinv(w_u.T)).T)
    return model_of(bridge)


def hooked(bridge, tokens, hooks):
    """Logits of one row with hooks that write, and what they saw: functions of the activation, by name."""
    import torch

    seen = {}

    def wrap(name, function):
        def hook(activation, hook):
            seen[name] = activation.clone()
            return function(activation)

        return hook

    with torch.inference_mode():
        logits = bridge.run_with_hooks(tokens, fwd_hooks=[(name, wrap(name, each)) for name, each in hooks.items()])
    return logits[0].double(), seen


def row_tokens(some, row):
    import torch

    return torch.from_numpy(some.tokens[row : row + 1, : some.start + 2 * some.lengths[row]])


def unchanged(activation):
    return activation


# -- the block and its donors ------------------------------------------------------------------------------------


def test_the_loss_on_the_second_copy_is_the_loss_at_its_positions(model):
    some = sequences()
    assert (second_copy_loss(model, some).values == losses(model, some, at=some.second_copy()).values).all()


def test_donors_have_the_same_block_lengths_other_tokens_and_are_the_streams(model):
    some, streams = sequences(), Streams(("test",))
    donors = donors_of(model, some, streams)
    assert len(donors) == DONORS
    assert len({donor.digest() for donor in donors} | {some.digest()}) == DONORS + 1
    for donor in donors:
        assert (donor.lengths == some.lengths).all()
    assert [each.digest() for each in donors_of(model, some, streams, count=2)] == [
        each.digest() for each in donors[:2]
    ]


def test_the_weaker_ablation_is_chosen_row_by_row_by_its_mean():
    def values(rows):
        return UnitValues(np.array(rows, dtype=float), ("a", "b", "c"), ("u", "v"), ("u", "v"))

    first, second = values([[1, 1], [5, 0], [2, 2]]), values([[0, 3], [1, 1], [2, 2]])
    by_first = weaker(first, second)
    assert by_first == (True, False, True)
    assert chosen(first, second, by_first=by_first).values.tolist() == [[1, 1], [1, 1], [2, 2]]


def test_prompts_are_recorded_by_hash_with_examples():
    seen = {}
    some = sequences()
    describe(SimpleNamespace(prompts=lambda **given: seen.update(given)), some)
    assert (seen["sha256"], seen["n"], seen["clusters"]) == (some.digest(), 6, 6)
    assert seen["examples"][0].split()[0] == "0"
    assert len(seen["examples"][0].split()) == 1 + 2 * some.lengths[0]


# -- damage ------------------------------------------------------------------------------------------------------


def test_copy_damage_is_the_rise_of_the_loss_on_either_copy(gpt2):
    some = sequences()
    (donor,) = donors_of(gpt2, some, Streams(("test",)), count=1)
    found = copy_damage(gpt2, some, sets={"0.1": ("0.1",)}, ablation=Ablation("resample", [donor]))
    for row in (0, 3):
        tokens = row_tokens(some, row)
        name = "blocks.0.attn.hook_z"
        _, other = hooked(gpt2.bridge, row_tokens(donor, row), {name: unchanged})

        def write(z, new=other[name]):
            z = z.clone()
            z[:, :, 1] = new[:, :, 1]
            return z

        (before, _), (after, _) = (hooked(gpt2.bridge, tokens, {name: each}) for each in (unchanged, write))
        for values, at in ((found.second, some.second_copy()), (found.first, some.first_copy())):
            queries = at.queries[at.rows == row]
            following = tokens[0].numpy()[queries + 1]
            rise = [float((x.logsumexp(-1)[queries] - x[queries, following]).mean()) for x in (after, before)]
            assert values.values[0, row] == pytest.approx(rise[0] - rise[1], abs=1e-4)
    assert (found.dose.values > 0).all()


def test_attention_damage_is_the_fall_of_the_score_and_follows_the_order_of_the_heads(gpt2):
    some = sequences()
    (donor,) = donors_of(gpt2, some, Streams(("test",)), count=1)
    lines = []
    evidence = SimpleNamespace(track=lambda items, what: (lines.append(what), items)[1])
    found = attention_damage(
        gpt2,
        some,
        sets={"0.1": ("0.1",)},
        ablation=Ablation("resample", [donor]),
        heads=("1.2", "1.0"),
        evidence=evidence,
        what="resample",
    )
    assert list(found) == ["1.2", "1.0"]
    assert set(lines) == {"resample"}
    before = attention_scores(gpt2, some, pairs=some.second_copy())
    pairs = some.second_copy()
    row = 2
    z, pattern = "blocks.0.attn.hook_z", "blocks.1.attn.hook_pattern"
    _, other = hooked(gpt2.bridge, row_tokens(donor, row), {z: unchanged})

    def write(activation):
        activation = activation.clone()
        activation[:, :, 1] = other[z][:, :, 1]
        return activation

    _, seen = hooked(gpt2.bridge, row_tokens(some, row), {z: write, pattern: unchanged})
    here = pairs.rows == row
    for head in (2, 0):
        after = float(seen[pattern][0, head][pairs.queries[here], pairs.keys[here]].mean())
        fall = before.of([f"1.{head}"]).values[0, row] - after
        assert found[f"1.{head}"].values[0, row] == pytest.approx(fall, abs=1e-6)
        assert found[f"1.{head}"].components == ("0.1",)


# -- copying -----------------------------------------------------------------------------------------------------


def test_a_head_that_copies_exactly_scores_one_less_the_blocks_mean(copier):
    some = sequences()
    # It raises the read token by 1 and no other; the block's mean over its L tokens is 1 / L.
    np.testing.assert_allclose(copying_scores(copier, some).values[0], 1 - 1 / some.lengths, atol=1e-5)


def test_the_same_head_scores_below_zero_for_tokens_that_the_block_lacks(copier):
    some = sequences()
    scores = copying_scores(copier, some, unrelated=np.random.default_rng(1))
    np.testing.assert_allclose(scores.values[0], -1 / some.lengths, atol=1e-5)


def test_the_copying_score_of_one_head_by_hand(model):
    bridge, some = model.bridge, sequences()
    scores = copying_scores(model, some)
    assert scores.components == tuple(f"{layer}.{head}" for layer in range(2) for head in range(4))
    w_u = bridge.unembed.original_component.weight.detach().double().T  # [d_model token]
    weight = bridge.blocks[1].attn.o.original_component.weight.detach().double()
    # GPT-2 keeps its matrices as [in, out], Llama as [out, in].
    w_o = (weight.T if "gpt2" in str(bridge.cfg.architecture).lower() else weight)[:, 3 * 8 : 4 * 8].T  # head 3
    for row in (0, 4):
        length = int(some.lengths[row])
        v_name, scale_name = "blocks.1.attn.hook_v", "ln_final.hook_scale"
        _, seen = hooked(bridge, row_tokens(some, row), {v_name: unchanged, scale_name: unchanged})
        v = seen[v_name].double().reshape(1, 1 + 2 * length, -1, 8)
        v = v[0, 1 : 1 + length, 3 * v.shape[2] // 4]  # head 3 of 4 reads the last key-value head
        scale = seen[scale_name].double().flatten()[1 + length : 1 + 2 * length].mean()
        block = some.block(row)
        logits = (v @ w_o @ w_u / scale)[:, block]  # [position token of the block]
        expected = float((logits.diagonal() - logits.mean(dim=1)).mean())
        assert scores.of(["1.3"]).values[0, row] == pytest.approx(expected, abs=1e-4)


# -- swapping ----------------------------------------------------------------------------------------------------


def test_a_swap_changes_every_token_of_the_first_copy_and_nothing_else(model):
    some = sequences()
    swap = draw_swap(model, some, np.random.default_rng(0))
    for row in range(len(some)):
        length = int(some.lengths[row])
        assert (swap.swapped.tokens[row, 1 : 1 + length] != some.tokens[row, 1 : 1 + length]).all()
        assert (swap.swapped.tokens[row, 1 + length :] == some.tokens[row, 1 + length :]).all()
    keys = swap.at.require_keys()
    assert (swap.old == some.tokens[swap.at.rows, keys]).all()
    assert (swap.old == some.tokens[swap.at.rows, swap.at.queries + 1]).all()  # what the model should predict
    assert (swap.new == swap.swapped.tokens[swap.at.rows, keys]).all()
    assert not ((swap.old == swap.new) | (swap.old == swap.other) | (swap.new == swap.other)).any()


def test_swapping_tokens_with_themselves_moves_nothing(model):
    some = sequences()
    drawn = draw_swap(model, some, np.random.default_rng(0))
    same = Swap(some, drawn.at, drawn.old, drawn.old, drawn.old)
    for effects in swap_effects(model, some, same, heads=("0.1", "1.3")):
        assert (effects.values == 0).all()
    # The same values, read as if the new tokens had come in: still nothing moves.
    for effects in swap_effects(model, some, replace(drawn, swapped=some), heads=("0.1", "1.3")):
        np.testing.assert_allclose(effects.values, 0, atol=1e-5)


def test_on_a_copying_head_the_swap_moves_the_prediction_by_its_attention_by_hand(copier):
    some = sequences()
    swap = draw_swap(copier, some, np.random.default_rng(0))
    moved, unrelated = swap_effects(copier, some, swap, heads=("0.0",))
    keys = swap.at.require_keys()
    for row in range(len(some)):
        name = "blocks.0.attn.hook_pattern"
        _, seen = hooked(copier.bridge, row_tokens(some, row), {name: unchanged})
        here = np.flatnonzero(swap.at.rows == row)
        rises = {"new": [], "other": []}
        for place in here:
            attention = seen[name][0, 0, swap.at.queries[place]].double().numpy()
            # A swapped key j takes its attention from the logit of its old token and gives it to that of its new one.
            logits = np.zeros(40)
            for other in here:
                logits[swap.old[other]] -= attention[keys[other]]
                logits[swap.new[other]] += attention[keys[other]]
            for which, tokens in (("new", swap.new), ("other", swap.other)):
                rises[which].append(logits[tokens[place]] - logits[swap.old[place]])
        assert moved.values[0, row] == pytest.approx(np.mean(rises["new"]), abs=1e-5)
        assert unrelated.values[0, row] == pytest.approx(np.mean(rises["other"]), abs=1e-5)
    assert moved.mean()[0] > unrelated.mean()[0] > 0  # the label control: the new token gains more than any other


def forced(value):
    """A hook that puts this activation in the place of whatever is there."""
    return lambda activation: value


def with_rows_of(donor, keys, head):
    """A hook on v [1 pos head d_head] that takes one head's values at `keys` from another run."""

    def write(v):
        v = v.clone()
        v.view(*v.shape[:2], 4, 8)[:, keys, head] = donor.view(*v.shape[:2], 4, 8)[:, keys, head]
        return v

    return write


def test_the_swap_is_a_hook_on_values_with_all_later_patterns_frozen(gpt2):
    some = sequences()
    swap = draw_swap(gpt2, some, np.random.default_rng(0))
    moved, unrelated = swap_effects(gpt2, some, swap, heads=("1.3", "0.1"))
    assert moved.components == unrelated.components == ("1.3", "0.1")
    patterns, values = ([f"blocks.{layer}.attn.hook_{name}" for layer in (0, 1)] for name in ("pattern", "v"))
    for row in (0, 3, 5):
        here = swap.at.rows == row
        keys, queries = swap.at.require_keys()[here], swap.at.queries[here]
        tokens = row_tokens(some, row)
        before, intact = hooked(gpt2.bridge, tokens, dict.fromkeys(patterns, unchanged))
        _, donor = hooked(gpt2.bridge, row_tokens(swap.swapped, row), dict.fromkeys(values, unchanged))
        for place, (layer, head) in enumerate([(1, 3), (0, 1)]):
            frozen = {name: forced(intact[name]) for name in patterns[layer:]}
            swapped = {values[layer]: with_rows_of(donor[values[layer]], keys, head)}
            after, _ = hooked(gpt2.bridge, tokens, swapped | frozen)
            rise = after - before
            for effects, tokens_of in ((moved, swap.new), (unrelated, swap.other)):
                expected = float((rise[queries, tokens_of[here]] - rise[queries, swap.old[here]]).mean())
                assert effects.values[place, row] == pytest.approx(expected, abs=1e-4)


def test_the_swaps_of_some_sequences_have_the_same_effects(model):
    some = sequences()
    swap = draw_swap(model, some, np.random.default_rng(0))
    everything, _ = swap_effects(model, some, swap, heads=("1.3",))
    few, _ = swap_effects(model, some.first(3), swap.first(3), heads=("1.3",))
    np.testing.assert_allclose(few.values, everything.values[:, :3], atol=1e-5)


def test_tokens_of_a_picture_are_their_text_escaped_where_it_cannot_be_printed_and_ids_where_there_is_none():
    from claims.induction.test_prefix_matching import token_names

    texts = {1: "<|im_start|>", 5: " the", 6: "\r", 7: "\ufffd", 8: "né"}
    tokenizer = SimpleNamespace(decode=lambda tokens: texts[tokens[0]])
    tokens = np.array([1, 5, 6, 7, 8])
    named = token_names(SimpleNamespace(tokenizer=tokenizer), tokens)
    assert named == ["<|im_start|>", " the", r"'\r'", r"'\ufffd'", "né"]
    assert token_names(SimpleNamespace(tokenizer=None), tokens) == ["1", "5", "6", "7", "8"]
