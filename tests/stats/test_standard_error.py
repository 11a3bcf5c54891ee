"""The standard error of a mean or a ratio over clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import sem
from statsmodels.regression.linear_model import OLS

from harness.errors import StatisticsError
from harness.stats.standard_error import standard_error


def test_of_single_units_it_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.2, 30)
    assert standard_error(values, clusters=[str(unit) for unit in range(30)]) == pytest.approx(sem(values))


def test_of_clusters_it_is_the_cluster_robust_one_of_statsmodels() -> None:
    rng = np.random.default_rng(1)
    values = (rng.normal(0, 1, (12, 1)) + rng.normal(0, 0.3, (12, 4))).ravel()
    order = rng.permutation(48)  # units of one cluster need not stand together
    groups = np.repeat(np.arange(12), 4)[order]
    # use_correction: times clusters / (clusters - 1), and (n - 1) / (n - 1) for the one regressor
    fitted = OLS(values[order], np.ones(48)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True}
    )
    assert standard_error(values[order], clusters=[str(group) for group in groups]) == pytest.approx(fitted.bse[0])


def test_of_a_ratio_it_is_what_repeating_the_sample_shows() -> None:
    rng = np.random.default_rng(2)

    def sample() -> tuple[np.ndarray, np.ndarray]:
        below = rng.normal(4.0, 1.0, 100)
        return 0.3 * below + rng.normal(0, 0.5, 100), below

    ratios = [float(above.mean() / below.mean()) for above, below in (sample() for _ in range(4_000))]
    above, below = sample()
    names = [str(unit) for unit in range(100)]
    told = np.mean([standard_error(x, clusters=names, below=y) for x, y in (sample() for _ in range(50))])
    assert told == pytest.approx(np.std(ratios), rel=0.06)
    assert standard_error(above, clusters=names, below=-below) == pytest.approx(
        standard_error(above, clusters=names, below=below)
    )


@pytest.mark.parametrize("below", [None, [0.2, 0.4, 0.2, 0.4]])
def test_clusters_that_are_all_equal_show_no_spread(below: list[float] | None) -> None:
    values = [0.1, 0.3, 0.3, 0.1] if below is None else [0.1, 0.2, 0.1, 0.2]
    names = ["a", "a", "b", "b"] if below is None else ["a", "b", "c", "d"]
    assert standard_error(values, clusters=names, below=below) == 0.0
    assert standard_error([0.1 + 0.2, 0.3, 0.3], clusters=["a", "b", "c"]) == 0.0  # rounding is no spread


@pytest.mark.parametrize(
    ("values", "below", "message"),
    [
        ([0.5], None, "a single value"),
        ([0.5, np.nan], None, "value 1 is nan"),
        ([0.5, 0.6], [1.0, -1.0], "mean 0"),
    ],
)
def test_values_without_a_standard_error_are_refused(
    values: list[float], below: list[float] | None, message: str
) -> None:
    with pytest.raises(StatisticsError, match=message):
        standard_error(values, clusters=["a", "b"][: len(values)], below=below)
