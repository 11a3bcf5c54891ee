"""Digit heads that misread their pair: the digit to the left, place by place, and what heads without effect give.

Claims are run on sums of the discovery split: `confirmation` is made to mean it while these tests run.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from claims.arithmetic.measurements import at_places
from claims.arithmetic.misreading import BEYOND, LEFT, LEFT_SHARE, left_falls, left_margin, misread
from fixtures.prompts import sums as sums_module
from harness import session
from harness.bound_claim import BoundClaim, Options
from harness.claim import declared
from harness.interventions import Engine
from harness.mechanism import import_file, open_mechanism
from harness.models.model import load
from harness.negatives import measured_on
from harness.seeding import Streams
from harness.session import Loaded, measure
from harness.subjects import Subject
from tests.paths import REPOSITORY

FOLDER = REPOSITORY / "claims" / "arithmetic"
DIGITS = {f"digit-{place}": ("0.1", "0.3") for place in range(1, 6)}
READERS = Subject("digit", ("0.1", "0.3"), "test", "test", "discovery", DIGITS)
"""The digit heads of addition-5d-1l@0, as registered."""
STREAMS = Streams(("misreading",))


@pytest.fixture(scope="module")
def one_layer():
    return load("addition-5d-1l@0")


@pytest.fixture(autouse=True)
def on_discovery(monkeypatch):
    """Nobody looks at the confirmation split of a shipped model in a test; what is refuted is called so at once."""
    monkeypatch.setattr(session, "_assay_shown", lambda bound: True)
    monkeypatch.setitem(sums_module.PARTS, "confirmation", sums_module.PARTS["discovery"])


def bound(name, model_id, *, n_units=None):
    for test in vars(import_file(FOLDER / "test_digits.py")).values():
        if getattr(test, "__claim__", {}).get("id") == f"arithmetic.{name}":
            options = Options(profile="quick", n_units=n_units)
            claim = declared(test, where=name)
            return BoundClaim(claim, test, "test_digits.py", open_mechanism(FOLDER), model_id, options)
    raise LookupError(name)


def subject(heads, *, but=()):
    """A digit subject of the same heads at every place, `but` at place 3."""
    classes = {f"digit-{place}": tuple(but if but and place == 3 else heads) for place in range(1, 6)}
    return replace(READERS, heads=tuple(heads), classes=classes)


def test_reading_nothing_else_breaks_nothing_and_every_digit_is_read(one_layer):
    there = misread(Engine.of(one_layer), 30, place=2, split="discovery", rng=STREAMS)
    assert there.right() == 1.0
    assert (there.falls({"nobody": ()})["nobody"] == 0).all()
    digits = there.every_digit(("0.1", "0.3"))
    assert np.allclose(digits["rest"], np.mean([digits[f"digit {digit}"] for digit in (0, 3, 4, 5)], axis=0))
    assert digits["digit 2"].mean() > 0.7
    assert np.allclose(digits["digit 2"], there.falls({"both": ("0.1", "0.3")})["both"])


def test_the_left_digit_is_held_against_its_share_of_the_fall_place_by_place(one_layer):
    found = left_falls(Engine.of(one_layer), {2: ("0.1",), 4: ("0.3",)}, n=20, places=(2, 4), rng=STREAMS)
    own, left, beyond = (found.of([row]).values[0] for row in ("joint", LEFT, BEYOND))
    assert np.allclose(beyond, left - LEFT_SHARE * own)
    assert len(at_places(found, [2]).units) == len(at_places(found, [4]).units) == 20
    assert left_margin(4).name == "fall at digit 3, less 0.28 of the fall in place 4"
    # Half of the half of its sums that a lost carry breaks, of the nine tenths that the place can lose.
    assert abs(LEFT_SHARE - 0.5 / 0.9 / 2) < 0.005


def test_a_margin_that_one_place_exceeds_is_not_hidden_by_the_others(one_layer):
    # 0.2 brings the carries of 1l@0: together with the digit heads it breaks the digit to the left of place 3.
    asked = bound("digit-heads-matter", one_layer.id)
    record = measured_on(asked, one_layer, subject=subject(("0.1", "0.3"), but=("0.1", "0.2")))
    left = {outcome["control"]: outcome for outcome in record.judgement["outcomes"] if "at digit" in outcome["control"]}
    assert [name for name, one in left.items() if not one["holds"]] == [left_margin(3).name]
    assert np.mean([one["estimate"] for one in left.values()]) < 0  # as a mean over places it would hold
    assert record.verdict == "refuted"


def test_the_leftmost_digit_is_spared_in_one_model_and_not_in_another(one_layer):
    asked = bound("leftmost-digit-is-spared", one_layer.id)
    assert measured_on(asked, one_layer, subject=READERS).verdict == "supported"
    other = load("addition-5d-1l@2")  # one head reads the first pair for both digits
    asked = bound("leftmost-digit-is-spared", other.id)
    record = measured_on(asked, other, subject=subject(("0.1",)))
    assert record.verdict == "refuted"
    assert "margin exceeded" in record.judgement["reason"]
    assert [picture["kind"] for picture in record.pictures] == ["bars"]


@pytest.mark.parametrize("name", ["digit-heads-matter", "leftmost-digit-is-spared"])
def test_heads_without_any_effect_refute_the_claim_by_it_and_are_not_invalid(name):
    model = load("addition-5d-2l@0")
    record = measured_on(bound(name, model.id, n_units=60), model, subject=subject(("1.0",)))
    assert record.verdict == "refuted"
    assert "margin" not in record.judgement["reason"]


def test_a_place_without_digit_heads_is_told(one_layer):
    nobody = replace(READERS, classes={**DIGITS, "digit-1": ()})
    asked = bound("leftmost-digit-is-spared", one_layer.id)
    record = measure(asked, loaded=Loaded(), target=one_layer, subject=nobody)
    assert record.verdict == "invalid"
    assert "fewest digit heads of a place" in record.judgement["reason"]
