from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import stdtr
from statsmodels.stats.multitest import multipletests

from harness.errors import StatisticsError
from harness.stats.decision import judge
from harness.stats.reading import nearness
from harness.stats.reasons import in_todays_words, same_reason
from harness.stats.records import Condition, Judgement, Rule, Side
from harness.stats.student import t_quantile

SESOI = 0.2


@dataclass(frozen=True)
class TSampling:
    """Exact for normal values: the t distribution of a mean over clusters."""

    estimate: float
    standard_error: float = 0.01
    clusters: int = 25
    method: str = "t"

    def bound(self, error: float, *, side: Side) -> float:
        reach = t_quantile(1 - error, freedom=self.clusters - 1) * self.standard_error
        return self.estimate + (reach if side == "upper" else -reach)

    def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
        t = (self.estimate - threshold) / self.standard_error
        return float(stdtr(self.clusters - 1, -t if alternative == "greater" else t))


@dataclass(frozen=True)
class WaveringSampling(TSampling):
    """One whose bounds carry a Monte Carlo error, as the bootstrap's do."""

    monte_carlo_se: float = 0.01

    def bound_monte_carlo_se(self, error: float, *, side: Side) -> float:
        return self.monte_carlo_se


@dataclass(frozen=True)
class Floored(TSampling):
    """One whose p is a few resamples more than the least that there is, as of effects far from their threshold."""

    p: float = 0.0001

    def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
        return self.p


@dataclass(frozen=True)
class OpenSampling(TSampling):
    """One with an infinite bound on one side, as the bootstrap-t has for near-constant values."""

    open_side: Side = "upper"

    def bound(self, error: float, *, side: Side) -> float:
        if side == self.open_side:
            return math.inf if side == "upper" else -math.inf
        return super().bound(error, side=side)


def beats(
    sampling: TSampling | float,
    control: str = "shuffled",
    *,
    component: str = "5.1",
    threshold: float = SESOI,
    alternative: Literal["greater", "less"] = "greater",
) -> Condition:
    distribution = TSampling(sampling) if isinstance(sampling, float) else sampling
    return Condition(component, control, "input", "superiority", alternative, threshold, distribution)


def margin(
    sampling: TSampling | float, threshold: float, upper: float | None = None, *, component: str = "5.1"
) -> Condition:
    distribution = TSampling(sampling) if isinstance(sampling, float) else sampling
    rule: Rule = "non-inferiority" if upper is None else "equivalence"
    return Condition(component, "first copy", "margin", rule, "less", threshold, distribution, upper)


def judged(*conditions: Condition, **options: Any) -> Judgement:
    return judge(conditions, sesoi=SESOI, **options)


# With 25 clusters t_24(.975) = 2.064: standard error .01 gives a half-width of .0206.


def test_an_effect_above_its_sesoi_against_every_control_is_supported() -> None:
    result = judged(beats(0.60), beats(0.25, "other heads: mean"), beats(0.05, "other heads: p95", threshold=0.0))
    assert result.verdict == "supported"
    assert [outcome.holds for outcome in result.outcomes] == [True, True, True]
    assert result.components[0].p == max(outcome.p for outcome in result.outcomes)
    # se .01: t of .25 against .2 is 5, of .05 against 0 is 5 too
    assert result.components[0].p == pytest.approx(stdtr(24, -5))
    assert "all 3 conditions hold" in result.reason


def test_one_control_that_is_not_beaten_by_the_sesoi_is_enough_to_leave_it_open() -> None:
    result = judged(beats(0.60), beats(0.21, "other heads: mean"))
    assert result.verdict == "inconclusive"
    assert "open against “other heads: mean”" in result.reason
    assert "“shuffled”" not in result.reason


def test_an_inconclusive_verdict_names_half_width_and_clusters_needed() -> None:
    result = judged(beats(TSampling(0.25, 0.1)))
    # SD = .1 * sqrt(25) = .5, half-width .206; t_{n-1} .5 / sqrt(n) <= SESOI / 2 = .1 first at n = 99.
    # chi-square_24 quantiles 33.196 and 15.659: SDs .4251 and .6190, so (1.994 * 4.251)^2 = 72, (1.976 * 6.190)^2 = 150
    assert result.verdict == "inconclusive"
    assert "half-width 0.206 at 25 clusters; 99 clusters (80 % interval 72 to 150) bring it to 0.1" in result.reason


