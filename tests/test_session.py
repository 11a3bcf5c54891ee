"""From a test function and a model to a record, with values made by numpy in place of a model's."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness import registration
from harness.bound_claim import BoundClaim, Options, applies, options_of
from harness.claim import unit_values
from harness.errors import DeclarationError, ModelError, ModelNotHere, NotSuited
from harness.evidence import from_json, plain_from_json
from harness.mechanism import Discovery, Mechanism
from harness.models.registry import find
from harness.population import matched_sets
from harness.sanity import Battery
from harness.session import Loaded, discovery_streams, measure, measuring, not_run, prepare, run, streams_of
from harness.store import write_record
from harness.subjects import Expectation, SubjectsFile
from harness.verifying import verify_record
from tests.paths import REPOSITORY
from tests.toy_claim import CLAIM

MODEL = SimpleNamespace(id="induction-2l@0", fingerprint="f" * 64, n_layers=2, n_heads=8, n_kv_heads=8, offset=2.0)
REGISTERED = {"classes": {"induction": {"heads": ["1.0"], "selected_by": "m", "source": "s", "split": "discovery"}}}


def body(model, subject, evidence, rng):
    ids = [f"u{i}" for i in range(evidence.n_units)]
    evidence.prompts(sha256="0" * 64, n=len(ids), clusters=len(ids), examples=["1 2 1 2"])
    for name, mean in (("treated", model.offset), ("same dose", 0.0), ("shuffled", 0.0)):
        values = rng.for_(name).normal(mean, 0.3, (len(subject.heads), len(ids)))
        filled = unit_values(values, components=subject.heads, units=ids)
        evidence.treated(filled) if name == "treated" else evidence.control(name, filled)
    evidence.decide()


def undecided(model, evidence):
    pass


def greedy(model, evidence, tokenizer):
    pass


def of_weights(weights, evidence):
    pass


def bound(test=body, *, models=None, expectations=None, announced=None, claim=CLAIM, **options):
    subjects = SubjectsFile(Path("subjects.toml"), models or {}, expectations or {})
    mechanism = Mechanism("toy", Path("claims/toy"), subjects, announced)
    return BoundClaim(claim, test, "claims/toy/test_toy.py::test_it", mechanism, "induction-2l@0", Options(**options))


def measured(entry, **replaced):
    return measure(entry, loaded=Loaded(), **{"target": MODEL, **replaced})


def registered(**options):
    return bound(models={"induction-2l@0": REGISTERED}, **options)


def test_a_record_holds_claim_model_subject_values_verdict_and_cost():
    record = measured(registered())
    assert record.verdict == "supported"
    assert record.claim["declaration_hash"] == CLAIM.hash()
    assert record.model["fingerprint"] == MODEL.fingerprint
    assert record.subject["components"] == ("1.0",)
    assert record.expectation == {"verdict": "supported", "reason": ""}
    assert len(record.measured["treated"]["values"][0]) == record.options["n_units"] == 24
    assert record.exploratory is False
    assert record.cost["seconds"] >= 0
    assert from_json(record.to_json(), where="here").content_hash == record.content_hash


def test_two_measurements_are_equal_but_for_cost_and_another_seed_is_another_measurement():
    first, second = measured(registered()), measured(registered())
    assert first.content_hash == second.content_hash
    assert measured(registered(data_seed=1)).content_hash != first.content_hash


def test_where_the_test_lies_and_the_device_do_not_enter_the_hash_and_the_dtype_does():
    record = measured(registered())
    elsewhere = replace(registered(), source="/somewhere/else/test_toy.py::test_it")
    assert measured(elsewhere).content_hash == record.content_hash
    assert measured(registered(device="cuda")).content_hash == record.content_hash
    assert measured(registered(dtype="float64")).content_hash != record.content_hash


def test_another_declaration_or_model_draws_other_prompts():
    def first_draw(claim, fingerprint="f", seed=0):
        return streams_of(claim, fingerprint=fingerprint, data_seed=seed).for_("prompts").random()

    draws = {
        first_draw(CLAIM),
        first_draw(replace(CLAIM, sesoi=0.6)),
        first_draw(replace(CLAIM, version=2)),
        first_draw(CLAIM, fingerprint="g"),
        first_draw(CLAIM, seed=1),
        streams_of(CLAIM, fingerprint="f", data_seed=0, split="exploratory").for_("prompts").random(),
        discovery_streams("toy", fingerprint="f").for_("prompts").random(),
    }
    assert len(draws) == 7


def test_profiles_and_options_choose_the_number_of_units():
    assert measured(registered(profile="quick")).options["n_units"] == 16
    record = measured(registered(n_units=40))
    assert (record.options["n_units"], record.exploratory, record.expectation) == (40, True, None)


def test_given_heads_are_exploratory_and_keep_the_models_other_classes():
    record = measured(registered(subjects=("1.2", "1.3")))
    assert record.exploratory is True
    assert record.subject["components"] == ("1.2", "1.3")
    assert record.subject["split"] == "given"


def test_heads_that_a_user_names_are_asked_on_other_prompts_than_the_registered_ones(tmp_path):
    path = tmp_path / "found.toml"
    origin = 'selected_by = "m"\nsource = "s"\nsplit = "discovery"\n'
    path.write_text(f'[models."induction-2l@0".classes.induction]\nheads = ["1.0"]\n{origin}', encoding="utf-8")
    confirmed = measured(registered())
    assert confirmed.seeds["split"] == "confirmation"
    for entry in (registered(subjects=("1.0",)), registered(subjects_file=path)):
        explored = measured(entry)
        assert explored.seeds["split"] == "exploratory"
        assert explored.subject["components"] == confirmed.subject["components"]
        assert not set(explored.measured["treated"]["values"][0]) & set(confirmed.measured["treated"]["values"][0])


def test_another_number_of_units_and_heads_put_in_by_the_harness_keep_the_confirmations_prompts():
    confirmed = measured(registered()).measured["treated"]["values"][0]
    entry = registered(ignore_preconditions=True)
    subject = entry.mechanism.subjects.subject("induction-2l@0", class_name="induction")
    for record in (measured(registered(n_units=16)), measured(entry, subject=replace(subject, heads=("1.7",)))):
        assert record.seeds["split"] == "confirmation"
        values = record.measured["treated"]["values"][0]
        np.testing.assert_array_equal(values, confirmed[: record.options["n_units"]])


def verification(record, **edited):
    content = plain_from_json(record.to_json(), where="here")
    return verify_record({**content, **edited}, file="here")


def test_exploratory_records_are_computed_again_with_their_own_resamples_and_cannot_be_passed_off_as_confirmed():
    record = measured(registered(subjects=("1.0",)))
    assert verification(record).state == "agrees"
    assert verification(record, exploratory=False).state == "differs"
    older = measured(registered(n_units=40))  # as a record with other heads was written before
    assert (older.seeds["split"], verification(older).state) == ("confirmation", "agrees")


def failing_precondition(model, subject, evidence, rng):
    evidence.precondition("loss", value=0.1, at_least=0.5)
    body(model, subject, evidence, rng)


def test_a_record_that_ignored_its_preconditions_is_exploratory_says_so_and_is_computed_again():
    asked = {"models": {"induction-2l@0": REGISTERED}, "test": failing_precondition}
    assert measured(bound(**asked)).verdict == "invalid"
    record = measured(bound(**asked, ignore_preconditions=True))
    assert (record.verdict, record.exploratory, record.expectation) == ("supported", True, None)
    assert record.options["ignore_preconditions"] is True
    assert "they were to be ignored" in record.notes[0]
    assert verification(record).state == "agrees"
    assert verification(record, exploratory=False).state == "differs"


def test_another_precision_is_a_second_draw_and_no_verdict():
    assert measured(registered()).exploratory is False
    record = measured(registered(dtype="float64"))
    assert (record.exploratory, record.expectation, record.options["dtype"]) == (True, None, "float64")


def test_heads_that_the_model_does_not_have_are_refused_by_name():
    with pytest.raises(DeclarationError, match=r"toy\.larger.*subject 2\.0 is not in model"):
        measured(registered(subjects=("2.0",)))


def test_heads_that_nobody_registered_are_discovered_on_the_discovery_split():
    seen = []

    def discover(model, streams):
        seen.append(streams)
        return Discovery({"induction": ("1.5",)}, {"induction": "a metric"})

    lines = []
    entry = bound(announced=SimpleNamespace(discover=discover))
    record = measured(entry, announce=lines.append)
    assert record.subject["components"] == ("1.5",)
    assert record.subject["selected_by"] == "a metric"
    assert seen == [discovery_streams("toy", fingerprint=MODEL.fingerprint)]
    assert "discovering" in lines[0]
    assert record.expectation is None


def test_without_heads_and_discovery_the_error_names_the_file_and_the_option():
    with pytest.raises(DeclarationError, match=r"subjects\.toml, or name some with --subjects"):
        measured(bound())


def discovering(**classes):
    """A mechanism whose discovery finds these heads."""
    metrics = dict.fromkeys(classes, "a metric")
    return SimpleNamespace(discover=lambda model, streams: Discovery(classes, metrics))


def test_where_discovery_finds_no_head_the_claim_is_invalid_and_its_body_not_run():
    record = measured(bound(undecided, announced=discovering(induction=())))
    assert record.verdict == "invalid"
    assert "discovery found no head of class 'induction'" in record.judgement["reason"]
    assert (record.subject, record.expectation, record.measured) == (None, None, {})
    assert from_json(record.to_json(), where="here").verdict == "invalid"


def needs_two(model, subject, evidence):
    subject.of_class("previous-token")


def test_where_discovery_finds_no_head_of_a_second_class_the_claim_is_invalid_too():
    entry = bound(needs_two, announced=discovering(induction=("1.5",), **{"previous-token": ()}))
    record = measured(entry)
    assert record.verdict == "invalid"
    assert "no head of class 'previous-token'" in record.judgement["reason"]
    assert record.subject["components"] == ("1.5",)


@pytest.mark.parametrize("claim_id", ["induction.second-copy", "induction.prefix-matching"])
def test_a_vocabulary_too_small_for_the_prompts_makes_a_claim_invalid_with_and_without_a_subject(claim_id):
    record = run(claim_id, model="addition-5d-1l@0")
    assert record.verdict == "invalid"
    assert "from a pool of 11: the model's vocabulary is too small" in record.judgement["reason"]


EMPTY = {"classes": {"induction": {"heads": [], "selected_by": "m", "source": "the command", "split": "discovery"}}}


def test_a_claim_about_a_class_that_is_registered_as_empty_is_invalid_and_given_heads_are_still_measured():
    record = measured(bound(undecided, models={"induction-2l@0": EMPTY}))
    assert record.verdict == "invalid"
    assert "discovery found no head of class 'induction' (the command)" in record.judgement["reason"]
    given = measured(bound(models={"induction-2l@0": EMPTY}, subjects=("1.3",)))
    assert given.subject["components"] == ("1.3",)


def test_a_claim_is_invalid_where_the_file_of_the_user_says_that_the_class_is_empty(tmp_path):
    path = tmp_path / "found.toml"
    origin = 'selected_by = "m"\nsource = "s"\nsplit = "discovery"\n'
    path.write_text(f'[models."induction-2l@0".classes.induction]\nheads = []\n{origin}', encoding="utf-8")
    record = measured(registered(subjects_file=path))
    assert (record.verdict, record.exploratory) == ("invalid", True)


def counting(runs, **frequencies):
    """A mechanism whose discovery appends the fingerprint to `runs` each time that it runs."""

    def discover(model, streams, *, say):
        runs.append(model.fingerprint)
        say("half-sample 1 of 20")
        return Discovery({"induction": ("1.5",)}, {"induction": "a metric"}, **frequencies)

    return SimpleNamespace(discover=discover)


def test_discovery_runs_once_for_all_claims_on_one_model_in_one_folder():
    runs, lines, loaded = [], [], Loaded()
    entry = bound(announced=counting(runs))
    for claim in (CLAIM, replace(CLAIM, id="toy.second")):
        record = measure(replace(entry, claim=claim), loaded=loaded, target=MODEL, announce=lines.append)
        assert record.subject["components"] == ("1.5",)
    assert runs == [MODEL.fingerprint]
    assert lines[:2] == ["toy: discovering heads of induction-2l@0 on the discovery split", "half-sample 1 of 20"]
    assert sum("discovering" in line for line in lines) == 1

    other = SimpleNamespace(**{**vars(MODEL), "fingerprint": "e" * 64})
    measure(entry, loaded=loaded, target=other)
    elsewhere = replace(entry, mechanism=replace(entry.mechanism, folder=Path("elsewhere/toy")))
    measure(elsewhere, loaded=loaded, target=MODEL)
    assert runs == [MODEL.fingerprint, "e" * 64, MODEL.fingerprint]


def test_what_was_discovered_is_dropped_with_the_model(monkeypatch):
    def load(model_id, **options):
        return SimpleNamespace(**{**vars(MODEL), "id": model_id})

    monkeypatch.setattr("harness.models.model.load", load)
    runs, loaded = [], Loaded()
    entry = bound(announced=counting(runs))
    for model_id in ("induction-2l@0", "induction-2l@0", "induction-2l@1", "induction-2l@0"):
        measure(replace(entry, model_id=model_id), loaded=loaded)
    assert len(runs) == 3


def test_a_discovery_that_fails_is_not_kept():
    runs = []

    def discover(model, streams):
        runs.append(model)
        raise ModelError("out of memory")

    loaded, entry = Loaded(), bound(announced=SimpleNamespace(discover=discover))
    for _ in range(2):
        with pytest.raises(ModelError):
            measure(entry, loaded=loaded, target=MODEL)
    assert len(runs) == 2


def test_the_record_says_how_stable_the_subject_is_where_that_was_counted():
    counted = counting([], frequencies={"induction": {"1.5": 0.95}}, half_samples=20)
    record = measured(bound(announced=counted))
    assert record.subject["selection_frequency"] == [0.95]
    assert record.subject["half_samples"] == 20
    assert from_json(record.to_json(), where="here").content_hash == record.content_hash


def test_a_record_of_a_subject_that_nobody_counted_has_the_keys_and_the_hash_that_it_always_had():
    record = measured(registered())
    assert list(record.subject) == ["class", "components", "source", "selected_by", "split"]
    frequencies = {"1.0": 1.0}
    subject = registered().mechanism.subjects.subject("induction-2l@0", class_name="induction")
    replaced = replace(subject, heads=("1.7",), frequencies=frequencies, half_samples=20)
    by_hand = measured(registered(), subject=replaced)
    assert list(by_hand.subject) == list(record.subject)  # 1.7 was never counted


def test_a_negative_replaces_model_and_subject_of_the_same_claim():
    entry = registered(ignore_preconditions=True)
    subject = entry.mechanism.subjects.subject("induction-2l@0", class_name="induction")
    record = measured(
        entry, target=SimpleNamespace(**{**vars(MODEL), "offset": 0.0}), subject=replace(subject, heads=("1.7",))
    )
    assert record.verdict != "supported"
    assert record.subject["components"] == ("1.7",)


def test_a_registered_verdict_is_kept_beside_the_one_that_was_reached():
    expected = {"toy.larger": {"induction-2l@0": Expectation("refuted", "it repairs itself")}}
    record = measured(registered(expectations=expected))
    assert record.expectation == {"verdict": "refuted", "reason": "it repairs itself"}
    assert record.verdict == "supported"


def test_nothing_is_refuted_before_a_baseline_shows_the_assay_at_work():
    target = SimpleNamespace(**{**vars(MODEL), "offset": 0.0})
    assert measured(registered(), target=target).verdict == "inconclusive"


def test_refuted_is_said_where_the_baseline_beside_the_claims_shows_the_assay_at_work(tmp_path):
    mechanism = replace(registered().mechanism, folder=tmp_path / "claims" / "toy")
    entry = replace(registered(), mechanism=mechanism)
    absent = SimpleNamespace(**{**vars(MODEL), "offset": 0.0})
    write_record(measured(entry), folder=tmp_path / "reports" / "baseline")
    assert measured(entry, target=absent).verdict == "refuted"
    for other in (replace(CLAIM, version=2), replace(CLAIM, sesoi=CLAIM.sesoi * 2)):
        assert measured(replace(entry, claim=other), target=absent).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("code", "earlier", "verdict"),
    [("0" * 64, (), "inconclusive"), ("0" * 64, ("0" * 12,), "refuted"),
     ("1" * 64, (), "refuted"), (None, (), "refuted")],
)  # fmt: skip
def test_an_assay_is_shown_by_this_code_or_by_what_an_amendment_replaced(tmp_path, monkeypatch, code, earlier, verdict):
    mechanism = replace(registered().mechanism, folder=tmp_path / "claims" / "toy")
    entry = replace(registered(), mechanism=mechanism)
    found = measured(entry)
    write_record(replace(found, claim={**found.claim, "body_sha256": code}), folder=tmp_path / "reports" / "baseline")
    lock = SimpleNamespace(body_sha256="1" * 64, earlier_code=lambda: earlier)
    monkeypatch.setattr(registration, "body_of", lambda test, mechanism: "1" * 64)
    monkeypatch.setattr(registration, "_registered", lambda bound: lock)
    assert measured(entry, target=SimpleNamespace(**{**vars(MODEL), "offset": 0.0})).verdict == verdict


def test_a_body_that_never_decides_or_asks_for_something_unknown_is_refused():
    entry = bound(undecided, claim=replace(CLAIM, subject=None))
    with pytest.raises(DeclarationError, match=r"without evidence\.decide"):
        measured(entry)
    with pytest.raises(DeclarationError, match="takes 'tokenizer'; a claim takes model, weights"):
        measured(bound(greedy, claim=replace(CLAIM, subject=None)))


def test_a_claim_that_was_not_run_says_why_and_what_brings_the_model():
    record = not_run(registered(), reason="not here.", remedy="mechclaims train induction-2l@0")
    assert record.verdict == "not run"
    assert record.not_run == {"reason": "not here.", "remedy": "mechclaims train induction-2l@0"}
    assert from_json(record.to_json(), where="here").verdict == "not run"


def test_the_command_names_every_option_that_is_not_the_default():
    assert registered().command() == "pytest claims/toy/test_toy.py::test_it --model induction-2l@0"
    entry = registered(
        data_seed=3, profile="quick", n_units=16, subjects=("1.0", "1.1"), dtype="float64", device="cuda",
        weights={"induction-2l@0": Path("w")},
    )  # fmt: skip
    for part in (
        "--data-seed 3", "--profile quick", "--n-units 16", "--subjects 1.0,1.1", "--dtype float64", "--device cuda",
    ):  # fmt: skip
        assert part in entry.command()
    assert "--weights" not in entry.command(), "this claim reads no file"
    assert "--model 'path:my models/gpt2'" in replace(entry, model_id="path:my models/gpt2").command()


def test_a_claim_applies_to_the_models_that_match_its_patterns():
    assert applies(CLAIM, "path:/anything")
    seeds = replace(CLAIM, models=("induction-2l@*", "gpt2-small"))
    assert [applies(seeds, name) for name in ("induction-2l@3", "gpt2-small", "gpt2-medium")] == [True, True, False]


def test_one_model_is_in_memory_and_asked_for_again_is_not_loaded_again(monkeypatch):
    loads = []

    def load(model_id, **options):
        loads.append((model_id, options["dtype"]))
        return SimpleNamespace(id=model_id)

    monkeypatch.setattr("harness.models.model.load", load)
    loaded = Loaded()
    first = loaded.get("a", device="cpu", dtype="float32")
    assert loaded.get("a", device="cpu", dtype="float32") is first
    loaded.get("b", device="cpu", dtype="float32")
    loaded.get("a", device="cpu", dtype="float64")
    assert loads == [("a", "float32"), ("b", "float32"), ("a", "float64")]


def test_the_model_is_loaded_by_its_id_where_no_other_is_given(monkeypatch):
    monkeypatch.setattr("harness.models.model.load", lambda model_id, **options: MODEL)
    assert prepare(registered(), loaded=Loaded()).target is MODEL


def test_measuring_computes_no_gradients_allows_a_second_model_and_leaves_torch_as_it_was():
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    with contextlib.suppress(KeyError), measuring(registered()):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()  # a body may load the one-layer twin
        raise KeyError("a body may fail")
    assert torch.are_deterministic_algorithms_enabled() is before
    assert torch.is_grad_enabled()


def test_a_claim_about_weights_alone_imports_no_torch_to_be_measured():
    code = (
        "import sys\nfrom harness.session import measuring\nfrom tests.test_session import bound, of_weights\n"
        "entry = bound(of_weights)\nassert entry.needs_weights_only\n"
        "with measuring(entry):\n    pass\nprint('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


FILE = """
import numpy as np
from harness.claim import Control, Metric, Units, claim, unit_values

