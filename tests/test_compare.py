"""Two runs compared: what is found, what is let pass, and what is refused before anything is compared."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest

from harness.bound_claim import BoundClaim, Options
from harness.claim import unit_values
from harness.compare import (
    DEFAULT,
    compare_runs,
    comparison_markdown,
    comparison_text,
    open_baseline,
    parse_rules,
    update_baseline,
    write_manifest,
)
from harness.compare import baseline as baseline_module
from harness.compare.changes import effect_changes, lost_effects, tolerance_of
from harness.compare.rows import compared
from harness.errors import ComparisonError, StoreError
from harness.evidence import Record
from harness.mechanism import Mechanism
from harness.session import Loaded, measure
from harness.stats.sampling import mean_sampling
from harness.store import Run, open_run, read_record, write_record, write_run_info
from harness.subjects import SubjectsFile
from tests.paths import REPOSITORY
from tests.report import sample_records
from tests.toy_claim import CLAIM

HEADS = ("1.0", "1.1")
MODEL = SimpleNamespace(id="induction-2l@0", fingerprint="f" * 64, n_layers=2, n_heads=8, n_kv_heads=8, offset=2.0)
RULES = parse_rules(DEFAULT)


def body(model, subject, evidence, rng):
    rows = rng.for_("prompts").integers(0, 99, (evidence.n_units, 4))
    if getattr(model, "one_row", False):
        rows[:] = rows[0]
    ids = [f"u{i}" for i in range(evidence.n_units)]
    evidence.prompts(
        sha256=hashlib.sha256(rows.tobytes()).hexdigest(), n=len(ids), clusters=len(ids), examples=["1 2 1 2"]
    )
    for name, mean in (("treated", model.offset), ("same dose", 0.0), ("shuffled", 0.0)):
        noise = np.stack([rng.for_(f"{name} of {head}").normal(0, 0.3, len(ids)) for head in subject.heads])
        values = mean + noise
        if name == "treated" and getattr(model, "halved", False):
            values = values * np.where(np.arange(len(ids)) % 2, 2.0, 0.0)
        filled = unit_values(values, components=subject.heads, units=ids)
        evidence.treated(filled) if name == "treated" else evidence.control(name, filled)
    evidence.decide()


def measured(*, claim=CLAIM, heads=HEADS, model_id="induction-2l@0", **changes):
    """A record of the toy claim, measured by the library on a made-up model."""
    classes = {"induction": {"heads": list(heads), "selected_by": "m", "source": "s", "split": "discovery"}}
    subjects = SubjectsFile(Path("subjects.toml"), {model_id: {"classes": classes}}, {})
    mechanism = Mechanism("toy", Path("claims/toy"), subjects, None)
    bound = BoundClaim(claim, body, "claims/toy/test_toy.py::test_it", mechanism, model_id, Options())
    return measure(bound, loaded=Loaded(), target=SimpleNamespace(**{**vars(MODEL), "id": model_id, **changes}))


@pytest.fixture(scope="module")
def honest():
    return measured()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Write records as a run folder of this name; `info` is its run.json."""
    monkeypatch.setenv("MECHCLAIMS_CACHE", str(tmp_path / "cache"))

    def write(name, *records, info=None):
        place = tmp_path / "runs" / name
        place.mkdir(parents=True)
        for record in records:
            write_record(record, folder=place)
        write_run_info(info or {"interrupted": False}, folder=place)
        return open_run(place)

    return write


@pytest.fixture
def rows(folder, honest):
    """The comparison of the honest record with others."""

    def compare(*after, before=(honest,), rules=DEFAULT, **options):
        found = compare_runs(folder("A", *before), folder("B", *after), rules=parse_rules(rules), **options)
        assert comparison_text(found, width=100)
        return found

    return compare


def failing(found):
    return [regression.rule for row in found.regressions for regression in row.regressions]


def changed(record, change):
    """The record after `change` was made to its plain content, with the hash of its new content."""
    plain = copy.deepcopy(record.as_dict())
    change(plain)
    del plain["content_hash"]
    return Record(**plain)


# -- expressions -------------------------------------------------------------------------------------------------


def test_an_expression_names_its_rules():
    rules = parse_rules(" verdict, effect:12.5%,not-run")
    assert (rules.verdict, rules.effect, rules.outside_interval, rules.missing, rules.not_run) == (
        True, 0.125, False, False, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "empty rule"),
        ("verdict,,missing", "empty rule"),
        ("verdicts", "Did you mean 'verdict'?"),
        ("effect", "effect:20%"),
        ("effect:20", "effect:20%"),
        ("effect:0%", "above 0%"),
        ("effect:120%", "up to 100%"),
        ("effect:-5%", "effect:20%"),
        ("missing:3", "takes no value"),
        ("verdict,verdict", "stands twice"),
        ("effect:20%,effect:30%", "stands twice"),
    ],
)
def test_a_bad_expression_is_refused_with_what_to_write(expression, said):
    with pytest.raises(ComparisonError, match=said.replace("?", r"\?")):
        parse_rules(expression)


def test_all_that_is_wrong_with_an_expression_is_said_at_once():
    with pytest.raises(ComparisonError, match=r"'verdit'.*'effect:x'"):
        parse_rules("verdit,effect:x")