def test_an_effect_near_its_threshold_asks_for_no_more_clusters() -> None:
    result = judged(beats(0.21))
    assert result.verdict == "inconclusive"
    assert "half-width 0.0206 at 25 clusters, narrow enough (0.1): the effect lies near its threshold" in result.reason


def test_an_effect_whose_interval_includes_zero_is_refuted_as_absent() -> None:
    result = judged(beats(0.01), beats(0.60, "fresh"))
    assert result.verdict == "refuted"
    assert "absent against “shuffled”" in result.reason
    assert "“fresh”" not in result.reason


def test_an_effect_below_zero_is_refuted_as_reversed() -> None:
    result = judged(beats(-0.30))
    assert (result.verdict, "reversed against “shuffled”" in result.reason) == ("refuted", True)


def test_a_head_that_others_outdo_is_refuted_by_name() -> None:
    result = judged(beats(0.60), beats(-0.10, "other heads: 95th percentile (4.11)", threshold=0.0))
    assert result.verdict == "refuted"
    assert "beaten by the 95th percentile (4.11) of “other heads”" in result.reason


def test_a_present_effect_below_its_sesoi_is_too_small_and_not_refuted() -> None:
    # the review's example: .15 with standard error .02 against a SESOI of .20 is no refutation
    result = judged(beats(TSampling(0.15, 0.02)), beats(0.40, "fresh"))
    assert result.verdict == "too small"
    assert "present but short of 0.2 against “shuffled”" in result.reason


def test_an_effect_too_small_of_a_claim_about_less_falls_short_of_its_threshold() -> None:
    # -0.3 lies above the threshold -1 and has the right sign: to call it below -1 would say the opposite
    result = judged(beats(TSampling(-0.3, 0.05), threshold=-1.0, alternative="less"))
    assert result.verdict == "too small"
    assert "present but short of -1 against “shuffled”" in result.reason
    stored = result.reason.replace("short of", "below")
    assert same_reason(stored, result.reason, names=["shuffled"])
    assert in_todays_words(stored, names=["shuffled"]) == result.reason
    assert in_todays_words("so present but below", names=[]) == "so present but below"


def test_too_small_needs_a_present_effect_against_every_control() -> None:
    result = judged(beats(0.10), beats(TSampling(0.15, 0.1), "fresh"))
    assert result.verdict == "inconclusive"
    assert "whether there is any effect against “fresh” is open" in result.reason


def test_nothing_is_refuted_or_too_small_where_the_assay_was_never_shown_to_work() -> None:
    for estimate, would_be in ((0.01, "refuted"), (-0.3, "refuted"), (0.12, "too small")):
        result = judged(beats(estimate), assay_shown=False)
        assert result.verdict == "inconclusive"
        assert f"assay not shown to work (otherwise {would_be}" in result.reason
    assert judged(beats(0.6), assay_shown=False).verdict == "supported"


def test_refutation_is_corrected_for_conditions_and_components() -> None:
    # upper bound .155 + .02 t_24: .1963 at .025 (t 2.064), .2090 at .025 / 4 (t 2.700), .2150 at .025 / 8 (t 3.0)
    clear = beats(TSampling(0.155, 0.02))
    open_ones = [beats(TSampling(0.3, 0.2), f"control {number}") for number in range(3)]
    assert judged(clear).verdict == "too small"
    assert "present but" not in judged(clear, *open_ones).reason
    assert judged(clear, family=8).verdict == "inconclusive"


def test_the_condition_nearest_to_failing_is_named_by_its_slack_in_half_widths_and_not_by_p() -> None:
    # carry-decodable on addition-5d-1l@0: both p at the least that the resamples allow, and the wrong way round
    near = beats(Floored(0.44, 0.02, p=0.0001785), "control task")
    far = beats(Floored(0.50, 0.02, p=0.0001867), "token's own \\ stream")
    said = judged(near, far).reason
    assert "all 2 conditions hold, nearest to failing the one against “control task”: 0.44, " in said
    assert judged(far).reason.startswith("5.1 supported: its one condition holds against “token's own \\ stream”: 0.5")


