"""Stability of a selection: half-samples, overlap and its chance value, permuted labels."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StatisticsError
from harness.selection import (
    chance_jaccard,
    class_frequencies,
    class_overlaps,
    class_permuted,
    disjoint_halves,
    frequencies,
    half_samples,
    jaccard,
    over_splits,
    overlap,
    permuted,
)

TEMPLATES = [f"template-{number // 4}" for number in range(60)]  # 15 templates with 4 prompts each


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def reached(scores: np.ndarray, *, names: list[str], at_least: float):
    """A selection by threshold on the mean over units, as discovery makes it; scores are [head, unit]."""

    def select(columns: np.ndarray) -> list[str]:
        means = scores[:, columns].mean(axis=1)
        return [name for name, mean in zip(names, means, strict=True) if mean >= at_least]

    return select


def selection_frequency(select, clusters: list[str], **options) -> dict[str, float]:
    """The frequencies of a procedure with one class."""
    return class_frequencies(lambda columns: {"it": select(columns)}, clusters, **options)["it"]


# -- half-samples


def test_a_half_holds_whole_clusters_and_half_of_them_rounded_down():
    for columns in half_samples(TEMPLATES, rng=rng()):
        held = [TEMPLATES[column] for column in columns]
        assert len(set(held)) == 7  # floor(15 / 2)
        assert len(held) == 7 * 4
        assert list(columns) == sorted(columns)


def test_there_are_twenty_halves_unless_another_number_is_asked_for_and_the_generator_fixes_them():
    assert len(half_samples(TEMPLATES, rng=rng())) == 20
    first, again = half_samples(TEMPLATES, rng=rng(3), halves=5), half_samples(TEMPLATES, rng=rng(3), halves=5)
    assert [list(half) for half in first] == [list(half) for half in again]
    assert [list(half) for half in first] != [list(half) for half in half_samples(TEMPLATES, rng=rng(4), halves=5)]


def test_every_cluster_is_in_half_of_the_halves():
    halves = half_samples(["a", "b", "c", "d"], rng=rng(), halves=4_000)
    shares = np.bincount(np.concatenate(halves), minlength=4) / 4_000
    assert shares == pytest.approx([0.5] * 4, abs=0.04)  # binomial(4000, 1/2): 0.04 is 5 standard errors


def test_units_of_a_cluster_need_not_stand_together():
    clusters = [f"template-{number % 6}" for number in range(24)]
    (columns, *_) = half_samples(clusters, rng=rng())
    assert len(columns) == 12
    assert len({column % 6 for column in columns}) == 3


def test_two_disjoint_halves_share_no_cluster_and_an_odd_one_is_left_out():
    first, second = disjoint_halves(TEMPLATES, rng=rng())
    assert (len(first), len(second)) == (28, 28)
    assert not {TEMPLATES[column] for column in first} & {TEMPLATES[column] for column in second}


def test_two_halves_of_an_even_number_of_clusters_hold_all_units():
    first, second = disjoint_halves(TEMPLATES[:-4], rng=rng())
    assert sorted([*first, *second]) == list(range(56))


# -- selection frequency


def test_a_head_far_above_the_threshold_is_always_selected_and_one_far_below_never():
    scores = rng().normal([[1.0], [0.0], [1.0]], 0.1, (3, 60))
    found = selection_frequency(reached(scores, names=["1.0", "1.1", "1.2"], at_least=0.5), TEMPLATES, rng=rng(1))
    assert found == {"1.0": 1.0, "1.2": 1.0}  # 1.1 is absent


def test_a_head_at_the_threshold_is_selected_in_half_of_the_halves():
    clusters = [f"template-{number}" for number in range(40)]
    scores = rng().normal(0.0, 1.0, (1, 40))
    # A half of the clusters is above the mean of all exactly where the other half is below it.
    found = selection_frequency(
        reached(scores, names=["1.0"], at_least=float(scores.mean())), clusters, rng=rng(1), halves=2_000
    )
    assert found["1.0"] == pytest.approx(0.5, abs=0.06)  # 5 standard errors of a share of 2,000


def test_a_head_that_one_template_alone_carries_is_selected_where_that_template_is_drawn():
    scores = np.zeros((1, 60))
    scores[0, :4] = 100.0
    found = selection_frequency(reached(scores, names=["1.0"], at_least=0.1), TEMPLATES, rng=rng(), halves=2_000)
    assert found["1.0"] == pytest.approx(7 / 15, abs=0.056)  # 7 of 15 templates are in a half; 5 standard errors


def test_heads_of_pure_noise_are_not_stable():
    """The maximum of 100 heads of noise is 'found' in every half, but it is not the same head."""
    scores = rng().normal(0.0, 1.0, (100, 60))
    names = [f"0.{number}" for number in range(100)]
    found = selection_frequency(
        lambda columns: [names[int(scores[:, columns].mean(axis=1).argmax())]], TEMPLATES, rng=rng(1)
    )
    assert sum(found.values()) == pytest.approx(1.0)
    assert len(found) > 1
    assert max(found.values()) < 0.9


def test_frequencies_are_listed_from_the_most_frequent_and_ties_by_name():
    found = frequencies([["1.0", "0.3"], {"0.3", "0.1"}, ("0.3", "1.0", "1.0"), []])
    assert list(found.items()) == [("0.3", 0.75), ("1.0", 0.5), ("0.1", 0.25)]
    assert frequencies([[], []]) == {}


@pytest.mark.parametrize(
    ("clusters", "options", "said"),
    [
        (["a", "b", "c"] * 4, {}, r"3 clusters are given; half-samples need at least 4"),
        ([], {}, r"0 clusters are given"),
        (TEMPLATES, {"halves": 0}, r"halves is 0"),
        (TEMPLATES, {"halves": 2.5}, r"halves is 2\.5"),
        (TEMPLATES, {"halves": True}, r"halves is True"),
        (TEMPLATES, {"rng": 7}, r"rng is 7; give a numpy\.random\.Generator"),
    ],
)
def test_what_cannot_be_halved_is_refused_by_name(clusters, options, said):
    with pytest.raises(StatisticsError, match=said):
        selection_frequency(lambda columns: [], clusters, **{"rng": rng(), **options})


def test_a_selection_that_is_a_bare_string_is_refused():
    with pytest.raises(StatisticsError, match=r"a selection is '1\.0'; give a collection of names"):
        selection_frequency(lambda columns: "1.0", TEMPLATES, rng=rng())
    with pytest.raises(StatisticsError, match="no selections"):
        frequencies([])
    with pytest.raises(StatisticsError, match="3 clusters"):
        disjoint_halves(["a", "b", "c"], rng=rng())


# -- overlap


def test_jaccard_is_the_shared_share_of_either():
    assert jaccard(["1.0", "1.1"], ["1.1", "1.2"]) == 1 / 3
    assert jaccard({"1.0"}, ("1.0",)) == 1.0
    assert jaccard(["1.0"], []) == 0.0
    assert jaccard([], []) == chance_jaccard(0, 0, of=9) == 1.0  # so that nothing looks better than chance


@pytest.mark.parametrize(
    ("n_first", "n_second", "of"), [(2, 2, 5), (1, 4, 6), (3, 3, 6), (4, 3, 5), (0, 2, 4), (5, 5, 5)]
)
def test_chance_is_the_mean_over_all_pairs_of_sets(n_first, n_second, of):
    """Oracle: every pair of sets of these sizes."""
    names = [str(number) for number in range(of)]
    pairs = [jaccard(one, other) for one in combinations(names, n_first) for other in combinations(names, n_second)]
    assert chance_jaccard(n_first, n_second, of=of) == pytest.approx(math.fsum(pairs) / len(pairs), rel=1e-12)


def test_chance_agrees_with_simulation_on_the_size_of_a_real_model():
    draw = rng()
    drawn = [jaccard(draw.permutation(270)[:10].tolist(), draw.permutation(270)[:10].tolist()) for _ in range(20_000)]
    error = np.std(drawn) / math.sqrt(len(drawn))
    assert abs(chance_jaccard(10, 10, of=270) - np.mean(drawn)) < 4 * error


def test_chance_by_hand():
    # One of four twice: the same with probability 1/4, index 1; else 0.
    assert chance_jaccard(1, 1, of=4) == 0.25
    # Two of three twice: the same pair with probability 1/3, index 1; else one shared of three, index 1/3: 5/9.
    assert chance_jaccard(2, 2, of=3) == pytest.approx(5 / 9)


def test_chance_of_ten_heads_of_270_is_what_the_expected_number_of_shared_heads_says():
    # 10 * 10 / 270 = 0.37 shared heads are expected; one shared head is an index of 1/19 and two are 2/18, so the
    # index lies between 0.37 / 20 and 0.37 / 18.
    assert 0.37 / 20 < chance_jaccard(10, 10, of=270) < 0.371 / 18


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 400))
def test_chance_is_symmetric_and_a_share(n_first, n_second, of):
    n_first, n_second = min(n_first, of), min(n_second, of)
    chance = chance_jaccard(n_first, n_second, of=of)
    assert 0 <= chance <= 1 + 1e-12
    assert chance == pytest.approx(chance_jaccard(n_second, n_first, of=of), rel=1e-9)


@pytest.mark.parametrize(("sizes", "of"), [((3, 1), 2), ((-1, 1), 2), ((1, 1), 0)])
def test_sizes_that_cannot_be_are_refused(sizes, of):
    with pytest.raises(StatisticsError):
        chance_jaccard(*sizes, of=of)


def test_an_overlap_says_itself_in_one_line():
    found = overlap(["23.3", "23.0", "22.1"], ["23.3", "23.0"], of=270)
    assert found.jaccard == 2 / 3
    assert found.chance == chance_jaccard(3, 2, of=270)
    # Expected index: 6 / 270 = 0.0222 shared heads, a quarter of an index each: 0.0056.
    assert found.text() == "3 and 2 of 270 selected, 2 shared: Jaccard 0.667 (0.006 by chance)"
    assert overlap([], [], of=270).text() == "neither sample selected any of 270"
    assert overlap({"b", "a"}, ["c", "a", "c"], of=9).first == ("a", "b")
    assert overlap({"b", "a"}, ["c", "a", "c"], of=9).second == ("c", "a")


# -- permuted labels


def test_permuted_labels_that_select_at_random_are_at_chance():
    draw = rng()
    names = [str(number) for number in range(40)]
    draws = [[names[place] for place in draw.permutation(40)[:5]] for _ in range(4_000)]
    found = permuted(names[:5], draws, of=40)
    assert (found.draws, found.of, found.selected) == (4_000, 40, 5.0)
    assert found.jaccard == pytest.approx(found.chance, abs=0.008)
    assert found.chance == pytest.approx(chance_jaccard(5, 5, of=40))


def test_permuted_labels_that_select_the_same_heads_are_not_at_chance():
    found = permuted(["1.0", "1.1"], [["1.0", "1.1"], ["1.0"]], of=40)
    assert found.selected == 1.5
    assert found.jaccard == 0.75  # the mean of 1 and 1/2
    assert found.chance < 0.05
    assert found.text().startswith("2 permutations select 1.50 of 40 on average: Jaccard 0.750 with the selection (0.0")


def test_permuted_labels_that_select_nothing_share_nothing():
    found = permuted(["1.0"], [[], []], of=40)
    assert (found.selected, found.jaccard, found.chance) == (0.0, 0.0, 0.0)
    assert found.text() == "2 permutations select 0.00 of 40 on average"
    # With nothing selected by the true labels either, the index of 1 is that of chance and is not printed.
    nothing = permuted([], [[], ["1.0"]], of=40)
    assert nothing.jaccard == nothing.chance == 0.5
    assert nothing.text() == "2 permutations select 0.50 of 40 on average"
    with pytest.raises(StatisticsError, match="no draws"):
        permuted(["1.0"], [], of=40)


# -- several classes at once


def by_class(columns):
    """Class `all` has a name for each template of the half, `none` has none, `one` has the first template's."""
    held = {TEMPLATES[column] for column in columns}
    return {"all": sorted(held), "none": (), "one": tuple(held & {"template-0"})}