# -- what stays green --------------------------------------------------------------------------------------------


def test_an_honest_rerun_with_the_same_seed_is_the_same_measurement(rows):
    found = rows(measured())
    assert (found.same, found.rows, found.regressions) == (1, (), ())
    assert comparison_text(found) == "no regression: 1 unchanged"


def rounding(record, size):
    """What another machine's arithmetic does: noise of this size on every measured value, statistics drawn anew."""
    rng = np.random.default_rng(3)

    def change(plain):
        noisy = lambda values: (np.asarray(values) + rng.normal(0, size, np.shape(values))).tolist()  # noqa: E731
        plain["measured"]["treated"]["values"] = noisy(plain["measured"]["treated"]["values"])
        for entry in plain["measured"]["controls"].values():
            entry["values"], entry["treated"] = noisy(entry["values"]), noisy(entry["treated"])
        for outcome in plain["judgement"]["outcomes"]:
            for name in ("estimate", "low", "high"):
                outcome[name] += rng.normal(0, size)

    return changed(record, change)


def test_another_machines_rounding_is_no_change(rows, honest):
    found = rows(rounding(honest, 3e-5))
    assert found.regressions == ()
    assert [row.status for row in found.rows] == ["unchanged"]


def test_another_models_verdict_may_become_supported_and_its_estimate_larger(honest):
    weak, strong = (measured(offset=offset).as_dict() for offset in (0.5, 2.6))
    strong["model"] = {**strong["model"], "fingerprint": "e" * 64}
    row = compared(weak, strong, rules=RULES, any_model=True)
    assert (row.status, row.before, row.after, row.regressions) == ("changed", "inconclusive", "supported", ())


def test_the_same_model_does_not_get_better_by_itself(rows):
    found = rows(measured(offset=2.0), before=(measured(offset=0.5),))
    assert [(row.before, row.after) for row in found.rows] == [("inconclusive", "supported")]
    assert set(failing(found)) == {"verdict", "outside-interval"}
    assert "inconclusive -> supported (the same model, prompts and declaration" in comparison_text(found, width=300)


def test_a_control_that_lost_its_effect_fires_though_the_claim_looks_stronger(rows, honest):
    def quiet(plain):
        for entry in plain["measured"]["controls"].values():
            entry["values"] = [value - 0.5 for value in entry["values"]]
        for outcome in plain["judgement"]["outcomes"]:
            for name in ("estimate", "low", "high", "low_adjusted", "high_adjusted"):
                outcome[name] += 0.5

    found = rows(changed(honest, quiet))
    assert set(failing(found)) == {"outside-interval"}
    assert [row.before == row.after == "supported" for row in found.rows] == [True]


def test_a_loss_within_the_limit_passes(rows):
    assert rows(measured(offset=1.98)).regressions == ()


# -- planted regressions -----------------------------------------------------------------------------------------


def test_a_weaker_effect_fires_for_every_component_with_its_paired_interval(rows):
    found = rows(measured(offset=1.4), rules="effect:20%")
    (row,) = found.regressions
    assert set(failing(found)) == {"effect:20%"}
    assert len(row.regressions) == 4, "two heads, two controls each"
    # The same noise stands on both sides, so that every unit lost 0.6 and the interval is the point.
    assert row.change.change == pytest.approx(-0.6)
    assert (row.change.low, row.change.high) == pytest.approx((-0.6, -0.6))
    assert row.change.limit == pytest.approx(0.2 * row.change.before), "above SESOI / 2 = 0.25"


def test_a_loss_of_a_fifth_below_half_the_sesoi_does_not_fire(rows):
    weak = replace(CLAIM, sesoi=1.5)
    found = rows(measured(claim=weak, offset=1.4), before=(measured(claim=weak),), rules="effect:20%")
    assert found.regressions == (), "the loss of 0.6 is 30 % of the effect, and below SESOI / 2 = 0.75"


def test_a_verdict_that_got_worse_fires(rows):
    found = rows(measured(offset=0.5), rules="verdict")
    assert failing(found) == ["verdict"]
    assert "supported -> inconclusive" in comparison_text(found)


def test_one_components_verdict_fires_where_the_claims_stayed(rows, honest):
    def lose(plain):
        plain["judgement"]["components"][0]["verdict"] = "inconclusive"

    worse = changed(honest, lose)
    (regression,) = rows(worse, rules="verdict").regressions[0].regressions
    assert regression.text == "1.0: supported -> inconclusive"


@pytest.mark.parametrize("offset", [1.75, 2.25])
def test_an_estimate_outside_the_baselines_interval_fires_on_either_side(rows, offset):
    found = rows(measured(offset=offset), rules="outside-interval")
    assert set(failing(found)) == {"outside-interval"}
    text = found.regressions[0].regressions[0].text
    assert "is outside [" in text
    assert text.endswith("what changed is the measurement)") == (offset > 2)


