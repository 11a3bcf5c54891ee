"""The claims on steering: on a random model none is supported; on a planted direction those that it makes true are."""

from __future__ import annotations

import re
from weakref import WeakKeyDictionary

import numpy as np
import pytest

from claims.steering import finding, mechanism
from claims.steering import test_layer as layers
from claims.steering.measurements import NAMES, template_means
from fixtures.prompts.contrasts import CONTRASTS
from harness.bound_claim import BoundClaim, Options
from harness.catalog import all_claims
from harness.mechanism import Mechanism, discovery_streams
from harness.models.model import load
from harness.session import Loaded, applies, measure
from harness.subjects import Subject, SubjectsFile
from harness.values import UnitValues
from tests.paths import REPOSITORY
from tests.word_tokenizer import save_word_tokenizer

CLAIMS = all_claims(REPOSITORY / "claims", mechanism="steering")
LAYERS = 4


def words() -> list[str]:
    """Every word of the contrasts, and those of Python's own documentation, of which neutral text is made."""
    from pydoc_data.topics import topics

    known = [word for contrast in CONTRASTS.values() for word in contrast.vocabulary()]
    return [*known, *(word for text in topics.values() for word in re.findall(r"\w+|[^\w\s]", text))]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("random-gpt2")
    size = save_word_tokenizer(folder, words())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=size, n_positions=512, n_embd=32, n_layer=LAYERS, n_head=4, bos_token_id=0, eos_token_id=1
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return load(f"path:{folder}")


@pytest.fixture(scope="module")
def steering():
    folder = REPOSITORY / "claims" / "steering"
    return Mechanism("steering", folder, SubjectsFile(folder / "none.toml", {}, {}), mechanism)


@pytest.fixture(scope="module")
def found(model):
    return mechanism.discover(model, discovery_streams("steering", fingerprint=model.fingerprint))


def test_discovery_names_a_place_and_a_dose_for_every_contrast(found):
    assert set(found.classes) == set(NAMES)
    for name in NAMES:
        (place,) = found.classes[name]
        assert re.fullmatch(r"[1-3]\.resid_pre", place)
        assert found.settings[name]["dose"] in finding.DOSES
        assert sum(found.frequencies[name].values()) == pytest.approx(1.0)  # every half-sample has one best layer


def test_discovery_says_where_no_dose_is_affordable(model, monkeypatch):
    for module in (finding, mechanism):
        monkeypatch.setattr(module, "AFFORDABLE", -1.0)
    monkeypatch.setattr(mechanism, "NAMES", NAMES[:1])
    streams = discovery_streams("steering", fingerprint=model.fingerprint)
    found = mechanism.discover(model, streams)
    assert found.settings[NAMES[0]]["dose"] == min(finding.DOSES)
    assert any(f"{NAMES[0]}: no dose is affordable" in note for note in found.notes)


@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.claim.id)
def test_no_claim_on_steering_is_supported_on_a_random_model(entry, model, steering, found):
    bound = BoundClaim(entry.claim, entry.test, entry.source, steering, model.id, Options(profile="quick"))
    subject = found.subject(entry.claim.subject, source="a test")
    record = measure(bound, loaded=Loaded(), target=model, subject=subject)
    assert record.verdict in {"refuted", "inconclusive", "too small", "invalid"}, record.judgement
    if record.verdict == "invalid":
        assert re.search("precondition|within 5 standard errors of zero", record.judgement["reason"])


def test_candidate_layers_are_about_ten_and_never_the_first():
    def of(n_layers):
        return finding.candidates(type("Sized", (), {"n_layers": n_layers})())

    assert of(30) == (3, 6, 9, 12, 15, 18, 21, 24, 27)
    assert of(12) == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    assert of(2) == (1,)
    assert of(1) == (0,)


def test_every_layer_of_the_catalogue_runs_on_smollm2_and_on_folders_alone():
    assert {entry.claim.id.split("-")[0] for entry in CLAIMS} == {f"steering.{name}" for name in NAMES}
    assert all(applies(entry.claim, "smollm2-135m-q4") and applies(entry.claim, "path:DIR") for entry in CLAIMS)


def units(values, clusters):
    names = tuple(f"u{number}" for number in range(len(clusters)))
    rows = tuple(f"{number}.resid_pre" for number in range(len(values)))
    return UnitValues(np.array(values, dtype=float), rows, names, tuple(clusters))


def test_template_means_are_means_within_templates():
    values = units([[1, 3, 10, 20]], "aabb")
    np.testing.assert_array_equal(template_means(values), [[2, 15]])


def test_the_nearest_rival_is_the_layer_whose_lead_is_hardest_to_keep_small():
    # Leads over the chosen layer by template: 0.1 +- 0 is far under the margin; 0.4 +- 0.05 is nearest to it by t.
    leads = units([[0.1, 0.1, 0.1, 0.1], [0.35, 0.45, 0.35, 0.45], [-3, 3, -3, 3]], "abcd")
    # t by hand: (0.1 - 0.5) / 0; (0.4 - 0.5) / 0.029 = -3.5; (0 - 0.5) / 1.73 = -0.29: it may lead by much.
    assert layers.LEAD.at_most == 0.5
    assert layers.nearest_rival(leads) == "2.resid_pre"


def test_shares_of_the_best_layer_sum_to_one_and_go_to_the_largest():
    by_layer = units([[1, 1, 1, 1], [3, 3, 3, 3]], "abcd")
    shares = layers.shares_of_best(by_layer, np.random.default_rng(0))
    np.testing.assert_array_equal(shares, [0, 1])


def test_other_layers_than_the_candidates_can_be_asked_for(model, monkeypatch):
    monkeypatch.setattr(finding, "CANDIDATES", 2)
    monkeypatch.setattr(finding, "_FOUND", WeakKeyDictionary())
    monkeypatch.setattr(finding, "_PERMUTED", WeakKeyDictionary())
    assert finding.candidates(model) == (2,)
    subject = Subject("tense", ("3.resid_pre",), "given", "--subjects", "given", {}, settings={"dose": 1.0})
    held = finding.held(model, subject)
    assert held.direction.layer == 3
    assert held.dose == 1.0
    assert {each.layer for each in held.others.values()} == {3}
    assert {each.layer for each in held.permuted.values()} == {2}  # the procedure knows its candidates alone
    assert len(held.permuted) == finding.PERMUTED


def test_foreign_directions_point_where_they_do_better_and_permuted_ones_stay(model):
    subject = Subject("tense", ("2.resid_pre",), "given", "a test", "given", {})
    held = finding.held(model, subject)
    controls = held.controls(lambda found, directions: -np.ones(len(directions)), most=3)
    for name in held.others:
        np.testing.assert_array_equal(controls[name][name].vector, -held.others[name].vector)
    for name, direction in controls[finding.PERMUTED_LABELS].items():
        np.testing.assert_array_equal(direction.vector, held.permuted[name].vector)
    assert [len(some) for some in controls.values()] == [3, 3, 1, 1, 1]
