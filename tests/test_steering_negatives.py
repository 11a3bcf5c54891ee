"""On SmolLM2 without a direction no claim on steering is supported, preconditions off.

Untrained, where directions are found by the same steps; and with the labels of half of each template's discovery pairs
exchanged, so that what is steered is not the contrast's direction, at the place and dose that are registered for it.
"""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import pytest

from claims.steering import finding
from harness.bound_claim import BoundClaim, Options
from harness.catalog import all_claims
from harness.models.model import load, untrained_twin
from harness.negatives import measured_on
from harness.seeding import Streams
from harness.session import applies
from harness.steering import half_of
from tests.paths import REPOSITORY

pytestmark = pytest.mark.negatives
MODEL = "smollm2-135m-q4"
CLAIMS = [
    entry
    for entry in all_claims(REPOSITORY / "claims", mechanism="steering")
    if applies(entry.claim, MODEL) and "default" in entry.claim.profiles
]


@pytest.fixture(scope="module")
def trained():
    return load(MODEL)


@pytest.fixture(scope="module")
def untrained(trained):
    return untrained_twin(trained, 0)


@pytest.fixture(scope="module")
def caches():
    """What each negative finds on the discovery split, shared between its claims and kept from the others."""
    return {name: (WeakKeyDictionary(), WeakKeyDictionary()) for name in ("untrained", "labels exchanged")}


@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.claim.id)
@pytest.mark.parametrize("negative", ["untrained", "labels exchanged"])
def test_no_claim_is_supported_without_the_direction(entry, negative, trained, untrained, caches, monkeypatch):
    found, permuted = caches[negative]
    monkeypatch.setattr(finding, "_FOUND", found)
    monkeypatch.setattr(finding, "_PERMUTED", permuted)
    monkeypatch.setattr(finding.permuted, "__kwdefaults__", {"draws": 19})
    if negative == "labels exchanged":
        monkeypatch.setattr(finding, "pair_activations", with_labels_exchanged(finding.pair_activations))
    mechanism = entry.mechanism
    subject = mechanism.subjects.subject(MODEL, class_name=entry.claim.subject)
    bound = BoundClaim(entry.claim, entry.test, entry.source, mechanism, MODEL, Options(profile="quick"))
    record = measured_on(bound, untrained if negative == "untrained" else trained, subject=subject)
    assert record.verdict != "supported", record.judgement


def with_labels_exchanged(read):
    """Activations of pairs of which half have their labels exchanged."""

    def exchanged(model, pairs, **where):
        found = read(model, pairs, **where)
        rng = Streams(("impostor",)).for_(f"labels of {len(found)} pairs")
        return found.swapped(half_of(np.array(["all"] * len(found)), rng=rng))

    return exchanged


def test_exchanging_labels_leaves_no_part_of_the_direction(trained):
    found = finding.read(trained, "sentiment")
    layer = found.pairs.layers[-1]
    swapped = replace(found, pairs=with_labels_exchanged(lambda *_: found.pairs)(None, None))
    assert abs(finding.direction_in(found.pairs, layer).cosine(finding.direction_in(swapped.pairs, layer))) < 0.35
