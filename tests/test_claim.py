"""The evidence that a body fills: what is refused, what is kept, and a planted effect from values to verdict."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from harness.claim import Evidence, claim, declared, unit_values
from harness.declaration import Control, Margin
from harness.errors import DeclarationError, StatisticsError, StoreError
from harness.evidence import jsonable
from harness.seeding import Streams
from harness.subjects import Subject
from tests import toy_claim

CLAIM = replace(toy_claim.CLAIM, controls=(Control("other heads", "component"), Control("shuffled", "input")))
HEADS = tuple(f"1.{number}" for number in range(24))


SUBJECT = Subject("toy", ("1.0",), "", "", "", {})


def evidence(declaration=CLAIM, *, subject=SUBJECT, n_units=24, **options):
    return Evidence(declaration, n_units, Streams(("confirmation", "test")), subject=subject, **options)


def drawn(purpose, mean, components=("1.0",)):
    rng = Streams(("values",)).for_(purpose)
    values = rng.normal(0, 0.3, (len(components), 24)) + np.reshape(mean, (-1, 1))
    return unit_values(values, components=components, units=[f"{purpose[0] == 'd'}{i}" for i in range(24)])


def filled(effect, **options):
    """Evidence of one head among 24, all others at zero, with the effect planted."""
    found = evidence(**options)
    scores = drawn("scores", [effect, *[0.0] * 23], HEADS)
    discovery = drawn("discovery", [effect, *[0.0] * 23], HEADS)
    found.treated(scores.of(["1.0"]))
    found.component_control("other heads", scores, discovery=discovery, matched={"1.0": HEADS[1:]})
    found.control("shuffled", drawn("shuffled", 0.0))
    return found


def test_a_planted_effect_is_found_from_values_to_verdict():
    found = filled(2.0)
    found.decide()
    assert found.sections["judgement"]["verdict"] == "supported"
    assert found.sections["ranks"][0]["rank"] == 1
    assert len(found.sections["judgement"]["outcomes"]) == 3  # mean of others, 95th percentile, shuffled


def test_no_effect_is_not_supported_however_it_was_drawn():
    found = filled(0.0)
    found.decide()
    assert found.sections["judgement"]["verdict"] == "refuted"


def test_the_sections_are_plain_json_without_nan():
    found = filled(2.0)
    found.decide()
    assert json.loads(json.dumps(jsonable(found.sections), allow_nan=False))["judgement"]["verdict"] == "supported"


def test_a_failed_precondition_is_invalid_unless_preconditions_are_ignored():
    for ignored, verdict in ((False, "invalid"), (True, "supported")):
        found = filled(2.0, ignore_preconditions=ignored)
        found.precondition("accuracy", value=0.4, at_least=0.9)
        found.precondition("norm", value=2.0, at_least=1.0)
        found.decide()
        assert found.sections["judgement"]["verdict"] == verdict
        assert [entry["holds"] for entry in found.sections["preconditions"]] == [False, True]
    assert "accuracy" not in found.sections["judgement"]["reason"]


def test_the_reason_of_an_invalid_claim_names_the_precondition_and_both_numbers():
    found = filled(2.0)
    found.precondition("accuracy", value=0.4, at_least=0.9)
    found.decide()
    assert found.sections["judgement"]["reason"] == "precondition 'accuracy' is 0.4, needs at least 0.9"


def test_a_precondition_that_is_no_number_or_comes_too_late_is_refused():
    found = filled(2.0)
    with pytest.raises(StatisticsError, match="'accuracy' is nan"):
        found.precondition("accuracy", value=float("nan"), at_least=0.9)
    found.decide()
    with pytest.raises(DeclarationError, match="after decide"):
        found.precondition("accuracy", value=0.1, at_least=0.9)


def test_deciding_lists_everything_that_was_not_filled():
    declaration = replace(CLAIM, margins=(Margin("first copy", unit="nats", reason="r", at_most=0.1),))
    with pytest.raises(DeclarationError) as caught:
        evidence(declaration).decide()
    for name in ("evidence.treated", "'other heads'", "'shuffled'", "'first copy'"):
        assert name in str(caught.value)


def test_another_number_of_units_than_was_asked_for_is_refused_with_both_numbers():
    found = filled(2.0, n_units=64)  # registered, and the body sampled 24
    with pytest.raises(DeclarationError, match=r"has 24 units, and evidence\.n_units asks for 64"):
        found.decide()


@pytest.mark.parametrize(
    ("rows", "heads", "refused"),
    [
        (("1.0", "1.1"), ("1.1", "1.0"), False),  # in any order
        (("joint",), ("1.0", "1.1"), False),
        (("model",), ("1.0",), False),
        (("1.2",), ("1.0",), True),  # another head
        (("1.0",), ("1.0", "1.1"), True),  # one is left out
        (("1.0", "1.1", "1.2"), ("1.0", "1.1"), True),  # one is added
        (("joint", "1.0"), ("1.0", "1.1"), True),
    ],
)
def test_the_treated_rows_are_the_subjects_heads_or_one_that_stands_for_all(rows, heads, refused):
    subject = Subject("induction", heads, "m", "s", "discovery", {"induction": heads})
    found = evidence(replace(CLAIM, controls=(Control("a", "input"), Control("b", "label"))), subject=subject)
    found.treated(drawn("treated", [2.0] * len(rows), rows))
    for name in ("a", "b"):
        found.control(name, drawn(name, [0.0] * len(rows), rows))
    if not refused:
        found.decide()
        assert found.sections["judgement"]["verdict"] == "supported"
        return
    with pytest.raises(DeclarationError, match=f"has rows {', '.join(rows)}, and its subject is {', '.join(heads)}"):
        found.decide()


def test_an_exact_claim_asks_for_its_number_and_no_other_may_give_one():
    exact = replace(CLAIM, units=None, controls=CLAIM.controls[:1])
    with pytest.raises(DeclarationError, match=r"evidence\.exact"):
        evidence(exact).decide()
    with pytest.raises(DeclarationError, match="samples units"):
        evidence().exact(value=1.0, population={"0.1": 0.0})
    found = evidence(exact)
    found.exact(value=2.0, population={f"0.{number}": number / 40 for number in range(40)})
    found.decide()
    assert found.sections["judgement"]["verdict"] == "supported"
    assert found.sections["exact"]["rank"] == 1


def test_an_undeclared_name_is_refused_with_the_nearest_declared_one():
    with pytest.raises(DeclarationError, match="Did you mean 'shuffled'"):
        evidence().control("shufled", drawn("x", 0.0))
    with pytest.raises(DeclarationError, match="declared are none"):
        evidence().margin("first copy", drawn("x", 0.0))


def test_a_control_is_filled_as_the_kind_that_was_declared():
    with pytest.raises(DeclarationError, match="declared as kind 'component'"):
        evidence().control("other heads", drawn("x", 0.0))
    scores = drawn("scores", [0.0] * 24, HEADS)
    with pytest.raises(DeclarationError, match="declared as kind 'input'"):
        evidence().component_control("shuffled", scores, discovery=drawn("discovery", 0.0), matched={"1.0": HEADS[1:]})


def test_the_percentile_is_not_chosen_on_units_that_decide():
    scores = drawn("scores", [0.0] * 24, HEADS)
    with pytest.raises(DeclarationError, match="measure `discovery` on other prompts"):
        evidence().component_control("other heads", scores, discovery=scores, matched={"1.0": HEADS[1:]})


def test_nothing_is_filled_or_decided_twice():
    found = filled(2.0)
    for again in (lambda: found.control("shuffled", drawn("x", 0.0)), lambda: found.treated(drawn("x", 0.0))):
        with pytest.raises(DeclarationError, match="twice"):
            again()
    found.decide()
    with pytest.raises(DeclarationError, match="twice"):
        found.decide()


def test_what_was_measured_can_be_read_back_only_once_it_is_there():
    found = evidence()
    with pytest.raises(DeclarationError, match="comes first"):
        found.measured()
    values = drawn("x", 0.0)
    found.treated(values)
    assert found.measured() is values


def test_a_share_is_recorded_with_its_interval():
    found = filled(2.0)
    found.share("1.0", values=drawn("share", 1.0))
    found.decide()
    (share,) = found.sections["shares"]
    assert share["low"] < share["share"] < share["high"]
    assert share["passenger"] is False


def test_tables_pictures_and_notes_become_plain_values_and_nan_is_refused():
    found = evidence()
    found.table("doses", columns=["head", "nats"], rows=[["1.0", np.float64(0.5)]])
    found.picture("curve", "dose", caption="c", x=(0.0, 1.0), y=np.array([0.0, 2.0]), xlabel="dose", ylabel="nats")
    found.note("a caveat")
    assert found.sections["tables"][0]["rows"] == [["1.0", 0.5]]
    assert found.sections["pictures"][0]["y"] == [0.0, 2.0]
    assert found.sections["notes"] == ["a caveat"]
    with pytest.raises(StoreError, match="NaN"):
        found.picture("curve", "dose", caption="c", y=[float("nan")], xlabel="dose", ylabel="nats")


@pytest.mark.parametrize(
    ("kind", "data", "missing"),
    [
        ("matrix", {"unit": "nats", "xlabel": "head"}, "ylabel"),
        ("matrix", {}, "unit, xlabel, ylabel"),
        ("curve", {"xlabel": "dose", "ylabel": " "}, "ylabel"),
        ("bars", {"labels": ["1.0"]}, "unit"),
    ],
)
def test_a_picture_whose_axes_have_no_titles_is_refused_by_its_name(kind, data, missing):
    found = evidence()
    with pytest.raises(DeclarationError, match=rf"picture 'scores' of kind '{kind}' has no {missing};"):
        found.picture(kind, "scores", caption="c", **data)
    assert "pictures" not in found.sections


def test_a_picture_made_on_other_data_than_the_units_states_its_own_n():
    found, title = evidence(), "every head"
    found.picture("head_map", title, caption="c", unit="nats", values=[[1.0]], n="12 sequences")
    found.picture("head_map", title, caption="c", unit="nats", values=[[1.0]])
    first, second = found.sections["pictures"]
    assert first["n"] == "12 sequences"
    assert "n" not in second, "records without it keep their content hashes"


@pytest.mark.parametrize("name", ["n_units", "ignore_preconditions", "assay_shown", "subject", "claim", "profile"])
def test_a_body_cannot_change_what_is_registered(name):
    with pytest.raises(DeclarationError, match=f"evidence.{name} is as registered"):
        setattr(evidence(), name, None)


def test_without_a_subject_no_heads_are_judged():
    found = filled(2.0, subject=None)
    with pytest.raises(DeclarationError, match=r"rows 1\.0, and the claim declares no subject"):
        found.decide()


def test_a_control_on_another_head_is_refused_and_one_of_no_head_is_not():
    inputs = replace(CLAIM, controls=(Control("a", "input"), Control("b", "label")))
    for row, refused in (("1.2", True), ("0.resid_post", True), ("a random direction", False), ("1.0", False)):
        found = evidence(inputs)
        found.treated(drawn("treated", 2.0))
        found.control("a", drawn("treated", 0.0, (row,)))
        found.control("b", drawn("treated", 0.0))
        if refused:
            with pytest.raises(StatisticsError, match=f"control 'a' is of kind 'input' and has the values of {row}"):
                found.decide()
        else:
            found.decide()


def test_prompts_have_the_clusters_of_the_values():
    found = filled(2.0)
    found.prompts(sha256="0", n=24, clusters=3, examples=[])
    with pytest.raises(DeclarationError, match="says that there are 3 clusters, and the treated values have 24"):
        found.decide()


def test_values_without_names_are_refused_with_what_makes_them():
    for fill in (
        lambda one: one.treated(np.ones((1, 24))),
        lambda one: one.control("shuffled", [0.0]),
        lambda one: one.component_control("other heads", drawn("a", 0.0), discovery=None, matched={}),
    ):
        with pytest.raises(DeclarationError, match=r"give UnitValues.*unit_values\(array, components"):
            fill(evidence())


def test_progress_names_the_claim_and_counts_what_is_done():
    lines = []
    found = evidence(announce=lines.append)
    assert list(found.track(["a", "b"], "shuffle")) == ["a", "b"]
    assert list(found.track(iter("a"), "draw")) == ["a"]
    assert lines == ["toy.larger: shuffle 1/2", "toy.larger: shuffle 2/2", "toy.larger: draw 1"]


def test_intervals_draw_from_their_own_stream_so_that_the_prompts_change_nothing_in_them():
    first, second = filled(0.6), filled(0.6)
    second.streams.for_("prompts").random(100)
    first.decide()
    second.decide()
    assert first.sections["judgement"] == second.sections["judgement"]


def test_unit_values_come_from_a_tensor_or_array_with_every_unit_its_own_cluster():
    import torch

    one = unit_values(torch.tensor([1.0, 2.0]), components=["model"], units=["a", "b"])
    assert one.values.tolist() == [[1.0, 2.0]]
    assert one.values.dtype == np.float64
    assert one.clusters == ("a", "b")
    two = unit_values(np.ones((2, 2)), components=["5.1", "5.5"], units=["a", "b"], clusters=["t", "t"])
    assert two.clusters == ("t", "t")
    with pytest.raises(StatisticsError, match="3 axes"):
        unit_values(np.ones((1, 2, 2)), components=["model"], units=["a", "b"])


def test_the_decorator_checks_nothing_and_collection_checks_everything():
    @claim(id="toy.larger", alternatve="greater")
    def test():
        pass

    with pytest.raises(DeclarationError, match="Did you mean 'alternative'"):
        declared(test, where="test_x.py::test")
