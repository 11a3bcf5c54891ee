from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StatisticsError
from harness.stats.exact import exact_claim

OTHERS = np.arange(59) / 100  # 0.00 to 0.58; the ceil(.95 * 59) = 57th is 0.56


def test_a_number_far_beyond_the_95th_percentile_is_supported() -> None:
    result = exact_claim(0.80, OTHERS, sesoi=0.2, alternative="greater")
    assert (result.rank, result.of) == (1, 60)
    assert result.percentile95 == pytest.approx(0.56)
    assert result.distance == pytest.approx(0.24)
    assert result.runner_up == pytest.approx(0.58)
    assert result.holds
    assert "ranks 1 of 60" in result.reason


def test_first_place_alone_is_not_enough() -> None:
    result = exact_claim(0.60, OTHERS, sesoi=0.2, alternative="greater")
    assert result.rank == 1
    assert not result.holds
    assert "less than the 0.2 asked for" in result.reason


def test_with_twenty_sets_the_subject_must_be_in_the_top_twentieth() -> None:
    # of = 40: the 39 others' ceil(.95 * 39) = 38th; rank 2 of 40 is .05, rank 3 is .075
    others = np.concatenate([np.zeros(37), [1.0, 9.0]])
    assert exact_claim(5.0, others, sesoi=1.0, alternative="greater").holds
    tied = exact_claim(5.0, np.concatenate([np.zeros(37), [5.0, 9.0]]), sesoi=0.0001, alternative="greater")
    assert (tied.rank, tied.holds) == (3, False)
    assert "not among the top 5%" in tied.reason


def test_below_twenty_sets_the_distance_alone_decides() -> None:
    result = exact_claim(3.0, [0.0, 1.0, 2.0], sesoi=0.5, alternative="greater")
    assert (result.rank, result.of, result.percentile95, result.holds) == (1, 4, 2.0, True)


@given(st.floats(-5, 5), st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_the_direction_mirrors(value: float, others: list[float]) -> None:
    result = exact_claim(value, others, sesoi=0.5, alternative="greater")
    mirrored = exact_claim(-value, [-other for other in others], sesoi=0.5, alternative="less")
    assert (result.rank, result.distance, result.holds) == (mirrored.rank, mirrored.distance, mirrored.holds)
    assert result.percentile95 == -mirrored.percentile95
    assert result.runner_up == -mirrored.runner_up


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(StatisticsError, match="0 given"):
        exact_claim(1.0, [], sesoi=0.1, alternative="greater")
    with pytest.raises(StatisticsError, match="subject's value is inf"):
        exact_claim(np.inf, [1.0], sesoi=0.1, alternative="greater")
    with pytest.raises(StatisticsError, match=r"sesoi is 0\.0"):
        exact_claim(1.0, [1.0], sesoi=0.0, alternative="greater")
    with pytest.raises(StatisticsError, match="name the direction"):
        exact_claim(1.0, [1.0], sesoi=0.1, alternative="both")  # type: ignore[arg-type]