@pytest.mark.parametrize("names", [("low", "high"), ("low_adjusted", "high_adjusted")])
def test_an_interval_that_changed_though_its_values_did_not_fires(rows, honest, names):
    def other_statistics(plain):
        for outcome in plain["judgement"]["outcomes"][:1]:
            for name in names:
                outcome[name] += 0.5 * (outcome["estimate"] - outcome[name])

    found = rows(changed(honest, other_statistics))
    assert failing(found) == ["outside-interval"]
    assert "the estimate stayed" in comparison_text(found)
    plain = changed(honest, other_statistics).as_dict()
    assert compared(honest.as_dict(), plain, rules=parse_rules("verdict")).status == "changed"


def spread(plain, *, factor, shift):
    """Every interval `factor` times as wide about its estimate, and all of it elsewhere by `shift`."""
    for outcome in plain["judgement"]["outcomes"]:
        for name in ("low", "high", "low_adjusted", "high_adjusted"):
            outcome[name] = outcome["estimate"] + factor * (outcome[name] - outcome["estimate"]) + shift
        outcome["estimate"] += shift


@pytest.mark.parametrize(("factor", "fires"), [(0.01, True), (0.5, True), (1.6, True), (1.01, False), (0.9, False)])
@pytest.mark.parametrize("shift", [0.0, 3e-4, 0.01])
def test_an_interval_that_reaches_otherwise_fires_wherever_its_estimate_went(rows, honest, factor, shift, fires):
    found = rows(changed(honest, lambda plain: spread(plain, factor=factor, shift=shift)))
    assert failing(found) == ["outside-interval"] * (4 if fires else 0), "two heads, two controls each"
    assert ("the estimate stayed" in comparison_text(found, width=200)) == (fires and shift == 0)


def test_another_model_may_have_another_interval(honest):
    before, after = (copy.deepcopy(honest.as_dict()) for _ in range(2))
    spread(after, factor=0.5, shift=3e-4)
    after["model"]["fingerprint"] = "e" * 64
    assert compared(before, after, rules=RULES, any_model=True).regressions == ()


def test_half_of_the_units_cannot_lose_what_the_others_win(rows):
    even, halved = measured(), measured(halved=True)
    estimates = [record.as_dict()["judgement"]["outcomes"][0]["estimate"] for record in (even, halved)]
    assert estimates[1] == pytest.approx(estimates[0], abs=0.05), "the mean is where it was"
    assert set(failing(rows(halved, before=(even,)))) == {"outside-interval"}


def scaled(plain, *, factor, sesoi):
    """The record in a unit that is so much larger, as a claim with that SESOI."""
    plain["claim"]["sesoi"] = sesoi
    measured_ = plain["measured"]
    for entry in (measured_["treated"], *measured_["controls"].values()):
        for name in {"values", "treated"} & entry.keys():
            entry[name] = (factor * np.asarray(entry[name])).tolist()
    for outcome in plain["judgement"]["outcomes"]:
        for name in ("estimate", "low", "high", "low_adjusted", "high_adjusted"):
            outcome[name] *= factor


@pytest.mark.parametrize("factor", [1.0, 1e-2, 1e-5])
def test_a_loss_fires_in_any_unit_and_is_no_rounding(factor):
    before, after = (measured(offset=offset).as_dict() for offset in (2.0, 1.0))
    for plain in (before, after):
        scaled(plain, factor=factor, sesoi=0.5 * factor)
    row = compared(before, after, rules=RULES)
    assert row.status == "changed"
    assert {found.rule for found in row.regressions} >= {"effect:20%", "outside-interval"}


@pytest.mark.parametrize(
    ("value", "sesoi", "expected"),
    [(0.0, 0.5, 1e-4), (0.0, 0.01, 1e-4), (0.0, 1e-5, 1e-7), (3.0, 0.5, 3e-4), (-3.0, 1e-5, 3e-4)],
)
def test_rounding_is_no_more_than_a_hundredth_of_the_sesoi_or_a_ten_thousandth_of_the_value(value, sesoi, expected):
    assert tolerance_of(value, sesoi=sesoi) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("end", "to", "fires"),
    [(1.0, math.inf, True), (math.inf, math.inf, False), (-math.inf, math.inf, True), (math.nan, 1.0, False)],
)
def test_an_end_at_infinity_moves_only_to_or_from_it(honest, end, to, fires):
    before, after = (copy.deepcopy(honest.as_dict()) for _ in range(2))
    for plain, value in ((before, end), (after, to)):
        plain["judgement"]["outcomes"][0]["high"] = value
    assert bool(compared(before, after, rules=RULES).regressions) == fires


def test_a_lowered_threshold_is_not_comparable_and_counted_under_verdict(rows):
    found = rows(measured(claim=replace(CLAIM, sesoi=0.1)))
    (row,) = found.regressions
    assert row.status == "not comparable"
    assert "declared sesoi 0.5 -> 0.1" in row.differences
    assert failing(found) == ["verdict"]


def test_an_amended_claim_is_not_comparable(rows):
    found = rows(measured(claim=replace(CLAIM, version=2)))
    assert found.rows[0].differences[0] == "version 1 -> 2"
    assert failing(found) == ["verdict"]


def test_a_renamed_head_is_not_comparable(rows):
    found = rows(measured(heads=("1.0", "1.3")))
    assert found.rows[0].differences == ("subject 1.0 1.1 -> 1.0 1.3",)
    assert failing(found) == ["verdict"]