@pytest.mark.parametrize(
    ("low", "high", "slack", "p", "expected"),
    [
        (0.4, 0.5, 0.2, 0.001, (-4.0, 0.001)),  # 0.2 / 0.05
        (0.1, 0.5, -0.1, 0.4, (0.5, 0.4)),
        (0.3, 0.3, 0.1, None, (-0.1, 0.0)),  # nothing sampled: the slack as it is
        (-math.inf, 0.5, -math.inf, 1.0, (math.inf, 1.0)),
    ],
)
def test_nearness_is_the_slack_in_half_widths_mirrored_then_p(
    low: float, high: float, slack: float, p: float | None, expected: tuple[float, float]
) -> None:
    assert nearness(low=low, high=high, slack=slack, p=p) == pytest.approx(expected)


def test_names_are_quoted_without_backslashes_and_those_of_older_records_as_well() -> None:
    name = "F(C\\K) - F(M\\K), the model's"
    assert in_todays_words(f"open against {name!r}: 0.1", names=[name]) == f"open against “{name}”: 0.1"
    assert f"absent against “{name}”" in judged(beats(0.01, name)).reason


def test_the_interval_of_a_component_is_printed_at_its_level_in_holms_procedure() -> None:
    result = judged(beats(0.6), beats(0.5, component="5.5"), beats(0.25, component="6.9"))
    # the smallest p is compared with alpha / 3, the next with alpha / 2, the last with alpha
    for outcome, level in zip(result.outcomes, (0.025 / 3, 0.025 / 2, 0.025), strict=True):
        assert outcome.low == pytest.approx(outcome.estimate - 0.01 * t_quantile(0.975, freedom=24))
        assert outcome.low_adjusted == pytest.approx(outcome.estimate - 0.01 * t_quantile(1 - level, freedom=24))
        assert outcome.high_adjusted == pytest.approx(outcome.estimate + 0.01 * t_quantile(1 - level, freedom=24))


@given(st.lists(st.floats(0.15, 0.30), min_size=2, max_size=6))
def test_components_are_adjusted_as_statsmodels_does_it(estimates: list[float]) -> None:
    result = judged(*(beats(estimate, component=str(index)) for index, estimate in enumerate(estimates)))
    p_values = [TSampling(estimate).p_value(SESOI, alternative="greater") for estimate in estimates]
    with mock.patch("gc.collect"):  # statsmodels collects all garbage on every call: a third of a second each
        expected = multipletests(p_values, method="holm")[1]
    assert [entry.p_adjusted for entry in result.components] == pytest.approx(list(expected))
    for entry in result.components:
        assert (entry.verdict == "supported") == (entry.p_adjusted <= 0.025)


def test_a_family_larger_than_what_is_given_is_corrected_for() -> None:
    # p of .2226 against .2 with se .01 is .0166
    assert judged(beats(0.2226)).verdict == "supported"
    result = judged(beats(0.2226), family=2)
    assert result.verdict == "inconclusive"
    assert result.components[0].p_adjusted == pytest.approx(2 * result.components[0].p)


def test_a_claim_is_its_worst_component_and_lists_them_all() -> None:
    good, small = beats(0.6), beats(0.12, component="5.5")
    result = judged(good, small)
    assert result.verdict == "too small"
    assert [entry.verdict for entry in result.components] == ["supported", "too small"]
    assert result.reason.startswith("5.1 supported: ")
    assert " | 5.5 too small: " in result.reason
    absent = beats(0.0, component="6.9")
    assert judged(good, small, absent).verdict == "refuted"
    few = beats(TSampling(0.6, clusters=5), component="7.2")
    assert judged(good, small, absent, few).verdict == "invalid"


def test_the_order_of_conditions_changes_no_verdict() -> None:
    conditions = [beats(0.6), beats(0.21, "fresh"), beats(0.5, component="5.5"), margin(0.01, 0.05, component="5.5")]
    forwards, backwards = judged(*conditions), judged(*reversed(conditions))
    assert {entry.component: entry.verdict for entry in forwards.components} == {
        entry.component: entry.verdict for entry in backwards.components
    }
    assert forwards.verdict == backwards.verdict


@pytest.mark.parametrize("estimate", [0.6, 0.21, 0.12, 0.0, -0.3])
def test_less_mirrors_greater(estimate: float) -> None:
    mirrored = judged(beats(-estimate, threshold=-SESOI, alternative="less"))
    straight = judged(beats(estimate))
    assert mirrored.verdict == straight.verdict
    assert mirrored.components[0].p == pytest.approx(straight.components[0].p)
    assert mirrored.outcomes[0].high == pytest.approx(-straight.outcomes[0].low)


