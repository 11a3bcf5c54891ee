"""Minimality and the greedy search on planted circuits: every head's part is known, so the verdict is known too."""

from __future__ import annotations

import itertools

import pytest

from claims.ioi import test_circuit_parts as claims
from harness.circuits import completeness, greedy_part, minimality
from tests.ioi_runs import record_of, saved_gpt2
from tests.planted_circuits import Counted, PlantedScores, planted_knock_outs

CLAIMS = {
    "minimal": claims.test_every_head_of_the_circuit_adds_something,
    "greedy": claims.test_a_search_finds_a_part_without_which_model_and_circuit_come_apart,
}

WEIGHTS = {"3.0": 1.2, "3.1": 0.8, "2.3": -0.7, "0.7": 0.6}
STAND_INS = {("1.1", "1.4"): 1.5}
CLASSES = {
    "name-mover": ("3.0", "3.1"),
    "negative-name-mover": ("2.3",),
    "s-inhibition": ("1.1", "1.4"),
    "previous-token": ("0.7",),
}
"""Additive heads of either sign, and a class of two of which one is enough."""

BACKED_UP = ("3.2", "3.3")
EIGHT = tuple(f"2.{head}" for head in range(8))
BACKUPS = {("3.2", "3.8"): 1.5, ("3.3", "3.9"): 1.0} | {(head, f"1{head[1:]}"): -0.125 for head in EIGHT}
"""Ten heads of a circuit, each with a stand-in outside it.

Without 3.2 and 3.3 the circuit lacks 2.5 that the model keeps; the others' stand-ins lower the score, so that any
further head in K brings model and circuit together again by 0.125.
"""
TEN = (*EIGHT, *BACKED_UP)


def scores(weights, *, redundant=None, units=6):
    """Planted scores without spread, for numbers by hand; `other` is a component of no use."""
    names = dict.fromkeys((*weights, *(head for group in redundant or {} for head in group), "other"))
    prompts = Counted(tuple(f"unit {number}" for number in range(units)))
    return PlantedScores(tuple(names), prompts, weights, redundant or {})


def worst(planted, circuit):
    r"""The largest |F(C\K) - F(M\K)| of all parts K, and that K: the slow oracle of the search."""
    parts = [part for size in range(1, len(circuit) + 1) for part in itertools.combinations(circuit, size)]
    found = completeness(planted, circuit, sets={"+".join(part): part for part in parts}).incompleteness
    name = max(found, key=lambda each: found[each])
    return set(name.split("+")), found[name]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """It lends its prompts and the names of its 48 heads; what they do is planted."""
    return saved_gpt2(tmp_path_factory.mktemp("random-gpt2"), n_embd=48, n_layer=4, n_head=12)


