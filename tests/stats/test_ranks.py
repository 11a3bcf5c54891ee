from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StatisticsError
from harness.stats.ranks import Rank, percentile_member, population_rank

# eighths: small enough to draw often equal values, and exact in floating point
eighths = st.integers(-40, 40).map(lambda number: number / 8)


def test_the_largest_of_twenty_has_p_of_one_in_twenty() -> None:
    assert population_rank(5.0, np.arange(19) / 10) == Rank(rank=1, of=20, p=0.05)


def test_ties_count_against_the_subject() -> None:
    assert population_rank(1.0, [1.0, 1.0, 0.5, 2.0]).rank == 4


def test_below_twenty_sets_there_is_a_rank_and_no_p() -> None:
    assert population_rank(5.0, np.arange(18)) == Rank(rank=14, of=19, p=None)


@given(eighths, st.lists(eighths, min_size=1, max_size=40))
def test_the_direction_mirrors(own: float, others: list[float]) -> None:
    mirrored = population_rank(-own, [-value for value in others], alternative="less")
    assert population_rank(own, others) == mirrored


def test_p_is_valid_where_the_subject_is_any_of_its_population() -> None:
    rng = np.random.default_rng(0)
    p_values = [population_rank(row[0], row[1:]).p for row in rng.normal(size=(4_000, 40))]
    # 2 of 40 ranks have p <= .05: exactly 5 %, 3 binomial errors are 1 point
    assert abs(np.mean([p is not None and p <= 0.05 for p in p_values]) - 0.05) < 0.01


@pytest.mark.parametrize(("number", "position"), [(1, 1), (10, 10), (19, 19), (20, 19), (60, 57), (100, 95)])
def test_the_95th_percentile_is_the_ceil_of_its_share(number: int, position: int) -> None:
    # ceil(.95 N) by hand
    values = np.random.default_rng(number).permutation(number).astype(float)
    member = percentile_member(values, [f"h{index}" for index in range(number)])
    assert (member.position, member.of) == (position, number)
    assert member.value == position - 1
    assert values[int(member.name[1:])] == member.value


@pytest.mark.parametrize("number", range(1, 400))
def test_rounding_never_moves_the_position(number: int) -> None:
    names = [str(index) for index in range(number)]
    assert percentile_member(np.arange(number), names).position == -(-95 * number // 100)


def test_for_less_the_member_is_the_5th_percentile() -> None:
    member = percentile_member(np.arange(20), [str(index) for index in range(20)], alternative="less")
    assert (member.name, member.value) == ("1", 1.0)


def test_the_order_of_the_components_does_not_choose_among_equals() -> None:
    assert percentile_member([1.0, 1.0, 0.0], ["b", "a", "c"]) == percentile_member([1.0, 0.0, 1.0], ["a", "c", "b"])


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        ([], [], "0 given"),
        ([1.0, 2.0], ["a"], "2 values but 1 distinct names"),
        ([1.0, 2.0], ["a", "a"], "2 values but 1 distinct names"),
        ([1.0, float("nan")], ["a", "b"], "value 1 is nan"),
    ],
)
def test_a_population_without_names_or_numbers_is_refused(values: list[float], names: list[str], message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        percentile_member(values, names)


def test_a_rank_needs_numbers_and_a_direction() -> None:
    with pytest.raises(StatisticsError, match="subject's value is nan"):
        population_rank(float("nan"), [1.0])
    with pytest.raises(StatisticsError, match="0 given"):
        population_rank(1.0, [])
    with pytest.raises(StatisticsError, match="name the direction"):
        population_rank(1.0, [1.0], alternative="up")  # type: ignore[arg-type]
    with pytest.raises(StatisticsError, match="q is 95"):
        percentile_member([1.0], ["a"], q=95)
