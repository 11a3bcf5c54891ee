"""A factor that crosses the clusters widens the standard error by what it carries, and by nothing otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import StatisticsError
from harness.stats.crossed import crossed_errors

TEMPLATES = [f"t{number // 6}" for number in range(120)]
WORDS = [f"w{(number * 7) % 30}" for number in range(120)]


def by_hand(values, names):
    """Root of the sum over clusters of the squared sum of residuals, over n (no correction for few clusters)."""
    residuals = values - values.mean()
    sums = [residuals[np.array(names) == name].sum() for name in sorted(set(names))]
    return float(np.square(sums).sum() / len(values) ** 2)


def test_it_is_the_formula_of_cameron_gelbach_and_miller():
    values = np.random.default_rng(0).standard_normal(120)
    found = crossed_errors(values, clusters=TEMPLATES, crossing=WORDS)
    cells = [f"{template} {word}" for template, word in zip(TEMPLATES, WORDS, strict=True)]
    both = by_hand(values, TEMPLATES) + by_hand(values, WORDS) - by_hand(values, cells)
    assert found.clusters == pytest.approx(by_hand(values, TEMPLATES) ** 0.5)
    assert found.both == pytest.approx(both**0.5)


def test_words_that_carry_variance_widen_it_and_words_that_do_not_hardly_do():
    def mean_ratio(spread):
        ratios = []
        for seed in range(200):
            rng = np.random.default_rng(seed)
            of_word = dict(zip(sorted(set(WORDS)), rng.normal(0, spread, 30), strict=True))
            values = rng.standard_normal(120) + np.array([of_word[word] for word in WORDS])
            ratios.append(crossed_errors(values, clusters=TEMPLATES, crossing=WORDS).ratio)
        return float(np.mean(ratios))

    # 30 words with 4 units each at spread 1: the variance of the mean is (1 + 4) / 120 against about (1 + 1) / 120.
    assert mean_ratio(1.0) == pytest.approx((5 / 2) ** 0.5, abs=0.15)
    assert mean_ratio(0.0) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("values", "crossing", "said"),
    [
        (np.ones(120), WORDS[:-1], "119 ids of the crossing factor"),
        (np.ones(120), ["one"] * 120, "does not vary"),
        (np.full(120, np.nan), WORDS, "(?i)nan|finite"),
    ],
)
def test_what_has_no_second_factor_is_refused(values, crossing, said):
    with pytest.raises(StatisticsError, match=said):
        crossed_errors(values, clusters=TEMPLATES, crossing=crossing)


def test_clusters_that_do_not_vary_have_no_ratio():
    assert np.isnan(crossed_errors(np.ones(120), clusters=TEMPLATES, crossing=WORDS).ratio)
