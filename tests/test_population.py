"""Which heads a subject is compared with."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import NothingToCompare
from harness.population import DRAWS, circuit, matched_heads, matched_sets
from harness.subjects import Subject

HEADS = [f"{layer}.{head}" for layer in range(12) for head in range(12)]
SUBJECT = Subject(
    "induction", ("5.1", "5.5"), "m", "s", "discovery", {"induction": ("5.1", "5.5"), "previous-token": ("4.11",)}
)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_circuit_is_every_head_of_every_class():
    assert circuit(SUBJECT) == {"5.1", "5.5", "4.11"}
    assert circuit(Subject("induction", ("1.0",), "m", "s", "given", {})) == {"1.0"}


def test_others_come_from_the_nearest_layers_that_hold_enough_and_never_from_the_circuit():
    matched = matched_heads(SUBJECT.heads, among=HEADS, exclude=circuit(SUBJECT), rng=rng())
    assert set(matched) == {"5.1", "5.5"}
    for head, others in matched.items():
        # One layer has 12 heads: too few for 20 distinct sets. Three have 36, less the three of the circuit.
        assert {other.split(".")[0] for other in others} == {"4", "5", "6"}
        assert len(others) == len(set(others)) == 33
        assert not circuit(SUBJECT) & set(others), head


def test_one_layer_is_enough_where_it_has_twenty_heads():
    wide = [f"{layer}.{head}" for layer in range(4) for head in range(25)]
    (others,) = matched_heads(("2.0",), among=wide, exclude=("2.1",), rng=rng()).values()
    assert sorted(others) == sorted(f"2.{head}" for head in range(2, 25))


def test_small_models_use_all_heads_there_are():
    tiny = [f"{layer}.{head}" for layer in range(2) for head in range(4)]
    (others,) = matched_heads(("1.0",), among=tiny, exclude=("1.0", "0.2"), rng=rng()).values()
    assert sorted(others) == ["0.0", "0.1", "0.3", "1.1", "1.2", "1.3"]


def test_heads_that_share_weights_with_the_subject_are_left_out():
    (others,) = matched_heads(("5.1",), among=HEADS, exclude=("5.1", "5.0", "5.2"), rng=rng()).values()
    assert not {"5.0", "5.2"} & set(others)


def test_a_subject_without_others_is_refused():
    with pytest.raises(NothingToCompare, match="no other matched set"):
        matched_heads(("0.0",), among=["0.0", "0.1"], exclude=("0.1",), rng=rng())


def test_a_subject_that_is_most_heads_before_its_receivers_has_nothing_to_be_compared_with():
    early = [f"0.{head}" for head in range(4)]
    with pytest.raises(NothingToCompare, match=r"every matched set of 3 heads holds one of 0\.0, 0\.1, 0\.2"):
        matched_sets(early[:3], among=early, exclude=(), rng=rng())


def test_sets_have_the_subjects_size_and_layers_and_no_member_of_the_circuit():
    sets = matched_sets(SUBJECT.heads, among=HEADS, exclude=circuit(SUBJECT), rng=rng(), draws=200)
    # Pairs of the ten other heads of layer 5: 45. Sets that hold one subject belong to the population, and are left
    # out where others are enough.
    assert len(sets) == 45
    for name, members in sets.items():
        assert name == "+".join(members)
        assert [member.split(".")[0] for member in members] == ["5", "5"]
        assert not set(members) & circuit(SUBJECT)


def test_sets_are_drawn_where_they_are_too_many_and_the_draw_is_the_streams():
    heads = ("5.1", "5.5", "6.9", "7.2", "7.10")
    first, again, other = (
        matched_sets(heads, among=HEADS, exclude=heads, rng=rng(seed), draws=49) for seed in (0, 0, 1)
    )
    assert first == again != other
    assert 0 < len(first) <= 49 <= DRAWS
    for members in first.values():
        assert [member.split(".")[0] for member in members] == ["5", "5", "6", "7", "7"]


def test_matched_sets_hold_none_of_the_subject_even_where_most_sets_overlap_it():
    heads = [f"{layer}.{head}" for layer in range(2) for head in range(8)]
    subject = ("1.0", "1.1", "1.2", "1.3")  # 70 sets of four in the layer, one of them without any of these
    for seed in range(5):
        found = matched_sets(subject, among=heads, exclude=(), rng=np.random.default_rng(seed), draws=24)
        assert len(found) >= 20
        assert not any(set(members) & set(subject) for members in found.values())
