"""The checks before a model's first claim: what passes, what each of them catches, and draws of other prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t, ttest_ind_from_stats

from harness.errors import DeclarationError, ModelError, StatisticsError
from harness.interventions import engine_of
from harness.interventions.recast import drawn_anew, log_probs_in
from harness.memory import Loaded
from harness.models.model import load, untrained_twin
from harness.report.data_seeds import data_seeds_text, redrawn
from harness.report.sanity import sanity_page
from harness.sanity import Battery, Check, run_battery
from harness.session import measure
from harness.stats.data_seeds import Draw, adjusted_by_claim, seed_difference
from tests.cli.measured_records import EXACT
from tests.models.tiny import tiny_llama
from tests.report import sample_records
from tests.sharp_model import save_sharp_model
from tests.test_session import MODEL, REGISTERED, bound, registered, undecided

NAMES = ["random baseline", "permuted weights", "shuffle control", "ablation", "numerical stability", "reproducibility"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_sharp_model(tmp_path_factory.mktemp("sharp") / "sharp.safetensors")


@pytest.fixture
def model(path):
    return load(f"path:{path}")


def held(battery):
    return {check.name: check.holds for check in battery.checks}


def changed(model, change):
    """The model after a change of its weights."""
    import torch

    with torch.no_grad():
        for name, parameter in model.bridge.named_parameters():
            change(name, parameter)
    return model


def test_a_sound_model_passes_every_check_and_the_same_twice(model):
    first, second = run_battery(model), run_battery(model)
    assert held(first) == dict.fromkeys(NAMES, True)
    assert first.problem is None
    assert replace(first, seconds=0) == replace(second, seconds=0)


def test_an_untrained_model_fails_the_random_baseline(tmp_path):
    untrained = save_sharp_model(tmp_path / "untrained.safetensors", scale=1.0, ordered=False)
    battery = run_battery(load(f"path:{untrained}"))
    assert held(battery)["random baseline"] is False
    assert held(battery)["permuted weights"] is False
    assert "nothing shows its training" in battery.problem


@pytest.mark.parametrize("scale", [0.2, 3.0, 10.0])
def test_random_weights_of_another_scale_than_the_twins_pass_the_random_baseline_and_are_no_trained_model(
    tmp_path, scale
):
    random = save_sharp_model(tmp_path / "random.safetensors", scale=scale, ordered=False)
    battery = run_battery(load(f"path:{random}"))
    assert held(battery)["random baseline"] is True
    assert held(battery)["permuted weights"] is False
    assert "as random numbers of any scale are" in battery.problem


def test_heads_that_write_nothing_fail_the_ablation(model):
    battery = run_battery(changed(model, lambda name, weight: weight.zero_() if ".o." in name else None))
    assert held(battery)["ablation"] is False
    assert "costs 0 nats" in battery.problem


def test_a_model_that_reads_nothing_fails_the_shuffle_control(model):
    def blind(name, weight):
        if name.startswith(("tok_embed", "pos.")):
            weight.zero_()

    battery = run_battery(changed(model, blind))
    assert held(battery)["shuffle control"] is False
    assert "the order of tokens decides nothing" in battery.problem


def test_weights_that_are_no_numbers_fail_with_that_reason_in_place_of_a_traceback(model):
    battery = run_battery(changed(model, lambda name, weight: weight.fill_(float("nan"))))
    assert not any(held(battery).values())
    assert "it cannot be computed" in battery.problem


class Drifting:
    """An engine whose every pass gives slightly other numbers."""

    def __init__(self, engine):
        self._engine, self._passes = engine, 0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def log_probs_at(self, run, positions):
        self._passes += 1
        return self._engine.log_probs_at(run, positions) + 1e-6 * self._passes


def test_a_pass_that_is_not_repeated_to_the_bit_fails_reproducibility(model, monkeypatch):
    monkeypatch.setattr("harness.sanity.engine_of", lambda given: Drifting(engine_of(given)))
    battery = run_battery(model)
    assert held(battery) == {**dict.fromkeys(NAMES, True), "reproducibility": False}


def test_numbers_that_move_with_the_precision_fail_stability(model, monkeypatch):
    def moved(engine, tokens, *, dtype):
        return log_probs_in(engine, tokens, dtype=dtype) + 2e-4  # twice what the design tolerates

    monkeypatch.setattr("harness.sanity.log_probs_in", moved)
    assert held(run_battery(model)) == {**dict.fromkeys(NAMES, True), "numerical stability": False}


def test_another_precision_is_that_of_the_model_loaded_in_it(path, model):
    import torch

    tokens = torch.arange(48).view(2, 24) % 64
    ours = log_probs_in(engine_of(model), tokens, dtype=torch.float64)
    double = engine_of(load(f"path:{path}", dtype="float64"))
    theirs = double.log_probs_of_next(double.run(tokens))
    single = engine_of(model).log_probs_of_next(engine_of(model).run(tokens)).double()
    # Folding happened in float32 here and in float64 there; the passes themselves are as far apart as single is.
    assert ours.dtype == torch.float64
    assert float((ours - theirs).abs().max()) <= 2e-5
    assert float((ours - single).abs().max()) > 0


def test_a_model_in_float64_is_compared_with_float32(path):
    battery = run_battery(load(f"path:{path}", dtype="float64"))
    assert held(battery) == dict.fromkeys(NAMES, True)
    assert battery.checks[4].said.startswith("float64 and float32 differ by at most")


def test_a_twin_drawn_anew_is_as_far_from_a_guess_as_the_one_that_transformers_makes(tmp_path):
    import torch

    from harness.sanity import _logits, _sharpness

    llama = load(f"path:{tiny_llama(tmp_path / 'llama')}")
    tokens = torch.arange(3, 35).view(4, 8)
    drawn = [
        _sharpness(_logits(drawn_anew(engine_of(llama), std=0.2, tied=True, seed=seed), tokens)) for seed in range(4)
    ]
    made = [_sharpness(_logits(engine_of(untrained_twin(llama, seed)), tokens)) for seed in range(4)]
    # Four small twins of each kind: their means lie within the factor that tells a trained model from a twin.
    assert 1 / 1.3 < np.mean(drawn) / np.mean(made) < 1.3


def test_a_model_with_a_tokenizer_is_asked_with_its_bos_and_by_every_check(tmp_path):
    battery = run_battery(load(f"path:{tiny_llama(tmp_path / 'llama')}"))  # random, so that it may fail the baseline
    assert list(held(battery)) == NAMES
    assert held(battery)["numerical stability"] is True
    assert held(battery)["reproducibility"] is True


# -- in a run ------------------------------------------------------------------------------------------------------


def failing(asked, fingerprint=MODEL.fingerprint):
    """A store of models whose battery fails and is counted."""

    def check(model):
        asked.append(model.fingerprint)
        return Battery(model.id, fingerprint, (Check("ablation", holds=False, value=0.0, said="nothing happens"),), 0.1)

    return Loaded(check=check)


def test_claims_of_a_model_that_fails_are_invalid_with_the_reason_and_it_is_asked_once(monkeypatch):
    monkeypatch.setattr("harness.models.model.load", lambda model_id, **options: MODEL)
    asked = []
    loaded = failing(asked)
    for _ in range(2):
        record = measure(bound(undecided, models={}, announced=None), loaded=loaded)
        assert record.verdict == "invalid"
        assert record.judgement["reason"] == "the model fails the sanity battery (ablation: nothing happens)"
    assert asked == [MODEL.fingerprint]


def test_negatives_are_not_asked(monkeypatch):
    monkeypatch.setattr("harness.models.model.load", lambda model_id, **options: MODEL)
    asked = []
    assert measure(registered(ignore_preconditions=True), loaded=failing(asked)).verdict == "supported"
    assert measure(registered(), loaded=failing(asked), target=MODEL).verdict == "supported"
    assert measure(bound(**WEIGHED), loaded=failing(asked), target=MODEL).verdict == "supported"
    assert asked == []


def weighed(weights, subject, evidence):
    """A body that reads weights alone and finds what it looks for."""
    evidence.exact(value=3.0, population={str(number): 0.1 * number for number in range(24)})
    evidence.decide()


WEIGHED = {"test": weighed, "claim": EXACT, "models": {"induction-2l@0": REGISTERED}}


def of_weights_alone(monkeypatch, *, asked, loads=lambda model_id, **options: MODEL, **options):
    """The record of a claim on weights alone, whose model fails the battery where it is asked."""
    monkeypatch.setattr("harness.models.model.load", loads)
    monkeypatch.setattr("harness.weights.open_weights", lambda model_id, *, file: MODEL)
    return measure(bound(**WEIGHED, **options), loaded=failing(asked))


def test_a_claim_on_weights_alone_is_invalid_where_their_model_fails(monkeypatch):
    asked = []
    record = of_weights_alone(monkeypatch, asked=asked)
    assert record.verdict == "invalid"
    assert "the model fails the sanity battery (ablation: nothing happens)" in record.judgement["reason"]
    assert asked == [MODEL.fingerprint]
    assert record.notes == ()


def test_weights_that_are_no_model_are_measured_and_the_record_says_that_nothing_was_asked(monkeypatch, tmp_path):
    def refuse(model_id, **options):
        raise ModelError("there is no config.json")

    asked = []
    record = of_weights_alone(monkeypatch, asked=asked, loads=refuse)
    assert record.verdict == "supported"
    assert record.notes[0].startswith("The sanity battery was not asked: the weights cannot be loaded as a model")
    given = of_weights_alone(monkeypatch, asked=asked, weights={"induction-2l@0": tmp_path / "attention.safetensors"})
    assert (given.verdict, asked) == ("supported", [])
    assert "a file of the user's" in given.notes[0]
    monkeypatch.setattr("harness.soundness._memory_bytes", lambda: 1e6)
    large = of_weights_alone(monkeypatch, asked=asked)
    assert (large.verdict, asked) == ("supported", [])
    assert "too large to be loaded here" in large.notes[0]


def test_the_weights_of_another_model_under_a_registered_name_are_refused_where_the_model_can_be_loaded(monkeypatch):
    known = {**REGISTERED, "discovery": {"fingerprint": "e" * 64}}
    monkeypatch.setattr("harness.models.model.load", lambda model_id, **options: MODEL)
    monkeypatch.setattr("harness.weights.open_weights", lambda model_id, *, file: MODEL)
    sound = Loaded(check=lambda model: Battery(model.id, model.fingerprint, (), 0.1))
    with pytest.raises(DeclarationError, match="not the 'induction-2l@0' whose heads are registered"):
        measure(bound(**{**WEIGHED, "models": {"induction-2l@0": known}}), loaded=sound)


def test_a_battery_that_passes_changes_no_content_hash(monkeypatch):
    monkeypatch.setattr("harness.models.model.load", lambda model_id, **options: MODEL)
    sound = Loaded(check=lambda model: Battery(model.id, model.fingerprint, (), 0.1))
    assert measure(registered(), loaded=sound).content_hash == measure(registered(), loaded=Loaded()).content_hash


def test_an_architecture_without_the_fast_engine_is_not_asked_about_precision(model, monkeypatch):
    from harness.interventions import HookEngine

    monkeypatch.setattr("harness.sanity.engine_of", lambda given: HookEngine.of(given))
    battery = run_battery(model)
    assert held(battery) == {**dict.fromkeys(NAMES, True), "numerical stability": None}
    assert battery.problem is None


def test_the_report_shows_what_was_asked_and_what_failed():
    batteries = [
        Battery(
            "a", "f", (Check("ablation", holds=True, value=1.0, said="costs 1"), Check("shuffle", None, None, "-")), 0.1
        ).as_dict(),
        Battery("b", "g", (Check("ablation", holds=False, value=0.0, said="costs 0"),), 0.1).as_dict(),
    ]
    text = sanity_page(batteries, records=[])
    assert "| <code>a</code> | holds: costs 1 | not asked |" in text
    assert "<code>b</code> fails “ablation”, its claims are invalid: costs 0" in text
    assert "No sanity battery is recorded" in sanity_page([], records=[])


# -- draws of other prompts ----------------------------------------------------------------------------------------


def draw(values):
    """The t interval of a mean, as a record holds it."""
    reach = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return Draw(np.mean(values), np.mean(values) - reach, np.mean(values) + reach, len(values))


def test_the_difference_of_two_draws_is_welchs_test():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.5, 0.2, 30), rng.normal(0.6, 0.4, 50)
    found = seed_difference(draw(first), draw(second))
    moments = [(np.mean(x), np.std(x, ddof=1), len(x)) for x in (second, first)]
    oracle = ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False)  # its degrees of freedom are not rounded
    assert found.p == pytest.approx(oracle.pvalue, rel=0.02)
    assert found.low < found.difference < found.high
    assert (found.low <= 0 <= found.high) == (found.p > 0.05)


def test_of_twenty_honest_claims_one_is_called_different_in_at_most_one_run_of_twenty():
    # Null: twenty claims, drawn twice alike; the family-wise error is at most 5 %.
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(300):
        drawn = rng.normal(0, 1, (20, 1, 2, 24))
        p = [[seed_difference(draw(a), draw(b)).p for a, b in claim] for claim in drawn]
        wrong += min(adjusted_by_claim(p)) <= 0.05
    assert wrong / 300 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_what_has_no_standard_error_is_refused_and_equal_constants_do_not_differ():
    with pytest.raises(StatisticsError, match="two clusters and a finite interval"):
        seed_difference(Draw(1.0, -np.inf, 2.0, 30), Draw(1.0, 0.0, 2.0, 30))
    with pytest.raises(StatisticsError, match="1 clusters"):
        seed_difference(Draw(1.0, 0.5, 2.0, 1), Draw(1.0, 0.0, 2.0, 30))
    with pytest.raises(StatisticsError, match="without conditions"):
        adjusted_by_claim([[0.1], []])
    constant = Draw(1.0, 1.0, 1.0, 30)
    assert seed_difference(constant, constant).p == 1.0
    assert seed_difference(constant, replace(constant, estimate=2.0, low=2.0, high=2.0)).p < 1e-15


def redrawn_record(seed, *, estimate=0.5, claim="induction.a", **changes):
    outcome = sample_records.outcome("1.0", "shuffled", estimate=estimate)
    judged = sample_records.judgement("supported", [outcome])
    about = sample_records.claim(claim)
    return sample_records.record(claim=about, judgement=judged, seeds={"data_seed": seed, "split": "x"}, **changes)


def test_a_claim_that_says_something_else_on_other_prompts_is_named():
    same = [redrawn_record(seed, estimate=0.5 + 0.01 * seed, claim="induction.same") for seed in (0, 1)]
    other = [redrawn_record(seed, estimate=0.5 + 0.4 * seed, claim="induction.other") for seed in (0, 1)]
    found = {one.claim: one for one in redrawn([*same, *other])}
    assert (found["induction.same"].differs, found["induction.other"].differs) == (False, True)
    assert found["induction.other"].nearest.difference == pytest.approx(0.4)
    text = data_seeds_text([*same, *other])
    assert "Of 2 claims with several data seeds 1 differ" in text
    assert text.index("induction.other") < text.index("induction.same")


def test_one_data_seed_other_weights_or_another_declaration_are_not_compared():
    first = redrawn_record(0)
    assert redrawn([first]) == []
    elsewhere = redrawn_record(1)
    elsewhere["model"] = {**elsewhere["model"], "fingerprint": "another"}
    amended = redrawn_record(1)
    amended["claim"] = {**amended["claim"], "declaration_hash": "another"}
    assert redrawn([first, elsewhere]) == redrawn([first, amended]) == []
    assert data_seeds_text([first]) == ""