def test_frequencies_by_class_are_those_of_each_class_in_the_same_halves():
    found = class_frequencies(by_class, TEMPLATES, rng=rng(3))
    assert found["none"] == {}
    for name in ("all", "one"):
        assert found[name] == selection_frequency(
            lambda columns, name=name: by_class(columns)[name], TEMPLATES, rng=rng(3)
        )


def test_over_splits_leaves_out_and_counts_those_in_which_neither_half_selects_anything():
    said = over_splits(by_class, TEMPLATES, classes=("all", "one", "none"), rng=rng())
    # Disjoint halves share no template; where a split leaves template-0 out, `one` is empty in both.
    both, one, none = said.split(", ")
    assert both == "all 0.00 (0.00 to 0.00)"
    assert one.startswith("one 0.00 (0.00 to 0.00")
    assert none == "none neither half selects any in 20 of 20"
    assert over_splits(by_class, TEMPLATES, classes=(), rng=rng()) == "no class has names"


def test_over_splits_by_hand():
    halves = iter([{"a": ("x", "y")}, {"a": ("y", "z")}, {"a": ()}, {"a": ()}, {"a": ("x",)}, {"a": ("x",)}] * 7)
    said = over_splits(lambda columns: next(halves), TEMPLATES, classes=("a",), rng=rng())
    # In turn 1/3, neither, 1 over 20 splits: 7 of 1/3, 7 of neither, 6 of 1; (7/3 + 6) / 13 = 0.64.
    assert said == "a 0.64 (0.33 to 1.00; neither half selects any in 7 of 20)"


def test_overlaps_and_permutations_by_class_are_those_of_each_class_that_has_candidates():
    first, second = {"a": ("x",), "b": ("y",)}, {"a": ("x", "z"), "b": ()}
    assert class_overlaps(first, second, of={"a": 5}) == {"a": overlap(("x",), ("x", "z"), of=5)}
    assert class_permuted(first, [second, first], of={"b": 3}) == {"b": permuted(("y",), [(), ("y",)], of=3)}