@pytest.fixture(scope="module")
def four_writers(tmp_path_factory):
    """A GPT-2 in which 0.0 to 0.3 alone write: minus what they read, so that a name read twice is predicted less.

    Each of them reads an eighth of the stream, with every position attended evenly; MLPs and positions write nothing.
    """

    def plant(hf):
        import torch

        transformer = hf.transformer
        transformer.wpe.weight.zero_()
        transformer.wte.weight.mul_(5)  # of length 1.6: what attention adds, not the last token, decides
        width = transformer.wte.weight.shape[1]
        written = torch.full((width,), 0.001)
        for number, block in enumerate(transformer.h):
            block.mlp.c_proj.weight.zero_()
            block.attn.c_attn.weight[:, : 2 * width].zero_()
            block.attn.c_attn.weight[:, 2 * width :] = torch.eye(width)
            first = torch.where(torch.arange(width) < width // 2, -12.0, 0.001)
            block.attn.c_proj.weight.copy_(torch.diag(first if number == 0 else written))

    return saved_gpt2(tmp_path_factory.mktemp("four-writers"), n_embd=256, n_layer=4, n_head=8, plant=plant)


@pytest.fixture
def plant(monkeypatch):
    """Plants what `planted_knock_outs` is given into the claims' bodies, with fewer random parts to rank in."""

    def put(weights, **options):
        monkeypatch.setattr(claims, "knock_outs", planted_knock_outs(weights, **options))
        monkeypatch.setattr(claims, "DRAWS", 39)

    return put


def absent(record):
    """The heads that add nothing to speak of: every other one is supported, these would be refuted."""
    others = [each for each in record.judgement["components"] if each["verdict"] != "supported"]
    # No baseline shows that the assay works on these models, so that nothing is refuted on them.
    assert all("assay not shown to work (otherwise refuted: absent" in each["reason"] for each in others), others
    return [each["component"] for each in others]


def passengers(record):
    """The heads that the record names as passengers: the interval of what they add holds zero."""
    return [each["component"] for each in record.shares if each["passenger"]]


# -- minimality


def test_minimality_finds_each_planted_head_with_its_contribution_and_sign():
    planted = scores({**WEIGHTS, "passenger": 0.0}, redundant=STAND_INS)
    circuit = (*WEIGHTS, "1.1", "1.4", "passenger")
    found = minimality(planted, circuit, classes={**CLASSES, "mine": ("passenger",)})
    # Knocked out, a head of weight w lowers the score by w; either stand-in lowers it by 1.5 once the other is gone.
    assert found.scores == pytest.approx(
        {"3.0": 1.2, "3.1": 0.8, "2.3": 0.7, "0.7": 0.6, "1.1": 1.5, "1.4": 1.5, "passenger": 0.0}
    )
    assert found.difference.of(["2.3"]).values == pytest.approx(0.7)
    assert found.difference.of(["3.0"]).values == pytest.approx(-1.2)


def test_heads_that_stand_in_for_one_another_need_their_class_knocked_out():
    planted, circuit = scores({"3.0": 1.0}, redundant=STAND_INS), ("3.0", "1.1", "1.4")
    apart = minimality(planted, circuit, classes={head: (head,) for head in circuit})
    together = minimality(planted, circuit, classes={"a": ("3.0",), "b": ("1.1", "1.4")})
    assert apart.scores == pytest.approx({"3.0": 1.0, "1.1": 0.0, "1.4": 0.0})
    assert together.scores == pytest.approx({"3.0": 1.0, "1.1": 1.5, "1.4": 1.5})


def test_of_three_stand_ins_all_others_must_be_gone():
    planted, circuit = scores({}, redundant={("1.1", "1.2", "1.3"): 1.5}), ("1.1", "1.2", "1.3")
    one_gone = minimality(planted, circuit, classes={}, knocked_out={"1.1": ("1.2",), "1.2": ("1.1",), "1.3": ("1.1",)})
    assert set(one_gone.scores.values()) == {0.0}
    assert minimality(planted, circuit, classes={"all": circuit}).scores == dict.fromkeys(circuit, 1.5)


def test_the_claim_is_supported_where_every_head_of_the_circuit_was_planted(plant, model):
    plant(WEIGHTS, redundant=STAND_INS)
    record = record_of(CLAIMS["minimal"], model, classes=CLASSES)
    assert record.verdict == "supported", record.judgement["reason"]
    # Each head's own weight, 2.3's upwards as well, since discovery found that it lowers the score.
    expected = {head: abs(weight) for head, weight in WEIGHTS.items()} | {"1.1": 1.5, "1.4": 1.5}
    found = {each["component"]: each["share"] for each in record.shares}
    assert found == pytest.approx(expected, rel=0.1)


def test_a_planted_passenger_is_named_and_the_claim_is_not_supported(plant, model):
    plant({**WEIGHTS, "2.8": 0.0}, redundant=STAND_INS)
    record = record_of(CLAIMS["minimal"], model, classes={**CLASSES, "induction": ("2.8",)})
    assert record.verdict == "inconclusive"
    assert passengers(record) == absent(record) == ["2.8"]
    assert "2.8 inconclusive" in record.judgement["reason"]


def test_the_claim_sees_stand_ins_only_once_they_are_in_one_class(plant, model):
    plant({**WEIGHTS, "1.1": 0.0, "1.4": 0.0}, redundant=STAND_INS)
    apart = {**CLASSES, "s-inhibition": ("1.1",), "induction": ("1.4",)}
    record = record_of(CLAIMS["minimal"], model, classes=apart)
    assert record.verdict != "supported"
    assert passengers(record) == absent(record) == ["1.1", "1.4"]


def test_the_circuit_of_a_planted_transformer_is_minimal_and_a_head_beside_it_is_a_passenger(four_writers):
    writers = {"duplicate-token": tuple(f"0.{head}" for head in range(4))}
    record = record_of(CLAIMS["minimal"], four_writers, classes=writers)
    assert record.verdict == "supported", record.judgement["reason"]
    inflated = record_of(CLAIMS["minimal"], four_writers, classes={**writers, "induction": ("1.5",)})
    assert inflated.verdict == "inconclusive"
    assert absent(inflated) == ["1.5"]


# -- the greedy search


def test_greedy_finds_the_planted_worst_part_and_its_value():
    planted = scores({}, redundant=BACKUPS)
    part = greedy_part(planted, TEN)
    assert set(part) == set(BACKED_UP)
    assert completeness(planted, TEN, sets={"it": part}).incompleteness == pytest.approx({"it": 2.5})
    assert worst(planted, TEN) == (set(BACKED_UP), pytest.approx(2.5))


def test_greedy_stays_on_the_side_where_model_and_circuit_come_apart_more():
    # Backed up: a and b that raise the score (3 together), c and d that lower it (2.5 together).
    redundant = {("a", "a'"): 2.0, ("b", "b'"): 1.0, ("c", "c'"): -1.5, ("d", "d'"): -1.0}
    planted, circuit = scores({}, redundant=redundant), ("a", "b", "c", "d")
    assert set(greedy_part(planted, circuit)) == {"a", "b"}
    assert worst(planted, circuit) == ({"a", "b"}, pytest.approx(3.0))


def test_greedy_may_miss_the_worst_part_so_that_its_value_is_a_lower_bound():
    # The first step takes a (2); c, d and e together are worse (4.5), but not one of them alone is.
    redundant = {("a", "a'"): 2.0, ("c", "c'"): -1.5, ("d", "d'"): -1.5, ("e", "e'"): -1.5}
    planted, circuit = scores({}, redundant=redundant), ("a", "c", "d", "e")
    part = greedy_part(planted, circuit)
    assert completeness(planted, circuit, sets={"it": part}).incompleteness == pytest.approx({"it": 2.5})  # 4.5 - 2
    assert worst(planted, circuit) == ({"c", "d", "e"}, pytest.approx(4.5))


def test_the_claim_is_supported_where_a_part_was_planted_without_which_they_come_apart(plant, model):
    plant({}, redundant=BACKUPS)
    record = record_of(CLAIMS["greedy"], model, classes={"name-mover": TEN}, profile="full")
    assert record.verdict == "supported", record.judgement["reason"]
    assert any("Greedy K: 3.2, 3.3." in note for note in record.notes), record.notes


ADDITIVE = dict.fromkeys(TEN, 0.5)


@pytest.mark.parametrize(
    ("weights", "redundant", "by_place"),
    [
        pytest.param(ADDITIVE, {}, False, id="the circuit has all that there is"),
        pytest.param({**ADDITIVE, "3.8": 1.5}, {}, False, id="it lacks a head, under every part alike"),
        pytest.param({}, {("3.2", "3.3"): 1.5, **dict.fromkeys(zip(EIGHT), 0.5)}, False, id="its stand-in is in it"),
        pytest.param({}, BACKUPS, True, id="they come apart as much by the place of a name"),
    ],
)
def test_the_claim_is_not_supported_where_no_part_was_planted(weights, redundant, by_place, plant, model):
    plant(weights, redundant=redundant, by_place=by_place)
    record = record_of(CLAIMS["greedy"], model, classes={"name-mover": TEN}, profile="full")
    assert record.verdict in {"refuted", "too small", "inconclusive"}, record.judgement["reason"]
