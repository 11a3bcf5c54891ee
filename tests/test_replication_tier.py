"""Replications on the paper's own prompts: margins decide on numbers as they are, and nothing is resampled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.claim import Evidence, unit_values
from harness.declaration import Claim, Control, Margin, Metric, Units
from harness.errors import DeclarationError
from harness.seeding import Streams

MARGIN = Margin("distance", unit="logits", at_least=-0.001, at_most=0.001, reason="published to three decimals")
CLAIM = Claim(
    id="toy.published",
    paper="none2026",
    statement="The numbers are the published ones.",
    metric=Metric("value", unit="logits"),
    sesoi=0.001,
    sesoi_reason="published to three decimals",
    alternative="greater",
    controls=(),
    margins=(MARGIN,),
    rival="none",
    exposed_by="the number",
    units=None,
    tier="replication",
)


def decided(distances, *, claim=CLAIM, **options):
    """The evidence of one component per distance on four prompts; each prompt deviates by more than the tolerance."""
    spread = np.array([-2.0, 2.0, -1.0, 1.0])
    names = [f"9.{number}" for number in range(len(distances))]
    values = unit_values(np.reshape(distances, (-1, 1)) + spread, components=names, units=["a", "b", "c", "d"])
    evidence = Evidence(claim, 0, Streams(("test",)), **options)
    evidence.treated(values)
    evidence.margin("distance", values)
    evidence.decide()
    return evidence.sections["judgement"]


def test_a_complete_replication_without_units_has_no_problems():
    assert CLAIM.problems() == []
    assert (CLAIM.on_papers_prompts, CLAIM.exact) == (True, False)
    sampled = replace(CLAIM, units=Units(default=16, quick=16, reason="as many as the notebook"))
    assert (sampled.on_papers_prompts, sampled.exact) == (False, False)
    assert replace(CLAIM, tier="inference").exact


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"margins": ()}, "declare the distance to the published number"),
        ({"margins": (replace(MARGIN, at_least=None),)}, "with at_least and at_most"),
        ({"controls": (Control("shuffled", "input"),)}, "takes margins and no controls"),
        ({"tier": "inference"}, "an exact claim needs a control"),
    ],
)
def test_what_a_replication_without_units_lacks_is_named(change, said):
    assert any(said in problem for problem in replace(CLAIM, **change).problems())


@pytest.mark.parametrize(
    ("distances", "verdict"),
    [
        ([0.0, 0.0009, -0.0009], "supported"),
        ([0.0, 0.0011], "refuted"),
        ([-0.0011, 0.0], "refuted"),
        ([5.0], "refuted"),
    ],
)
def test_the_mean_over_the_papers_prompts_decides_whatever_their_spread(distances, verdict):
    found = decided(distances)
    assert found["verdict"] == verdict
    assert [outcome["estimate"] for outcome in found["outcomes"]] == pytest.approx(distances)


def test_there_is_no_p_and_no_interval():
    outcome = decided([0.0005])["outcomes"][0]
    assert (outcome["p"], outcome["p_zero"], outcome["hedges_g"]) == (None, None, None)
    assert outcome["low"] == outcome["high"] == outcome["estimate"]
    assert (outcome["method"], outcome["rule"], outcome["upper"]) == ("enumerated", "equivalence", 0.001)


def test_the_reason_names_every_number_that_is_not_the_published_one():
    reason = decided([0.0, 0.25, -0.5])["reason"]
    assert reason == (
        "9.1: distance is 0.25 (asked: within [-0.001, 0.001]); 9.2: distance is -0.5 (asked: within [-0.001, 0.001])"
    )


def test_a_number_that_is_off_is_off_also_where_no_assay_was_shown():
    assert decided([0.5], assay_shown=False)["verdict"] == "refuted"


def test_a_failed_precondition_is_invalid():
    evidence = Evidence(CLAIM, 0, Streams(("test",)))
    evidence.precondition("same tokenizer", value=0.0, at_least=1.0)
    values = unit_values([[0.0]], components=["9.9"], units=["a"])
    evidence.treated(values)
    evidence.margin("distance", values)
    evidence.decide()
    assert evidence.sections["judgement"]["verdict"] == "invalid"
    assert "same tokenizer" in evidence.sections["judgement"]["reason"]


def test_a_ratio_is_refused():
    evidence = Evidence(CLAIM, 0, Streams(("test",)))
    values = unit_values([[0.0, 1.0]], components=["9.9"], units=["a", "b"])
    evidence.treated(values)
    evidence.margin("distance", values, relative_to=values)
    evidence.decide()
    assert evidence.sections["judgement"]["verdict"] == "invalid"
    assert "is a ratio" in evidence.sections["judgement"]["reason"]


def test_what_is_missing_is_still_named():
    evidence = Evidence(CLAIM, 0, Streams(("test",)))
    with pytest.raises(DeclarationError, match=r"evidence\.treated.*'distance'"):
        evidence.decide()
    with pytest.raises(DeclarationError, match="or is a replication"):
        evidence.exact(value=1.0, population={})
