"""The claims about the carry's direction: run end to end on a shipped model, and on its untrained twin.

Everything here stays on the discovery split: what decides on a shipped model is not looked at by tests.
"""

from __future__ import annotations

import numpy as np
import pytest

from claims.arithmetic import probe_measurements, probe_steering
from claims.arithmetic.probe_measurements import (
    PLACES,
    Site,
    decoded,
    decodings,
    matched_sums,
    mean_accuracy,
    most_decodable,
    sites_of,
    strata_of,
    streams_at,
    types_of,
)
from claims.arithmetic.probe_steering import CARRY, RANDOM, effects_by_site, most_used, steering
from fixtures.prompts.sums import answer_position, in_split
from harness.bound_claim import BoundClaim, Options
from harness.catalog import all_claims
from harness.errors import StatisticsError
from harness.models.model import load, untrained_twin
from harness.negatives import measured_on
from harness.seeding import Streams
from tests.one_thread import one_thread
from tests.paths import REPOSITORY

__all__ = ["one_thread"]

pytestmark = pytest.mark.usefixtures("one_thread", "discovery_only")

MODEL = "addition-5d-1l@0"
STREAMS = Streams(("test",))
IDS = ("arithmetic.carry-decodable", "arithmetic.carry-direction")
CLAIMS = [each for each in all_claims(REPOSITORY / "claims", mechanism="arithmetic") if each.claim.id in IDS]


@pytest.fixture(autouse=True)
def discovery_only(monkeypatch):
    for module in (probe_measurements, probe_steering):
        monkeypatch.setattr(module, "DECIDED_ON", "discovery")
    monkeypatch.setattr(probe_measurements, "TRAINING", 80)  # enough for a shipped model, and faster


@pytest.fixture(scope="module")
def model():
    return load(MODEL)


@pytest.fixture(scope="module")
def twin(model):
    return untrained_twin(model, 0)


@pytest.fixture(scope="module")
def found(model):
    return decodings(model, STREAMS)


def record_of(entry, target):
    bound = BoundClaim(entry.claim, entry.test, entry.source, entry.mechanism, MODEL, Options(profile="quick"))
    return measured_on(bound, target, subject=None)


def test_both_claims_are_there():
    assert {each.claim.id for each in CLAIMS} == set(IDS)


@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.claim.id)
def test_the_claims_hold_on_discovery_sums_of_a_trained_model(entry, model):
    record = record_of(entry, model)
    assert record.verdict == "supported", record.judgement


@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.claim.id)
def test_the_claims_are_not_supported_on_the_untrained_twin(entry, twin):
    record = record_of(entry, twin)
    assert record.verdict in {"refuted", "too small", "inconclusive"}, record.judgement


@pytest.mark.parametrize("place", PLACES)
def test_matched_sums_have_as_many_carries_as_not_and_tell_them_by_neither_digit_nor_pair_sum(place):
    sums = matched_sums(4_000, place=place, split="discovery", rng=np.random.default_rng(place))
    carries = sums.carries[:, place]
    assert carries.sum() == 2_000
    assert in_split(sums.a, sums.b, split="discovery").all()
    for values in (sums.answers[:, place], sums.pair_sums[:, place] % 10):
        with_carry, without = (np.bincount(values[carries == carry], minlength=10) for carry in (1, 0))
        # Two multinomials of 2,000 over ten cells: a share's difference has SD 0.0095; five of them are 0.05.
        assert np.abs(with_carry - without).max() / 2_000 < 0.05
    assert sums.nines[:, place].any() == (place < 4)
    assert set(types_of(sums, place)) <= set(range(100))
    assert (strata_of(sums, place) // 10 == sums.answers[:, place]).all()


@pytest.mark.parametrize(("n", "place"), [(3, 1), (0, 1), (10, 0), (10, 5)])
def test_odd_numbers_and_places_without_a_matched_carry_are_refused(n, place):
    with pytest.raises(StatisticsError, match="matched sums at place"):
        matched_sums(n, place=place, split="discovery", rng=np.random.default_rng(0))


def test_streams_are_those_of_the_model_at_the_answer_position(model):
    import torch

    sums = matched_sums(6, place=2, split="discovery", rng=np.random.default_rng(0))
    found = streams_at(model, sums, place=2, sites=sites_of(model))
    assert [str(site) for site in found] == ["0.resid_pre", "0.resid_mid", "0.resid_post"]
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(sums.tensor(), names_filter=["blocks.0.hook_resid_post"])
    expected = cache["blocks.0.hook_resid_post"][:, answer_position(2)].numpy()
    assert found[Site(0, "resid_post")] == pytest.approx(expected, abs=1e-4)  # float32 by another exact route


def test_the_carry_is_found_between_attention_and_mlp_and_cannot_be_told_from_the_token(model, found):
    assert most_decodable(found) == Site(0, "resid_mid")
    assert mean_accuracy(found[Site(0, "resid_mid")]) > 0.95  # 0.99 on other discovery sums
    assert abs(mean_accuracy(found[Site(0, "resid_pre")]) - 0.5) < 0.1
    assert most_used(effects_by_site(model, STREAMS, found=found)) == Site(0, "resid_mid")


def test_every_refit_is_a_cluster_with_as_many_test_sums_of_each_place(model, found):
    site = Site(0, "resid_mid")
    right = decoded(model, STREAMS, site=site, chosen=found[site], n=400)
    assert len(set(right.carry.units)) == 400
    assert [right.carry.clusters.count(f"refit {row}") for row in range(50)] == [8] * 50
    assert {unit.rpartition(" at ")[2] for unit in right.carry.units} == {"1", "2", "3", "4"}
    assert all(unit.endswith(f" at {place}") for unit, place in zip(right.carry.units, right.places, strict=True))
    assert right.carry.mean()[0] > 0.95
    assert right.control.mean()[0] < 0.7
    assert right.token.mean()[0] < 0.6


@pytest.mark.parametrize("n", [0, 100, 401, 600])
def test_sums_that_cannot_be_dealt_to_the_refits_are_refused(model, found, n):
    site = Site(0, "resid_mid")
    with pytest.raises(StatisticsError, match="multiple of 400"):
        decoded(model, STREAMS, site=site, chosen=found[site], n=n)


def test_moving_along_the_carry_and_back_are_equally_long_steps_and_controls_as_long(model, found):
    site = Site(0, "resid_mid")
    result = steering(model, STREAMS, site=site, chosen=found[site], n=80)
    assert result.moved.components == (CARRY, "permuted labels", "control task", RANDOM)
    assert result.moved.of([CARRY]).mean()[0] > 0.8  # 0.97 on other discovery sums
    assert result.moved.of([RANDOM]).mean()[0] < 0.4  # 0.14 there
    assert result.before.mean()[0] > 0.99
    assert set(result.lengths) == set(PLACES)


def test_sums_that_cannot_be_dealt_to_the_places_are_refused(model, found):
    with pytest.raises(StatisticsError, match="multiple of 8"):
        steering(model, STREAMS, site=Site(0, "resid_mid"), chosen=found[Site(0, "resid_mid")], n=10)