@claim(
    id="toy.larger", paper="none2026", statement="Treated values are larger.",
    metric=Metric("value", unit="nats"), sesoi=0.5, sesoi_reason="a toy", alternative="greater",
    controls=(Control("shuffled", "input"), Control("permuted", "label")),
    rival="noise", exposed_by="shuffled", units=Units(default=24, quick=16, reason="a toy"),
)
def test_larger(model, evidence, rng):
    units = [f"unit-{i}" for i in range(evidence.n_units)]
    for name, mean in (("treated", 2.0), ("shuffled", 0.0), ("permuted", 0.0)):
        values = unit_values(rng.for_(name).normal(mean, 0.5, len(units)), components=["model"], units=units)
        evidence.treated(values) if name == "treated" else evidence.control(name, values)
    evidence.decide()
"""


@pytest.fixture
def claims(tmp_path, monkeypatch):
    """A claims folder with one claim, and a loader that returns a stand-in."""
    folder = tmp_path / "claims" / "toy"
    folder.mkdir(parents=True)
    (folder / "test_toy.py").write_text(FILE, encoding="utf-8")
    monkeypatch.setattr("harness.models.model.load", lambda model_id, **options: MODEL)
    monkeypatch.setattr("harness.sanity.run_battery", lambda model: Battery(model.id, model.fingerprint, (), 0.0))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path / "claims"


def test_a_claim_runs_from_python_by_its_id(claims):
    record = run("toy.larger", model="induction-2l@0", claims=claims, n_units=16)
    assert record.verdict == "supported"
    assert record.exploratory is True
    assert np.asarray(record.measured["treated"]["values"]).shape == (1, 16)


def test_an_unknown_claim_or_model_is_answered_with_the_known_ones(claims):
    with pytest.raises(DeclarationError, match=r"no claim 'toy\.smaller'.*there are: toy\.larger"):
        run("toy.smaller", model="induction-2l@0", claims=claims)
    with pytest.raises(DeclarationError, match="there are: none"):
        run("other.larger", model="induction-2l@0", claims=claims)
    with pytest.raises(ModelError, match="unknown"):
        run("toy.larger", model="no-such-model", claims=claims)


def test_a_model_that_the_claim_is_not_about_is_refused(claims):
    path = claims / "toy" / "test_toy.py"
    path.write_text(FILE.replace('paper="none2026"', 'paper="none2026", models=("induction-2l@*",)'), encoding="utf-8")
    assert run("toy.larger", model="induction-2l@0", claims=claims).verdict == "supported"
    with pytest.raises(DeclarationError, match=r"is not about 'induction-1l@0': it is about induction-2l@\*"):
        run("toy.larger", model="induction-1l@0", claims=claims)
    with pytest.raises(ModelError, match="unknown"):
        run("toy.larger", model="no-such-model", claims=claims)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"profile": "fast"}, "profile is 'fast'; one of quick, default, full"),
        ({"n_unit": 16}, r"there is no option 'n_unit'\. Did you mean 'n_units'\? There are profile, data_seed"),
        ({"subjects": "1.2"}, r"subjects is '1\.2'; give a tuple of heads such as \('5\.1', '5\.5'\)"),
        ({"subjects": ()}, "give a tuple of heads"),
        ({"subjects": (1.2,)}, "give a tuple of heads"),
        ({"subjects_file": "heads.toml"}, "give a pathlib.Path"),
        ({"subjects": ("1.2",), "subjects_file": Path("heads.toml")}, "give one of them"),
        ({"n_units": "16"}, "n_units is '16'; give a whole number from 2 on"),
        ({"n_units": 1, "data_seed": -1}, "n_units is 1.*; data_seed is -1; give a whole number from 0 on"),
        ({"memory_budget_mib": 0}, "memory_budget_mib is 0"),
        ({"ignore_preconditions": "no"}, "give True or False"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_with_what_is_allowed(claims, options, said):
    with pytest.raises(DeclarationError, match=said):
        run("toy.larger", model="induction-2l@0", claims=claims, **options)


def test_heads_in_a_list_are_heads_and_preconditions_that_are_ignored_make_a_record_exploratory(claims):
    assert options_of({"subjects": ["1.2", "1.3"]}) == Options(subjects=("1.2", "1.3"))
    assert run("toy.larger", model="induction-2l@0", claims=claims, ignore_preconditions=True).exploratory is True


UNSUITED = "0 of 95 names are single tokens"


def of_another_tokenizer(model, evidence):
    raise NotSuited(UNSUITED)


def of_a_model_that_is_unknown(model, evidence):
    find("induction-9l@0")


def of_a_second_model(model, evidence):
    raise ModelNotHere("not here.", remedy="bring it")


def test_a_claim_is_invalid_with_the_reason_where_the_tokenizer_does_not_suit_its_prompts():
    record = measured(bound(of_another_tokenizer, claim=replace(CLAIM, subject=None)))
    assert (record.verdict, record.judgement["reason"]) == ("invalid", UNSUITED)


def of_a_circuit_that_takes_all_heads(model, evidence):
    heads = [f"0.{head}" for head in range(model.n_heads)]
    matched_sets(heads, among=heads, exclude=heads, rng=np.random.default_rng(0))


def test_a_claim_is_invalid_with_the_reason_where_no_other_heads_are_left():
    record = measured(bound(of_a_circuit_that_takes_all_heads, claim=replace(CLAIM, subject=None)))
    assert record.verdict == "invalid"
    assert "no other matched set" in record.judgement["reason"]


def test_a_claim_is_invalid_with_the_reason_where_the_tokenizer_does_not_suit_discovery():
    def discover(model, streams):
        raise NotSuited(UNSUITED)

    record = measured(bound(announced=SimpleNamespace(discover=discover)))
    assert (record.verdict, record.judgement["reason"]) == ("invalid", UNSUITED)


@pytest.mark.parametrize("test", [of_a_model_that_is_unknown, of_a_second_model])
def test_what_the_harness_refuses_and_a_model_that_is_missing_make_no_claim_invalid(test):
    with pytest.raises(ModelError):
        measured(bound(test, claim=replace(CLAIM, subject=None)))


@pytest.mark.parametrize(
    ("model", "name", "said"),
    [
        ("induction-2l@0", "inducton", r"no class 'induction' .* Did you mean 'induction' where it says 'inducton'\?"),
        ("induction-2l@0", "name-mover", r"no class 'induction' .*; it has 'name-mover'\.$"),
        ("induction-2l@1", "induction", r"no class 'induction' .*2l@0'; it is about induction-2l@1\.$"),
    ],
)
def test_a_file_of_subjects_that_lacks_the_class_says_what_it_has_and_what_may_be_meant(tmp_path, model, name, said):
    path = tmp_path / "found.toml"
    entry = 'heads = ["1.0"]\nselected_by = "m"\nsource = "s"\nsplit = "discovery"\n'
    path.write_text(f'[models."{model}".classes.{name}]\n{entry}', encoding="utf-8")
    with pytest.raises(DeclarationError, match=said):
        measured(registered(subjects_file=path))