def test_a_generator_that_repeats_one_row_is_found_by_its_prompts(rows):
    found = rows(measured(one_row=True))
    assert found.rows[0].differences[0].startswith("prompts 24 (sha256 ")
    assert failing(found) == ["verdict"]


def test_another_model_under_the_same_id_is_not_comparable_unless_any_is_asked_about(rows, honest):
    def retrain(plain):
        plain["model"]["fingerprint"] = "e" * 64

    other = changed(measured(offset=1.4), retrain)
    found = rows(other, rules="verdict,effect:20%")
    assert found.rows[0].differences == ("model's fingerprint ffffffffffff -> eeeeeeeeeeee",)
    again = compare_runs(
        Run(found.before, {"i": 0}), Run(found.after, {"i": 0}), rules=parse_rules("effect:20%"), any_model=True
    )
    assert set(failing(again)) == {"effect:20%"}


def test_what_is_not_comparable_is_shown_and_passes_without_the_rule(rows):
    found = rows(measured(heads=("1.0",)), rules="effect:20%,missing")
    assert found.regressions == ()
    assert "not comparable" in comparison_text(found, width=200)


def test_a_deleted_claim_is_missing_and_one_not_asked_for_is_not(rows, honest, folder):
    other = measured(model_id="induction-2l@1")
    found = rows(honest, before=(honest, other))
    assert failing(found) == ["missing"]
    assert [row.model for row in found.regressions] == ["induction-2l@1"]
    both = Run(found.before, {"i": 0}), Run(found.after, {"i": 0})
    assert compare_runs(*both, rules=RULES, asked=lambda record: False).regressions == ()


def test_a_model_that_is_not_here_is_said_apart_and_fails_only_where_asked(rows, honest):
    absent = replace(honest, judgement=None, not_run={"reason": "no weights", "remedy": "fetch it"})
    found = rows(absent)
    assert found.regressions == ()
    assert "1 record of the baseline not measured here" in comparison_text(found)
    both = Run(found.before, {"i": 0}), Run(found.after, {"i": 0})
    assert failing(compare_runs(*both, rules=parse_rules("not-run"))) == ["not-run"]


def test_a_run_without_any_record_misses_them_all(folder, honest, tmp_path):
    nothing = Run(tmp_path / "never-written", {"interrupted": False})
    assert failing(compare_runs(folder("A", honest), nothing, rules=RULES)) == ["missing"]


def test_a_smaller_metric_is_stronger_where_the_claim_says_less(rows, honest):
    def mirror(plain):
        plain["claim"]["alternative"] = "less"
        measured_ = plain["measured"]
        measured_["treated"]["values"] = (-np.asarray(measured_["treated"]["values"])).tolist()
        for entry in measured_["controls"].values():
            entry["values"], entry["treated"] = [-x for x in entry["values"]], [-x for x in entry["treated"]]
        for outcome in plain["judgement"]["outcomes"]:
            outcome |= {"alternative": "less", "estimate": -outcome["estimate"]}
            outcome |= {"low": -outcome["high"], "high": -outcome["low"]}

    before, weaker, stronger = (changed(measured(offset=size), mirror) for size in (2.0, 1.4, 2.6))
    found = rows(weaker, before=(before,))
    assert set(failing(found)) == {"effect:20%", "outside-interval"}
    share = 0.2
    assert not any(change.beyond for change in effect_changes(before.as_dict(), stronger.as_dict(), share=share))


def test_a_margin_that_grew_beyond_its_interval_fires():
    outcome = sample_records.outcome(
        "1.0", "costs", estimate=0.1, half=0.05, rule="non-inferiority", alternative="less"
    )
    base = sample_records.record("induction-2l@0", heads=1)
    base["judgement"]["outcomes"] = [outcome]
    for estimate, fires in ((0.2, True), (0.0, False), (0.12, False)):
        other = copy.deepcopy(base)
        other["judgement"]["outcomes"] = [{**outcome, "estimate": estimate}]
        other["model"]["fingerprint"] = "another"
        row = compared(base, other, rules=parse_rules("outside-interval"), any_model=True)
        assert bool(row.regressions) == fires


def test_an_exact_claim_is_compared_by_its_distance():
    base, weaker, stronger = (sample_records.exact_record() for _ in range(3))
    # Distance 0.27, SESOI 0.05: the limit is the larger of 0.054 and 0.025.
    weaker["exact"]["distance"], stronger["exact"]["distance"] = 0.21, 0.5
    (change,) = effect_changes(base, weaker, share=0.2)
    assert change.limit == pytest.approx(0.054)
    assert (change.beyond, change.low) == (True, None)
    assert not effect_changes(base, stronger, share=0.2)[0].beyond


def doubled(exact):
    exact |= {"value": 2 * exact["value"], "distance": exact["distance"] + exact["value"]}


def collapsed(exact):
    exact |= {"population": dict.fromkeys(exact["population"], 0.0), "percentile95": 0.0, "distance": exact["value"]}


def shrunk(exact):
    exact["population"] = dict(list(exact["population"].items())[:3])


def one_weaker(exact):
    exact["population"]["4.11"] -= 0.01


