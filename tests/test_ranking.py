"""Agreement of rankings: by hand, with itself, by chance, with ties, and where it is not defined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.errors import StatisticsError
from harness.ranking import agreement

if TYPE_CHECKING:
    from numpy.typing import NDArray


def column(*values: float) -> NDArray[np.float64]:
    """[target, prompt] of two prompts whose mean these values are."""
    return np.array(values)[:, None] + np.array([[-1.0, 1.0]])


def test_agreement_of_scores_with_themselves_is_perfect() -> None:
    values = column(3, -2, 1, 0)
    found = agreement(values, values, k=[1, 2, 4])
    assert (found.n_targets, found.spearman, found.pearson) == (4, pytest.approx(1), pytest.approx(1))
    assert [(at.precision, at.recall) for at in found.at] == [(1, 1), (1, 1), (1, 1)]
    assert [at.precision_by_chance for at in found.at] == [0.25, 0.5, 1.0]


def test_agreement_is_as_computed_by_hand() -> None:
    found = agreement(column(5, -4, 3, 1), column(1, -6, 0, 2), k=[1, 2, 3], relevant=2)
    # Ranks 4 1 3 2 against 3 1 2 4: 1 - 6 (1 + 0 + 1 + 4) / (4 * 15) = 0.4.
    assert found.spearman == pytest.approx(0.4)
    # Deviations from means 1.25 and -0.75 multiply to 6.5625 + 27.5625 + 1.3125 - 0.6875 = 34.75; squares add up to
    # 44.75 and 38.75.
    assert found.pearson == pytest.approx(34.75 / np.sqrt(44.75 * 38.75))
    # By size the scores' order is 1 2 3 4; the two largest exact effects are targets 2 and 4.
    assert [(at.precision, at.recall) for at in found.at] == [(0, 0), (0.5, 0.5), (pytest.approx(1 / 3), 0.5)]
    assert [(at.precision_by_chance, at.recall_by_chance) for at in found.at] == [(0.5, 0.25), (0.5, 0.5), (0.5, 0.75)]


def test_equal_zeros_are_no_agreement() -> None:
    # The first is found by both. For the second place ten targets are tied in both: one chance in ten.
    found = agreement(column(9, *[0] * 10), column(7, *[0] * 10), k=[1, 2])
    assert [at.precision for at in found.at] == [1, pytest.approx((1 + 0.1) / 2)]


def test_random_scores_agree_as_chance_does() -> None:
    rng = np.random.default_rng(0)
    found = [agreement(rng.normal(size=(40, 3)), rng.normal(size=(40, 3)), k=[10], relevant=8) for _ in range(400)]
    assert np.mean([each.spearman for each in found]) == pytest.approx(0, abs=0.03)  # sd 0.16 / sqrt(400)
    for measure_name in ("precision", "recall"):
        mean = np.mean([getattr(each.at[0], measure_name) for each in found])
        assert mean == pytest.approx(getattr(found[0].at[0], f"{measure_name}_by_chance"), abs=0.03)


@pytest.mark.parametrize(
    ("scores", "exact_effects", "k", "message"),
    [
        (column(1, 1, 1), column(1, 2, 3), [1], "scores are the same"),
        (column(1, 2, 3), column(0, 0, 0), [1], "exact are the same"),
        (column(1, 2, 3), column(1, 2, 3), [4], "first 4 of 3"),
        (column(1, 2, 3), column(1, 2, 3), [0], "first 0 of 3"),
        (column(1, np.nan, 3), column(1, 2, 3), [1], "scores hold NaN or infinity, first in row 1"),
        (column(1, 2, 3), column(1, 2, np.inf), [1], "exact hold NaN"),
        (column(1, 2), column(1, 2), [1], "three targets"),
        (np.arange(3.0), np.arange(3.0), [1], "not \\[target, prompt\\]"),
        (column(1, 2, 3), column(1, 2, 3, 4), [1], "3 targets, exact effects of 4"),
    ],
)
def test_rankings_that_cannot_be_compared_are_refused(
    scores: NDArray[np.float64], exact_effects: NDArray[np.float64], k: list[int], message: str
) -> None:
    with pytest.raises(StatisticsError, match=message):
        agreement(scores, exact_effects, k=k)
