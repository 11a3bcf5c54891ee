"""Which tests there will be and what they cost, without loading a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.bound_claim import BoundClaim, Options
from harness.declaration import Cost
from harness.errors import DeclarationError, ModelError
from harness.mechanism import Mechanism
from harness.models.registry import Availability
from harness.planning import (
    availability_of,
    check_model_ids,
    default_models,
    given_subject_problems,
    item_slug,
    parse_subjects,
    plan_lines,
    subject_problems,
)
from harness.plugin_left_out import left_out_lines
from harness.subjects import SubjectsFile
from tests.test_session import CLAIM, REGISTERED, of_weights
from tests.test_session import body as model_body

HERE = Availability(here=True, where=Path("weights"), bytes=2**20, remedy="")
MISSING = Availability(here=False, where=None, bytes=0, remedy="mechclaims train it")


def mechanism(models=None, *, announced=None):
    return Mechanism("toy", Path("claims/toy"), SubjectsFile(Path("subjects.toml"), models or {}, {}), announced)


def bound(test=model_body, *, model_id="induction-2l@0", claim=CLAIM, **options):
    return BoundClaim(claim, test, "claims/toy/test_toy.py::test_it", mechanism(), model_id, Options(**options))


@pytest.fixture
def here(monkeypatch):
    """Every model is here."""
    monkeypatch.setattr("harness.planning.availability", lambda spec: HERE)


@pytest.fixture
def missing(monkeypatch):
    """No model is here."""
    monkeypatch.setattr("harness.planning.availability", lambda spec: MISSING)


def test_registered_models_are_the_default_whether_or_not_they_are_here(missing):
    registered = mechanism({"gpt2-small": REGISTERED, "induction-2l@1": REGISTERED, "induction-2l@0": REGISTERED})
    assert default_models(registered, profile="default", weights=[]) == [
        "gpt2-small",
        "induction-2l@1",
        "induction-2l@0",
    ]
    assert default_models(registered, profile="quick", weights=[]) == ["induction-2l@0"]
    assert default_models(registered, profile="quick", weights=["gpt2-small"]) == ["gpt2-small", "induction-2l@0"]


def test_a_claim_without_a_subject_is_also_measured_on_the_shipped_models_that_it_names(missing):
    registered = mechanism({"addition-5d-2l@0": REGISTERED})
    modular = replace(CLAIM, subject=None, models=("modular-addition-113@*", "path:*"))
    found = default_models(registered, profile="default", weights=[], claim=modular)
    assert found == ["addition-5d-2l@0", *(f"modular-addition-113@{seed}" for seed in range(5))]
    assert default_models(registered, profile="quick", weights=[], claim=modular)[1:] == ["modular-addition-113@0"]
    anything = replace(modular, models=("*",))
    assert default_models(registered, profile="default", weights=[], claim=anything) == ["addition-5d-2l@0"]
    with_subject = replace(modular, subject="carry")
    assert default_models(registered, profile="default", weights=[], claim=with_subject) == ["addition-5d-2l@0"]


def test_a_mechanism_without_registrations_is_measured_on_every_model_that_is_here(here):
    found = default_models(mechanism(), profile="default", weights=[])
    assert "gpt2-small" in found
    assert "induction-2l@4" in found
    assert not [name for name in found if name.startswith("induction-1l")]  # the reference model of one claim


def test_a_mechanism_without_registrations_has_no_models_where_none_is_here(missing):
    assert default_models(mechanism(), profile="default", weights=[]) == []


def test_an_unknown_model_id_is_refused_before_anything_runs():
    check_model_ids(["induction-2l@0", "gpt2-small"])
    with pytest.raises(ModelError, match="Did you mean 'gpt2-small'"):
        check_model_ids(["induction-2l@0", "gpt2-smal"])


def test_a_weights_file_makes_a_claim_about_weights_possible_and_no_other(missing, tmp_path):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"12345")
    given = {"weights": {"induction-2l@0": file}}
    assert availability_of(bound(of_weights, **given)) == Availability(here=True, where=file, bytes=5, remedy="")
    assert availability_of(bound(**given)).here is False
    assert "--weights induction-2l@0=FILE)" in availability_of(bound(of_weights)).remedy
    assert availability_of(bound()).remedy == "mechclaims train it"


def test_subjects_are_checked_against_the_registry_without_loading():
    wrong = {"classes": {"induction": {**REGISTERED["classes"]["induction"], "heads": ["2.0", "1.8"]}}}
    problems = subject_problems(CLAIM, mechanism({"induction-2l@0": wrong}), models=["induction-2l@0"])
    assert len(problems) == 2
    assert "2.0 is not in model 'induction-2l@0', which has layers 0..1" in problems[0]
    assert subject_problems(CLAIM, mechanism({"induction-2l@0": REGISTERED}), models=["induction-2l@0"]) == []
    assert subject_problems(replace(CLAIM, subject=None), mechanism(), models=["induction-2l@0"]) == []


def test_a_class_that_a_registered_model_lacks_is_a_problem_and_discovery_fills_in_for_others():
    discovering = mechanism({"induction-2l@0": {"classes": {}}}, announced=SimpleNamespace(discover=print))
    assert "no class 'induction'" in subject_problems(CLAIM, discovering, models=["induction-2l@0"])[0]
    assert subject_problems(CLAIM, discovering, models=["induction-2l@1"]) == []
    assert "no class 'induction'" in subject_problems(CLAIM, mechanism(), models=["induction-2l@1"])[0]


def test_a_class_that_discovery_found_empty_is_no_problem_and_one_without_an_entry_is():
    empty = {"classes": {"induction": {**REGISTERED["classes"]["induction"], "heads": []}}}
    registered = mechanism({"induction-2l@0": empty})
    assert subject_problems(CLAIM, registered, models=["induction-2l@0"]) == []
    missing = subject_problems(replace(CLAIM, subject="copier"), registered, models=["induction-2l@0"])
    assert "no class 'copier' for model 'induction-2l@0'" in missing[0]


def test_heads_that_were_selected_where_they_are_claimed_are_refused_for_inference_alone():
    chosen = {**REGISTERED["classes"]["induction"], "split": "confirmation"}
    registered = mechanism({"induction-2l@0": {"classes": {**REGISTERED["classes"], "previous-token": chosen}}})
    (problem,) = subject_problems(CLAIM, registered, models=["induction-2l@0"])
    assert "class 'previous-token' of model 'induction-2l@0' was selected on the confirmation split" in problem
    again = replace(CLAIM, tier="reliability")
    assert subject_problems(again, registered, models=["induction-2l@0"]) == []


def test_heads_that_the_claims_own_metric_selected_are_refused_for_inference_alone():
    own = {**REGISTERED["classes"]["induction"], "selected_by": CLAIM.metric.name.upper()}
    registered = mechanism({"induction-2l@0": {"classes": {"induction": own}}})
    (problem,) = subject_problems(replace(CLAIM, subject="induction"), registered, models=["induction-2l@0"])
    assert "which is the claim's own metric: measure another one, or declare tier=" in problem
    again = replace(CLAIM, subject="induction", tier="reliability")
    assert subject_problems(again, registered, models=["induction-2l@0"]) == []


def test_given_heads_are_checked_against_the_registry_without_loading():
    (problem,) = given_subject_problems(bound(subjects=("1.0", "9.9")))
    assert "subject 9.9 is not in model 'induction-2l@0', which has layers 0..1" in problem
    assert given_subject_problems(bound(subjects=("1.0",))) == []
    assert given_subject_problems(bound(subjects=("9.9",), claim=replace(CLAIM, subject=None))) == []


def test_given_subjects_are_heads_or_a_file(tmp_path):
    assert parse_subjects("5.1, 5.5") == ("5.1", "5.5")
    assert parse_subjects("12.resid_post") == ("12.resid_post",)
    path = tmp_path / "found.toml"
    path.write_text(
        '[models."m".classes.induction]\nheads = ["1.0", "1.6"]\nselected_by = "s"\nsource = "s"\nsplit = "given"\n',
        encoding="utf-8",
    )
    assert parse_subjects(str(path)) == path
    path.write_text("heads = [", encoding="utf-8")
    with pytest.raises(DeclarationError, match="not valid TOML"):
        parse_subjects(str(path))
    path.write_text('heads = ["1.0"]\n', encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"names no model; expected \[models\."):
        parse_subjects(str(path))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no-such-file", "neither heads"),
        ("5", "not a head"),
        ("5.1.2", "not a head"),
        (",", "names no head"),
        ("1.0,1.1,1.0", "names 1.0 twice"),
    ],
)
def test_what_names_no_heads_is_refused(given, said):
    with pytest.raises(DeclarationError, match=said):
        parse_subjects(given)


def test_the_plan_counts_units_tokens_and_time_and_names_what_is_missing(here):
    costly = replace(CLAIM, cost=Cost(draws=10, tokens=50))
    lines = plan_lines([bound(claim=costly), bound(claim=replace(CLAIM, units=None))])
    # 10 draws x 50 tokens x 24 units; a model under 1 MiB is bound by overhead: 100,000 tokens a second.
    assert "24 units, 12,000 token-forwards, about 0 s" in lines[0]
    assert "exact, no units" in lines[1]
    assert lines[-1].startswith("2 tests, about ")
    assert "40 units, 20,000" in plan_lines([bound(claim=costly, n_units=40)])[0]
    assert "16 units, 8,000" in plan_lines([bound(claim=costly, profile="quick")])[0]


def test_the_plan_says_what_would_bring_a_missing_model(missing):
    assert plan_lines([bound()])[0].endswith("not run; mechclaims train it")


def test_a_local_folder_becomes_a_test_id_without_brackets_or_slashes_and_two_folders_differ():
    assert item_slug("induction-2l@0") == "induction-2l@0"
    slugs = {item_slug("path:/a/my model[1]"), item_slug("path:/b/my model[1]")}
    assert len(slugs) == 2
    assert all(not set("/:[] ") & set(slug) for slug in slugs)


# -- claims that profile and models leave out ----------------------------------------------------------------------


def left_out(*claims, profile="default", asked=None):
    return list(left_out_lines(claims, profile=profile, asked=asked))


def test_claims_that_a_profile_or_a_model_leaves_out_are_named_with_what_asks_them():
    slow = replace(CLAIM, id="toy.slow", profiles=("default", "full"))
    elsewhere = replace(CLAIM, models=("gpt2-small", "path:*"))
    assert left_out(slow, elsewhere, profile="quick", asked=["induction-2l@0"]) == [
        "left out, not in profile quick: toy.slow; asked with --profile default or full",
        "left out, not about induction-2l@0: toy.larger; asked with --model, one of gpt2-small, path:*",
    ]
    only = replace(CLAIM, models=("gpt2-small",))
    assert left_out(only, profile="quick") == [
        "left out, about no model that profile quick measures by default: toy.larger; asked with --model gpt2-small"
    ]


def test_a_pattern_that_no_known_model_matches_is_named_with_the_nearest_family():
    (line,) = left_out(replace(CLAIM, models=("induction-3l@*",)))
    assert "no known model matches induction-3l@*. Did you mean 'induction-" in line


def test_many_claims_that_are_left_out_for_one_reason_are_counted():
    claims = [replace(CLAIM, id=f"toy.claim-{number}", models=("gpt2-small",)) for number in range(12)]
    (line,) = left_out(*claims, asked=["induction-2l@0"])
    assert "toy.claim-7, 4 more; asked" in line