def noisy(exact):
    rng = np.random.default_rng(3)
    exact["value"] += 3e-5
    exact["population"] = {name: value + rng.normal(0, 3e-5) for name, value in exact["population"].items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (doubled, "the value 0.42 -> 0.84 (the same model"),
        (collapsed, "the others' 95th percentile 0.15 -> 0 (the same model"),
        (collapsed, "56 of the population's 60 values are others, '1.4' most, 0.16 -> 0 (the same model"),
        (shrunk, "a population of 60 -> 3, 57 of its members gone (the same model"),
        (one_weaker, "1 of the population's 60 values are others, '4.11' most, 0.08 -> 0.07 (the same model"),
        (noisy, ""),
    ],
)
def test_the_same_model_has_the_same_numbers_of_an_exact_claim(change, said):
    base, other = (sample_records.exact_record() for _ in range(2))
    change(other["exact"])
    row = compared(base, other, rules=RULES)
    assert {found.rule for found in row.regressions} == ({"outside-interval"} if said else set())
    assert said in " | ".join(found.text for found in row.regressions)
    assert row.status == ("changed" if said else "unchanged")
    other["model"] = {**other["model"], "fingerprint": "another"}
    assert compared(base, other, rules=RULES, any_model=True).regressions == (), "only a loss counts of another model"


def test_an_effect_that_is_no_longer_measured_is_named(rows, honest):
    def drop(plain):
        del plain["measured"]["controls"]["1.1 | shuffled"]

    less = changed(honest, drop)
    assert lost_effects(honest.as_dict(), less.as_dict()) == [("1.1", "shuffled")]
    assert failing(rows(less, rules="effect:20%")) == ["effect:20%"]


# -- the interval of the paired change ----------------------------------------------------------------------------


def pair(rng, *, loss, spread=0.4, clusters=30, each=2):
    """Plain records whose one effect, 2.0 on average, lost `loss` with this spread between units."""
    effect = rng.normal(2.0, 0.6, clusters * each)
    lost = loss + np.repeat(rng.normal(0, spread, clusters), each) + rng.normal(0, spread, clusters * each)
    names = [f"c{i // each}" for i in range(len(effect))]

    def record(values):
        return {
            "claim": {**sample_records.claim(), "sesoi": 0.5},
            "model": {"id": "m"},
            "units": {"ids": [f"u{i}" for i in range(len(effect))], "clusters": names},
            "measured": {
                "treated": {"components": ["1.0"], "values": [values.tolist()]},
                "controls": {"1.0 | shuffled": {"values": [0.0] * len(effect)}},
            },
        }

    return record(effect), record(effect - lost), lost, names


def test_the_interval_is_that_of_the_paired_differences_over_clusters():
    before, after, lost, names = pair(np.random.default_rng(0), loss=0.9)
    (change,) = effect_changes(before, after, share=0.2)
    # Oracle: the t interval of the 30 cluster means, which a bootstrap-t of normal values nearly equals.
    from scipy.stats import t

    means = -lost.reshape(30, 2).mean(axis=1)
    half = t.ppf(0.975, 29) * means.std(ddof=1) / np.sqrt(30)
    assert (change.low, change.high) == pytest.approx((means.mean() - half, means.mean() + half), abs=0.15 * half)
    sampling = mean_sampling(-lost, clusters=names, method="bootstrap-t", rng=np.random.default_rng(1))
    assert change.high == pytest.approx(sampling.bound(0.025, side="upper"), abs=0.05 * half)


def test_a_loss_exactly_at_the_limit_fires_in_few_runs_and_twice_that_in_all():
    rng = np.random.default_rng(7)
    fired = dict.fromkeys((0.5, 1.2), 0)
    for loss in fired:
        for _ in range(100):
            before, after, _, _ = pair(rng, loss=loss)
            # SESOI / 2 = 0.25 < 20 % of about 2.0 = 0.4; at 25 % the limit is 0.5, the planted loss, on average.
            fired[loss] += effect_changes(before, after, share=0.25)[0].beyond
    # Nominal 2.5 % and the spread of the limit itself, which is 25 % of an estimate: 100 draws, at most 10 by 0.999
    # of the binomial with p = 0.035.
    assert fired[0.5] <= 10
    assert fired[1.2] == 100


def test_values_of_some_units_are_paired_by_their_ids():
    before, after, _, _ = pair(np.random.default_rng(0), loss=0.9)
    for record in (before, after):
        some = record["units"]["ids"][10:50]
        control = {"units": some, "values": [0.0] * 40}
        record["measured"]["controls"]["1.0 | other heads: 95th percentile (1.7)"] = control
    # Another member is the percentile now: what is compared is the effect against the percentile.
    controls = after["measured"]["controls"]
    controls["1.0 | other heads: 95th percentile (0.3)"] = controls.pop("1.0 | other heads: 95th percentile (1.7)")
    changes = {change.control: change for change in effect_changes(before, after, share=0.2)}
    assert set(changes) == {"shuffled", "other heads: 95th percentile"}
    lost = np.subtract(before["measured"]["treated"]["values"][0], after["measured"]["treated"]["values"][0])
    assert changes["other heads: 95th percentile"].change == pytest.approx(-lost[10:50].mean())


