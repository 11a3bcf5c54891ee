from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.errors import StatisticsError
from harness.stats.matched_sets import MatchedSets, distinct_sets


def heads(layers: int, each: int) -> dict[str, int]:
    return {f"{layer}.{head}": layer for layer in range(layers) for head in range(each)}


def matched(
    subject: list[str],
    layers: dict[str, int],
    *,
    draws: int = 10_000,
    exclude: tuple[str, ...] = (),
    enough: int = 20,
    seed: int = 0,
) -> MatchedSets:
    rng = np.random.default_rng(seed)
    return distinct_sets(subject, layers, rng=rng, draws=draws, exclude=exclude, enough=enough)


def by_brute_force(subject: list[str], layers: dict[str, int], window: int | None) -> set[frozenset[str]]:
    """Every set that some pairing with the subject keeps within the window: the definition, tried out."""
    reach = math.inf if window is None else window
    return {
        frozenset(members)
        for members in combinations(layers, len(subject))
        if any(
            all(abs(layers[member] - layers[own]) <= reach for member, own in zip(order, subject, strict=True))
            for order in permutations(members)
        )
    }


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_count_and_the_sets_are_those_of_brute_force(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    layers = {f"{layer}.{head}": layer for layer, size in enumerate(sizes) for head in range(size)}
    subject = data.draw(st.lists(st.sampled_from(sorted(layers)), min_size=1, max_size=3, unique=True))
    assume(len(subject) < len(layers))  # else the subject is the only set
    enough = data.draw(st.integers(2, 60))
    found = matched(subject, layers, enough=enough)
    expected = by_brute_force(subject, layers, found.window)
    assert found.enumerated
    assert found.of == len(expected)
    assert {frozenset(members) for members in found.sets} | {frozenset(subject)} == expected
    assert len(found.sets) == len(expected) - 1


def test_the_window_widens_until_there_are_twenty() -> None:
    # 12 heads in a layer are too few; three layers have 36
    found = matched(["5.1"], heads(12, 12))
    assert (found.of, found.window, found.rule) == (36, 1, "layers +-1")
    # 4 x 8 heads from the edge: layers 0-2 have 24
    assert matched(["0.1"], heads(4, 8)).rule == "layers +-2"


def test_the_same_layer_suffices_where_it_has_twenty_sets() -> None:
    # two of twelve heads: C(12, 2) = 66
    found = matched(["5.1", "5.5"], heads(12, 12))
    assert (found.of, found.window, found.rule) == (66, 0, "same layer")


def test_where_any_layer_has_fewer_than_twenty_the_number_says_so() -> None:
    found = matched(["1.1"], heads(2, 8))
    assert (found.of, found.window, found.rule) == (16, None, "any layer")


def test_excluded_components_appear_nowhere() -> None:
    found = matched(["17.3"], heads(30, 9), exclude=("17.4", "17.5", "18.6"))
    # layers 16, 17, 18 hold 27 heads, 3 of them excluded
    assert found.of == 24
    assert not {"17.4", "17.5", "18.6"} & {name for members in found.sets for name in members}


def test_the_subject_itself_is_counted_but_never_drawn() -> None:
    for draws in (65, 30):
        found = matched(["5.5", "5.1"], heads(12, 12), draws=draws)
        assert found.of == 66
        assert ("5.1", "5.5") not in found.sets
        assert len(found.sets) == len(set(found.sets)) == draws


def test_twenty_six_heads_of_144_are_counted_exactly() -> None:
    # six heads of layer 10 and four of layer 9: C(12, 6) * C(12, 4)
    subject = [f"10.{head}" for head in range(6)] + [f"9.{head}" for head in range(4)]
    found = matched(subject, heads(12, 12), draws=50)
    assert found.of == math.comb(12, 6) * math.comb(12, 4)
    assert not found.enumerated
    assert len(set(found.sets)) == 50
    assert all(Counter(name.split(".")[0] for name in members) == {"10": 6, "9": 4} for members in found.sets)


def test_counts_beyond_64_bits_can_be_drawn_from() -> None:
    subject = [f"{layer}.{head}" for layer in range(12) for head in range(6)]
    found = matched(subject, heads(12, 12), draws=20)
    assert found.of == math.comb(12, 6) ** 12  # 3.9e35
    assert len(set(found.sets)) == 20
    # half of each layer is the subject's, so half of a random set is too; 12 layers x 20 sets, SD about 1.7 / sqrt(20)
    assert found.mean_overlap == pytest.approx(36, abs=3)


def test_every_set_is_drawn_equally_often() -> None:
    layers = {"0.0": 0, "0.1": 0, "1.0": 1, "1.1": 1, "1.2": 1, "2.0": 2}
    # window 1 from (0, 1): by brute force below; unequal layers would show a biased draw
    everything = by_brute_force(["0.0", "1.0"], layers, 1) - {frozenset(["0.0", "1.0"])}
    counts = Counter(
        frozenset(matched(["0.0", "1.0"], layers, draws=1, enough=12, seed=seed).sets[0]) for seed in range(4_000)
    )
    assert set(counts) == everything
    expected = 4_000 / len(everything)
    chi_square = sum((counts[members] - expected) ** 2 / expected for members in everything)
    # 99.9th percentile of chi-square with as many degrees of freedom as other sets, less one
    assert chi_square < len(everything) - 1 + 3.1 * math.sqrt(2 * (len(everything) - 1)) + 5


def test_the_same_generator_draws_the_same_sets() -> None:
    assert matched(["5.1", "5.5"], heads(12, 12), draws=9) == matched(["5.1", "5.5"], heads(12, 12), draws=9)


@pytest.mark.parametrize(
    ("subject", "options", "message"),
    [
        ([], {}, "empty"),
        (["0.0", "0.0"], {}, "twice"),
        (["0.99"], {}, "component '0.99' of the subject has no layer"),
        (["0.0"], {"exclude": ("0.0",)}, "both in the subject and excluded"),
        (["0.0"], {"exclude": ("0.1", "1.0", "1.1")}, "no other matched set"),
        (["0.0"], {"draws": 0}, "draws is 0"),
    ],
)
def test_a_subject_without_a_population_is_refused(subject: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        matched(subject, heads(2, 2), **options)
