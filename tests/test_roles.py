"""Attention by role against the model's own hooks, hand-made attention, and heads whose part is known."""

from __future__ import annotations

import numpy as np
import pytest

from claims.arithmetic.sum_roles import by_distance, by_pair
from fixtures.prompts.sums import answer_position, operand_positions, uniform_sums
from harness.errors import InterventionError, StatisticsError
from harness.models.model import load, with_head_weights
from harness.roles import ELSEWHERE, SPREAD, RoleMap, attention_by_role
from tests.interventions.bridges import tiny_bridge
from tests.one_thread import one_thread  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("one_thread")


def sums(n=7, seed=0):
    return uniform_sums(n, split="discovery", rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def addition():
    return load("addition-5d-2l@0")


@pytest.fixture(scope="module")
def trained(addition):
    return attention_by_role(addition, sums(100), roles=by_distance())


@pytest.mark.parametrize("kind", ["gpt2", "llama", "attention-only"])
def test_shares_are_those_of_the_pattern_that_the_hooks_show(kind):
    import torch

    bridge, some, seen = tiny_bridge(kind), sums(), {}

    def keep(pattern, hook):
        seen[int(hook.name.split(".")[1])] = pattern.double().numpy()

    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(2)]
    with torch.inference_mode():
        bridge.run_with_hooks(some.tensor(), fwd_hooks=[(name, keep) for name in names])
    found = attention_by_role(bridge, some, roles=by_pair())
    first, second = operand_positions(3)
    for place in (0, 4):
        for layer, head in ((0, 2), (1, 3)):
            row = seen[layer][:, head, answer_position(place)]
            expected = row[:, first] + row[:, second]
            got = found.of(f"answer {place}", "pair 3").of([f"{layer}.{head}"]).values[0]
            np.testing.assert_allclose(got, expected, atol=1e-6)
            entropy = -(row * np.log2(np.maximum(row, 1e-300))).sum(axis=1)
            at = found.heads.index(f"{layer}.{head}")
            np.testing.assert_allclose(found.entropy_bits[at, place], entropy, atol=1e-5)


def test_the_shares_of_a_head_and_place_sum_to_one(trained):
    np.testing.assert_allclose(np.nansum(trained.shares, axis=2), 1, atol=1e-5)
    assert np.nanmax(trained.shares[:, :, -1]) < 1e-6  # the roles of sums leave nothing elsewhere


def test_what_no_role_covers_is_elsewhere(addition):
    some = sums()
    only = RoleMap({"here": 14}, {"here": {"own pair": operand_positions(2)}})
    found = attention_by_role(addition, some, roles=only)
    assert found.roles == ("own pair", ELSEWHERE)
    np.testing.assert_allclose(found.shares.sum(axis=2), 1, atol=1e-6)


def test_even_attention_has_log2_n_bits_and_n_positions(addition):
    import torch

    zeros = {("0.1", name): torch.zeros(128, 32) for name in ("W_Q", "W_K")}
    zeros |= {("0.1", name): torch.zeros(32) for name in ("b_Q", "b_K")}
    even = with_head_weights(addition, zeros, label="even")
    found = attention_by_role(even, sums(), roles=by_distance(), layers=[0])
    # The query of answer place 2 stands at position 13 and sees 14 positions, two of which are its own pair.
    assert found.entropy_bits[1, 2] == pytest.approx(np.log2(14), abs=1e-5)
    assert found.effective_positions[1, 2] == pytest.approx(14, abs=1e-4)
    assert found.of("answer 2", "own pair").values[1] == pytest.approx(2 / 14, abs=1e-6)
    assert found.classes()["0.1"]["answer 2"] == SPREAD


def test_heads_of_the_trained_model_are_classed_by_what_they_read(trained):
    classes = trained.classes()
    assert classes["0.2"]["answer 3"] == "own pair"  # seen on discovery sums: 0.99 of the attention
    assert classes["0.0"]["answer 3"] == "pair to the right"
    assert SPREAD in classes["1.2"].values()
    assert trained.effective_positions.mean(axis=-1)[2, 3] < 3


def test_positions_given_row_by_row_are_the_same_as_one_for_all(addition):
    some = sums()
    fixed = RoleMap({"a": 13}, {"a": {"pair": (1, 7)}})
    by_row = RoleMap({"a": np.full(7, 13)}, {"a": {"pair": np.tile([1, 7], (7, 1))}})
    one, other = (attention_by_role(addition, some, roles=each) for each in (fixed, by_row))
    np.testing.assert_array_equal(one.shares, other.shares)


def test_a_places_missing_role_is_refused_and_left_out_of_its_picture(trained):
    with pytest.raises(StatisticsError, match="'answer 0' has no role 'own pair'"):
        trained.of("answer 0", "own pair")
    with pytest.raises(StatisticsError, match="Did you mean 'answer 3'"):
        trained.of("anwser 3", "own pair")
    picture = trained.picture("answer 0")
    assert "own pair" not in picture["columns"]
    assert np.shape(picture["values"]) == (8, len(picture["columns"]))


def test_pictures_are_drawn(trained):
    from harness.report import figures

    figures.draw({"kind": "matrix", "name": "x", **trained.picture("answer 2")}).draw_without_rendering()


@pytest.mark.parametrize(
    ("queries", "keys", "message"),
    [
        ({}, {}, "each place needs both"),
        ({"a": 3}, {"b": {"x": (1,)}}, "each place needs both"),
        ({"a": 3}, {"a": {}}, "each place needs both"),
        ({"a": 3}, {"a": {ELSEWHERE: (1,)}}, "another name"),
        ({"a": 3}, {"a": {"x": (4,)}}, "outside 0 to its query"),
        ({"a": 3}, {"a": {"x": (-1,)}}, "outside 0 to its query"),
        ({"a": 3}, {"a": {"x": ()}}, "has no key"),
        ({"a": 3}, {"a": {"x": (1, 2), "y": (2,)}}, "shares a key"),
        ({"a": 99}, {"a": {"x": (1, 2)}}, "outside the prompts"),
    ],
)
def test_roles_that_do_not_fit_are_refused_by_name(queries, keys, message, addition):
    with pytest.raises(StatisticsError, match=message):
        attention_by_role(addition, sums(), roles=RoleMap(queries, keys))


def test_too_low_a_focus_and_no_layers_are_refused(trained, addition):
    with pytest.raises(StatisticsError, match=r"focus is 0\.4"):
        trained.classes(focus=0.4)
    with pytest.raises(InterventionError, match="no layers"):
        attention_by_role(addition, sums(), roles=by_pair(), layers=[])