POOL = (
    "ioi.name-movers-copy__smollm2-135m-q4__seed0.json",
    "greater-than.year-movers-matter__smollm2-135m-q4__seed0.json",
)
DRAWS = 100


@pytest.mark.parametrize("name", POOL)
def test_a_30_percent_weaker_effect_fires_and_a_change_below_1_percent_passes_in_95_of_100_draws(name):
    plain = read_record(REPOSITORY / "reports" / "baseline" / name).as_dict()
    rng = np.random.default_rng(11)
    fired = {0.7: 0, 0.991: 0}
    for factor in fired:
        for _ in range(DRAWS):
            before = redrawn(plain, rng)
            after = weakened(before, factor, rng)
            fired[factor] += any(change.beyond for change in effect_changes(before, after, share=0.2))
    assert fired[0.7] >= 95
    assert fired[0.991] <= 5


def redrawn(plain, rng):
    """The effects of one head on clusters drawn with replacement from a real record: its units' own spread."""
    component = str(plain["measured"]["treated"]["components"][0])
    ids, clusters = plain["units"]["ids"], plain["units"]["clusters"]
    members = {}
    for unit, cluster in zip(ids, clusters, strict=True):
        members.setdefault(cluster, []).append(unit)
    controls = {k: v for k, v in plain["measured"]["controls"].items() if k.startswith(f"{component} | ")}
    whole = {k: v for k, v in controls.items() if len(v["values"]) == len(ids)}
    place = {unit: i for i, unit in enumerate(ids)}
    drawn = [list(members)[i] for i in rng.integers(0, len(members), len(members))]
    columns = [place[unit] for cluster in drawn for unit in members[cluster]]
    of = [f"c{number}" for number, cluster in enumerate(drawn) for _ in members[cluster]]
    own = np.asarray(plain["measured"]["treated"]["values"][0])
    filled = {
        name: {"values": np.asarray(v["values"])[columns], "treated": np.asarray(v.get("treated", own))[columns]}
        for name, v in whole.items()
    }
    assert filled
    return {
        **plain,
        "units": {"ids": [f"u{i}" for i in range(len(columns))], "clusters": of},
        "measured": {"treated": {"components": [component], "values": [own[columns]]}, "controls": filled},
    }


def weakened(record, factor, rng):
    """Every unit's effect times `factor`, with a tenth of the units' own spread between the two measurements."""
    made = copy.deepcopy(record)
    for entry in made["measured"]["controls"].values():
        effect = entry["treated"] - entry["values"]
        noise = rng.normal(0, 0.1 * effect.std() * (1 - factor), len(effect))
        entry["treated"] = entry["values"] + factor * effect + noise
    return made


# -- the baseline ------------------------------------------------------------------------------------------------


def test_a_baseline_that_is_not_there_or_empty_is_refused(tmp_path, folder, honest):
    with pytest.raises(ComparisonError, match="no such folder"):
        open_baseline(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ComparisonError, match="no run to compare with"):
        open_baseline(tmp_path / "empty")
    with pytest.raises(ComparisonError, match="holds no records"):
        open_baseline(folder("C").path)
    with pytest.raises(ComparisonError, match="holds no records"):
        open_baseline(folder("D", replace(honest, exploratory=True)).path)


@pytest.fixture
def baseline(tmp_path, folder, honest):
    path = tmp_path / "reports" / "baseline"
    update_baseline([folder("R", honest, measured(model_id="induction-2l@1"))], baseline=path)
    return path


def test_an_edited_record_is_refused_by_name_even_with_a_new_content_hash(baseline, honest):
    def soften(plain):
        plain["claim"]["sesoi"] = 0.1

    write_record(changed(honest, soften), folder=baseline)
    read_record(baseline / "toy.larger__induction-2l@0__seed0.json")  # by itself it is sound
    with pytest.raises(StoreError, match=r"toy.larger__induction-2l@0__seed0.json was edited"):
        open_baseline(baseline)


def test_a_removed_or_added_record_is_refused_by_name(baseline, honest):
    (baseline / "toy.larger__induction-2l@1__seed0.json").unlink()
    write_record(replace(honest, seeds={"data_seed": 4, "split": "confirmation"}), folder=baseline)
    with pytest.raises(StoreError, match=r"@0__seed4.json is not in the manifest; .*@1__seed0.json is not there"):
        open_baseline(baseline)