def test_non_inferiority_joins_the_effect_that_it_qualifies() -> None:
    assert judged(beats(0.6), margin(0.01, 0.05)).verdict == "supported"
    open_margin = judged(beats(0.6), margin(TSampling(0.04, 0.02), 0.05))
    assert open_margin.verdict == "inconclusive"
    assert "open against “first copy”" in open_margin.reason
    # a margin has its own unit, so that its own half decides how wide is narrow enough
    assert "to 0.025" in open_margin.reason
    exceeded = judged(beats(0.6), margin(0.10, 0.05))
    assert exceeded.verdict == "refuted"
    assert "margin exceeded" in exceeded.reason


def test_equivalence_must_hold_on_both_sides() -> None:
    assert judged(beats(0.6), margin(1.0, 0.8, 1.25)).verdict == "supported"
    for estimate, verdict in ((0.81, "inconclusive"), (1.24, "inconclusive"), (0.7, "refuted"), (1.4, "refuted")):
        result = judged(beats(0.6), margin(estimate, 0.8, 1.25))
        assert result.verdict == verdict, estimate
        assert result.outcomes[1].p == max(
            TSampling(estimate).p_value(0.8, alternative="greater"),
            TSampling(estimate).p_value(1.25, alternative="less"),
        )


def test_a_margin_alone_is_no_claim_except_as_a_replications_tolerance() -> None:
    with pytest.raises(StatisticsError, match="'first copy' is a margin without the effect"):
        judged(margin(0.0, 0.05))
    assert judged(margin(1.0, 0.8, 1.25), margins_alone=True).verdict == "supported"


def test_a_failed_precondition_is_invalid_whatever_the_numbers_say() -> None:
    result = judged(beats(0.6), beats(0.6, component="5.5"), invalid="the model does not do the task")
    assert (result.verdict, result.reason) == ("invalid", "the model does not do the task")
    assert [entry.verdict for entry in result.components] == ["invalid", "invalid"]
    assert len(result.outcomes) == 2
    assert judged(invalid="nothing could be measured") == Judgement("invalid", "nothing could be measured", (), ())


def test_too_few_clusters_are_invalid_by_number() -> None:
    result = judged(beats(TSampling(0.6, clusters=11)))
    assert result.verdict == "invalid"
    assert "11 clusters against “shuffled”; at least 12 are needed" in result.reason
    assert judged(beats(TSampling(0.6, clusters=12))).verdict == "supported"
    assert judged(beats(TSampling(0.6, clusters=11)), min_clusters=8).verdict == "supported"


def test_an_effect_that_is_no_number_is_invalid() -> None:
    @dataclass(frozen=True)
    class Broken(TSampling):
        def bound(self, error: float, *, side: Side) -> float:
            return math.nan

    result = judged(beats(Broken(0.6)))
    assert (result.verdict, "is not finite" in result.reason) == ("invalid", True)


@pytest.mark.parametrize("estimate", [0.6, 0.0])
@pytest.mark.parametrize("open_side", ["lower", "upper"])
def test_an_infinite_bound_decides_nothing(estimate: float, open_side: Side) -> None:
    result = judged(beats(OpenSampling(estimate, open_side=open_side)))
    assert result.verdict == "inconclusive"
    assert "unbounded" in result.reason


def test_a_bound_within_two_monte_carlo_errors_of_its_threshold_decides_nothing() -> None:
    # lower bound .2226 - .0206 = .2020, .0020 above the SESOI
    assert judged(beats(WaveringSampling(0.2226, monte_carlo_se=0.0005))).verdict == "supported"
    wavering = judged(beats(WaveringSampling(0.2226, monte_carlo_se=0.0015)))
    assert (wavering.verdict, "would be supported" in wavering.reason) == ("inconclusive", True)
    # upper bound .1774 + .0206 = .1980
    assert judged(beats(WaveringSampling(0.1774, monte_carlo_se=0.0005))).verdict == "too small"
    wavering = judged(beats(WaveringSampling(0.1774, monte_carlo_se=0.0015)))
    assert (wavering.verdict, "would be refuted" in wavering.reason) == ("inconclusive", True)


def test_p_against_zero_is_a_column_and_decides_nothing() -> None:
    result = judged(beats(TSampling(0.21, 0.02)))
    assert result.verdict == "inconclusive"
    assert result.outcomes[0].p_zero < 1e-9
    assert result.outcomes[0].p > 0.025


