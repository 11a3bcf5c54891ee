"""On SmolLM2 without a mechanism, or on prompts that do not ask for it, no claim is supported, preconditions off.

Untrained; the claimed heads' W_O or W_QK replaced by noise; and impostor prompts, in which no name is repeated (IOI) or
no start year is given (greater-than).
"""

from __future__ import annotations

import pytest

import claims.greater_than.measurements as greater_than
import claims.ioi.measurements as ioi
from fixtures.prompts.greater_than import greater_than_prompts
from fixtures.prompts.ioi import ioi_prompts
from harness.catalog import all_claims
from harness.models.model import lesioned, load, untrained_twin
from harness.negatives import measured_on
from harness.seeding import Streams
from harness.session import BoundClaim, Options, applies
from tests.paths import REPOSITORY

pytestmark = pytest.mark.negatives
MODEL = "smollm2-135m-q4"
CLAIMS = [
    entry
    for name in ("ioi", "greater_than")
    for entry in all_claims(REPOSITORY / "claims", mechanism=name)
    if applies(entry.claim, MODEL) and "default" in entry.claim.profiles
]
NEGATIVES = ("untrained", "lesioned W_O", "lesioned W_QK", "impostor prompts")

# What a claim is about is missing in all four, but for these, where it is true of the negative too: a random W_O leaves
# attention as it was, random attention leaves the OV circuits, which need no prompts; and what follows a name attends
# to it, whether or not the name is repeated. Patched heads of greater-than bring the year of the *other* prompts.
LACKING = {
    "ioi.behaviour": {"untrained", "impostor prompts"},
    "ioi.accuracy": {"untrained", "impostor prompts"},
    "ioi.name-movers-attend": {"untrained", "lesioned W_QK", "impostor prompts"},
    "ioi.s-inhibition-attends": {"untrained", "lesioned W_QK", "impostor prompts"},
    "ioi.duplicate-token-attends": {"untrained", "lesioned W_QK", "impostor prompts"},
    "ioi.induction-attends": {"untrained", "lesioned W_QK", "impostor prompts"},
    "ioi.previous-token-attends": {"untrained", "lesioned W_QK"},
    "ioi.name-movers-copy": {"untrained", "lesioned W_O"},
    "ioi.negative-name-movers-negate": {"untrained", "lesioned W_O"},
    "ioi.s-suppressors-negate": {"untrained", "lesioned W_O"},
    "greater-than.behaviour": {"untrained", "impostor prompts"},
    "greater-than.boundary": {"untrained", "impostor prompts"},
    "greater-than.year-movers-attend": {"untrained", "lesioned W_QK", "impostor prompts"},
    "greater-than.year-movers-matter": {"untrained", "lesioned W_O", "lesioned W_QK"},
    "greater-than.year-movers-move-the-boundary": {"untrained", "lesioned W_O", "lesioned W_QK"},
    "greater-than.mlps-read-the-year": {"untrained", "lesioned W_O", "lesioned W_QK"},
}


@pytest.fixture(scope="module")
def trained():
    return load(MODEL)


@pytest.fixture(scope="module")
def untrained(trained):
    return untrained_twin(trained, 0)


@pytest.fixture
def few_draws(monkeypatch):
    """Few random circuits and sets: a negative that beats the mean of 19 by chance would beat that of 99."""
    from claims.ioi import comparing, test_circuit, test_circuit_parts

    for module in (comparing, test_circuit, test_circuit_parts):
        monkeypatch.setattr(module, "DRAWS", 19)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("negative", NEGATIVES)
@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.claim.id)
def test_no_claim_is_supported_without_the_mechanism(entry, negative, trained, untrained, monkeypatch):
    claim, mechanism = entry.claim, entry.mechanism
    if negative not in LACKING.get(claim.id, NEGATIVES):
        pytest.skip("the claim is true of this negative")
    if claim.subject and not mechanism.subjects.classes(MODEL)[claim.subject]:
        pytest.skip("SmolLM2 has no head of this class")
    subject = mechanism.subjects.subject(MODEL, class_name=claim.subject) if claim.subject else None
    model = untrained if negative == "untrained" else trained
    if subject is not None and negative.startswith("lesioned"):
        model = lesioned(trained, subject.heads, which=negative.removeprefix("lesioned "), seed=0)
    if negative == "impostor prompts":
        monkeypatch.setattr(ioi, "ioi_prompts", without_repetition)
        monkeypatch.setattr(greater_than, "greater_than_prompts", without_year)
    bound = BoundClaim(claim, entry.test, entry.source, mechanism, MODEL, Options(profile="quick"))
    record = measured_on(bound, model, subject=subject)
    assert record.verdict != "supported", record.judgement


def without_repetition(model, *, rng, **options):
    """IOI prompts with a third name in place of the repeated one: the same words, and nothing to identify."""
    return ioi_prompts(model, rng=rng, **options).corrupted("ABC", Streams(("impostor",)).for_("third names"))


def without_year(model, *, rng, **options):
    """Greater-than prompts whose start year is replaced by words."""
    prompts = greater_than_prompts(model, rng=rng, **options)
    return prompts.corrupted("no year", Streams(("impostor",)).for_("no year"))