def test_line_ends_of_a_checkout_do_not_matter(baseline):
    for path in baseline.glob("*__seed0.json"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    open_baseline(baseline)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": 1}', '{"schema": 99, "records": {}}', '{"schema": 1, "records": 3}']
)
def test_a_damaged_manifest_is_refused(baseline, text):
    (baseline / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        open_baseline(baseline)


def test_a_baseline_without_a_manifest_is_read_by_content_hashes(baseline):
    (baseline / "manifest.json").unlink()
    open_baseline(baseline)
    path = baseline / "toy.larger__induction-2l@0__seed0.json"
    path.write_text(path.read_text().replace("supported", "refuted"))
    with pytest.raises(StoreError, match=r"@0__seed0\.json: its content hash does not fit"):
        open_baseline(baseline)


def test_updating_replaces_the_records_and_says_what_changed(baseline, folder):
    done = update_baseline([folder("S", measured(offset=1.4))], baseline=baseline)
    assert done.records == 1
    assert done.comparison.count() == {"changed": 1, "missing": 1}
    assert sorted(json.loads((baseline / "manifest.json").read_text())["records"]) == [
        "toy.larger__induction-2l@0__seed0.json"
    ]
    assert open_baseline(baseline).info["interrupted"] is False
    assert [path.name for path in baseline.parent.iterdir()] == ["baseline"], "nothing is left beside it"


def test_updating_may_keep_what_was_not_measured_again(baseline, folder, honest):
    absent = replace(measured(model_id="induction-2l@1"), judgement=None, not_run={"reason": "r", "remedy": "r"})
    done = update_baseline([folder("S", measured(offset=1.4), absent)], baseline=baseline, keep_others=True)
    assert done.records == 2
    assert done.comparison.count() == {"changed": 1, "unchanged": 1}


def test_a_record_of_a_folder_that_was_named_without_a_hash_is_the_same_measurement(tmp_path, folder, honest):
    mine, other = (replace(honest, model={**honest.model, "id": name}) for name in ("path:runs/a", "path:runs-a"))
    older = folder("Q", mine, info={"interrupted": False, "commit": "a"})
    next(older.path.glob("*__seed0.json")).rename(older.path / "toy.larger__path-runs-a__seed0.json")
    assert compare_runs(older, folder("R", mine), rules=RULES).count() == {"unchanged": 1}
    assert compare_runs(older, folder("S", other), rules=RULES).count() == {"missing": 1, "new": 1}
    place = tmp_path / "reports" / "baseline"
    update_baseline([older], baseline=place)
    assert open_run(place).commit_of("toy.larger__path-runs-a-7c3ea9__seed0.json") == "a"  # sha256 of runs/a
    assert update_baseline([folder("T", mine, other)], baseline=place, keep_others=True).records == 2


def test_a_baseline_knows_at_which_commit_each_record_was_measured(baseline, folder):
    def measured_at(commit, name, *records, **options):
        run = folder(name, *records, info={"interrupted": False, "finished": "2026-01-31T12:07:00Z", "commit": commit})
        update_baseline([run], baseline=baseline, **options)
        return open_run(baseline).info["measured_at"]

    first, second = "toy.larger__induction-2l@0__seed0.json", "toy.larger__induction-2l@1__seed0.json"
    assert measured_at("a", "S", measured(), measured(model_id="induction-2l@1")) == {"a": [first, second]}
    assert measured_at("b", "T", measured(offset=1.4), keep_others=True) == {"b": [first], "a": [second]}
    older = {name: value for name, value in open_run(baseline).info.items() if name != "measured_at"}
    (baseline / "run.json").write_text(json.dumps(older))
    assert measured_at("c", "U", measured(offset=1.3), keep_others=True) == {"c": [first]}, "nobody knows the other's"


def test_of_two_updates_at_once_the_second_adds_to_what_the_first_left(baseline, folder, monkeypatch):
    first, second = folder("S", measured(model_id="induction-2l@2")), folder("T", measured(model_id="induction-2l@3"))
    other = Thread(target=update_baseline, args=([second],), kwargs={"baseline": baseline, "keep_others": True})
    fill = baseline_module._filled

    def while_the_other_tries(*arguments, **options):
        monkeypatch.setattr(baseline_module, "_filled", fill)
        other.start()
        other.join(timeout=0.5)
        return fill(*arguments, **options)

    monkeypatch.setattr(baseline_module, "_filled", while_the_other_tries)
    update_baseline([first], baseline=baseline, keep_others=True)
    other.join()
    assert len(open_baseline(baseline).record_files()) == 4


def test_a_dry_run_leaves_the_baseline_as_it_is(baseline, folder):
    before = {path.name: path.read_bytes() for path in baseline.iterdir()}
    update_baseline([folder("S", measured(offset=1.4))], baseline=baseline, dry_run=True)
    assert {path.name: path.read_bytes() for path in baseline.iterdir()} == before


def test_a_damaged_baseline_may_be_replaced_but_not_added_to(baseline, folder, honest):
    (baseline / "toy.larger__induction-2l@1__seed0.json").unlink()
    run = folder("S", honest)
    with pytest.raises(StoreError, match="is not there"):
        update_baseline([run], baseline=baseline, keep_others=True)
    done = update_baseline([run], baseline=baseline)
    assert done.comparison is None
    assert "@1__seed0.json is not there" in done.unread
    open_baseline(baseline)


def test_an_unfinished_run_makes_no_baseline(baseline, folder, honest):
    stopped = folder("S", honest, info={"interrupted": True})
    with pytest.raises(ComparisonError, match="--keep-others"):
        update_baseline([stopped], baseline=baseline)


def test_an_unfinished_run_is_named_in_a_comparison(folder, honest):
    stopped = folder("S", honest, info={"interrupted": True})
    found = compare_runs(folder("A", honest), stopped, rules=RULES)
    assert "not finished, stopped or killed: S" in comparison_text(found)


def test_the_committed_baseline_compared_with_itself_is_green():
    run = open_baseline(REPOSITORY / "reports" / "baseline")
    found = compare_runs(run, run, rules=RULES)
    assert found.regressions == ()
    assert found.same > 200


def test_the_committed_baseline_passes_with_noise_and_fails_with_any_narrower_interval():
    noise = np.random.default_rng(0)
    names = ("estimate", "low", "high", "low_adjusted", "high_adjusted")
    for path in sorted((REPOSITORY / "reports" / "baseline").glob("*__seed0.json")):
        record = read_record(path).as_dict()
        if record["judgement"] is None:
            continue
        judged, exact = record["judgement"], record["exact"]
        outcomes = [
            {**one, **{name: one[name] + noise.normal(0, 3e-5) for name in names}} for one in judged["outcomes"]
        ]
        rounded = {**record, "judgement": {**judged, "outcomes": outcomes}}
        if exact:
            moved = {name: value + noise.normal(0, 3e-5) for name, value in exact["population"].items()}
            rounded["exact"] = {**exact, "value": exact["value"] + 3e-5, "population": moved}
        assert compared(record, rounded, rules=RULES, shown=False).regressions == (), path.name
        outcomes = [
            {**one, "low": one["low"] + quarter, "high": one["high"] - quarter, "estimate": one["estimate"] + 3e-4}
            for one in judged["outcomes"]
            for quarter in ((one["high"] - one["low"]) / 4,)
        ]
        narrower = {**record, "judgement": {**judged, "outcomes": outcomes}}
        found = compared(record, narrower, rules=RULES, shown=False).regressions
        assert bool(found) == bool(outcomes), path.name


# -- text --------------------------------------------------------------------------------------------------------


def test_the_table_says_claim_model_verdicts_effects_change_and_rule(rows):
    found = rows(measured(offset=1.4))
    text = comparison_text(found, width=160)
    for part in ("toy.larger", "induction-2l@0", "[-0.6, -0.6]", "nats", "effect:20%", "REGRESSION"):
        assert part in text
    page = comparison_markdown(found)
    assert page.startswith("## Evidence against A\n\n**1 regression by verdict,effect:20%")
    assert "| claim | model | verdict | before | after | paired change [95 %] | fails by |" in page


def test_foreign_text_cannot_become_markup(rows, honest):
    def inject(plain):
        plain["judgement"] |= {"verdict": "refuted", "reason": "<script> | [x](http://y) \x1b[31m"}

    found = rows(changed(honest, inject))
    assert "<script>" not in comparison_markdown(found)
    assert "\x1b" not in comparison_text(found)


def test_a_manifest_is_written_of_sound_records_only(folder, honest):
    run = folder("A", honest)
    path = run.record_files()[0]
    path.write_text(path.read_text().replace("supported", "refuted"))
    with pytest.raises(StoreError, match="edited"):
        write_manifest(run)


# -- thousands of records ----------------------------------------------------------------------------------------


@pytest.fixture
def many(folder, honest):
    """Two runs of six records with manifests; in the second all effects are smaller by 0.02."""

    def weaker(plain):
        for entry in plain["measured"]["controls"].values():
            entry["treated"] = (np.asarray(entry["treated"]) - 0.02).tolist()

    records = [changed(honest, lambda plain, m=model: plain["model"].update(id=f"toy@{m}")) for model in range(6)]
    runs = folder("A", *records), folder("B", *(changed(record, weaker) for record in records))
    for run in runs:
        write_manifest(run)
    return runs


def with_interval(found):
    return [row for row in found.rows if row.change.low is not None]


def test_several_processes_find_what_one_finds(many, monkeypatch):
    alone = compare_runs(*many, rules=RULES)
    monkeypatch.setattr("harness.compare.runs.MANY", 1)
    monkeypatch.setattr("harness.compare.runs._can_fork", lambda: True)
    assert compare_runs(*many, rules=RULES, workers=2) == alone
    assert len(with_interval(alone)) == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_every_edited_record_is_named_whoever_reads_it(many, monkeypatch, workers):
    monkeypatch.setattr("harness.compare.runs.MANY", 1)
    monkeypatch.setattr("harness.compare.runs._can_fork", lambda: True)
    edited = [many[1].record_files()[place] for place in (0, -1)]
    for path in edited:
        path.write_text(path.read_text(encoding="utf-8").replace('"seconds": ', '"seconds":  ', 1), encoding="utf-8")
    with pytest.raises(StoreError) as error:
        compare_runs(*many, rules=RULES, workers=workers)
    assert all(f"{path.name} was edited" in str(error.value) for path in edited)


def test_records_that_are_the_same_are_verified_as_well(many):
    again = many[0].record_files()[3]
    again.write_text(again.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(StoreError, match=again.name):
        compare_runs(many[0], many[0], rules=RULES)


def test_a_change_that_fails_by_no_rule_has_its_interval_only_where_it_is_shown(many, monkeypatch):
    monkeypatch.setattr("harness.compare.runs.MOST_SHOWN", 2)
    found = compare_runs(*many, rules=parse_rules("effect:20%"))
    assert not found.regressions
    assert [row.model for row in with_interval(found)] == ["toy@0", "toy@1"]
    assert len(found.rows) == 6
