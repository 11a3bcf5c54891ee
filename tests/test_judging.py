"""Hand-made values through the protocol: each verdict, and what must be refused instead of judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.contrasts import Against, contrasts_of
from harness.declaration import Claim, Control, Margin, Metric, Units
from harness.errors import StatisticsError
from harness.judging import ExactInput, MarginInput, judge_evidence
from harness.values import UnitValues

SESOI = 0.5
CLAIM = Claim(
    id="toy.larger",
    paper="none2026",
    statement="Treated values are larger.",
    metric=Metric("value", unit="nats"),
    sesoi=SESOI,
    sesoi_reason="a toy",
    alternative="greater",
    controls=(Control("shuffled", "input"),),
    rival="noise",
    exposed_by="shuffled",
    units=Units(default=24, quick=16, reason="a toy"),
)
NON_INFERIOR = Margin("first copy", unit="nats", reason="a toy", at_most=0.2)
RATIO = Margin("share", unit="ratio", reason="a toy", at_least=-0.05, at_most=0.05)


def units(n=24):
    return tuple(f"u{i}" for i in range(n))


def drawn(mean, *, spread=0.1, n=24, seed=0, components=("5.1",)):
    """Values whose mean is exactly `mean` in every row: the sampled part is centred."""
    noise = np.random.default_rng(seed).normal(0, spread, (len(components), n))
    values = noise - noise.mean(axis=1, keepdims=True) + np.reshape(mean, (-1, 1))
    return UnitValues(values, tuple(components), units(n), units(n))


def judged(treated, *against, claim=CLAIM, margins=None, shares=(), failed=None, assay_shown=True, exact=None):
    return judge_evidence(
        claim, treated=treated, against=against, margins=margins or {}, exact=exact, shares=shares, failed=failed,
        assay_shown=assay_shown, rng=np.random.default_rng(7),
    )  # fmt: skip


def verdict_of(sections):
    return sections["judgement"]["verdict"]


def shuffled(values):
    return Against("shuffled", "input", values)


@pytest.mark.parametrize(
    ("effect", "spread", "verdict", "said"),
    [
        (2.0, 0.1, "supported", "holds"),
        (0.25, 0.1, "too small", "present but short of 0.5"),
        (0.0, 0.1, "refuted", "absent"),
        (-1.0, 0.1, "refuted", "reversed"),
        (0.5, 0.5, "inconclusive", "clusters"),
    ],
)
def test_each_verdict_follows_from_effect_and_spread(effect, spread, verdict, said):
    sections = judged(drawn(effect, spread=spread), shuffled(drawn(0.0, seed=1)))
    assert verdict_of(sections) == verdict
    assert said in sections["judgement"]["reason"]


@pytest.mark.parametrize("effect", [0.25, 0.0, -1.0])
def test_nothing_is_refuted_where_the_assay_was_not_shown_to_work(effect):
    sections = judged(drawn(effect), shuffled(drawn(0.0, seed=1)), assay_shown=False)
    assert verdict_of(sections) == "inconclusive"
    assert "assay not shown" in sections["judgement"]["reason"]


@pytest.mark.parametrize("effect", [2.0, 0.25, 0.0, -1.0])
def test_the_claim_of_less_is_the_mirror_image_of_the_claim_of_greater(effect):
    treated, control = drawn(effect), drawn(0.0, seed=1)
    population = drawn(np.linspace(-0.1, 0.1, 20), seed=2, components=[f"0.{i}" for i in range(20)])
    matched = {"5.1": population.components}

    def mirrored(values):
        return replace(values, values=-values.values)

    up = judged(treated, shuffled(control), Against("others", "component", population, population, matched))
    down = judged(
        mirrored(treated),
        shuffled(mirrored(control)),
        Against("others", "component", mirrored(population), mirrored(population), matched),
        claim=replace(CLAIM, alternative="less"),
    )
    assert verdict_of(up) == verdict_of(down)
    assert up["ranks"][0]["rank"] == down["ranks"][0]["rank"]
    assert up["ranks"][0]["percentile95_member"] == down["ranks"][0]["percentile95_member"]
    for one, other in zip(up["judgement"]["outcomes"], down["judgement"]["outcomes"], strict=True):
        assert one["estimate"] == pytest.approx(-other["estimate"])
        assert one["threshold"] == -other["threshold"]
        assert one["holds"] == other["holds"]
        # The same resamples mirrored: the bounds change places.
        assert one["low"] == pytest.approx(-other["high"], abs=1e-3)


def test_every_control_must_be_beaten():
    sections = judged(drawn(2.0), shuffled(drawn(0.0, seed=1)), Against("fresh", "label", drawn(1.9, seed=2)))
    assert verdict_of(sections) == "too small"  # 0.1 above the second control, where 0.5 is asked
    assert "“fresh”" in sections["judgement"]["reason"]
    assert [outcome["holds"] for outcome in sections["judgement"]["outcomes"]] == [True, False]


def test_components_are_judged_one_by_one_and_the_worst_decides():
    treated = drawn([2.0, 0.0], components=("5.1", "5.5"))
    sections = judged(treated, shuffled(drawn([0.0, 0.0], seed=1, components=("5.1", "5.5"))))
    found = {entry["component"]: entry["verdict"] for entry in sections["judgement"]["components"]}
    assert found == {"5.1": "supported", "5.5": "refuted"}
    assert verdict_of(sections) == "refuted"


def test_a_control_of_one_row_serves_every_component():
    treated = drawn([2.0, 3.0], components=("5.1", "5.5"))
    outcomes = judged(treated, shuffled(drawn(1.0, seed=1, components=("model",))))["judgement"]["outcomes"]
    assert [outcome["estimate"] for outcome in outcomes] == pytest.approx([1.0, 2.0])


def test_one_components_row_is_not_taken_for_anothers_control():
    treated = drawn([2.0, 3.0], components=("5.1", "5.5"))
    with pytest.raises(StatisticsError, match=r"no values for component '5\.5'"):
        judged(treated, shuffled(drawn(1.0, seed=1, components=("5.1",))))


@pytest.mark.parametrize(
    "control",
    [
        drawn(0.0, n=16),
        replace(drawn(0.0), units=tuple(f"other{i}" for i in range(24))),
        replace(drawn(0.0), clusters=tuple(f"template{i // 2}" for i in range(24))),
    ],
)
def test_controls_on_other_units_are_refused_and_never_cut_to_fit(control):
    with pytest.raises(StatisticsError, match="different units"):
        judged(drawn(2.0), shuffled(control))


def test_a_population_on_fewer_units_is_compared_on_those_units_only():
    treated = drawn(2.0, spread=0.5)
    few = treated.units[20:3:-1]  # 17 of them, in another order
    population = UnitValues(
        np.random.default_rng(3).normal(0, 0.1, (20, 17)), tuple(f"0.{i}" for i in range(20)), few, few
    )
    entry = Against("others", "component", population, population, {"5.1": population.components})
    mean, best = judged(treated, entry)["judgement"]["outcomes"]
    own = treated.values[0, 20:3:-1]
    assert mean["clusters"] == best["clusters"] == 17
    assert mean["estimate"] == pytest.approx((own - population.values.mean(axis=0)).mean())


def test_the_percentile_member_is_chosen_on_discovery_and_measured_on_confirmation():
    names = tuple(f"0.{i}" for i in range(20))
    discovery = drawn(np.arange(20), components=names)
    confirmation = drawn(np.full(20, 0.0), seed=4, components=names)
    sections = judged(drawn(2.0), Against("others", "component", confirmation, discovery, {"5.1": names}))
    (rank,) = sections["ranks"]
    # ceil(0.95 * 20) = 19th of 20, counted from the mildest: 0.18. Measured again it is 0 like all others.
    assert rank["percentile95_member"] == "0.18"
    assert rank["percentile95"] == pytest.approx(0.0, abs=1e-12)
    assert (rank["rank"], rank["of"], rank["p"]) == (1, 21, 1 / 21)
    mean, best = sections["judgement"]["outcomes"]
    assert (mean["threshold"], best["threshold"]) == (SESOI, 0.0)
    assert best["control"] == "others: 95th percentile (0.18)"


def test_a_subject_that_others_outrank_is_not_supported_though_it_beats_their_mean():
    names = tuple(f"0.{i}" for i in range(20))
    population = drawn([0.0] * 17 + [3.0] * 3, seed=5, components=names)
    sections = judged(drawn(2.0), Against("others", "component", population, population, {"5.1": names}))
    assert sections["ranks"][0]["rank"] == 4
    assert verdict_of(sections) == "refuted"
    assert "beaten by the 95th percentile" in sections["judgement"]["reason"]


def test_a_population_is_refused_without_discovery_without_others_or_with_the_subject_in_it():
    population = drawn([0.0, 1.0], components=("0.1", "5.1"))
    for matched, discovery, said in [
        ({"5.1": ("0.1",)}, None, "no values on the discovery split"),
        ({}, population, "names no others for component '5.1'"),
        ({"5.1": ("0.1", "5.1")}, population, "with itself"),
        ({"5.1": ("0.7",)}, population, r"no values for component '0\.7'"),
    ]:
        with pytest.raises(StatisticsError, match=said):
            list(contrasts_of(CLAIM, drawn(2.0), entry=Against("others", "component", population, discovery, matched)))


@pytest.mark.parametrize(("cost", "verdict"), [(0.05, "supported"), (0.6, "refuted")])
def test_a_non_inferiority_margin_is_joined_to_the_effect(cost, verdict):
    claim = replace(CLAIM, margins=(NON_INFERIOR,))
    sections = judged(
        drawn(2.0), shuffled(drawn(0.0, seed=1)), claim=claim, margins={"first copy": MarginInput(drawn(cost, seed=2))}
    )
    assert verdict_of(sections) == verdict
    assert sections["judgement"]["outcomes"][-1]["estimate"] == pytest.approx(cost)
    if verdict == "refuted":
        assert "margin exceeded" in sections["judgement"]["reason"]


@pytest.mark.parametrize(("share", "verdict"), [(0.01, "supported"), (0.2, "refuted"), (-0.2, "refuted")])
def test_a_ratio_margin_is_the_ratio_of_means_and_bounds_both_sides(share, verdict):
    claim, whole = replace(CLAIM, margins=(RATIO,)), drawn(4.0)
    part = replace(drawn(0.0, spread=0.05, seed=3), values=drawn(0.0, spread=0.05, seed=3).values + share * 4.0)
    sections = judged(
        whole, shuffled(drawn(0.0, seed=1)), claim=claim, margins={"share": MarginInput(part, relative_to=whole)}
    )
    assert verdict_of(sections) == verdict
    assert sections["judgement"]["outcomes"][-1]["estimate"] == pytest.approx(share)


def test_a_ratio_with_a_denominator_near_zero_is_invalid():
    claim, nothing = replace(CLAIM, margins=(RATIO,)), drawn(0.0, seed=3)
    sections = judged(
        drawn(2.0), shuffled(drawn(0.0, seed=1)), claim=claim, margins={"share": MarginInput(drawn(1.0), nothing)}
    )
    assert verdict_of(sections) == "invalid"
    assert "zero" in sections["judgement"]["reason"]


def test_a_margin_needs_a_row_for_each_component_and_the_same_units_below():
    claim = replace(CLAIM, margins=(RATIO,))
    for entry, said in [
        (MarginInput(drawn(0.0, components=("model",)), drawn(4.0)), "one for each treated component: 5.1"),
        (MarginInput(drawn(0.0), drawn(4.0, n=16)), "different units"),
        (MarginInput(drawn(0.0), drawn([1.0, 1.0], components=("a", "b"))), r"no values for component '5\.1'"),
    ]:
        with pytest.raises(StatisticsError, match=said):
            judged(drawn(2.0), shuffled(drawn(0.0, seed=1)), claim=claim, margins={"share": entry})


def test_a_failed_precondition_is_invalid_with_its_reason_and_the_numbers_stay():
    sections = judged(drawn(2.0), shuffled(drawn(0.0, seed=1)), failed="the model does not do the task")
    assert sections["judgement"]["verdict"] == "invalid"
    assert sections["judgement"]["reason"] == "the model does not do the task"
    assert sections["judgement"]["outcomes"][0]["estimate"] == pytest.approx(2.0)


def test_fewer_than_twelve_units_are_invalid():
    sections = judged(drawn(2.0, n=11), shuffled(drawn(0.0, n=11, seed=1)))
    assert verdict_of(sections) == "invalid"
    assert "11 clusters" in sections["judgement"]["reason"]


def test_an_effect_that_does_not_vary_is_invalid_and_not_infinitely_sure():
    flat, zero = (replace(drawn(0.0), values=np.full((1, 24), value)) for value in (2.0, 0.0))
    sections = judged(flat, shuffled(zero))
    assert verdict_of(sections) == "invalid"
    assert sections["judgement"]["outcomes"] == ()
    assert sections["judgement"]["reason"]


LIMITED = replace(CLAIM, metric=Metric("fall", unit="probability", limits=(-1.0, 1.0)), sesoi=0.3)


def test_an_effect_that_hardly_varies_within_known_limits_has_gaffkes_bounds():
    flat, zero = (replace(drawn(0.0, n=240), values=np.full((1, 240), value)) for value in (1.0, 0.0))
    nearly = replace(flat, values=flat.values - 1e-7 * np.arange(240))
    outcome = judged(nearly, shuffled(zero), claim=LIMITED)["judgement"]["outcomes"][0]
    constant = judged(flat, shuffled(zero), claim=LIMITED)["judgement"]
    assert (constant["verdict"], constant["reason"][:12]) == ("invalid", "no variation")
    assert (outcome["method"], outcome["holds"]) == ("gaffke", True)
    assert outcome["estimate"] == pytest.approx(1, abs=1e-4)
    # A difference of two falls may be -2: 1 less the share that may be there, 1 - 0.025^(1/240), times the way to it.
    assert outcome["low"] == pytest.approx(1 - (1 - 0.025 ** (1 / 240)) * 3, abs=0.004)
    assert outcome["high"] == pytest.approx(1 + (1 - 0.025 ** (1 / 240)), abs=0.002)


@pytest.mark.parametrize(("limits", "method"), [((-1.0, 1.0), "gaffke"), (None, "bca")])
def test_a_margin_has_limits_of_its_own(limits, method):
    margin = Margin("elsewhere", unit="probability", reason="a toy", at_most=0.05, limits=limits)
    claim, treated = replace(LIMITED, margins=(margin,)), drawn(0.9, n=300, spread=0.02)
    sections = judged(
        treated,
        shuffled(drawn(0.0, n=300, seed=1)),
        claim=claim,
        margins={"elsewhere": MarginInput(drawn(0.001, n=300, spread=0.001))},
    )
    assert [each["method"] for each in sections["judgement"]["outcomes"]] == ["gaffke", method]
    assert verdict_of(sections) == "supported"


@pytest.mark.parametrize(("values", "said"), [(0.0, "no variation"), (3.0, "outside its limits [-1, 1]")])
def test_a_margin_without_variation_or_outside_of_its_limits_is_invalid(values, said):
    margin = Margin("elsewhere", unit="probability", reason="a toy", at_most=0.05, limits=(-1.0, 1.0))
    given = replace(drawn(0.0, n=300), values=np.full((1, 300), values))
    if values:
        given = drawn(0.0, n=300, spread=values)
    sections = judged(
        drawn(0.9, n=300, spread=0.02),
        shuffled(drawn(0.0, n=300, seed=1)),
        claim=replace(LIMITED, margins=(margin,)),
        margins={"elsewhere": MarginInput(given)},
    )
    assert verdict_of(sections) == "invalid"
    assert said in sections["judgement"]["reason"]


def test_a_ratio_with_limits_and_values_outside_of_them_are_refused():
    ratio = replace(LIMITED, margins=(replace(RATIO, limits=(0.0, 1.0)),))
    given = {"share": MarginInput(drawn(0.01), relative_to=drawn(0.9))}
    sections = judged(drawn(0.5), shuffled(drawn(0.0, seed=1)), claim=ratio, margins=given)
    assert "which has no limits" in sections["judgement"]["reason"]
    with pytest.raises(StatisticsError, match=r"a control has 1\.2.*\(-1 to 1\)"):
        judged(drawn(0.5), shuffled(drawn(1.2, spread=1e-9)), claim=LIMITED)


def test_repeated_rows_of_one_template_count_as_one_cluster():
    templates = tuple(f"template{i % 12}" for i in range(24))
    treated, control = (replace(drawn(mean, seed=mean), clusters=templates) for mean in (2, 0))
    assert judged(treated, shuffled(control))["judgement"]["outcomes"][0]["clusters"] == 12
    eight = tuple(f"template{i % 8}" for i in range(24))
    treated, control = (replace(drawn(mean, seed=mean), clusters=eight) for mean in (2, 0))
    assert verdict_of(judged(treated, shuffled(control))) == "invalid"


def test_a_member_whose_share_includes_zero_is_a_passenger():
    joint = {"components": ("joint",)}
    shares = [
        {"component": "5.1", "values": drawn(1.0, seed=4, **joint)},
        {"component": "5.5", "values": drawn(0.0, seed=5, **joint)},
        {"component": "7.2", "values": drawn(-1.0, seed=6, **joint)},  # works against the others: no passenger either
        {"component": "6.9", "values": UnitValues(np.zeros((1, 24)), ("joint",), units(), units())},
    ]
    sections = judged(drawn(2.0, **joint), shuffled(drawn(0.0, seed=1, **joint)), shares=shares)
    assert verdict_of(sections) == "supported"  # a member that does nothing at all does not spoil it
    assert [entry["passenger"] for entry in sections["shares"]] == [False, True, False, True]
    assert [entry["share"] for entry in sections["shares"]] == pytest.approx([1.0, 0.0, -1.0, 0.0])
    assert sections["shares"][0]["low"] < 1.0 < sections["shares"][0]["high"]


def test_shares_of_a_binary_metric_are_differences_and_need_no_binary_interval():
    claim = replace(CLAIM, metric=Metric("accuracy", unit="share", binary=True), sesoi=0.1)
    right = UnitValues(np.array([[1.0] * 20 + [0.0] * 4]), ("joint",), units(), units())
    wrong = UnitValues(np.array([[0.0] * 16 + [1.0] * 6 + [0.0] * 2]), ("joint",), units(), units())
    shares = [{"component": "5.1", "values": right.minus(wrong)}]
    sections = judged(right, shuffled(wrong), claim=claim, shares=shares)
    assert verdict_of(sections) == "supported"
    assert sections["shares"][0]["share"] == pytest.approx((20 - 6) / 24)


def test_the_estimate_can_be_computed_again_from_what_is_stored():
    sections = judged(drawn(2.0, spread=0.4), shuffled(drawn(0.3, seed=1)))
    measured = sections["measured"]
    control = measured["controls"]["5.1 | shuffled"]
    assert control["units"] == sections["units"]["ids"]
    again = (measured["treated"]["values"][0] - control["values"]).mean()
    assert sections["judgement"]["outcomes"][0]["estimate"] == pytest.approx(again)


def test_hedges_g_is_that_of_the_two_sides_and_absent_where_nothing_varies():
    (outcome,) = judged(drawn(2.0, spread=0.5), shuffled(drawn(0.0, spread=0.5, seed=1)))["judgement"]["outcomes"]
    assert 3.0 < outcome["hedges_g"] < 6.0  # 2.0 / 0.5 = 4 but for the small-sample factor and the samples' own spreads
    flat = UnitValues(np.zeros((1, 24)), ("5.1",), units(), units())
    (contrast,) = contrasts_of(CLAIM, flat, entry=shuffled(flat))
    assert contrast.hedges_g() is None


def test_judging_twice_with_the_same_stream_gives_the_same_numbers():
    first, second = (judged(drawn(0.6), shuffled(drawn(0.0, seed=1)))["judgement"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("value", "others", "assay_shown", "verdict"),
    [
        (2.0, np.linspace(0, 1, 40), True, "supported"),  # rank 1 of 41, far beyond the 38th of 40
        (1.1, np.linspace(0, 1, 40), True, "too small"),  # rank 1, but only 0.15 beyond it
        (
            2.0,
            np.r_[np.zeros(38), 3.0, 3.0],
            True,
            "inconclusive",
        ),  # far beyond the 38th, but third of 41 is not in the top 5 %
        (0.2, np.linspace(0, 1, 40), True, "refuted"),
        (0.2, np.linspace(0, 1, 40), False, "inconclusive"),
    ],
)
def test_exact_claims_are_judged_by_rank_and_distance(value, others, assay_shown, verdict):
    exact = ExactInput(value, {f"0.{i}": float(other) for i, other in enumerate(others)})
    sections = judged(None, claim=replace(CLAIM, units=None), exact=exact, assay_shown=assay_shown)
    assert verdict_of(sections) == verdict
    assert len(sections["exact"]["population"]) == 40


def test_a_failed_precondition_makes_an_exact_claim_invalid():
    exact = ExactInput(2.0, {"0.1": 0.0, "0.2": 0.1})
    assert verdict_of(judged(None, claim=replace(CLAIM, units=None), exact=exact, failed="no file")) == "invalid"


def test_no_treated_values_are_refused():
    with pytest.raises(StatisticsError, match="no treated values"):
        judged(None, shuffled(drawn(0.0)))
