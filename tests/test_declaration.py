from dataclasses import replace

import pytest

from harness.catalog import split_family
from harness.claim import claim, declared
from harness.declaration import Claim, Control, Cost, Margin, Metric, Units
from harness.errors import DeclarationError

GOOD = Claim(
    id="induction.test",
    paper="olsson2022",
    statement="A statement.",
    metric=Metric("score", unit="nats"),
    sesoi=0.5,
    sesoi_reason="from discovery",
    alternative="greater",
    controls=(Control("other heads", "component"), Control("shuffled", "input")),
    rival="another explanation",
    exposed_by="shuffled",
    units=Units(default=64, quick=16, reason="power"),
    subject="induction",
)


def test_models_on_which_a_claim_was_set_are_declared_and_decide_nothing():
    set_on = replace(GOOD, set_on=("induction-2l@0",))
    assert set_on.hash() == GOOD.hash()
    assert set_on.declared()["set_on"] == ["induction-2l@0"]
    assert "set_on" not in GOOD.declared()


def test_one_family_is_not_split_over_two_claims():
    seen = {}
    assert split_family(GOOD, seen) == ""
    assert split_family(GOOD, seen) == ""  # met again
    again = replace(GOOD, id="induction.again", statement="a  Statement")
    assert "'induction.test' and 'induction.again' make the same statement" in split_family(again, seen)
    assert split_family(replace(again, id="induction.other", subject="previous-token"), seen) == ""
    assert split_family(replace(again, id="induction.more", statement="Another one."), seen) == ""
    assert split_family(replace(again, id="induction.whole", subject=None), seen) == ""


def test_a_complete_declaration_has_no_problems():
    assert GOOD.problems() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "No Dots"}, "mechanism.name"),
        ({"metric": Metric("score", unit="")}, "metric has no unit"),
        ({"sesoi": 0}, "sesoi is 0"),
        ({"profiles": ()}, "name some of quick, default, full"),
        ({"profiles": ("nightly",)}, "name some of quick, default, full"),
        ({"models": "induction-2l@*"}, "write a tuple of patterns, as in models=('induction-2l@*',)"),
        ({"models": ()}, "models is ()"),
        ({"sesoi": None}, "sesoi is None"),
        ({"sesoi_reason": ""}, "sesoi_reason is empty"),
        ({"alternative": "two-sided"}, "name the direction"),
        ({"units": Units(default=8, quick=16, reason="few")}, "register at least 12"),
        ({"controls": (Control("shuffled", "input"),)}, "component or same-dose"),
        ({"controls": (Control("other heads", "component"),)}, "input or label"),
        ({"controls": (Control("twin", "model"), Control("twin 2", "model"))}, "untrained model does not count"),
        ({"controls": (*GOOD.controls, Control("shuffled", "label"))}, "declared twice"),
        ({"subject": None}, "two controls of kind input or label"),
        ({"margins": (Margin("m", unit="nats", reason="r", at_least=1.0, at_most=0.0),)}, "is empty"),
        ({"rival": " "}, "rival is empty"),
        ({"metric": Metric("score", unit="nats", limits=(1, 0))}, "limits of the metric are (1, 0)"),
        ({"metric": Metric("accuracy", unit="share", binary=True, limits=(0, 1))}, "leave `limits` out"),
        ({"metric": Metric("score", unit="nats", limits=(1,))}, "limits of the metric are (1,)"),
        ({"metric": Metric("score", unit="nats", limits=(0, 0.5))}, "no difference of such values is above the SESOI"),
        ({"margins": (Margin("m", unit="nats", reason="r", at_most=0.1, limits=(-1, 0.1)),)}, "could not be exceeded"),
        (
            {"margins": (Margin("m", unit="nats", reason="r", at_most=0.0, limits=(0, float("inf"))),)},
            "limits of the margin 'm' are (0, inf)",
        ),
    ],
)
def test_every_missing_part_is_named(change, said):
    assert any(said in problem for problem in replace(GOOD, **change).problems())


def test_all_problems_come_in_one_error():
    @claim(id="x", statemnt="typo")
    def test():
        pass

    with pytest.raises(DeclarationError) as caught:
        declared(test, where="file.py::test")
    text = str(caught.value)
    for said in ("Did you mean 'statement'", "no unit", "sesoi is None", "units is missing", "file.py::test"):
        assert said in text


def test_a_sampled_claim_without_units_is_not_asked_what_exact_claims_are_asked():
    declaration = {name: getattr(GOOD, name) for name in Claim.__dataclass_fields__ if name not in ("units", "alpha")}
    inputs = (Control("shuffled", "input"), Control("permuted", "label"))

    @claim(**declaration | {"subject": None, "controls": inputs})
    def test():
        pass

    with pytest.raises(DeclarationError) as caught:
        declared(test, where="file.py::test")
    assert str(caught.value).count("  - ") == 1
    assert "units is missing" in str(caught.value)


def test_whatever_decides_changes_the_hash_and_the_cost_does_not():
    assert replace(GOOD, sesoi=0.4).hash() != GOOD.hash()
    assert replace(GOOD, version=2).hash() != GOOD.hash()
    assert replace(GOOD, cost=Cost(draws=3, tokens=5)).hash() == GOOD.hash()


def test_limits_are_registered_and_declarations_without_them_keep_their_hash():
    limited = replace(GOOD, metric=replace(GOOD.metric, limits=(0.0, 1.0)))
    assert limited.deciding()["metric"] == {"name": "score", "unit": "nats", "binary": False, "limits": [0.0, 1.0]}
    assert limited.hash() != GOOD.hash()
    assert "limits" not in GOOD.deciding()["metric"]
    assert GOOD.hash() == "9903e1d009d69eb82197299e8c837d6ec5b36de83e727ef7a2bf02d3a641266e"


def test_a_difference_reaches_as_far_as_both_limits_together_and_decides_by_gaffke():
    limited = replace(GOOD, metric=replace(GOOD.metric, limits=(0.0, 1.0)))
    assert limited.interval_of_differences(300) == ("gaffke", (-1.0, 1.0))
    assert GOOD.interval_of_differences(49) == ("bootstrap-t", None)
    binary = replace(GOOD, metric=Metric("accuracy", unit="share", binary=True))
    assert binary.interval_of_differences(50) == ("bca", None)
    assert GOOD.interval_method(300, limits=(0.0, 1.0)) == "gaffke"  # a margin's own


def test_the_interval_method_is_fixed_by_clusters_and_kind_of_metric():
    assert GOOD.interval_method(49) == "bootstrap-t"
    assert GOOD.interval_method(50) == "bca"
    assert replace(GOOD, metric=Metric("accuracy", unit="share", binary=True)).interval_method(64) == "clopper-pearson"
