"""Heads that a user names are those that are asked about, and registered heads are asked about on their own model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from claims.arithmetic.measurements import heads_at
from harness.bound_claim import BoundClaim, Options
from harness.catalog import find_claim
from harness.chosen_subject import chosen_subject
from harness.errors import DeclarationError
from harness.models.model import load
from harness.session import Loaded
from tests.paths import REPOSITORY

MODEL = "addition-5d-2l@1"


def bound(**options) -> BoundClaim:
    entry = find_claim("arithmetic.carry-heads", claims=REPOSITORY / "claims")
    return BoundClaim(entry.claim, entry.test, entry.source, entry.mechanism, MODEL, Options(**options))


def target(fingerprint: str | None = None, **options) -> SimpleNamespace:
    """What is asked of a model before anything is measured."""
    known = bound().mechanism.subjects.fingerprint(MODEL)
    return SimpleNamespace(fingerprint=fingerprint or known, n_layers=2, n_heads=4, **options)


def test_heads_given_by_the_user_stand_in_for_the_registered_ones_of_every_place():
    given = chosen_subject(bound(subjects=("1.0",)), target(), loaded=Loaded())
    assert set(heads_at(given, range(5)).values()) == {("1.0",)}
    registered = chosen_subject(bound(), target(), loaded=Loaded())
    assert set(heads_at(registered, range(5)).values()) != {("1.0",)}
    assert given.classes["digit"] == registered.classes["digit"], "other classes stay as they are registered"


def test_registered_heads_are_refused_on_other_weights_of_the_same_name():
    with pytest.raises(DeclarationError, match=r"not the 'addition-5d-2l@1' whose heads are registered.*discover"):
        chosen_subject(bound(), target("0" * 64), loaded=Loaded())
    assert chosen_subject(bound(subjects=("1.0",)), target("0" * 64), loaded=Loaded()) is not None


def test_the_weights_are_known_by_those_of_float32_in_every_precision():
    double = load(MODEL, dtype="float64")
    assert double.fingerprint != double.float32_fingerprint == target().fingerprint
    assert chosen_subject(bound(dtype="float64"), double, loaded=Loaded()) is not None
    other = target("0" * 64, float32_fingerprint="1" * 64)
    with pytest.raises(DeclarationError, match=r"whose heads are registered.*fingerprint 1111111111111111"):
        chosen_subject(bound(dtype="float64"), other, loaded=Loaded())


def test_weights_that_were_rounded_to_fewer_digits_cannot_be_known():
    rounded = target("0" * 64, float32_fingerprint=None)
    assert chosen_subject(bound(dtype="bfloat16"), rounded, loaded=Loaded()) is not None