@given(st.floats(-0.5, 1.0), st.floats(0.001, 0.5), st.integers(12, 200))
def test_support_is_the_interval_above_the_sesoi(estimate: float, error: float, clusters: int) -> None:
    sampling = TSampling(estimate, error, clusters)
    lower = sampling.bound(0.025, side="lower")
    assume(abs(lower - SESOI) > 1e-9)  # on the threshold itself rounding decides
    assert (judged(beats(sampling)).verdict == "supported") == (lower > SESOI)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (beats(0.6, alternative="less"), "mirror it to -0.2"),
        (beats(0.6, threshold=math.nan), "threshold of component '5.1', 'shuffled' is nan"),
        (replace(beats(0.6), alternative="up"), "name the direction"),  # type: ignore[arg-type]
        (replace(beats(0.6), rule="better"), "rule 'better'"),  # type: ignore[arg-type]
        (replace(margin(0.0, 0.1), alternative="greater"), "non-inferiority is 'less'"),
        (margin(1.0, 1.25, 0.8), "is empty or half open"),
        (replace(margin(1.0, 0.8, 1.25), upper=None), "is empty or half open"),
    ],
)
def test_a_condition_that_asks_nothing_sensible_is_refused(condition: Condition, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        judged(beats(0.6, "another"), condition)


def test_what_makes_no_claim_is_refused() -> None:
    with pytest.raises(StatisticsError, match="no conditions to judge"):
        judged()
    with pytest.raises(StatisticsError, match="two conditions named 'shuffled'"):
        judged(beats(0.6), beats(0.5))
    with pytest.raises(StatisticsError, match="family has 1 members but 2"):
        judged(beats(0.6), beats(0.5, component="5.5"), family=1)
    with pytest.raises(StatisticsError, match="sesoi is 0"):
        judge([beats(0.6)], sesoi=0.0)
    with pytest.raises(StatisticsError, match="alpha is 1"):
        judged(beats(0.6), alpha=1.0)


def test_a_damaged_p_is_refused_by_name() -> None:
    @dataclass(frozen=True)
    class Broken(TSampling):
        def p_value(self, threshold: float, *, alternative: Literal["greater", "less"]) -> float:
            return math.nan

    with pytest.raises(StatisticsError, match=r"p of component '5.1' against 'shuffled' is nan"):
        judged(beats(Broken(0.6)))


def test_where_units_share_their_clusters_the_advice_names_what_limits_it() -> None:
    reason = judged(beats(TSampling(0.25, 0.1)), shared_by="prompt").reason
    assert "0.1 takes new clusters (such as templates), or more prompts in each as far as prompts of one" in reason
    assert "bring it to" not in reason


def test_of_many_open_conditions_the_widest_and_the_two_weakest_are_named_and_the_others_counted() -> None:
    wide = beats(TSampling(0.25, 0.2), "wide")
    others = [beats(TSampling(0.2 + 0.001 * number, 0.05), f"K{number}") for number in range(30)]
    result = judged(*others, wide)
    # All have p > .025; the largest p are those of the effects nearest to the SESOI of .2: K0 and K1.
    assert "open against “wide”, “K0”, “K1”, and 28 more: 0.25" in result.reason
    assert len(result.outcomes) == 31


def test_of_many_contradicted_conditions_three_are_told_and_the_others_counted() -> None:
    result = judged(*[beats(-0.01 * number, f"K{number}") for number in range(10)])
    assert result.verdict == "refuted"
    told = [name for name in (f"“K{number}”" for number in range(10)) if name in result.reason]
    assert told == ["“K7”", "“K8”", "“K9”"]
    assert result.reason.endswith("and 7 more contradicted")


def test_of_many_components_the_worst_three_are_told_and_the_others_counted_by_verdict() -> None:
    good = [beats(0.6, component=f"1.{number}") for number in range(5)]
    bad = [beats(0.0, component="2.0"), beats(TSampling(0.25, 0.1), component="2.1")]
    result = judged(*good, *bad)
    assert result.reason.startswith("2.0 refuted: absent")
    assert " | 2.1 inconclusive: open" in result.reason
    assert result.reason.endswith(" | and 4 more components: 4 supported")
    assert all(component.reason for component in result.components)
    four = judged(*good[:4])
    assert "more components" not in four.reason
